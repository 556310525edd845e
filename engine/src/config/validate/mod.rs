//! From what is written to what is meant: every problem at once.

mod checks;
mod contacts;
mod global;
mod objects;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use super::model::Config;
use super::plugins::{PluginFacts, PluginKind, PluginLookup};
use super::problem::{Problem, closest};
use super::schema;
use super::spec::{JsonObject, Spec};

pub use contacts::LONGEST_GROUP;
pub use global::smtp_transport;

impl Config {
    /// Checks a configuration and makes the value that the engine runs on.
    ///
    /// `plugins` tells what is present: built in, uploaded, or read from the
    /// `path` of an entry under `plugins:`.
    ///
    /// # Errors
    /// Every problem found, with paths such as `checks[0].every`;
    /// [`Origins::locate`](super::Origins::locate) adds file and line.
    pub fn build(spec: &Spec, plugins: &dyn PluginLookup) -> Result<Config, Vec<Problem>> {
        let mut v = Validator {
            spec,
            plugins,
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        v.names();
        let mut config = Config::empty();
        v.global(&mut config);
        v.plugins(&mut config);
        v.nodes(&mut config);
        v.contacts(&mut config);
        v.checks(&mut config);
        v.remediations(&mut config);
        v.rules(&mut config);
        v.log_sources(&mut config);
        if !v.problems.is_empty() {
            return Err(v.problems);
        }
        config.warnings = v.warnings;
        config.spec = Arc::new(spec.clone());
        Ok(config)
    }
}

struct Validator<'a> {
    spec: &'a Spec,
    plugins: &'a dyn PluginLookup,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Whether a text is fit as a name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl<'a> Validator<'a> {
    fn wrong(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(path, message));
    }

    fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem::new(path, message));
    }

    /// Names are well-formed, and each stands once in its section.
    fn names(&mut self) {
        let spec = self.spec;
        self.section("plugins", spec.plugins.iter().map(|o| o.name.as_str()));
        self.section("nodes", spec.nodes.iter().map(|o| o.name.as_str()));
        self.section("checks", spec.checks.iter().map(|o| o.name.as_str()));
        self.section("rules", spec.rules.iter().map(|o| o.name.as_str()));
        self.section("contacts", spec.contacts.iter().map(|o| o.name.as_str()));
        self.section(
            "remediations",
            spec.remediations.iter().map(|o| o.name.as_str()),
        );
        self.section(
            "log_sources",
            spec.log_sources.iter().map(|o| o.name.as_str()),
        );
    }

    fn section<'n>(&mut self, section: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (i, name) in names.enumerate() {
            let path = format!("{section}[{i}].name");
            if !is_name(name) {
                self.wrong(
                    &path,
                    format!(
                        "expected a name of letters, digits and - _ . (at most 128), found {name:?}"
                    ),
                );
            }
            if let Some(first) = seen.insert(name, i) {
                self.wrong(path, format!("expected a name of its own, found {name:?} again (first at {section}[{first}])"));
            }
        }
    }

    /// Names in a list point to something.
    fn references<'n>(
        &mut self,
        path: &str,
        what: &str,
        names: &[String],
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        for (i, name) in names.iter().enumerate() {
            self.reference(&format!("{path}[{i}]"), what, name, known.clone());
        }
    }

    fn reference<'n>(
        &mut self,
        path: &str,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        if !known.clone().any(|one| one == name) {
            let message = format!("expected the name of a {what}, found {name:?}, which is none");
            self.problems
                .push(Problem::new(path, message).suggest(closest(name, known)));
        }
    }

    /// The plugin behind a reference, fit for its role.
    fn plugin(&mut self, path: &str, reference: &str, role: PluginKind) -> Option<PluginFacts> {
        let Some(facts) = self.plugins.find(reference) else {
            let names = self.plugins.names();
            let declared = self.spec.plugins.iter().map(|p| p.name.as_str());
            let plain = reference.split('@').next().unwrap_or(reference);
            let known = names.iter().any(|name| name == plain);
            let near = closest(plain, names.iter().map(String::as_str).chain(declared));
            let near = near.filter(|_| !known);
            let message = match known {
                true => format!(
                    "expected a plugin that is present, found {reference:?}; {plain} is present in other versions"
                ),
                false => format!(
                    "expected the name of a plugin, name@version or sha256:…, found {reference:?}, which is not present"
                ),
            };
            self.problems
                .push(Problem::new(path, message).suggest(near));
            return None;
        };
        if !facts.kind.serves(role) {
            self.wrong(
                path,
                format!(
                    "expected a plugin of kind {}, found {:?} of kind {}",
                    role.as_str(),
                    reference,
                    facts.kind.as_str()
                ),
            );
            return None;
        }
        Some(facts)
    }

    /// A plugin's configuration fits its schema; secrets, commands and folders
    /// that it names exist. `config` has its templates filled in.
    fn plugin_config(&mut self, path: &str, facts: &PluginFacts, config: &JsonObject) {
        let spec = self.spec;
        let value = serde_json::Value::Object(config.clone());
        self.problems
            .extend(schema::check(&facts.config_schema, &value, path));
        let names = |what: &str| -> Vec<&str> {
            match what {
                "secret" => spec.secrets.keys().map(String::as_str).collect(),
                "command" => spec.commands.keys().map(String::as_str).collect(),
                _ => spec.files.keys().map(String::as_str).collect(),
            }
        };
        for (keyword, what) in [
            ("x-secret", "secret"),
            ("x-command", "command"),
            ("x-folder", "folder"),
        ] {
            for (_, inner, name) in schema::marked(&facts.config_schema, &value, keyword) {
                let path = format!("{path}.{inner}");
                self.reference(&path, what, &name, names(what).into_iter());
            }
        }
    }
}
