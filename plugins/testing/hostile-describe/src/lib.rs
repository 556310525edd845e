//! A probe whose `describe` never returns.

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};

/// The probe.
pub struct HostileDescribe;

impl Probe for HostileDescribe {
    type Config = serde_json::Value;

    fn describe() -> Manifest {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }

    fn check(_: &Request, _: Self::Config) -> Result<Report, ProbeError> {
        Ok(Report::ok("never described"))
    }
}

export_probe!(HostileDescribe);
