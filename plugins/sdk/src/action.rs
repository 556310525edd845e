//! Actions: repair something.

use serde::de::DeserializeOwned;

pub use crate::bindings::action::exports::bellwether::plugin::action::{
    ActionError, Context as ActionContext, Report as ActionReport,
};
use crate::{ConfigProblem, Manifest};

/// Repairs something. Runs at most once for one idempotency key.
pub trait Action {
    /// The remediation's configuration; see [`Probe::Config`](crate::Probe::Config).
    type Config: DeserializeOwned;

    /// What the plugin says of itself; called without any grant.
    fn describe() -> Manifest;

    /// Acts, or says what it would do where `context.dry_run` is set.
    fn run(context: &ActionContext, config: Self::Config) -> Result<ActionReport, ActionError>;
}

impl ActionReport {
    /// A report without details.
    pub fn new(summary: impl Into<String>) -> Self {
        ActionReport {
            summary: summary.into(),
            details: String::new(),
        }
    }

    /// The same with these details.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}

impl ActionError {
    /// A configuration value that the plugin cannot work with. `pointer` is a
    /// JSON Pointer.
    pub fn config(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        ActionError::Config(ConfigProblem {
            pointer: pointer.into(),
            message: message.into(),
        })
    }
}

impl From<ConfigProblem> for ActionError {
    fn from(problem: ConfigProblem) -> Self {
        ActionError::Config(problem)
    }
}
