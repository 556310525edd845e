//! What an operator writes.

use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// Speak TLS from the start.
        pub tls: Option<bool>,
        /// ACL user to log in as; the default one where absent.
        pub user: Option<String>,
        /// Secret that is the password.
        pub password_secret: Option<String>,
        /// True: send the password without TLS to other machines, too.
        pub allow_plaintext: Option<bool>,
        /// What the server must be.
        pub role: Option<Role>,
        /// More clients are a warning.
        pub clients_warn: Option<f64>,
        /// More clients are critical.
        pub clients_critical: Option<f64>,
        /// A greater share of maxmemory is a warning, in percent.
        pub memory_warn_percent: Option<f64>,
        /// A greater share of maxmemory is critical, in percent.
        pub memory_critical_percent: Option<f64>,
        /// A replica that heard from its master longer ago is a warning, in seconds.
        pub lag_warn_s: Option<f64>,
        /// A replica that heard from its master longer ago is critical, in seconds.
        pub lag_critical_s: Option<f64>,
        /// Fewer connected replicas of a master are critical.
        pub min_replicas: Option<f64>,
    }
}

/// What a server is in replication.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes writes.
    Master,
    /// Follows a master.
    Replica,
}

impl Config {
    /// True where the configuration asks for something that only INFO tells.
    pub fn needs_info(&self) -> bool {
        let numbers = [
            self.clients_warn,
            self.clients_critical,
            self.memory_warn_percent,
            self.memory_critical_percent,
            self.lag_warn_s,
            self.lag_critical_s,
            self.min_replicas,
        ];
        self.role.is_some() || numbers.iter().any(Option::is_some)
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""default":6379"##,
    required: "[]",
    own: concat!(r##"
"user":{"type":"string","title":"User","description":"ACL user to log in as (Redis 6); absent: the default user","examples":["monitoring"]},
"##, bellwether_plugin::login_schema!(), r##",
"tls":{"type":"boolean","default":false,"title":"TLS","description":"speak TLS from the start"},
"role":{"type":"string","enum":["master","replica"],"title":"Role","description":"what the server must be in replication","examples":["master"]},
"clients_warn":{"type":"number","title":"Warn above clients","description":"more connected clients are a warning","examples":[5000]},
"clients_critical":{"type":"number","title":"Critical above clients","description":"more connected clients are critical","examples":[9000]},
"memory_warn_percent":{"type":"number","title":"Warn above memory (%)","description":"a greater share of maxmemory is a warning; 90 where the server refuses writes when it is full (noeviction), else none","examples":[90]},
"memory_critical_percent":{"type":"number","title":"Critical above memory (%)","description":"a greater share of maxmemory is critical; 97 where the server refuses writes when it is full (noeviction), else none","examples":[97]},
"lag_warn_s":{"type":"number","title":"Warn above lag (s)","description":"a replica that last heard from its master longer ago is a warning, in seconds; 30","examples":[30]},
"lag_critical_s":{"type":"number","title":"Critical above lag (s)","description":"a replica that last heard from its master longer ago is critical, in seconds; 120","examples":[120]},
"min_replicas":{"type":"number","title":"Replicas at least","description":"fewer connected replicas of a master are critical","examples":[1]}"##),
);
