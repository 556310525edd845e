//! Objects of the file and objects of the UI as one configuration.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::spec::{
    CheckSpec, ContactSpec, LogSourceSpec, NodeSpec, PluginSpec, RemediationSpec, RuleSpec, Spec,
};

/// Who owns an object, and so where it can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    File,
    Ui,
}

/// What was made in the UI or over the API. File-only sections have no place
/// here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UiObjects {
    pub plugins: Vec<PluginSpec>,
    pub nodes: Vec<NodeSpec>,
    pub checks: Vec<CheckSpec>,
    pub rules: Vec<RuleSpec>,
    pub contacts: Vec<ContactSpec>,
    pub remediations: Vec<RemediationSpec>,
    pub log_sources: Vec<LogSourceSpec>,
}

/// A whole configuration with its owners.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    pub spec: Spec,
    /// Number of objects of each section that come from the file; the others
    /// follow them.
    from_file: BTreeMap<&'static str, usize>,
    owners: HashMap<(&'static str, String), Origin>,
}

impl Merged {
    /// Who owns the object `name` of a section such as `checks`.
    pub fn origin(&self, section: &'static str, name: &str) -> Option<Origin> {
        self.owners.get(&(section, name.to_owned())).copied()
    }

    /// Where object `index` of a section comes from.
    pub fn origin_at(&self, section: &str, index: usize) -> Origin {
        match self.from_file.get(section) {
            Some(count) if index < *count => Origin::File,
            _ => Origin::Ui,
        }
    }

    /// The path prefix of the object `name` of a section, such as `checks[3]`,
    /// for [`Problem::path_within`].
    pub fn path_of(&self, section: &str, name: &str) -> Option<String> {
        let at = match section {
            "plugins" => self.spec.plugins.iter().position(|o| o.name == name),
            "nodes" => self.spec.nodes.iter().position(|o| o.name == name),
            "checks" => self.spec.checks.iter().position(|o| o.name == name),
            "rules" => self.spec.rules.iter().position(|o| o.name == name),
            "contacts" => self.spec.contacts.iter().position(|o| o.name == name),
            "remediations" => self.spec.remediations.iter().position(|o| o.name == name),
            "log_sources" => self.spec.log_sources.iter().position(|o| o.name == name),
            _ => None,
        };
        at.map(|i| format!("{section}[{i}]"))
    }
}

/// Adds the UI's objects to the file's.
///
/// # Errors
/// A name that both have.
pub fn merge(file: Spec, ui: UiObjects) -> Result<Merged, Vec<Problem>> {
    let mut merged = Merged {
        spec: file,
        ..Merged::default()
    };
    let mut problems = Vec::new();
    macro_rules! section {
        ($field:ident) => {{
            let section = stringify!($field);
            merged.from_file.insert(section, merged.spec.$field.len());
            for object in &merged.spec.$field {
                merged.owners.insert((section, object.name.clone()), Origin::File);
            }
            for object in ui.$field {
                let key = (section, object.name.clone());
                if merged.owners.get(&key) == Some(&Origin::File) {
                    let path = format!("{section}[{}].name", merged.spec.$field.len());
                    let message = format!(
                        "expected a name of its own, found {:?}, which the configuration file has as well; rename or remove one",
                        object.name
                    );
                    problems.push(Problem::new(path, message));
                }
                merged.owners.entry(key).or_insert(Origin::Ui);
                merged.spec.$field.push(object);
            }
        }};
    }
    section!(plugins);
    section!(nodes);
    section!(checks);
    section!(rules);
    section!(contacts);
    section!(remediations);
    section!(log_sources);
    if problems.is_empty() {
        Ok(merged)
    } else {
        Err(problems)
    }
}
