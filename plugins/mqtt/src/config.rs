//! What an operator writes.

use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// Speak TLS from the start.
        pub tls: Option<bool>,
        /// User to log in as.
        pub user: Option<String>,
        /// Secret that is the password.
        pub password_secret: Option<String>,
        /// True: send the password without TLS to other machines, too.
        pub allow_plaintext: Option<bool>,
        /// Version of the protocol; 3.1.1 where absent.
        pub version: Option<Version>,
        /// Client identifier; one of the check and node where absent.
        pub client_id: Option<String>,
        /// Topic to send a message through.
        pub round_trip_topic: Option<String>,
        /// A slower round trip is a warning, in milliseconds.
        pub round_trip_warn_ms: Option<f64>,
        /// A slower round trip is critical, in milliseconds.
        pub round_trip_critical_ms: Option<f64>,
    }
}

/// Version of the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub enum Version {
    /// OASIS, 2014.
    #[default]
    #[serde(rename = "3.1.1")]
    V3,
    /// OASIS, 2019.
    #[serde(rename = "5")]
    V5,
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""examples":[1883]"##,
    required: "[]",
    own: concat!(r##"
"user":{"type":"string","title":"User","description":"user to log in as; with password_secret","examples":["monitoring"]},
"##, bellwether_plugin::login_schema!(), r##",
"tls":{"type":"boolean","default":false,"title":"TLS","description":"speak TLS from the start; the usual port is then 8883"},
"version":{"type":"string","enum":["3.1.1","5"],"default":"3.1.1","title":"Version","description":"version of the protocol"},
"client_id":{"type":"string","maxLength":128,"title":"Client identifier","description":"absent: one of the check and node, of 23 characters","examples":["bellwether-1"]},
"round_trip_topic":{"type":"string","maxLength":1024,"title":"Round trip topic","description":"topic to subscribe to and publish one message to, which must come back; without wildcards","examples":["monitoring/bellwether"]},
"round_trip_warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn above round trip (ms)","description":"a slower round trip is a warning, in milliseconds","examples":[100]},
"round_trip_critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical above round trip (ms)","description":"a slower round trip is critical, in milliseconds","examples":[1000]}"##),
);
