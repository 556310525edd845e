//! Does what a plugin must not, as its configuration says.

mod consume;
mod reach;

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};
use serde::Deserialize;

/// What to do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One of the modes in the schema.
    pub mode: String,
    /// `host:port` or URL that a mode reaches for.
    pub target: String,
    /// How much: bytes, metrics, calls or connections, as the mode has it.
    pub amount: Option<u64>,
    /// Part of a report or capability that the mode is about.
    pub what: String,
    /// Text that `connect` sends before it reads.
    pub send: String,
    /// Method of `http-get`.
    pub method: Option<String>,
    /// Secret that `http-get` asks for in the header `X-Secret`.
    pub secret: Option<String>,
    /// TLS with any certificate for `connect`.
    pub tls: bool,
    /// Redirects of `http-get`.
    pub redirects: Option<u32>,
}

/// The probe.
pub struct Hostile;

impl Probe for Hostile {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "hostile",
            env!("CARGO_PKG_VERSION"),
            "does what a plugin must not",
            SCHEMA,
        )
        .wants("net")
        .wants("state")
        .wants("command")
        .metric("value", "1", "whatever the mode measures")
    }

    fn check(_: &Request, config: Config) -> Result<Report, ProbeError> {
        match config.mode.as_str() {
            "endless-loop" => consume::endless_loop(),
            "burn" => Ok(consume::burn(config.amount.unwrap_or(100_000_000))),
            "endless-host-call" => reach::endless_calls(&config),
            "memory-bomb" => consume::memory_bomb(),
            "allocate" => Ok(consume::allocate(config.amount.unwrap_or(1 << 20))),
            "stack-overflow" if config.what == "calls" => {
                Ok(consume::call_overflow(config.amount.unwrap_or(u64::MAX)))
            }
            "stack-overflow" => Ok(consume::stack_overflow(config.amount.unwrap_or(u64::MAX))),
            "huge-output" => consume::huge_output(&config),
            "trap" => consume::trap(&config.what),
            "nan-metrics" => Ok(consume::nan_metrics()),
            "oddities" => consume::oddities(&config.what),
            "log-flood" => Ok(reach::log_flood(config.amount.unwrap_or(1_000_000))),
            "state-flood" => Ok(reach::state_flood(config.amount.unwrap_or(1_000_000))),
            "denied-capability" => reach::denied(&config),
            "connect" => reach::connect(&config),
            "many-connections" => reach::many_connections(&config),
            "http-get" => reach::http_get(&config),
            other => Err(ProbeError::config(
                "/mode",
                format!("expected a mode, found \"{other}\""),
            )),
        }
    }
}

const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["mode"],
"properties":{
"mode":{"enum":["endless-loop","burn","endless-host-call","memory-bomb","allocate","stack-overflow","huge-output","trap","nan-metrics","oddities","log-flood","state-flood","denied-capability","connect","many-connections","http-get"],"description":"what to do","examples":["trap"]},
"target":{"type":"string","default":"","description":"host:port or URL to reach for"},
"amount":{"type":"integer","minimum":0,"description":"how much","examples":[1]},
"what":{"type":"string","default":"","description":"stack-overflow: frames, calls; huge-output: summary, details, metrics, names; trap: unreachable, panic, out-of-bounds, divide; oddities: invalid-utf8, control, duplicates; denied-capability: net, state, command"},
"send":{"type":"string","default":"","description":"text that connect sends"},
"method":{"type":"string","default":"GET","description":"method of http-get"},
"secret":{"type":"string","description":"secret that http-get asks for","examples":["api-token"]},
"tls":{"type":"boolean","default":false,"description":"TLS with any certificate for connect"},
"redirects":{"type":"integer","minimum":0,"default":10,"description":"redirects of http-get"}
}}"##;

export_probe!(Hostile);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::{request, schema_problems};

    fn run(json: &str) -> Result<Report, ProbeError> {
        let config = bellwether_plugin::config::parse(json)?;
        Hostile::check(&request(json), config)
    }

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
        assert!(matches!(
            run(r#"{"mode":"nice"}"#),
            Err(ProbeError::Config(_))
        ));
    }

    #[test]
    fn harmless_amounts_return() {
        assert_eq!(
            run(r#"{"mode":"burn","amount":1000}"#)
                .unwrap()
                .metrics
                .len(),
            1
        );
        assert_eq!(
            run(r#"{"mode":"stack-overflow","amount":10}"#)
                .unwrap()
                .metrics[0]
                .value,
            10.0
        );
        let report = run(r#"{"mode":"stack-overflow","what":"calls","amount":10}"#).unwrap();
        assert_eq!(report.metrics[0].value, 10.0);
        let report = run(r#"{"mode":"huge-output","what":"metrics","amount":2000}"#).unwrap();
        assert_eq!(report.metrics.len(), 2_000);
        let report = run(r#"{"mode":"huge-output","what":"summary","amount":70000}"#).unwrap();
        assert_eq!(report.summary.len(), 70_000);
        let report = run(r#"{"mode":"nan-metrics"}"#).unwrap();
        assert_eq!(
            report
                .metrics
                .iter()
                .filter(|metric| metric.value.is_finite())
                .count(),
            1
        );
    }
}
