//! Returns at once: what a run costs without a target.

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};

/// The probe.
pub struct Noop;

impl Probe for Noop {
    type Config = serde_json::Map<String, serde_json::Value>;

    fn describe() -> Manifest {
        Manifest::new(
            "noop",
            env!("CARGO_PKG_VERSION"),
            "returns ok at once",
            r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}"#,
        )
        .metric("answer", "1", "always 42")
    }

    fn check(_: &Request, _: Self::Config) -> Result<Report, ProbeError> {
        Ok(Report::ok("nothing to do").metric("answer", 42.0))
    }
}

export_probe!(Noop);
