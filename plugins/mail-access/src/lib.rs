//! Greets an IMAP or POP3 server, perhaps over TLS, and judges what it offers.

mod config;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, login, net, secrets,
};

/// The probe.
pub struct MailAccess;

impl Probe for MailAccess {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "mail-access",
            env!("CARGO_PKG_VERSION"),
            "greets an IMAP or POP3 server, with or without TLS, and judges what it offers",
            SCHEMA,
        )
        .wants("net")
        .wants("read-secrets")
        .connection_metrics(true)
        .metric("capabilities", "1", "capabilities that the server offers")
        .metric("messages", "1", "messages in the inbox, with a login")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        let password = login::password(config.password_secret.as_deref(), &secrets::Host)?;
        judge::check(request, &config, password.as_deref(), &net::Host)
    }
}

export_probe!(MailAccess);
