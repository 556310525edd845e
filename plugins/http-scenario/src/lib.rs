//! Runs several HTTP requests one after the other, with values of one answer in
//! the next request.

mod config;
mod cookies;
mod judge;
mod template;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct HttpScenario;

impl Probe for HttpScenario {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "http-scenario",
            env!("CARGO_PKG_VERSION"),
            "runs several HTTP requests in a row, with values of one answer in the next request",
            SCHEMA,
        )
        .wants("net")
        .wants("secrets")
        .metric("latency_ms", "ms", "all steps together")
        .metric("steps_ok", "1", "steps that went as expected")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(HttpScenario);
