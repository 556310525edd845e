//! Calls one host function and reports what came of it: a summary that begins
//! with `denied: …`, `failed: …` or `ok: …`, and the figures as metrics.

mod machine;
mod network;

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};
use serde::Deserialize;

/// What to call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The function.
    pub call: String,
    /// Host to reach, name of a secret or folder, or name of a process.
    pub target: String,
    /// Port of `udp`, `dns` and `tls-info`.
    pub port: u16,
    /// Datagram of `udp`, name that `dns` asks about, path of a file.
    pub text: String,
    /// Record type of `dns`.
    pub kind: String,
    /// Replies, echo requests, calls, or bytes, as the function has it.
    pub amount: u32,
    /// Attempts of `udp` and `dns`.
    pub attempts: u32,
    /// Wait for another reply, in milliseconds.
    pub idle_ms: Option<u32>,
    /// Bytes kept of a reply; offset of `read`.
    pub size: u32,
    /// Verify the certificate of `tls-info`.
    pub verify: bool,
    /// What to do with a secret: `report`, `details`, `log`, `fail`, `panic`,
    /// `state`, `metric`.
    pub leak: String,
}

/// The probe.
pub struct Reach;

impl Probe for Reach {
    type Config = Config;

    fn describe() -> Manifest {
        ["net", "state", "read-secrets", "system", "files"]
            .into_iter()
            .fold(
                Manifest::new(
                    "reach",
                    env!("CARGO_PKG_VERSION"),
                    "calls one host function",
                    SCHEMA,
                ),
                Manifest::wants,
            )
            .metric("value", "1", "whatever the function counts")
    }

    fn check(_: &Request, config: Config) -> Result<Report, ProbeError> {
        match config.call.as_str() {
            "udp" => Ok(network::udp(&config)),
            "udp-flood" => Ok(network::udp_flood(&config)),
            "dns" => Ok(network::dns(&config)),
            "icmp" => Ok(network::icmp(&config)),
            "tls-info" => Ok(network::tls_info(&config)),
            "secret" => machine::secret(&config),
            "system" => Ok(machine::system()),
            "processes" => Ok(machine::processes(&config)),
            "stat" | "list" | "read" => Ok(machine::files(&config)),
            other => Err(ProbeError::config(
                "/call",
                format!("expected a function, found \"{other}\""),
            )),
        }
    }
}

const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["call"],
"properties":{
"call":{"enum":["udp","udp-flood","dns","icmp","tls-info","secret","system","processes","stat","list","read"],"description":"the function","examples":["udp"]},
"target":{"type":"string","default":"","description":"host to reach, name of a secret or folder, or name of a process"},
"port":{"type":"integer","minimum":0,"maximum":65535,"default":0,"description":"port"},
"text":{"type":"string","default":"","description":"datagram, name to ask about, or path"},
"kind":{"type":"string","default":"A","description":"record type"},
"amount":{"type":"integer","minimum":0,"default":1,"description":"how much"},
"attempts":{"type":"integer","minimum":0,"default":1,"description":"attempts"},
"idle_ms":{"type":"integer","minimum":0,"description":"wait for another reply","examples":[100]},
"size":{"type":"integer","minimum":0,"default":1024,"description":"bytes kept of a reply, or an offset"},
"verify":{"type":"boolean","default":false,"description":"verify the certificate"},
"leak":{"type":"string","default":"","description":"report, details, log, fail, panic, state, metric"}
}}"##;

export_probe!(Reach);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::schema_problems;

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }
}
