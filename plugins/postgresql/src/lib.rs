//! Asks a PostgreSQL server whether it takes sessions, for its load, and perhaps for one number.

mod auth;
mod config;
mod judge;
mod load;
mod protocol;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets,
};

/// The probe.
pub struct Postgresql;

impl Probe for Postgresql {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "postgresql",
            env!("CARGO_PKG_VERSION"),
            "asks a PostgreSQL server whether it takes sessions, for its load and replication, and for one number",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .connection_metrics(true)
        .metric("ready", "1", "1 where a session was opened, 0 where the server asks for a login that the probe has not")
        .metric("in_recovery", "1", "1 for a standby, 0 for a primary, where a session was opened (PostgreSQL 14 and later)")
        .metric("connections", "1", "sessions of all databases")
        .metric("connections_percent", "%", "sessions as a share of max_connections")
        .metric("replication_lag_s", "s", "age of a standby's last replayed transaction, 0 where nothing is left to replay")
        .metric("replication_lag_bytes", "By", "bytes that the slowest standby of a primary is behind, where the role may see it (pg_monitor)")
        .metric("replicas", "1", "standbys that are connected")
        .metric("value", "", "first column of the first row of the query")
        .metric("rows", "1", "rows of the query")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let password = login::password(config.password_secret.as_deref(), &secrets::Host)?;
        judge::check(request, &config, password.as_deref(), &net::Host)
    }
}

export_probe!(Postgresql);
