//! What an operator writes.

use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// How the connection is encrypted; not at all where absent.
        pub tls: Option<Tls>,
        /// Role to open a session as.
        pub user: Option<String>,
        /// Database to open a session in; the user's where absent.
        pub database: Option<String>,
        /// True: a session must be opened.
        pub require_session: Option<bool>,
        /// What the server must be in replication.
        pub role: Option<Role>,
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
        self.require_session == Some(true) || self.role.is_some() || self.query.is_some()
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""default":5432"##,
    required: "[]",
    own: r##"
"tls":{"type":"string","enum":["none","prefer","require"],"default":"none","title":"Encryption","description":"none; prefer: where the server agrees; require: or it is critical"},
"user":{"type":"string","default":"bellwether","title":"Role","description":"role to open a session as; it needs no rights and, for a query, a line with trust in pg_hba.conf"},
"database":{"type":"string","title":"Database","description":"database to open a session in; absent: the one named like the role","examples":["postgres"]},
"require_session":{"type":"boolean","default":false,"title":"Session must open","description":"true: a session must be opened; false: a server that asks for a login is up"},
"role":{"type":"string","enum":["primary","standby"],"title":"Replication role","description":"what the server must be; needs a session and PostgreSQL 14","examples":["primary"]},
"query":{"type":"string","title":"Query","description":"a query whose first row's first column is a number; runs in a read-only session","examples":["SELECT count(*) FROM pg_stat_activity"]},
"warn_above":{"type":"number","title":"Warn above","description":"a greater value of the query is a warning","examples":[80]},
"critical_above":{"type":"number","title":"Critical above","description":"a greater value of the query is critical","examples":[95]},
"warn_below":{"type":"number","title":"Warn below","description":"a smaller value of the query is a warning","examples":[0]},
"critical_below":{"type":"number","title":"Critical below","description":"a smaller value of the query is critical","examples":[0]}"##,
);
