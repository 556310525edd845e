//! What an operator writes.

use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name or address; the node's address where absent.
    pub host: Option<String>,
    /// Port; the protocol's usual one where absent.
    pub port: Option<u16>,
    /// The protocol to ask for TLS in.
    #[serde(default)]
    pub starttls: Starttls,
    /// Name for TLS, where it is not the host.
    pub server_name: Option<String>,
    /// False does not judge whether the certificate is trusted.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Fewer days left are a warning.
    #[serde(default = "fourteen")]
    pub warn_days: f64,
    /// Fewer days left are critical.
    #[serde(default = "seven")]
    pub critical_days: f64,
    /// Names that the certificate must be valid for.
    #[serde(default)]
    pub names: Vec<String>,
    /// Text that the issuer must hold.
    pub issuer: Option<String>,
    /// SHA-256 fingerprints of which the certificate must have one.
    #[serde(default)]
    pub fingerprints: Vec<String>,
}

/// How TLS starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Starttls {
    /// From the start.
    #[default]
    None,
    /// RFC 3207.
    Smtp,
    /// RFC 3501.
    Imap,
    /// RFC 2595.
    Pop3,
    /// RFC 4217.
    Ftp,
    /// PostgreSQL's SSLRequest.
    Postgres,
}

impl Starttls {
    /// The port that such servers usually listen on.
    pub fn port(self) -> u16 {
        match self {
            Starttls::None => 443,
            Starttls::Smtp => 25,
            Starttls::Imap => 143,
            Starttls::Pop3 => 110,
            Starttls::Ftp => 21,
            Starttls::Postgres => 5432,
        }
    }
}

fn yes() -> bool {
    true
}

fn fourteen() -> f64 {
    14.0
}

fn seven() -> f64 {
    7.0
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":[],
"properties":{
"host":{"type":"string","x-target":"host","title":"Host","description":"name or address to connect to; absent: the node's address","examples":["www.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"title":"Port","description":"port to connect to; absent: 443, or that of the STARTTLS protocol","examples":[443]},
"starttls":{"type":"string","enum":["none","smtp","imap","pop3","ftp","postgres"],"default":"none","title":"STARTTLS","description":"protocol in which TLS is asked for; none: TLS from the start"},
"server_name":{"type":"string","title":"TLS name","description":"name to ask for and to verify, where it is not the host","examples":["www.example.org"]},
"verify":{"type":"boolean","default":true,"title":"Must be trusted","description":"false does not judge whether the certificate is trusted and fits the name"},
"warn_days":{"type":"number","default":14,"title":"Warn before expiry (days)","description":"fewer days left are a warning"},
"critical_days":{"type":"number","default":7,"title":"Critical before expiry (days)","description":"fewer days left are critical"},
"names":{"type":"array","items":{"type":"string"},"default":[],"title":"Names","description":"names or addresses that the certificate must be valid for, each; a wildcard in the certificate counts","examples":[["example.org","www.example.org"]]},
"issuer":{"type":"string","title":"Issuer","description":"text that the issuer must hold, in any case","examples":["Let's Encrypt"]},
"fingerprints":{"type":"array","items":{"type":"string","pattern":"^([0-9A-Fa-f]{2}:?){32}$"},"default":[],"title":"Fingerprints","description":"SHA-256 fingerprints of which the certificate must have one, in hexadecimal digits with or without colons","examples":[["0000000000000000000000000000000000000000000000000000000000000000"]]}
}}"##;
