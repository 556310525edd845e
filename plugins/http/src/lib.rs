//! Asks an HTTP server and judges the answer.

mod config;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct Http;

impl Probe for Http {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "http",
            env!("CARGO_PKG_VERSION"),
            "asks an HTTP server and judges status, body, latency and certificate",
            SCHEMA,
        )
        .wants("net")
        .wants("secrets")
        .metric("latency_ms", "ms", "the whole exchange, redirects included")
        .metric("dns_ms", "ms", "resolving the name")
        .metric("connect_ms", "ms", "opening the TCP connection")
        .metric("tls_ms", "ms", "TLS handshake")
        .metric(
            "first_byte_ms",
            "ms",
            "from the request sent to the first byte of the answer",
        )
        .metric("status", "1", "HTTP status code")
        .metric("size_bytes", "By", "body as far as it was read")
        .metric("cert_days", "d", "days until the certificate expires")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(Http);
