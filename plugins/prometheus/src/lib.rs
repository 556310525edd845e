//! Scrapes metrics in Prometheus' text format and judges chosen ones.

mod config;
mod judge;
mod text;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net, state};

/// The probe.
pub struct Prometheus;

impl Probe for Prometheus {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "prometheus",
            env!("CARGO_PKG_VERSION"),
            "scrapes metrics in Prometheus' text format, judges chosen ones and records them",
            SCHEMA,
        )
        .wants("net")
        .wants("secrets")
        .wants("state")
        .connection_metrics(true)
        .metric("samples", "1", "samples in the scrape")
        .metric("size_bytes", "By", "size of the scrape")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host, &state::Host)
    }
}

export_probe!(Prometheus);
