//! Greets an IMAP or POP3 server, perhaps over TLS, and judges what it offers.

mod config;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

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
        .connection_metrics(true)
        .metric("capabilities", "1", "capabilities that the server offers")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(MailAccess);
