//! Looks at a file or folder of the engine's host and judges what it finds.

mod judge;

#[cfg(test)]
mod tests;

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe, files};
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of a folder that the configuration file defines under `files`.
    pub folder: String,
    /// Path in that folder.
    #[serde(default)]
    pub path: String,
    /// False: it must not be there.
    #[serde(default = "yes")]
    pub exists: bool,
    /// Older is a warning, in seconds.
    pub warn_age_s: Option<f64>,
    /// Older is critical, in seconds.
    pub critical_age_s: Option<f64>,
    /// Smaller is critical, in bytes.
    pub min_bytes: Option<u64>,
    /// Larger is critical, in bytes.
    pub max_bytes: Option<u64>,
    /// Text that must be near the end of the file.
    pub contains: Option<String>,
    /// Text that must not be near the end of the file.
    pub lacks: Option<String>,
    /// How much of the end is read, in bytes.
    #[serde(default = "some")]
    pub tail_bytes: u32,
    /// More entries in a folder are a warning.
    pub warn_entries: Option<f64>,
    /// More entries in a folder are critical.
    pub critical_entries: Option<f64>,
}

fn yes() -> bool {
    true
}

fn some() -> u32 {
    64 << 10
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["folder"],
"properties":{
"folder":{"type":"string","x-folder":true,"description":"name of a folder that the configuration file defines under files","examples":["backups"]},
"path":{"type":"string","default":"","description":"path in that folder; empty: the folder itself"},
"exists":{"type":"boolean","default":true,"description":"false: it must not be there"},
"warn_age_s":{"type":"number","exclusiveMinimum":0,"description":"older is a warning, in seconds","examples":[90000]},
"critical_age_s":{"type":"number","exclusiveMinimum":0,"description":"older is critical, in seconds","examples":[180000]},
"min_bytes":{"type":"integer","minimum":0,"description":"smaller is critical, in bytes","examples":[1]},
"max_bytes":{"type":"integer","minimum":0,"description":"larger is critical, in bytes","examples":[1073741824]},
"contains":{"type":"string","description":"text that must be near the end of the file","examples":["done"]},
"lacks":{"type":"string","description":"text that must not be near the end of the file","examples":["error"]},
"tail_bytes":{"type":"integer","minimum":1,"maximum":1048576,"default":65536,"description":"how much of the end is read for contains and lacks, in bytes"},
"warn_entries":{"type":"number","minimum":0,"description":"more entries in a folder are a warning","examples":[100]},
"critical_entries":{"type":"number","minimum":0,"description":"more entries in a folder are critical; they are counted up to 1,000","examples":[500]}
}}"##;

/// The probe.
pub struct File;

impl Probe for File {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "file",
            env!("CARGO_PKG_VERSION"),
            "judges age, size and content of a file on the engine's host",
            SCHEMA,
        )
        .wants("files")
        .metric("size_bytes", "By", "size")
        .metric("age_s", "s", "time since the last change")
        .metric("entries", "1", "entries of a folder")
    }

    fn check(request: &Request, config: Config) -> Result<Report, ProbeError> {
        judge::check(request, &config, &files::Host)
    }
}

export_probe!(File);
