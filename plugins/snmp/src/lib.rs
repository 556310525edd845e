//! Asks an SNMP agent for values and judges them.

mod ber;
mod config;
mod counters;
mod judge;
mod message;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets, state,
};

/// The probe.
pub struct Snmp;

impl Probe for Snmp {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "snmp",
            env!("CARGO_PKG_VERSION"),
            "asks an SNMP agent (v1 or v2c) for values, judges and records them",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .wants("state")
        .metric("latency_ms", "ms", "from asking to the answer")
        .metric(
            "uptime_s",
            "s",
            "seconds since the agent's start, where a counter is asked for",
        )
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let community = login::password(config.community_secret.as_deref(), &secrets::Host)?;
        judge::check(
            request,
            &config,
            community.as_deref(),
            &net::Host,
            &state::Host,
        )
    }
}

export_probe!(Snmp);
