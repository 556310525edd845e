//! What a plugin says of itself, after it was checked.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

use super::bindings::bellwether::plugin::types as wit;
use crate::config::schema::is_too_complex;

const MAX_SCHEMA: usize = 256 << 10;
const MAX_METRICS: usize = 256;
const CAPABILITIES: [&str; 7] = [
    "net",
    "state",
    "command",
    "secrets",
    "read-secrets",
    "system",
    "files",
];

/// A valid manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    pub name: String,
    /// Semantic version.
    pub version: String,
    pub summary: String,
    /// JSON Schema of the configuration object.
    #[schema(value_type = Object)]
    pub config_schema: serde_json::Value,
    /// Capabilities wanted: `net`, `state`, `command`, `secrets`,
    /// `read-secrets`, `system`, `files`.
    pub capabilities: Vec<String>,
    pub metrics: Vec<MetricSpec>,
}

/// A metric that reports may carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricSpec {
    #[schema(value_type = String)]
    pub name: Arc<str>,
    /// UCUM-like unit, empty for none.
    pub unit: String,
    pub description: String,
}

impl Manifest {
    /// Checks what `describe` said.
    ///
    /// # Errors
    /// What was expected and what was found, in plain words.
    pub(super) fn check(raw: wit::Manifest) -> Result<Self, String> {
        if !is_name(&raw.name) {
            return Err(format!(
                "manifest.name: expected 1 to 64 lower-case letters, digits and hyphens, found {:?}",
                clip(&raw.name)
            ));
        }
        if !is_semver(&raw.version) {
            return Err(format!(
                "manifest.version: expected a semantic version such as 1.2.3, found {:?}",
                clip(&raw.version)
            ));
        }
        if raw.summary.len() > 256 || raw.summary.chars().any(char::is_control) {
            return Err(format!(
                "manifest.summary: expected one line of at most 256 bytes, found {} bytes",
                raw.summary.len()
            ));
        }
        if raw.config_schema.len() > MAX_SCHEMA {
            return Err(format!(
                "manifest.config-schema: expected at most {MAX_SCHEMA} bytes, found {}",
                raw.config_schema.len()
            ));
        }
        let config_schema = match serde_json::from_str::<serde_json::Value>(&raw.config_schema) {
            Ok(schema @ serde_json::Value::Object(_)) => {
                if is_too_complex(&schema) {
                    return Err(
                        "manifest.config-schema: expected one by which an empty object can be checked, found that its references and choices lead to too much work"
                            .into(),
                    );
                }
                schema
            }
            Ok(_) => {
                return Err(
                    "manifest.config-schema: expected a JSON object, found another JSON value"
                        .into(),
                );
            }
            Err(error) => return Err(format!("manifest.config-schema: expected JSON: {error}")),
        };
        if let Some(unknown) = raw
            .capabilities
            .iter()
            .find(|c| !CAPABILITIES.contains(&c.as_str()))
        {
            return Err(format!(
                "manifest.capabilities: expected {}, found {:?}",
                CAPABILITIES.join(", "),
                clip(unknown)
            ));
        }
        if raw.metrics.len() > MAX_METRICS {
            return Err(format!(
                "manifest.metrics: expected at most {MAX_METRICS}, found {}",
                raw.metrics.len()
            ));
        }
        let mut metrics: Vec<MetricSpec> = Vec::with_capacity(raw.metrics.len());
        for metric in raw.metrics {
            if !is_metric_name(&metric.name) {
                return Err(format!(
                    "manifest.metrics: expected a name of letters, digits and _ . : - that starts with a letter, found {:?}",
                    clip(&metric.name)
                ));
            }
            if metric.unit.len() > 32 || metric.description.len() > 512 {
                return Err(format!(
                    "manifest.metrics: {}: expected a unit of at most 32 and a description of at most 512 bytes",
                    metric.name
                ));
            }
            if metrics.iter().any(|known| *known.name == *metric.name) {
                return Err(format!("manifest.metrics: {} is there twice", metric.name));
            }
            metrics.push(MetricSpec {
                name: Arc::from(metric.name),
                unit: metric.unit,
                description: metric.description,
            });
        }
        let mut capabilities = raw.capabilities;
        capabilities.sort_unstable();
        capabilities.dedup();
        Ok(Self {
            name: raw.name,
            version: raw.version,
            summary: raw.summary,
            config_schema,
            capabilities,
            metrics,
        })
    }
}

/// The first characters of a text that may be long.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// True for a name that rules and charts can carry.
pub(super) fn is_metric_name(name: &str) -> bool {
    name.len() <= 128
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
}

/// `major.minor.patch` with optional `-pre` and `+build`.
fn is_semver(version: &str) -> bool {
    if version.len() > 64 {
        return false;
    }
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let (core, pre) = match version.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (version, None),
    };
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let identifiers = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(identifiers)
        && build.is_none_or(identifiers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> wit::Manifest {
        wit::Manifest {
            name: "disk-space".into(),
            version: "1.0.0".into(),
            summary: "how full it is".into(),
            config_schema: "{}".into(),
            capabilities: vec!["net".into()],
            metrics: vec![wit::MetricSpec {
                name: "used".into(),
                unit: "By".into(),
                description: String::new(),
            }],
        }
    }

    #[test]
    fn a_plain_manifest_is_taken() {
        let manifest = Manifest::check(raw()).unwrap();
        assert_eq!(
            (manifest.name.as_str(), &*manifest.metrics[0].name),
            ("disk-space", "used")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut wit::Manifest);
        let cases: [(&str, Change); 11] = [
            ("manifest.name", |m| m.name = "Disk Space".into()),
            ("manifest.name", |m| m.name = String::new()),
            ("manifest.version", |m| m.version = "1.0".into()),
            ("manifest.version", |m| m.version = "01.0.0".into()),
            ("manifest.summary", |m| m.summary = "two\nlines".into()),
            ("expected JSON", |m| m.config_schema = "{".into()),
            ("JSON object", |m| m.config_schema = "[]".into()),
            ("too much work", |m| {
                m.config_schema = r##"{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}"##.into();
            }),
            ("manifest.capabilities", |m| {
                m.capabilities = vec!["root".into()]
            }),
            ("letters, digits", |m| m.metrics[0].name = "a b".into()),
            ("twice", |m| m.metrics.push(m.metrics[0].clone())),
        ];
        for (expected, change) in cases {
            let mut manifest = raw();
            change(&mut manifest);
            let error = Manifest::check(manifest).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn versions() {
        for good in ["0.0.1", "1.2.3-rc.1", "1.2.3+build.5", "1.2.3-a-b+c"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in [
            "", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.3-", "1.2.3+", "1.2.x",
        ] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
