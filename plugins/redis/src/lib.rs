//! Asks a Redis (or Valkey, KeyDB) server for PING and INFO and judges load and replication.

mod config;
mod judge;
mod resp;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets,
};

/// The probe.
pub struct Redis;

impl Probe for Redis {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "redis",
            env!("CARGO_PKG_VERSION"),
            "asks a Redis server for PING and INFO and judges memory, clients and replication",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .connection_metrics(true)
        .metric("connected_clients", "1", "client connections")
        .metric("blocked_clients", "1", "clients waiting in a blocking call")
        .metric(
            "rejected_connections",
            "1",
            "connections refused because of maxclients since the start",
        )
        .metric(
            "used_memory_bytes",
            "By",
            "memory that the data set and buffers take",
        )
        .metric(
            "memory_used_percent",
            "%",
            "used memory as a share of maxmemory, where that is set",
        )
        .metric(
            "evicted_keys",
            "1",
            "keys evicted because of maxmemory since the start",
        )
        .metric("ops_per_second", "1/s", "commands per second")
        .metric(
            "hit_percent",
            "%",
            "share of key lookups that found one since the start",
        )
        .metric("uptime_s", "s", "seconds since the start")
        .metric("connected_replicas", "1", "replicas connected to a master")
        .metric(
            "replication_lag_s",
            "s",
            "seconds since a replica last heard from its master",
        )
        .metric(
            "replication_lag_bytes",
            "By",
            "bytes that the slowest connected replica, or this one, is behind",
        )
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let password = login::password(config.password_secret.as_deref(), &secrets::Host)?;
        judge::check(request, &config, password.as_deref(), &net::Host)
    }
}

export_probe!(Redis);
