//! Contacts: mailboxes, notifiers and groups.

use std::sync::Arc;
use std::time::Duration;

use super::Validator;
use super::global::lower;
use crate::config::model::{Config, ContactDef};
use crate::config::plugins::PluginKind;
use crate::config::spec::ContactSpec;
use crate::config::units::Span;

/// Longest time for which a notification is held back for others.
pub const LONGEST_GROUP: Duration = Duration::from_secs(3_600);

impl Validator<'_> {
    pub(super) fn contacts(&mut self, config: &mut Config) {
        let spec = self.spec;
        for (i, contact) in spec.contacts.iter().enumerate() {
            let at = format!("contacts[{i}]");
            let path = format!("{at}.email");
            if contact.email.is_empty() && contact.plugin.is_none() {
                self.wrong(
                    &path,
                    "expected at least one mailbox, or a plugin, found none",
                );
            }
            let mut mailboxes = Vec::with_capacity(contact.email.len());
            for (j, text) in contact.email.iter().enumerate() {
                match text.parse() {
                    Ok(mailbox) => mailboxes.push(mailbox),
                    Err(e) => {
                        let e: lettre::address::AddressError = e;
                        self.wrong(
                            format!("{path}[{j}]"),
                            format!("expected a mailbox such as ops@example.org or Name <ops@example.org>, found {text:?}: {}", lower(&e)),
                        );
                    }
                }
            }
            let plugin = contact.plugin.as_deref().and_then(|plugin| {
                self.plugin(&format!("{at}.plugin"), plugin, PluginKind::Notifier)
            });
            match &plugin {
                Some(plugin) => {
                    self.plugin_config(&format!("{at}.config"), plugin, &contact.config);
                }
                None if contact.plugin.is_none() && !contact.config.is_empty() => {
                    self.wrong(
                        format!("{at}.config"),
                        "expected the key plugin beside config, found none",
                    );
                }
                None => {}
            }
            if contact.timeout.is_some_and(|span| span.0.is_zero()) {
                self.wrong(format!("{at}.timeout"), "expected more than 0s, found 0s");
            }
            self.groups(&at, contact);
            let def = ContactDef {
                spec: Arc::new(contact.clone()),
                mailboxes,
                plugin,
            };
            config.contacts.insert(contact.name.clone(), Arc::new(def));
        }
    }

    fn groups(&mut self, at: &str, contact: &ContactSpec) {
        for (key, span) in [
            ("group_wait", contact.group_wait),
            ("group_interval", contact.group_interval),
        ] {
            let Some(span) = span else { continue };
            if contact.group_by.is_none() {
                self.wrong(
                    format!("{at}.{key}"),
                    format!("expected the key group_by beside {key}, found none; [] gathers all notifications of the contact"),
                );
            }
            if span.0 > LONGEST_GROUP {
                let longest = Span(LONGEST_GROUP);
                self.wrong(
                    format!("{at}.{key}"),
                    format!("expected at most {longest}, found {span}"),
                );
            }
        }
        for (j, name) in contact.group_by.iter().flatten().enumerate() {
            if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
                self.wrong(
                    format!("{at}.group_by[{j}]"),
                    format!("expected rule, check, node, severity or the name of a label, found {name:?}"),
                );
            }
        }
    }
}
