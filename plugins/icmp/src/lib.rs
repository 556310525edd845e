//! Sends echo requests and judges loss and round trip time.

mod judge;

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
    /// Echo requests.
    #[serde(default = "five")]
    pub count: u32,
    /// Time between them, in milliseconds.
    #[serde(default = "fifth_of_a_second")]
    pub interval_ms: u32,
    /// How long to wait for the last reply, in milliseconds.
    #[serde(default = "one_second")]
    pub wait_ms: u32,
    /// Bytes of data in each.
    #[serde(default = "usual_size")]
    pub size: u32,
    /// More loss is a warning, in percent.
    #[serde(default = "twenty")]
    pub warn_loss: f64,
    /// More loss is critical, in percent.
    #[serde(default = "sixty")]
    pub critical_loss: f64,
    /// A longer average round trip is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// A longer average round trip is critical, in milliseconds.
    pub critical_ms: Option<f64>,
}

fn five() -> u32 {
    5
}

fn fifth_of_a_second() -> u32 {
    200
}

fn one_second() -> u32 {
    1_000
}

fn usual_size() -> u32 {
    56
}

fn twenty() -> f64 {
    20.0
}

fn sixty() -> f64 {
    60.0
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"host":{"type":"string","x-target":"host","description":"name or address to reach; absent: the node's address","examples":["router.example.org"]},
"count":{"type":"integer","minimum":1,"maximum":100,"default":5,"description":"echo requests"},
"interval_ms":{"type":"integer","minimum":10,"maximum":10000,"default":200,"description":"time between two of them, in milliseconds"},
"wait_ms":{"type":"integer","minimum":1,"default":1000,"description":"how long to wait for the last reply, in milliseconds"},
"size":{"type":"integer","minimum":16,"maximum":1400,"default":56,"description":"bytes of data in each"},
"warn_loss":{"type":"number","minimum":0,"maximum":100,"default":20,"description":"more loss is a warning, in percent"},
"critical_loss":{"type":"number","minimum":0,"maximum":100,"default":60,"description":"more loss is critical, in percent"},
"warn_ms":{"type":"number","exclusiveMinimum":0,"description":"a longer average round trip is a warning, in milliseconds","examples":[50]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"description":"a longer average round trip is critical, in milliseconds","examples":[200]}
}}"##;

/// The probe.
pub struct Icmp;

impl Probe for Icmp {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "icmp",
            env!("CARGO_PKG_VERSION"),
            "sends echo requests (ping) and judges loss and round trip time",
            SCHEMA,
        )
        .wants("net")
        .metric("rtt_ms", "ms", "average round trip")
        .metric("rtt_min_ms", "ms", "shortest round trip")
        .metric("rtt_max_ms", "ms", "longest round trip")
        .metric(
            "jitter_ms",
            "ms",
            "average difference between one round trip and the next",
        )
        .metric("loss_percent", "%", "requests without a reply")
        .metric("dns_ms", "ms", "resolving the name")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Icmp);
