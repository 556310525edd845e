//! Greets an SSH server and judges its software and the algorithms it offers.

mod config;
mod judge;
mod packet;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct Ssh;

impl Probe for Ssh {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "ssh",
            env!("CARGO_PKG_VERSION"),
            "greets an SSH server and judges its software and the algorithms that it offers",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(false)
        .metric("algorithms", "1", "algorithms that the server offers")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Ssh);
