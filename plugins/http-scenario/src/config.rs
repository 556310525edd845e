//! What an operator writes.

use std::collections::BTreeMap;

use bellwether_plugin::expect::Assertion;
use bellwether_plugin::http::{SecretValue, StatusSet};
use serde::Deserialize;
use serde_json::Value;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Requests, in order.
    pub steps: Vec<Step>,
    /// Values that every step may use.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// True keeps cookies from step to step.
    #[serde(default = "yes")]
    pub cookies: bool,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify_tls: bool,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
}

/// One request and what must come back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// For people and for the metric; its number where absent.
    pub name: Option<String>,
    /// HTTP method.
    #[serde(default = "get")]
    pub method: String,
    /// Where to ask, `http` or `https`.
    pub url: String,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Request headers whose value the engine fills in from a secret.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, SecretValue>,
    /// Request body as it is.
    pub body: Option<String>,
    /// Request body as JSON.
    pub json_body: Option<Value>,
    /// Request body as a form.
    pub form: Option<BTreeMap<String, String>>,
    /// Codes and ranges that are right.
    #[serde(default = "any_success")]
    pub expect_status: StatusSet,
    /// Must match the body.
    pub body_regex: Option<String>,
    /// Must not match the body.
    pub body_not_regex: Option<String>,
    /// What the body, as JSON, must hold.
    #[serde(default)]
    pub json: Vec<Assertion>,
    /// Values for later steps.
    #[serde(default)]
    pub extract: BTreeMap<String, Extract>,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
    /// Redirects to follow.
    #[serde(default = "ten")]
    pub max_redirects: u32,
}

/// Where a value is found; exactly one of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// JSON Pointer into the body.
    pub json: Option<String>,
    /// Pattern on the body: its first group, or all of it.
    pub regex: Option<String>,
    /// Name of a header.
    pub header: Option<String>,
}

fn yes() -> bool {
    true
}

fn get() -> String {
    "GET".to_owned()
}

fn any_success() -> StatusSet {
    StatusSet::range(200, 399)
}

fn ten() -> u32 {
    10
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = concat!(
    r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["steps"],
"properties":{
"steps":{"type":"array","minItems":1,"maxItems":50,"title":"Steps","description":"requests, in order; the first one that fails ends the check. ${name} in url, headers, body, json_body and form stands for a variable","examples":[[{"name":"login","method":"POST","url":"https://{{ node.address }}/login","json_body":{"user":"probe"},"extract":{"token":{"json":"/token"}}},{"name":"orders","url":"https://{{ node.address }}/orders","headers":{"Authorization":"Bearer ${token}"},"json":[{"pointer":"/0/id"}]}]],"items":{"type":"object","additionalProperties":false,"required":["url"],"properties":{
"name":{"type":"string","pattern":"^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$","title":"Name","description":"for people and for the metric step_NAME_ms; absent: the step's number"},
"method":{"type":"string","default":"GET","title":"Method","description":"HTTP method"},
"url":{"type":"string","x-target":"url","title":"URL","description":"where to ask, http or https; the host must be written out"},
"headers":{"type":"object","additionalProperties":{"type":"string"},"default":{},"title":"Headers","description":"request headers"},
"secret_headers":{"type":"object","additionalProperties":{"anyOf":[{"type":"string"},{"type":"object","additionalProperties":false,"required":["secret"],"properties":{"secret":{"type":"string","description":"name of the secret"},"prefix":{"type":"string","default":"","description":"text before the value"}}}]},"default":{},"title":"Secret headers","description":"request headers whose value the engine fills in from a secret: the secret's name, or secret and prefix"},
"body":{"type":"string","title":"Body","description":"request body as it is"},
"json_body":{"title":"JSON body","description":"request body as JSON; variables stand in its texts"},
"form":{"type":"object","additionalProperties":{"type":"string"},"title":"Form","description":"request body as a form"},
"expect_status":{"type":"array","items":{"anyOf":[{"type":"integer","minimum":100,"maximum":999},{"type":"string","pattern":"^([1-9][0-9]{2}-[1-9][0-9]{2}|[1-9]xx|[1-9][0-9]{2})$"}]},"minItems":1,"default":["200-399"],"title":"Expected status","description":"status codes that are right: codes, ranges as \"200-299\" or classes as \"2xx\""},
"body_regex":{"type":"string","format":"regex","title":"Body must match","description":"pattern that the body must match"},
"body_not_regex":{"type":"string","format":"regex","title":"Body must not match","description":"pattern that the body must not match"},
"json":{"type":"array","default":[],"title":"JSON expectations","description":"what the body, read as JSON, must hold","items":"##,
    bellwether_plugin::assertion_schema!(),
    r##"},
"extract":{"type":"object","default":{},"title":"Extract","description":"variables for later steps, each from one of json (JSON Pointer), regex (first group) or header","additionalProperties":{"type":"object","additionalProperties":false,"minProperties":1,"maxProperties":1,"properties":{"json":{"type":"string","description":"JSON Pointer into the body"},"regex":{"type":"string","format":"regex","description":"pattern on the body: its first group, or all of it"},"header":{"type":"string","description":"name of a header"}}}},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"slower is a warning, in milliseconds"},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"slower is critical, in milliseconds"},
"max_redirects":{"type":"integer","minimum":0,"maximum":20,"default":10,"title":"Redirects","description":"redirects to follow; 0 judges the redirect itself"}}}},
"variables":{"type":"object","additionalProperties":{"type":"string"},"default":{},"title":"Variables","description":"values that every step may use as ${name}","examples":[{"user":"probe"}]},
"cookies":{"type":"boolean","default":true,"title":"Cookies","description":"keep cookies from step to step"},
"verify_tls":{"type":"boolean","default":true,"title":"Verify certificates","description":"false accepts any certificate"},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"all steps together slower than this are a warning, in milliseconds","examples":[2000]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"all steps together slower than this are critical, in milliseconds","examples":[10000]}
}}"##
);
