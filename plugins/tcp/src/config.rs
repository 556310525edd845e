//! What an operator writes.

use serde::Deserialize;

/// Configuration of one check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name or address; the node's address where absent.
    pub host: Option<String>,
    /// Port.
    pub port: u16,
    /// Speak TLS from the start.
    #[serde(default)]
    pub tls: bool,
    /// Name for TLS, where it is not the host.
    pub server_name: Option<String>,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify: bool,
    /// What to say first; backslash escapes are decoded.
    pub send: Option<String>,
    /// Text that must come; backslash escapes are decoded.
    pub expect: Option<String>,
    /// Pattern that what comes must match.
    pub expect_regex: Option<String>,
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
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["port"],
"properties":{
"host":{"type":"string","x-target":"host","description":"name or address to connect to; absent: the node's address","examples":["mail.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"description":"port to connect to","examples":[25]},
"tls":{"type":"boolean","default":false,"description":"speak TLS from the start"},
"server_name":{"type":"string","description":"name to ask for and to verify in TLS, where it is not the host","examples":["mail.example.org"]},
"verify":{"type":"boolean","default":true,"description":"false accepts any certificate"},
"send":{"type":"string","description":"what to say first; \\r \\n \\t \\0 \\\\ and \\xHH are decoded","examples":["EHLO bellwether\\r\\n"]},
"expect":{"type":"string","description":"text that must come; the same escapes","examples":["220 "]},
"expect_regex":{"type":"string","format":"regex","description":"pattern that what comes must match","examples":["^220[ -]"]},
"warn_ms":{"type":"number","exclusiveMinimum":0,"description":"slower is a warning, in milliseconds","examples":[200]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"description":"slower is critical, in milliseconds","examples":[1000]},
"cert_warn_days":{"type":"number","description":"fewer days left on the certificate are a warning; 14 unless verify is false","examples":[14]},
"cert_critical_days":{"type":"number","description":"fewer days left on the certificate are critical; 3 unless verify is false","examples":[3]}
}}"##;

/// Decodes backslash escapes. The error says which one it does not know.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err("expected two hexadecimal digits behind \\x".to_owned()),
                }
            }
            _ => return Err("expected one of \\r \\n \\t \\0 \\\\ \\xHH".to_owned()),
        });
    }
    Ok(out)
}
