//! Asks a gRPC server for its health (`grpc.health.v1.Health/Check`).

mod call;
mod config;
mod frame;
mod judge;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, net};

/// The probe.
pub struct GrpcHealth;

impl Probe for GrpcHealth {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "grpc-health",
            env!("CARGO_PKG_VERSION"),
            "asks a gRPC server for its health or that of one of its services",
            SCHEMA,
        )
        .wants("net")
        .connection_metrics(true)
        .metric("serving", "1", "1 where the service is SERVING, else 0")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &net::Host)
    }
}

export_probe!(GrpcHealth);
