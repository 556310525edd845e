//! What an operator writes.

use std::collections::BTreeMap;

use bellwether_plugin::expect::Assertion;
use bellwether_plugin::http::{SecretValue, StatusSet};
use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to ask, `http` or `https`.
    pub url: String,
    /// HTTP method.
    #[serde(default = "get")]
    pub method: String,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Request headers whose value the engine fills in from a secret.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, SecretValue>,
    /// Request body.
    pub body: Option<String>,
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
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
    /// Fewer days left on the certificate are a warning.
    pub cert_warn_days: Option<f64>,
    /// Fewer days left on the certificate are critical.
    pub cert_critical_days: Option<f64>,
    /// Redirects to follow.
    #[serde(default = "ten")]
    pub max_redirects: u32,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify_tls: bool,
    /// Name for TLS, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Bytes of the body to read.
    #[serde(default = "one_mebibyte")]
    pub max_body: u32,
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

fn yes() -> bool {
    true
}

fn one_mebibyte() -> u32 {
    1 << 20
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = concat!(
    r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["url"],
"properties":{
"url":{"type":"string","format":"uri","x-target":"url","title":"URL","description":"where to ask, http or https","examples":["https://{{ node.address }}/health"]},
"method":{"type":"string","default":"GET","description":"HTTP method","examples":["GET","HEAD","POST"]},
"headers":{"type":"object","additionalProperties":{"type":"string"},"default":{},"description":"request headers","examples":[{"Accept":"application/json"}]},
"secret_headers":{"type":"object","additionalProperties":{"anyOf":[{"type":"string"},{"type":"object","additionalProperties":false,"required":["secret"],"properties":{"secret":{"type":"string","description":"name of the secret"},"prefix":{"type":"string","default":"","description":"text before the value"}}}]},"default":{},"description":"request headers whose value the engine fills in from a secret: the secret's name, or secret and prefix","examples":[{"Authorization":{"secret":"api-token","prefix":"Bearer "}}]},
"body":{"type":"string","description":"request body","examples":["{\"ping\":1}"]},
"expect_status":{"type":"array","items":{"anyOf":[{"type":"integer","minimum":100,"maximum":999},{"type":"string","pattern":"^([1-9][0-9]{2}-[1-9][0-9]{2}|[1-9]xx|[1-9][0-9]{2})$"}]},"minItems":1,"default":["200-399"],"description":"status codes that are right: codes, ranges as \"200-299\" or classes as \"2xx\"","examples":[[200,"300-399"]]},
"body_regex":{"type":"string","format":"regex","description":"pattern that the body must match","examples":["^ok$"]},
"body_not_regex":{"type":"string","format":"regex","description":"pattern that the body must not match","examples":["(?i)stack trace"]},
"json":{"type":"array","default":[],"description":"what the body, read as JSON, must hold","items":"##,
    bellwether_plugin::assertion_schema!(),
    r##","examples":[[{"pointer":"/status","equals":"up"},{"pointer":"/queue/length","lt":100}]]},
"warn_ms":{"type":"number","exclusiveMinimum":0,"description":"slower is a warning, in milliseconds","examples":[500]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"description":"slower is critical, in milliseconds","examples":[2000]},
"cert_warn_days":{"type":"number","description":"fewer days left on the certificate are a warning; 14 unless verify_tls is false","examples":[14]},
"cert_critical_days":{"type":"number","description":"fewer days left on the certificate are critical; 3 unless verify_tls is false","examples":[3]},
"max_redirects":{"type":"integer","minimum":0,"maximum":20,"default":10,"description":"redirects to follow; 0 judges the redirect itself"},
"verify_tls":{"type":"boolean","default":true,"description":"false accepts any certificate"},
"server_name":{"type":"string","description":"name to ask for and to verify in TLS, where it is not the URL's host","examples":["www.example.org"]},
"max_body":{"type":"integer","minimum":0,"default":1048576,"description":"bytes of the body to read"}
}}"##
);
