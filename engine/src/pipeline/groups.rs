//! Grouping: the first notification of a group leaves after `group_wait`, and
//! those that follow within `group_interval` are gathered into one mail. Each
//! keeps an outbox row of its own: the rows of one mail share a slot.

use super::changes::{Alert, Slot};
use super::policy::Recipient;
use super::snapshot::Snapshot;
use crate::clock::Timestamp;
use crate::config::validate::LONGEST_GROUP;

/// The newest mail of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Message-ID of its first row.
    pub id: String,
    /// When it leaves.
    pub at: Timestamp,
}

impl Snapshot {
    /// The mail in which a notification of `alert` leaves; `None` for one that
    /// leaves alone at once. `message_id` is that of its own row.
    pub(super) fn slot(
        &mut self,
        recipient: &Recipient,
        alert: &Alert,
        message_id: &str,
        now: Timestamp,
    ) -> Option<Slot> {
        let group = recipient.group.as_deref()?;
        let values = group.by.iter().map(|name| self.group_value(alert, name));
        let key: Vec<String> = [recipient.contact.clone(), recipient.mailbox.clone()]
            .into_iter()
            .chain(values)
            .collect();
        let key = serde_json::Value::from(key).to_string();
        let fresh = |at| Gathering {
            id: message_id.to_owned(),
            at,
        };
        let next = match self.groups.get(&key) {
            // A clock that was set back waits for no mail of the future.
            Some(known) if known.at > now + LONGEST_GROUP => fresh(now + group.wait),
            Some(known) if known.at > now => known.clone(),
            Some(known) if known.at + group.interval > now => fresh(known.at + group.interval),
            _ => fresh(now + group.wait),
        };
        self.groups.insert(key.clone(), next.clone());
        Some(Slot {
            id: next.id,
            group: key,
            at: next.at,
        })
    }

    /// What an alert has under a name of `group_by`; empty where it has none.
    fn group_value(&self, alert: &Alert, name: &str) -> String {
        let own = match name {
            "rule" => Some(alert.source.name()),
            "check" => alert.check.as_deref(),
            "node" => alert.node.as_deref(),
            "severity" => Some(alert.severity.as_str()),
            label => {
                let series = alert.series.and_then(|id| self.get(id));
                let node = series.and_then(|series| series.node.as_ref());
                let of_node = node.and_then(|node| node.labels.get(label));
                alert.labels.get(label).or(of_node).map(String::as_str)
            }
        };
        own.unwrap_or_default().to_owned()
    }

    /// Forgets groups that are quiet again.
    pub(super) fn expire_groups(&mut self, now: Timestamp) {
        self.groups
            .retain(|_, newest| newest.at + LONGEST_GROUP > now);
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
