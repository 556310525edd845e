//! What an operator writes.

use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// How the connection is encrypted; not at all where absent.
        pub tls: Option<Tls>,
        /// User to log in as.
        pub user: Option<String>,
        /// Secret that is the user's password.
        pub password_secret: Option<String>,
        /// True: prove the password without TLS to other machines, too.
        pub allow_plaintext: Option<bool>,
        /// True: the login must succeed.
        pub require_session: Option<bool>,
        /// Text that the version must start with.
        pub expect_version: Option<String>,
        /// More client connections are a warning.
        pub threads_warn: Option<f64>,
        /// More client connections are critical.
        pub threads_critical: Option<f64>,
        /// A greater share of max_connections is a warning, in percent.
        pub connections_warn_percent: Option<f64>,
        /// A greater share of max_connections is critical, in percent.
        pub connections_critical_percent: Option<f64>,
        /// True: the server must replicate from another.
        pub replica: Option<bool>,
        /// A replica that is further behind is a warning, in seconds.
        pub lag_warn_s: Option<f64>,
        /// A replica that is further behind is critical, in seconds.
        pub lag_critical_s: Option<f64>,
        /// A query whose first column is a number.
        pub query: Option<String>,
        /// A greater value is a warning.
        pub warn_above: Option<f64>,
        /// A greater value is critical.
        pub critical_above: Option<f64>,
        /// A smaller value is a warning.
        pub warn_below: Option<f64>,
        /// A smaller value is critical.
        pub critical_below: Option<f64>,
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
            || self.needs_percent()
            || self.needs_replica()
            || self.query.is_some()
    }

    /// True where a share of max_connections is judged.
    pub fn needs_percent(&self) -> bool {
        self.connections_warn_percent.is_some() || self.connections_critical_percent.is_some()
    }

    /// True where replication is judged.
    pub fn needs_replica(&self) -> bool {
        self.replica == Some(true) || self.lag_warn_s.is_some() || self.lag_critical_s.is_some()
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""default":3306"##,
    required: "[]",
    own: concat!(r##"
"tls":{"type":"string","enum":["none","require"],"default":"none","title":"Encryption","description":"none; require: TLS must be offered and work"},
"user":{"type":"string","default":"bellwether","title":"User","description":"user to log in as; it needs no rights and, without a password, need not exist"},
"##, bellwether_plugin::login_schema!(), r##",
"require_session":{"type":"boolean","default":false,"title":"Login must succeed","description":"true: the login must succeed; false: a server that refuses the login is up"},
"expect_version":{"type":"string","title":"Version","description":"text that the version must start with","examples":["10.11."]},
"threads_warn":{"type":"number","title":"Warn above connections","description":"more client connections are a warning; needs a login that succeeds","examples":[120]},
"threads_critical":{"type":"number","title":"Critical above connections","description":"more client connections are critical; needs a login that succeeds","examples":[140]},
"connections_warn_percent":{"type":"number","title":"Warn above connections (%)","description":"a greater share of max_connections is a warning; needs a login that succeeds","examples":[80]},
"connections_critical_percent":{"type":"number","title":"Critical above connections (%)","description":"a greater share of max_connections is critical; needs a login that succeeds","examples":[95]},
"replica":{"type":"boolean","default":false,"title":"Is a replica","description":"true: the server must replicate from another; needs REPLICATION CLIENT (MySQL) or REPLICA MONITOR (MariaDB)"},
"lag_warn_s":{"type":"number","title":"Warn above lag (s)","description":"a replica that is further behind is a warning, in seconds","examples":[30]},
"lag_critical_s":{"type":"number","title":"Critical above lag (s)","description":"a replica that is further behind is critical, in seconds","examples":[300]},
"query":{"type":"string","title":"Query","description":"a query whose first row's first column is a number; runs in a read-only transaction","examples":["SELECT count(*) FROM information_schema.innodb_trx"]},
"warn_above":{"type":"number","title":"Warn above","description":"a greater value of the query is a warning","examples":[80]},
"critical_above":{"type":"number","title":"Critical above","description":"a greater value of the query is critical","examples":[95]},
"warn_below":{"type":"number","title":"Warn below","description":"a smaller value of the query is a warning","examples":[0]},
"critical_below":{"type":"number","title":"Critical below","description":"a smaller value of the query is critical","examples":[0]}"##),
);
