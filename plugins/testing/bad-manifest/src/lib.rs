//! A probe whose manifest breaks every rule of the contract.

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};

/// The probe.
pub struct BadManifest;

impl Probe for BadManifest {
    type Config = serde_json::Value;

    fn describe() -> Manifest {
        Manifest::new("../Not A Name\u{202e}", "one", "two\nlines", "{\"type\":")
            .wants("root")
            .metric("", "parsecs", "")
    }

    fn check(_: &Request, _: Self::Config) -> Result<Report, ProbeError> {
        Ok(Report::ok("fine"))
    }
}

export_probe!(BadManifest);
