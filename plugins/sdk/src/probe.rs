//! Probes: judge one node.

use serde::de::DeserializeOwned;

pub use crate::bindings::probe::exports::bellwether::plugin::probe::{ProbeError, Report, Request};
use crate::{ConfigProblem, Manifest, Metric, State};

/// Judges one node. A fresh instance serves every run: keep nothing in statics,
/// use [`state`](crate::state) instead.
pub trait Probe {
    /// The check's configuration. Put `#[serde(deny_unknown_fields)]` on it: a
    /// misspelt key is then a configuration problem instead of silence.
    type Config: DeserializeOwned;

    /// What the plugin says of itself; called without any grant.
    fn describe() -> Manifest;

    /// Judges. A target that is down is a report; an error means that no
    /// judgement was possible.
    fn check(request: &Request, config: Self::Config) -> Result<Report, ProbeError>;
}

impl Report {
    /// A report without metrics and details.
    pub fn new(state: State, summary: impl Into<String>) -> Self {
        Report {
            state,
            summary: summary.into(),
            details: String::new(),
            metrics: Vec::new(),
        }
    }

    /// All is well.
    pub fn ok(summary: impl Into<String>) -> Self {
        Self::new(State::Ok, summary)
    }

    /// Somebody should look at it in working hours.
    pub fn warning(summary: impl Into<String>) -> Self {
        Self::new(State::Warning, summary)
    }

    /// The target does not do what it is for.
    pub fn critical(summary: impl Into<String>) -> Self {
        Self::new(State::Critical, summary)
    }

    /// The target answered something that cannot be judged.
    pub fn unknown(summary: impl Into<String>) -> Self {
        Self::new(State::Unknown, summary)
    }

    /// Adds a metric; the unit is the manifest's.
    #[must_use]
    pub fn metric(mut self, name: &str, value: f64) -> Self {
        self.metrics.push(Metric {
            name: name.to_owned(),
            value,
        });
        self
    }

    /// Adds a metric where there is a value.
    #[must_use]
    pub fn metric_if(self, name: &str, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.metric(name, value),
            None => self,
        }
    }

    /// Adds a line to the details.
    #[must_use]
    pub fn detail(mut self, line: impl AsRef<str>) -> Self {
        if !self.details.is_empty() {
            self.details.push('\n');
        }
        self.details.push_str(line.as_ref());
        self
    }
}

impl ProbeError {
    /// A configuration value that the plugin cannot work with. `pointer` is a
    /// JSON Pointer.
    pub fn config(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        ProbeError::Config(ConfigProblem {
            pointer: pointer.into(),
            message: message.into(),
        })
    }
}

impl From<ConfigProblem> for ProbeError {
    fn from(problem: ConfigProblem) -> Self {
        ProbeError::Config(problem)
    }
}
