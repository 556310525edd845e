//! Greets a mail server, perhaps over TLS, and judges whether it takes mail.

mod config;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets,
};

/// The probe.
pub struct Smtp;

impl Probe for Smtp {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "smtp",
            env!("CARGO_PKG_VERSION"),
            "greets a mail server, with or without TLS, and judges what it offers and takes",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .connection_metrics(true)
        .metric("extensions", "1", "extensions that the server offers")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let password = login::password(config.password_secret.as_deref(), &secrets::Host)?;
        judge::check(request, &config, password.as_deref(), &net::Host)
    }
}

export_probe!(Smtp);
