//! Connects to an MQTT broker and perhaps sends itself a message.

mod config;
mod judge;
mod packet;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets,
};

/// The probe.
pub struct Mqtt;

impl Probe for Mqtt {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "mqtt",
            env!("CARGO_PKG_VERSION"),
            "connects to an MQTT broker and, where wanted, sends itself a message",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .connection_metrics(true)
        .metric(
            "round_trip_ms",
            "ms",
            "from publishing a message to receiving it",
        )
        .metric(
            "accepted",
            "1",
            "1 where the broker took the connection, 0 where it asks for a login",
        )
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let password = login::password(config.password_secret.as_deref(), &secrets::Host)?;
        judge::check(request, &config, password.as_deref(), &net::Host)
    }
}

export_probe!(Mqtt);
