//! Judges the certificate that a server shows: age, trust, names, issuer.

mod config;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct TlsCertificate;

impl Probe for TlsCertificate {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "tls-certificate",
            env!("CARGO_PKG_VERSION"),
            "judges a server's certificate: days left, trust, names, issuer; also behind STARTTLS",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(true)
        .metric(
            "validity_days",
            "d",
            "days from the certificate's start to its end",
        )
        .metric(
            "trusted",
            "1",
            "1 where the certificate verifies, 0 where it does not",
        )
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(TlsCertificate);
