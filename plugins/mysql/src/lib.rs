//! Shakes hands with a MySQL or MariaDB server and judges its answer, load and
//! replication, and perhaps one number.

mod auth;
mod config;
mod judge;
mod load;
mod protocol;
mod rows;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets,
};

/// The probe.
pub struct Mysql;

impl Probe for Mysql {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "mysql",
            env!("CARGO_PKG_VERSION"),
            "shakes hands with a MySQL or MariaDB server: version, refusals, load, replication, one number",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .connection_metrics(true)
        .metric("ready", "1", "1 where a session was opened, 0 where the server asks for a login that the probe has not")
        .metric("uptime_s", "s", "seconds since the server's start")
        .metric("threads", "1", "client connections")
        .metric("connections_percent", "%", "client connections as a share of max_connections")
        .metric("replication_lag_s", "s", "seconds that a replica is behind, where replication is judged")
        .metric("value", "", "first column of the first row of the query")
        .metric("rows", "1", "rows of the query")
        .metric("questions", "1", "statements since the start")
        .metric("slow_queries", "1", "slow statements since the start")
        .metric("queries_per_second", "1/s", "statements per second since the start, on average")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let password = login::password(config.password_secret.as_deref(), &secrets::Host)?;
        judge::check(request, &config, password.as_deref(), &net::Host)
    }
}

export_probe!(Mysql);
