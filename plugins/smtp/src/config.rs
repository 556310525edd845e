//! What an operator writes.

use bellwether_plugin::greeting::Encryption;

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// How the connection is encrypted; not at all where absent.
        pub tls: Option<Encryption>,
        /// User to log in as.
        pub user: Option<String>,
        /// Secret that is the password.
        pub password_secret: Option<String>,
        /// True: send the password without TLS to other machines, too.
        pub allow_plaintext: Option<bool>,
        /// Name to greet with.
        pub helo: Option<String>,
        /// Text that the greeting must hold.
        pub expect_banner: Option<String>,
        /// Extensions that must be offered.
        pub require: Option<Vec<String>>,
        /// Sender of a trial that ends before any data.
        pub mail_from: Option<String>,
        /// Recipient that the server must take.
        pub rcpt_to: Option<String>,
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""examples":[25]"##,
    required: "[]",
    own: concat!(r##"
"user":{"type":"string","title":"User","description":"user to log in as; with password_secret","examples":["monitoring"]},
"##, bellwether_plugin::login_schema!(), r##",
"tls":{"type":"string","enum":["none","starttls","implicit"],"default":"none","title":"Encryption","description":"none; starttls: must be offered and work; implicit: TLS from the start (port 465)"},
"helo":{"type":"string","default":"bellwether.invalid","title":"Greet as","description":"name given in EHLO"},
"expect_banner":{"type":"string","title":"Banner","description":"text that the greeting must hold, in any case","examples":["mail.example.org"]},
"require":{"type":"array","items":{"type":"string"},"default":[],"title":"Required extensions","description":"extensions that the server must offer in its answer to EHLO (after TLS where it is used)","examples":[["SIZE","8BITMIME"]]},
"mail_from":{"type":"string","title":"Trial sender","description":"sender for rcpt_to; empty: the null sender","examples":["probe@example.org"]},
"rcpt_to":{"type":"string","title":"Trial recipient","description":"recipient that the server must take; the trial ends with RSET, no mail is sent","examples":["postmaster@example.org"]}"##),
);
