//! What an operator writes.

use bellwether_plugin::endpoint::Endpoint;
use bellwether_plugin::findings::Limits;
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name or address; the node's address where absent.
    pub host: Option<String>,
    /// Port.
    #[serde(default = "ssh")]
    pub port: u16,
    /// Pattern that the software version must match.
    pub software_regex: Option<String>,
    /// Pattern that the software version must not match.
    pub software_not_regex: Option<String>,
    /// False stops after the identification strings.
    #[serde(default = "yes")]
    pub algorithms: bool,
    /// Algorithms whose offer is a warning.
    #[serde(default)]
    pub forbid_algorithms: Vec<String>,
    /// Algorithms that must be offered.
    #[serde(default)]
    pub require_algorithms: Vec<String>,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
}

fn ssh() -> u16 {
    22
}

fn yes() -> bool {
    true
}

impl Config {
    /// What to connect to.
    pub fn endpoint(&self) -> Endpoint<'_> {
        Endpoint {
            host: self.host.as_deref(),
            port: self.port,
            server_name: None,
            limits: Limits {
                warn_ms: self.warn_ms,
                critical_ms: self.critical_ms,
                ..Limits::default()
            },
        }
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":[],
"properties":{
"host":{"type":"string","x-target":"host","title":"Host","description":"name or address to connect to; absent: the node's address","examples":["host.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"default":22,"title":"Port","description":"port to connect to"},
"software_regex":{"type":"string","format":"regex","title":"Software must match","description":"pattern that the software version and its comment must match","examples":["^OpenSSH_(9\\.[89]|[1-9][0-9])"]},
"software_not_regex":{"type":"string","format":"regex","title":"Software must not match","description":"pattern that the software version and its comment must not match; a match is a warning","examples":["^dropbear_201"]},
"algorithms":{"type":"boolean","default":true,"title":"Ask for algorithms","description":"false stops after the identification strings; true reads the server's key exchange offer too"},
"forbid_algorithms":{"type":"array","items":{"type":"string"},"default":[],"title":"Unwanted algorithms","description":"algorithms whose offer is a warning; a trailing * stands for any ending","examples":[["ssh-dss","diffie-hellman-group1-*"]]},
"require_algorithms":{"type":"array","items":{"type":"string"},"default":[],"title":"Required algorithms","description":"algorithms that must be offered; a trailing * stands for any ending","examples":[["ssh-ed25519"]]},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"slower is a warning, in milliseconds","examples":[500]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"slower is critical, in milliseconds","examples":[2000]}
}}"##;
