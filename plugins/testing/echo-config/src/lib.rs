//! Reports what its configuration says: the engine's tests decide the outcome.

use std::collections::BTreeMap;

use bellwether_plugin::{
    ConfigProblem, Level, Manifest, Probe, ProbeError, Report, Request, State, export_probe, log,
    state,
};
use serde::Deserialize;

/// What to answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `ok`, `warning`, `critical` or `unknown`; `ok` where absent.
    pub state: Option<String>,
    /// Summary; `echo` where absent.
    pub summary: Option<String>,
    /// Details. `request` gives the request itself as text.
    pub details: String,
    /// Metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// Messages for the run's log, as `[level, text]`.
    pub log: Vec<(String, String)>,
    /// Adds one to a stored value and reports it as the metric `counter`.
    pub counter: Option<String>,
    /// Stores this text under the counter's key instead, without reading first:
    /// a conflict from the second run on.
    pub blind_write: Option<String>,
    /// Ends the run in an error: `config`, `denied` or `failed`, with this text.
    pub error: Option<(String, String)>,
    /// States by attempt: the first run of an incident gets the first one, the
    /// last one stays. Overrides `state`.
    pub states: Vec<String>,
}

/// The probe.
pub struct EchoConfig;

impl Probe for EchoConfig {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "echo-config",
            env!("CARGO_PKG_VERSION"),
            "reports what its configuration says",
            SCHEMA,
        )
        .wants("state")
        .metric("counter", "1", "runs counted in the plugin's own state")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        for (level, text) in &config.log {
            log::write(log::parse_level(level).unwrap_or(Level::Unset), text);
        }
        if let Some((kind, text)) = config.error {
            return Err(match kind.as_str() {
                "config" => ProbeError::Config(ConfigProblem {
                    pointer: "/error/1".to_owned(),
                    message: text,
                }),
                "denied" => ProbeError::Denied(text),
                _ => ProbeError::Failed(text),
            });
        }
        let attempt = request.attempt.max(1) as usize;
        let by_attempt = config.states.get(attempt - 1).or(config.states.last());
        let state = named(
            by_attempt
                .or(config.state.as_ref())
                .map_or("ok", String::as_str),
        )?;
        let mut report = Report::new(state, config.summary.as_deref().unwrap_or("echo"));
        if config.details == "request" {
            report = report.detail(format!("{request:#?}"));
        } else if !config.details.is_empty() {
            report = report.detail(&config.details);
        }
        for (name, value) in &config.metrics {
            report = report.metric(name, *value);
        }
        if let Some(key) = &config.counter {
            let count = match &config.blind_write {
                Some(text) => {
                    write(key, text.as_bytes(), None)?;
                    0.0
                }
                None => count(key)?,
            };
            report = report.metric("counter", count);
        }
        Ok(report)
    }
}

fn named(word: &str) -> Result<State, ProbeError> {
    Ok(match word {
        "ok" => State::Ok,
        "warning" => State::Warning,
        "critical" => State::Critical,
        "unknown" => State::Unknown,
        other => {
            return Err(ProbeError::config(
                "/state",
                format!("expected a state, found \"{other}\""),
            ));
        }
    })
}

fn count(key: &str) -> Result<f64, ProbeError> {
    let stored = state::get(key);
    let (count, version) = match &stored {
        Some(entry) => {
            let text = String::from_utf8_lossy(&entry.value);
            let count = text.parse::<u64>().map_err(|_| {
                ProbeError::Failed(format!("expected a number in the state, found \"{text}\""))
            })?;
            (count + 1, Some(entry.version))
        }
        None => (1, None),
    };
    write(key, count.to_string().as_bytes(), version)?;
    Ok(count as f64)
}

fn write(key: &str, value: &[u8], expected: Option<u64>) -> Result<(), ProbeError> {
    match state::set(key, value, expected) {
        Ok(_) => Ok(()),
        Err(error) => Err(ProbeError::Failed(format!("state not written: {error:?}"))),
    }
}

const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"state":{"enum":["ok","warning","critical","unknown"],"default":"ok","description":"state to report"},
"states":{"type":"array","items":{"enum":["ok","warning","critical","unknown"]},"default":[],"description":"states by attempt"},
"summary":{"type":"string","default":"echo","description":"summary to report"},
"details":{"type":"string","default":"","description":"details to report; `request` shows the request"},
"metrics":{"type":"object","additionalProperties":{"type":"number"},"default":{},"description":"metrics to report"},
"log":{"type":"array","items":{"type":"array","prefixItems":[{"type":"string"},{"type":"string"}],"minItems":2,"maxItems":2},"default":[],"description":"messages for the run's log, as [level, text]"},
"counter":{"type":"string","description":"key of a stored number to add one to","examples":["runs"]},
"blind_write":{"type":"string","description":"text to store there instead, without reading first","examples":["x"]},
"error":{"type":"array","prefixItems":[{"enum":["config","denied","failed"]},{"type":"string"}],"minItems":2,"maxItems":2,"description":"error to end in, as [kind, text]","examples":[["failed","no"]]}
}}"##;

export_probe!(EchoConfig);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::{request, schema_problems};

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }

    #[test]
    fn states_follow_the_attempt() {
        let states = |attempt| {
            let config = Config {
                states: vec!["critical".to_owned(), "ok".to_owned()],
                ..Config::default()
            };
            let request = Request {
                attempt,
                ..request("{}")
            };
            EchoConfig::check(&request, config).unwrap().state
        };
        assert_eq!(
            [states(1), states(2), states(9)],
            [State::Critical, State::Ok, State::Ok]
        );
    }
}
