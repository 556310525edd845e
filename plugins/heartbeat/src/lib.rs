//! Judges a job that has to report: whether it did in time, how it ended, how
//! long it took.

mod judge;

#[cfg(test)]
mod tests;

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, state};
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Longest time between two reports, in seconds.
    pub within_s: f64,
    /// How much later is a warning only, in seconds.
    #[serde(default)]
    pub grace_s: f64,
    /// A longer run is a warning, in seconds.
    pub warn_duration_s: Option<f64>,
    /// A longer run is critical, in seconds; also while it goes on.
    pub critical_duration_s: Option<f64>,
    /// Exit statuses that are a warning, not critical.
    #[serde(default)]
    pub warn_exit: Vec<u8>,
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["within_s"],
"properties":{
"within_s":{"type":"number","exclusiveMinimum":0,"description":"longest time between two reports, in seconds","examples":[90000]},
"grace_s":{"type":"number","minimum":0,"default":0,"description":"how much later is a warning only, in seconds","examples":[3600]},
"warn_duration_s":{"type":"number","exclusiveMinimum":0,"description":"a longer run is a warning, in seconds; needs reports of its start","examples":[1800]},
"critical_duration_s":{"type":"number","exclusiveMinimum":0,"description":"a longer run is critical, in seconds, also while it goes on; needs reports of its start","examples":[7200]},
"warn_exit":{"type":"array","items":{"type":"integer","minimum":1,"maximum":255},"default":[],"description":"exit statuses that are a warning, not critical","examples":[[1]]}
}}"##;

/// The probe.
pub struct Heartbeat;

impl Probe for Heartbeat {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "heartbeat",
            env!("CARGO_PKG_VERSION"),
            "judges a job that has to report: in time, how it ended, how long it took",
            SCHEMA,
        )
        .wants("state")
        .metric("age_s", "s", "time since the job last ended")
        .metric("duration_s", "s", "how long the last run took")
        .metric("exit_status", "1", "exit status of the last run")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &state::Host)
    }
}

export_probe!(Heartbeat);
