//! Asks an NTP server for the time and judges its clock.

mod judge;
mod packet;

#[cfg(test)]
mod tests;

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name or address; the node's address where absent.
    pub host: Option<String>,
    /// Port.
    #[serde(default = "ntp")]
    pub port: u16,
    /// A greater offset is a warning, in milliseconds.
    #[serde(default = "tenth")]
    pub warn_ms: f64,
    /// A greater offset is critical, in milliseconds.
    #[serde(default = "second")]
    pub critical_ms: f64,
    /// A greater stratum is critical.
    #[serde(default = "fifteen")]
    pub max_stratum: u8,
}

fn ntp() -> u16 {
    123
}

fn tenth() -> f64 {
    100.0
}

fn second() -> f64 {
    1_000.0
}

fn fifteen() -> u8 {
    15
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"host":{"type":"string","x-target":"host","description":"name or address of the server; absent: the node's address","examples":["ntp.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"default":123,"description":"port of the server"},
"warn_ms":{"type":"number","exclusiveMinimum":0,"default":100,"description":"a greater offset from the engine's clock is a warning, in milliseconds"},
"critical_ms":{"type":"number","exclusiveMinimum":0,"default":1000,"description":"a greater offset from the engine's clock is critical, in milliseconds"},
"max_stratum":{"type":"integer","minimum":1,"maximum":15,"default":15,"description":"a greater stratum is critical"}
}}"##;

/// The probe.
pub struct Ntp;

impl Probe for Ntp {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "ntp",
            env!("CARGO_PKG_VERSION"),
            "asks an NTP server and compares its clock with the engine's",
            SCHEMA,
        )
        .wants("net")
        .metric("offset_ms", "ms", "how far the server's clock is ahead")
        .metric("delay_ms", "ms", "round trip without the server's own time")
        .metric("stratum", "1", "distance from a reference clock")
        .metric(
            "root_dispersion_ms",
            "ms",
            "greatest error the server admits",
        )
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Ntp);
