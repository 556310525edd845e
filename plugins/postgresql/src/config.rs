//! What an operator writes.

use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// How the connection is encrypted; not at all where absent.
        pub tls: Option<Tls>,
        /// Role to open a session as.
        pub user: Option<String>,
        /// Secret that is the role's password.
        pub password_secret: Option<String>,
        /// True: send the password without TLS to other machines, too.
        pub allow_plaintext: Option<bool>,
        /// Database to open a session in; the user's where absent.
        pub database: Option<String>,
        /// True: a session must be opened.
        pub require_session: Option<bool>,
        /// What the server must be in replication.
        pub role: Option<Role>,
        /// A greater share of max_connections is a warning, in percent.
        pub connections_warn_percent: Option<f64>,
        /// A greater share of max_connections is critical, in percent.
        pub connections_critical_percent: Option<f64>,
        /// A standby that is further behind is a warning, in seconds.
        pub lag_warn_s: Option<f64>,
        /// A standby that is further behind is critical, in seconds.
        pub lag_critical_s: Option<f64>,
        /// Fewer connected standbys of a primary are critical.
        pub min_replicas: Option<f64>,
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
    /// Where the server agrees.
    Prefer,
    /// Or it is critical.
    Require,
}

/// What a server is in replication.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes writes.
    Primary,
    /// In recovery.
    Standby,
}

impl Config {
    /// True where the configuration asks for something that needs a session.
    pub fn needs_session(&self) -> bool {
        self.require_session == Some(true)
            || self.role.is_some()
            || self.query.is_some()
            || self.needs_load()
    }

    /// True where limits of load or replication are set.
    pub fn needs_load(&self) -> bool {
        let limits = [
            self.connections_warn_percent,
            self.connections_critical_percent,
            self.lag_warn_s,
            self.lag_critical_s,
            self.min_replicas,
        ];
        limits.iter().any(Option::is_some)
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""default":5432"##,
    required: "[]",
    own: concat!(r##"
"tls":{"type":"string","enum":["none","prefer","require"],"default":"none","title":"Encryption","description":"none; prefer: where the server agrees; require: or it is critical"},
"user":{"type":"string","default":"bellwether","title":"Role","description":"role to open a session as; it needs no rights, and for all figures those of pg_monitor"},
"##, bellwether_plugin::login_schema!(), r##",
"database":{"type":"string","title":"Database","description":"database to open a session in; absent: the one named like the role","examples":["postgres"]},
"require_session":{"type":"boolean","default":false,"title":"Session must open","description":"true: a session must be opened; false: a server that asks for a login is up"},
"role":{"type":"string","enum":["primary","standby"],"title":"Replication role","description":"what the server must be; needs a session and PostgreSQL 14","examples":["primary"]},
"connections_warn_percent":{"type":"number","title":"Warn above connections (%)","description":"a greater share of max_connections is a warning; needs a session","examples":[80]},
"connections_critical_percent":{"type":"number","title":"Critical above connections (%)","description":"a greater share of max_connections is critical; needs a session","examples":[95]},
"lag_warn_s":{"type":"number","title":"Warn above lag (s)","description":"a standby whose last replayed transaction is older, while there is more to replay, is a warning; in seconds","examples":[30]},
"lag_critical_s":{"type":"number","title":"Critical above lag (s)","description":"a standby that is further behind is critical, in seconds","examples":[300]},
"min_replicas":{"type":"number","title":"Standbys at least","description":"fewer connected standbys of a primary are critical","examples":[1]},
"query":{"type":"string","title":"Query","description":"a query whose first row's first column is a number; runs in a read-only session","examples":["SELECT count(*) FROM pg_stat_activity"]},
"warn_above":{"type":"number","title":"Warn above","description":"a greater value of the query is a warning","examples":[80]},
"critical_above":{"type":"number","title":"Critical above","description":"a greater value of the query is critical","examples":[95]},
"warn_below":{"type":"number","title":"Warn below","description":"a smaller value of the query is a warning","examples":[0]},
"critical_below":{"type":"number","title":"Critical below","description":"a smaller value of the query is critical","examples":[0]}"##),
);
