//! Judges the figures of the engine's own host.

mod judge;

#[cfg(test)]
mod tests;

use bellwether_plugin::system::CpuTimes;
use bellwether_plugin::{
    Manifest, Probe, ProbeError, Report, Request, export_probe, state, system,
};
use serde::{Deserialize, Serialize};

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// More processor time in use is a warning, in percent.
    pub warn_cpu: Option<f64>,
    /// More processor time in use is critical, in percent.
    pub critical_cpu: Option<f64>,
    /// More memory in use is a warning, in percent.
    #[serde(default = "ninety")]
    pub warn_memory: f64,
    /// More memory in use is critical, in percent.
    #[serde(default = "ninety_five")]
    pub critical_memory: f64,
    /// More swap in use is a warning, in percent.
    pub warn_swap: Option<f64>,
    /// More swap in use is critical, in percent.
    pub critical_swap: Option<f64>,
    /// A higher load of five minutes per processor is a warning.
    pub warn_load: Option<f64>,
    /// A higher load of five minutes per processor is critical.
    pub critical_load: Option<f64>,
    /// A fuller file system is a warning, in percent.
    #[serde(default = "eighty_five")]
    pub warn_disk: f64,
    /// A fuller file system is critical, in percent.
    #[serde(default = "ninety_five")]
    pub critical_disk: f64,
    /// Mount points to look at; all where empty.
    #[serde(default)]
    pub disks: Vec<String>,
    /// Mount points to leave out, with everything below.
    #[serde(default)]
    pub ignore_disks: Vec<String>,
    /// Processes that must run.
    #[serde(default)]
    pub processes: Vec<Expected>,
}

/// How many processes of a name there must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Name as the kernel has it: the first 15 bytes of the program's.
    pub name: String,
    /// Fewer are critical.
    #[serde(default = "one")]
    pub min: u32,
    /// More are critical.
    pub max: Option<u32>,
}

fn one() -> u32 {
    1
}

fn eighty_five() -> f64 {
    85.0
}

fn ninety() -> f64 {
    90.0
}

fn ninety_five() -> f64 {
    95.0
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"warn_cpu":{"type":"number","minimum":0,"maximum":100,"description":"more processor time in use since the last run is a warning, in percent","examples":[90]},
"critical_cpu":{"type":"number","minimum":0,"maximum":100,"description":"more processor time in use since the last run is critical, in percent","examples":[99]},
"warn_memory":{"type":"number","minimum":0,"maximum":100,"default":90,"description":"more memory in use is a warning, in percent"},
"critical_memory":{"type":"number","minimum":0,"maximum":100,"default":95,"description":"more memory in use is critical, in percent"},
"warn_swap":{"type":"number","minimum":0,"maximum":100,"description":"more swap in use is a warning, in percent","examples":[50]},
"critical_swap":{"type":"number","minimum":0,"maximum":100,"description":"more swap in use is critical, in percent","examples":[90]},
"warn_load":{"type":"number","minimum":0,"description":"a higher load of five minutes per processor is a warning","examples":[2]},
"critical_load":{"type":"number","minimum":0,"description":"a higher load of five minutes per processor is critical","examples":[5]},
"warn_disk":{"type":"number","minimum":0,"maximum":100,"default":85,"description":"a fuller file system, by bytes or inodes, is a warning, in percent"},
"critical_disk":{"type":"number","minimum":0,"maximum":100,"default":95,"description":"a fuller file system, by bytes or inodes, is critical, in percent"},
"disks":{"type":"array","items":{"type":"string"},"default":[],"description":"mount points to look at, which must be there; empty: all"},
"ignore_disks":{"type":"array","items":{"type":"string"},"default":[],"description":"mount points to leave out, with everything below"},
"processes":{"type":"array","default":[],"description":"processes that must run","items":{"type":"object","additionalProperties":false,"required":["name"],"properties":{
"name":{"type":"string","description":"name as the kernel has it: the first 15 bytes of the program's"},
"min":{"type":"integer","minimum":0,"maximum":1000,"default":1,"description":"fewer are critical; they are counted up to 1,000"},
"max":{"type":"integer","minimum":0,"maximum":999,"description":"more are critical"}}}}
}}"##;

/// Where the processor times of the last run are kept.
const KEY: &str = "cpu";

/// Processor times as they are kept: all of them, and those without work.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Times {
    total: u64,
    idle: u64,
}

impl Times {
    fn new(times: &CpuTimes) -> Self {
        Times {
            total: times.total(),
            idle: times.idle.saturating_add(times.iowait),
        }
    }
}

/// The probe.
pub struct System;

impl Probe for System {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "system",
            env!("CARGO_PKG_VERSION"),
            "judges processor, memory, disks, load and processes of the engine's host",
            SCHEMA,
        )
        .wants("system")
        .wants("state")
        .metric(
            "cpu_percent",
            "%",
            "processor time in use since the last run",
        )
        .metric("memory_percent", "%", "memory in use")
        .metric(
            "memory_available_bytes",
            "By",
            "memory that programs can have",
        )
        .metric("swap_percent", "%", "swap in use")
        .metric("load_1", "1", "load of one minute")
        .metric("load_5", "1", "load of five minutes")
        .metric("load_15", "1", "load of fifteen minutes")
        .metric("uptime_s", "s", "seconds since boot")
        .metric("processes", "1", "processes")
        .metric("disk_percent", "%", "the fullest file system")
    }

    fn check(_: &Request, config: Config) -> Result<Report, ProbeError> {
        let kept = state::get(KEY);
        let before = kept
            .as_ref()
            .and_then(|entry| serde_json::from_slice::<Times>(&entry.value).ok());
        let (report, now) = judge::check(&config, &system::Host, before)?;
        if let Ok(value) = serde_json::to_vec(&now) {
            // Without state there is no figure for the processor, no more.
            let _ = state::set(KEY, &value, kept.map(|entry| entry.version));
        }
        Ok(report)
    }
}

export_probe!(System);
