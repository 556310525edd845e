//! What an operator writes.

use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// How the connection is encrypted; not at all where absent.
        pub tls: Option<Tls>,
        /// User to log in as, without a password.
        pub user: Option<String>,
        /// True: the login must succeed.
        pub require_session: Option<bool>,
        /// Text that the version must start with.
        pub expect_version: Option<String>,
        /// More client connections are a warning.
        pub threads_warn: Option<f64>,
        /// More client connections are critical.
        pub threads_critical: Option<f64>,
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at all.
    #[default]
    None,
    /// Or it is critical.
    Require,
}

impl Config {
    /// True where the configuration asks for something that needs a session.
    pub fn needs_session(&self) -> bool {
        self.require_session == Some(true)
            || self.threads_warn.is_some()
            || self.threads_critical.is_some()
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""default":3306"##,
    required: "[]",
    own: r##"
"tls":{"type":"string","enum":["none","require"],"default":"none","title":"Encryption","description":"none; require: TLS must be offered and work"},
"user":{"type":"string","default":"bellwether","title":"User","description":"user to log in as, without a password; it needs no rights and need not exist"},
"require_session":{"type":"boolean","default":false,"title":"Login must succeed","description":"true: the login must succeed; false: a server that refuses the login is up"},
"expect_version":{"type":"string","title":"Version","description":"text that the version must start with","examples":["10.11."]},
"threads_warn":{"type":"number","title":"Warn above connections","description":"more client connections are a warning; needs a login that succeeds","examples":[120]},
"threads_critical":{"type":"number","title":"Critical above connections","description":"more client connections are critical; needs a login that succeeds","examples":[140]}"##,
);
