//! Notifiers: tell somebody.

use serde::de::DeserializeOwned;

pub use crate::bindings::notifier::exports::bellwether::plugin::notifier::{
    Kind as NotificationKind, Notification, NotifyError, Receipt, Retry,
};
use crate::{ConfigProblem, Manifest};

/// Tells somebody. Delivered at least once: hand the idempotency key on where
/// the receiving side takes one.
pub trait Notifier {
    /// The contact's configuration; see [`Probe::Config`](crate::Probe::Config).
    type Config: DeserializeOwned;

    /// What the plugin says of itself; called without any grant.
    fn describe() -> Manifest;

    /// Tells. The error says whether another try may help.
    fn notify(notification: &Notification, config: Self::Config) -> Result<Receipt, NotifyError>;
}

impl NotifyError {
    /// Try again with the engine's own back-off.
    pub fn retry(reason: impl Into<String>) -> Self {
        NotifyError::Retry(Retry {
            reason: reason.into(),
            after_ms: None,
        })
    }

    /// A configuration value that the plugin cannot work with. `pointer` is a
    /// JSON Pointer.
    pub fn config(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        NotifyError::Config(ConfigProblem {
            pointer: pointer.into(),
            message: message.into(),
        })
    }
}

impl From<ConfigProblem> for NotifyError {
    fn from(problem: ConfigProblem) -> Self {
        NotifyError::Config(problem)
    }
}
