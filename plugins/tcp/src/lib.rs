//! Opens a TCP connection, perhaps says something, and judges what comes back.

mod config;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct Tcp;

impl Probe for Tcp {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "tcp",
            env!("CARGO_PKG_VERSION"),
            "opens a TCP connection, with or without TLS, and judges the answer",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(true)
        .metric("size_bytes", "By", "bytes that came")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Tcp);
