//! What an operator writes.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to connect, `ws` or `wss`.
    pub url: String,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Protocols to offer, of which the server must choose one.
    #[serde(default)]
    pub subprotocols: Vec<String>,
    /// Text message to send.
    pub send: Option<String>,
    /// Text that a message must hold.
    pub expect: Option<String>,
    /// True waits for the answer to a ping where nothing is expected.
    #[serde(default = "yes")]
    pub ping: bool,
    /// Name for TLS, where it is not the URL's host.
    pub server_name: Option<String>,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
    /// Fewer days left on the certificate are a warning.
    pub cert_warn_days: Option<f64>,
    /// Fewer days left on the certificate are critical.
    pub cert_critical_days: Option<f64>,
}

fn yes() -> bool {
    true
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["url"],
"properties":{
"url":{"type":"string","pattern":"^wss?://","x-target":"url","title":"URL","description":"where to connect, ws or wss","examples":["wss://{{ node.address }}/events"]},
"headers":{"type":"object","additionalProperties":{"type":"string"},"default":{},"title":"Headers","description":"request headers","examples":[{"Origin":"https://www.example.org"}]},
"subprotocols":{"type":"array","items":{"type":"string"},"default":[],"title":"Subprotocols","description":"protocols to offer, of which the server must choose one","examples":[["graphql-transport-ws"]]},
"send":{"type":"string","title":"Send","description":"text message to send","examples":["{\"type\":\"connection_init\"}"]},
"expect":{"type":"string","title":"Expect","description":"text that one of the server's messages must hold","examples":["connection_ack"]},
"ping":{"type":"boolean","default":true,"title":"Ping","description":"wait for the answer to a ping, where no message is expected"},
"server_name":{"type":"string","title":"TLS name","description":"name to ask for and to verify in TLS, where it is not the URL's host","examples":["www.example.org"]},
"verify":{"type":"boolean","default":true,"title":"Verify the certificate","description":"false accepts any certificate"},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"slower is a warning, in milliseconds","examples":[500]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"slower is critical, in milliseconds","examples":[2000]},
"cert_warn_days":{"type":"number","title":"Warn before expiry (days)","description":"fewer days left on the certificate are a warning; 14 unless verify is false","examples":[14]},
"cert_critical_days":{"type":"number","title":"Critical before expiry (days)","description":"fewer days left on the certificate are critical; 3 unless verify is false","examples":[3]}
}}"##;
