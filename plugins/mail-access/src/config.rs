//! What an operator writes.

use bellwether_plugin::greeting::Encryption;
use serde::Deserialize;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// What the server speaks.
        pub protocol: Protocol,
        /// How the connection is encrypted; not at all where absent.
        pub tls: Option<Encryption>,
        /// User to log in as.
        pub user: Option<String>,
        /// Secret that is the password.
        pub password_secret: Option<String>,
        /// True: send the password without TLS to other machines, too.
        pub allow_plaintext: Option<bool>,
        /// Text that the greeting must hold.
        pub expect_banner: Option<String>,
        /// Capabilities that must be offered.
        pub require: Option<Vec<String>>,
    }
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9051 and RFC 3501.
    Imap,
    /// RFC 1939.
    Pop3,
}

impl Config {
    /// The port that such servers usually listen on.
    pub fn usual_port(&self) -> u16 {
        let implicit = self.tls == Some(Encryption::Implicit);
        match (self.protocol, implicit) {
            (Protocol::Imap, false) => 143,
            (Protocol::Imap, true) => 993,
            (Protocol::Pop3, false) => 110,
            (Protocol::Pop3, true) => 995,
        }
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""examples":[143]"##,
    required: r##"["protocol"]"##,
    own: concat!(r##"
"user":{"type":"string","title":"User","description":"user to log in as; with password_secret","examples":["monitoring"]},
"##, bellwether_plugin::login_schema!(), r##",
"protocol":{"type":"string","enum":["imap","pop3"],"title":"Protocol","description":"what the server speaks; the usual ports are 143 and 110, with TLS from the start 993 and 995","examples":["imap"]},
"tls":{"type":"string","enum":["none","starttls","implicit"],"default":"none","title":"Encryption","description":"none; starttls: must be offered and work; implicit: TLS from the start"},
"expect_banner":{"type":"string","title":"Banner","description":"text that the greeting must hold, in any case","examples":["Dovecot"]},
"require":{"type":"array","items":{"type":"string"},"default":[],"title":"Required capabilities","description":"capabilities that the server must offer (after TLS where it is used)","examples":[["IDLE"]]}"##),
);
