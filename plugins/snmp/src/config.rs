//! What an operator writes.

use serde::Deserialize;

/// Most values of one check: what fits into one datagram everywhere.
pub const MAX_VALUES: usize = 32;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name or address; the node's address where absent.
    pub host: Option<String>,
    /// Port; 161 where absent.
    pub port: Option<u16>,
    /// Version of the protocol.
    #[serde(default)]
    pub version: Version,
    /// Community in clear; `public` where neither is given.
    pub community: Option<String>,
    /// Secret that is the community.
    pub community_secret: Option<String>,
    /// What to ask for.
    pub values: Vec<Value>,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
}

/// Version of the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub enum Version {
    /// RFC 1157; without 64-bit counters.
    #[serde(rename = "1")]
    V1,
    /// RFC 1901.
    #[default]
    #[serde(rename = "2c")]
    V2c,
}

/// One value to ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Object identifier of the instance.
    pub oid: String,
    /// Name of the metric.
    pub name: String,
    /// Unit for people.
    pub unit: Option<String>,
    /// The value is multiplied with this.
    pub times: Option<f64>,
    /// True: a counter, of which the growth per second is judged.
    #[serde(default)]
    pub rate: bool,
    /// Text that the value must be.
    pub equals: Option<String>,
    /// A greater value is a warning.
    pub warn_above: Option<f64>,
    /// A greater value is critical.
    pub critical_above: Option<f64>,
    /// A smaller value is a warning.
    pub warn_below: Option<f64>,
    /// A smaller value is critical.
    pub critical_below: Option<f64>,
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["values"],
"properties":{
"host":{"type":"string","x-target":"host","title":"Host","description":"name or address of the agent; absent: the node's address","examples":["switch.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"default":161,"title":"Port","description":"port of the agent"},
"version":{"type":"string","enum":["1","2c"],"default":"2c","title":"Version","description":"version of the protocol; 1 has no 64-bit counters"},
"community":{"type":"string","default":"public","title":"Community","description":"community in clear; community_secret hides it"},
"community_secret":{"type":"string","x-secret":"read","title":"Community (secret)","description":"name of the secret that is the community; SNMP v1 and v2c send it readable","examples":["snmp-community"]},
"values":{"type":"array","minItems":1,"maxItems":32,"title":"Values","description":"what to ask for, in one request","examples":[[{"oid":"1.3.6.1.2.1.2.2.1.8.1","name":"eth0_status","equals":"1"},{"oid":"1.3.6.1.2.1.31.1.1.1.6.1","name":"eth0_receive","unit":"bit/s","rate":true,"times":8,"warn_above":800000000}]],
"items":{"type":"object","additionalProperties":false,"required":["oid","name"],"properties":{
"oid":{"type":"string","pattern":"^\\.?[0-2](\\.[0-9]+)+$","description":"object identifier of the instance, with its index (scalars end with .0)"},
"name":{"type":"string","pattern":"^[a-z][a-z0-9_]{0,63}$","description":"name of the metric"},
"unit":{"type":"string","maxLength":16,"description":"unit, for people"},
"times":{"type":"number","description":"the value is multiplied with this"},
"rate":{"type":"boolean","default":false,"description":"true: a counter, of which the growth per second is judged; known from the second run on"},
"equals":{"type":"string","description":"text that the value must be, or it is critical"},
"warn_above":{"type":"number","description":"a greater value is a warning"},
"critical_above":{"type":"number","description":"a greater value is critical"},
"warn_below":{"type":"number","description":"a smaller value is a warning"},
"critical_below":{"type":"number","description":"a smaller value is critical"}}}},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"slower is a warning, in milliseconds","examples":[500]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"slower is critical, in milliseconds","examples":[2000]}
}}"##;
