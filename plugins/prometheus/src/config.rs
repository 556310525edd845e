//! What an operator writes.

use std::collections::BTreeMap;

use bellwether_plugin::http::SecretValue;
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to scrape, `http` or `https`.
    pub url: String,
    /// What is judged and recorded.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Request headers whose value the engine fills in from a secret.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, SecretValue>,
    /// Bytes of the answer to read.
    #[serde(default = "eight_mebibytes")]
    pub max_body: u32,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify_tls: bool,
    /// Name for TLS, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
    /// Fewer days left on the certificate are a warning.
    pub cert_warn_days: Option<f64>,
    /// Fewer days left on the certificate are critical.
    pub cert_critical_days: Option<f64>,
}

/// One value: what it is made of, and its bounds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name to record it under; the metric's where absent.
    pub name: Option<String>,
    /// Name of the samples.
    pub metric: String,
    /// Labels that must have this value; an empty one stands for absence.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels that must match this pattern as a whole.
    #[serde(default)]
    pub labels_regex: BTreeMap<String, String>,
    /// How several samples become one value.
    #[serde(default)]
    pub aggregate: Aggregate,
    /// True: the growth per second since the last run.
    #[serde(default)]
    pub rate: bool,
    /// What the value is divided by.
    pub divide_by: Option<Divisor>,
    /// What the value is multiplied with in the end.
    #[serde(default = "one")]
    pub times: f64,
    /// A greater value is a warning.
    pub warn_above: Option<f64>,
    /// A greater value is critical.
    pub critical_above: Option<f64>,
    /// A smaller value is a warning.
    pub warn_below: Option<f64>,
    /// A smaller value is critical.
    pub critical_below: Option<f64>,
    /// What it means that no sample fits.
    #[serde(default)]
    pub missing: Missing,
}

/// Samples to divide by.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divisor {
    /// Name of the samples.
    pub metric: String,
    /// Labels that must have this value; an empty one stands for absence.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels that must match this pattern as a whole.
    #[serde(default)]
    pub labels_regex: BTreeMap<String, String>,
    /// How several samples become one value.
    #[serde(default)]
    pub aggregate: Aggregate,
}

/// How several samples become one value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// All together.
    #[default]
    Sum,
    /// The smallest.
    Min,
    /// The greatest.
    Max,
    /// The mean.
    Avg,
    /// How many there are.
    Count,
}

/// What it means that no sample fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Nothing.
    Ok,
    /// A warning.
    Warning,
    /// The target is broken.
    Critical,
    /// It cannot be judged.
    #[default]
    Unknown,
}

fn eight_mebibytes() -> u32 {
    8 << 20
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

/// Properties that say which samples are meant and how they become one value.
macro_rules! selector_schema {
    () => {
        r##""metric":{"type":"string","pattern":"^[a-zA-Z_:][a-zA-Z0-9_:]*$","title":"Metric","description":"name of the samples"},
"labels":{"type":"object","additionalProperties":{"type":"string"},"default":{},"title":"Labels","description":"labels that must have this value; an empty value stands for absence"},
"labels_regex":{"type":"object","additionalProperties":{"type":"string","format":"regex"},"default":{},"title":"Label patterns","description":"labels that must match this pattern as a whole"},
"aggregate":{"type":"string","enum":["sum","min","max","avg","count"],"default":"sum","title":"Aggregate","description":"how several samples become one value"}"##
    };
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = concat!(
    r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["url"],
"properties":{
"url":{"type":"string","format":"uri","x-target":"url","title":"URL","description":"where to scrape, http or https","examples":["http://{{ node.address }}:9100/metrics"]},
"rules":{"type":"array","maxItems":100,"default":[],"title":"Rules","description":"values that are judged and recorded","examples":[[{"metric":"up","critical_below":1},{"name":"disk_free_percent","metric":"node_filesystem_avail_bytes","labels":{"mountpoint":"/"},"divide_by":{"metric":"node_filesystem_size_bytes","labels":{"mountpoint":"/"}},"times":100,"warn_below":15,"critical_below":5}]],"items":{"type":"object","additionalProperties":false,"required":["metric"],"properties":{
"name":{"type":"string","pattern":"^[a-zA-Z_][a-zA-Z0-9_.:-]{0,99}$","title":"Name","description":"name to record the value under; absent: the metric's"},
"##,
    selector_schema!(),
    r##",
"rate":{"type":"boolean","default":false,"title":"Rate","description":"true: the growth per second since the last run, for counters"},
"divide_by":{"type":"object","additionalProperties":false,"required":["metric"],"title":"Divide by","description":"samples that the value is divided by","properties":{"##,
    selector_schema!(),
    r##"}},
"times":{"type":"number","default":1,"title":"Times","description":"what the value is multiplied with in the end, such as 100 for percent"},
"warn_above":{"type":"number","title":"Warn above","description":"a greater value is a warning"},
"critical_above":{"type":"number","title":"Critical above","description":"a greater value is critical"},
"warn_below":{"type":"number","title":"Warn below","description":"a smaller value is a warning"},
"critical_below":{"type":"number","title":"Critical below","description":"a smaller value is critical"},
"missing":{"type":"string","enum":["ok","warning","critical","unknown"],"default":"unknown","title":"If missing","description":"what it means that no sample fits"}}}},
"headers":{"type":"object","additionalProperties":{"type":"string"},"default":{},"title":"Headers","description":"request headers","examples":[{"X-Scope-OrgID":"1"}]},
"secret_headers":{"type":"object","additionalProperties":{"anyOf":[{"type":"string"},{"type":"object","additionalProperties":false,"required":["secret"],"properties":{"secret":{"type":"string","description":"name of the secret"},"prefix":{"type":"string","default":"","description":"text before the value"}}}]},"default":{},"title":"Secret headers","description":"request headers whose value the engine fills in from a secret: the secret's name, or secret and prefix","examples":[{"Authorization":{"secret":"api-token","prefix":"Bearer "}}]},
"max_body":{"type":"integer","minimum":1,"maximum":8388608,"default":8388608,"title":"Size limit","description":"bytes of the answer to read"},
"verify_tls":{"type":"boolean","default":true,"title":"Verify the certificate","description":"false accepts any certificate"},
"server_name":{"type":"string","title":"TLS name","description":"name to ask for and to verify in TLS, where it is not the URL's host","examples":["node.example.org"]},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"slower is a warning, in milliseconds","examples":[500]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"slower is critical, in milliseconds","examples":[2000]},
"cert_warn_days":{"type":"number","title":"Warn before expiry (days)","description":"fewer days left on the certificate are a warning; 14 unless verify_tls is false","examples":[14]},
"cert_critical_days":{"type":"number","title":"Critical before expiry (days)","description":"fewer days left on the certificate are critical; 3 unless verify_tls is false","examples":[3]}
}}"##
);
