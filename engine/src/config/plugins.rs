//! What validation has to know of a plugin.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::outcome::Digest;

/// What a plugin exports, and so where it can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    Probe,
    LogParser,
    Action,
    Notifier,
    /// A plain WASI program; its role comes from where it is referenced.
    Command,
}

impl PluginKind {
    /// The word used in API and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginKind::Probe => "probe",
            PluginKind::LogParser => "log-parser",
            PluginKind::Action => "action",
            PluginKind::Notifier => "notifier",
            PluginKind::Command => "command",
        }
    }

    /// Whether a plugin of this kind can do the work of `role`.
    pub fn serves(self, role: PluginKind) -> bool {
        // A program has no words for "try again later".
        self == role || (self == PluginKind::Command && role != PluginKind::Notifier)
    }
}

impl From<crate::plugin::kind::Kind> for PluginKind {
    fn from(kind: crate::plugin::kind::Kind) -> Self {
        use crate::plugin::kind::Kind;
        match kind {
            Kind::Probe => PluginKind::Probe,
            Kind::LogParser => PluginKind::LogParser,
            Kind::Action => PluginKind::Action,
            Kind::Notifier => PluginKind::Notifier,
            Kind::Command => PluginKind::Command,
        }
    }
}

/// A plugin that is present.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginFacts {
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub digest: Digest,
    pub kind: PluginKind,
    /// JSON Schema of its configuration; `true` accepts anything.
    pub config_schema: Arc<serde_json::Value>,
    /// Built in: has what its manifest asks, scoped to the configuration.
    pub first_party: bool,
}

/// Finds plugins by `name`, `name@version` or `sha256:…`.
pub trait PluginLookup {
    /// The plugin, if it is present.
    fn find(&self, reference: &str) -> Option<PluginFacts>;

    /// Known names, for suggestions.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<F: Fn(&str) -> Option<PluginFacts>> PluginLookup for F {
    fn find(&self, reference: &str) -> Option<PluginFacts> {
        self(reference)
    }
}
