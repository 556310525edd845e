//! Asks a PostgreSQL server whether it takes sessions, and perhaps for one number.

mod config;
mod judge;
mod protocol;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct Postgresql;

impl Probe for Postgresql {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "postgresql",
            env!("CARGO_PKG_VERSION"),
            "asks a PostgreSQL server whether it takes sessions and, without a password, for one number",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(true)
        .metric("ready", "1", "1 where a session was opened, 0 where the server asks for a login that the probe has not")
        .metric("in_recovery", "1", "1 for a standby, 0 for a primary, where a session was opened (PostgreSQL 14 and later)")
        .metric("value", "", "first column of the first row of the query")
        .metric("rows", "1", "rows of the query")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Postgresql);
