//! Shakes hands with a MySQL or MariaDB server and judges its answer.

mod config;
mod judge;
mod protocol;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct Mysql;

impl Probe for Mysql {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "mysql",
            env!("CARGO_PKG_VERSION"),
            "shakes hands with a MySQL or MariaDB server: version, refusals, load where no password is needed",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(true)
        .metric("ready", "1", "1 where a session was opened, 0 where the server asks for a login that the probe has not")
        .metric("uptime_s", "s", "seconds since the server's start")
        .metric("threads", "1", "client connections")
        .metric("questions", "1", "statements since the start")
        .metric("slow_queries", "1", "slow statements since the start")
        .metric("queries_per_second", "1/s", "statements per second since the start, on average")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Mysql);
