//! Asks a DNS server and judges the answer.

mod judge;

#[cfg(test)]
mod tests;

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name to ask about; the node's address where absent.
    pub name: Option<String>,
    /// Record type.
    #[serde(rename = "type", default = "address")]
    pub record_type: String,
    /// Server to ask; the resolvers of the engine's host where absent.
    pub server: Option<String>,
    /// The server's port.
    #[serde(default = "domain")]
    pub port: u16,
    /// How to ask.
    #[serde(default)]
    pub transport: Transport,
    /// Whether the server shall ask others.
    #[serde(default = "yes")]
    pub recursion: bool,
    /// The right rcode.
    #[serde(default = "no_error")]
    pub rcode: String,
    /// Data that must be among the answers.
    #[serde(default)]
    pub expect: Vec<String>,
    /// No other answers than the expected ones.
    #[serde(default)]
    pub exact: bool,
    /// Fewer answers are critical.
    pub min_answers: Option<usize>,
    /// The answer must be authoritative.
    #[serde(default)]
    pub authoritative: bool,
    /// The resolver must have validated the answer by DNSSEC.
    #[serde(default)]
    pub validated: bool,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP, and TCP for what does not fit.
    #[default]
    Auto,
    /// UDP alone.
    Udp,
    /// TCP alone.
    Tcp,
}

fn address() -> String {
    "A".to_owned()
}

fn domain() -> u16 {
    53
}

fn yes() -> bool {
    true
}

fn no_error() -> String {
    "NOERROR".to_owned()
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"name":{"type":"string","x-target":"name","description":"name to ask about; absent: the node's address","examples":["www.example.org"]},
"type":{"type":"string","default":"A","description":"record type: A, AAAA, MX, TXT, SOA, TYPE65 and so on"},
"server":{"type":"string","x-target":"host","description":"server to ask; absent: the resolvers of the engine's host","examples":["ns1.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"default":53,"description":"the server's port"},
"transport":{"enum":["auto","udp","tcp"],"default":"auto","description":"auto: UDP, and TCP for what does not fit"},
"recursion":{"type":"boolean","default":true,"description":"whether the server shall ask others"},
"rcode":{"type":"string","default":"NOERROR","description":"the right rcode, such as NOERROR or NXDOMAIN"},
"expect":{"type":"array","items":{"type":"string"},"default":[],"description":"data that must be among the answers, as in a zone file; quotes and final dots may be left out"},
"exact":{"type":"boolean","default":false,"description":"no other answers than the expected ones"},
"min_answers":{"type":"integer","minimum":0,"description":"fewer answers are critical; 1 where the rcode is NOERROR","examples":[2]},
"authoritative":{"type":"boolean","default":false,"description":"the answer must be authoritative"},
"validated":{"type":"boolean","default":false,"description":"the resolver must have validated the answer by DNSSEC"},
"warn_ms":{"type":"number","exclusiveMinimum":0,"description":"slower is a warning, in milliseconds","examples":[100]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"description":"slower is critical, in milliseconds","examples":[1000]}
}}"##;

/// The probe.
pub struct Dns;

impl Probe for Dns {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "dns",
            env!("CARGO_PKG_VERSION"),
            "asks a DNS server and judges rcode, records, flags and latency",
            SCHEMA,
        )
        .wants("net")
        .metric("latency_ms", "ms", "the whole exchange, retries included")
        .metric("answers", "1", "records in the answer section")
        .metric("ttl_s", "s", "least time to live among the answers")
        .metric(
            "serial",
            "1",
            "serial of the SOA record, where that was asked for",
        )
        .metric("size_bytes", "By", "size of the answer")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Dns);
