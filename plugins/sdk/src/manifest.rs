//! Building a manifest.

use crate::{Manifest, MetricSpec};

impl Manifest {
    /// A manifest that wants nothing. `config_schema` is a JSON Schema (draft
    /// 2020-12) of the configuration object; forms are made from it, so give
    /// every property a `description` and, where there is one, a `default`.
    pub fn new(name: &str, version: &str, summary: &str, config_schema: &str) -> Self {
        Manifest {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            config_schema: config_schema.to_owned(),
            capabilities: Vec::new(),
            metrics: Vec::new(),
        }
    }

    /// Asks for a capability: `net`, `state`, `command`, `secrets`,
    /// `read-secrets`, `system` or `files`.
    #[must_use]
    pub fn wants(mut self, capability: &str) -> Self {
        self.capabilities.push(capability.to_owned());
        self
    }

    /// Announces a metric with its unit (`ms`, `s`, `By`, `%`, `d`, `1` or empty).
    #[must_use]
    pub fn metric(mut self, name: &str, unit: &str, description: &str) -> Self {
        self.metrics.push(MetricSpec {
            name: name.to_owned(),
            unit: unit.to_owned(),
            description: description.to_owned(),
        });
        self
    }
}
