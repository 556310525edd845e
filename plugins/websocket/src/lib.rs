//! Opens a WebSocket and judges the upgrade and an answer.

mod config;
mod frame;
mod judge;
mod upgrade;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct Websocket;

impl Probe for Websocket {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "websocket",
            env!("CARGO_PKG_VERSION"),
            "opens a WebSocket, checks the upgrade, and pings it or exchanges a message",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(true)
        .metric(
            "round_trip_ms",
            "ms",
            "from the ping or message sent to its answer",
        )
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Websocket);
