//! The upgrade from HTTP (RFC 6455, section 4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::text::quoted;
use bellwether_plugin::wire::{ended, unexpected};
use bellwether_plugin::{ProbeError, Request};
use sha1_smol::Sha1;

use crate::config::Config;

/// All headers of the answer, in bytes.
const MAX_HEAD: u32 = 32 * 1024;

/// The parts of a `ws` or `wss` URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// With TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// As the Host header carries it.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Reads a URL.
    pub fn read(url: &str) -> Result<Self, ProbeError> {
        Self::split(url).ok_or_else(|| {
            let text = format!("expected a URL like wss://example.org/path, found \"{url}\"");
            ProbeError::config("/url", text)
        })
    }

    fn split(url: &str) -> Option<Self> {
        let (tls, rest) = match url.split_once("://")? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("ws") => (false, rest),
            (scheme, rest) if scheme.eq_ignore_ascii_case("wss") => (true, rest),
            _ => return None,
        };
        let visible = |c: char| c.is_ascii_graphic();
        let rest = rest.split('#').next()?;
        if !rest.chars().all(visible) {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let usual = if tls { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an address in brackets are its own.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, usual),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.contains('@') || port == 0 {
            return None;
        }
        Some(Target {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }
}

/// Bytes that differ from run to run. A plugin has no randomness, and needs none
/// here: key and mask guard proxies against hostile scripts in a browser.
pub fn nonce(request: &Request) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(request.check.as_bytes());
    hash.update(request.node.name.as_bytes());
    hash.update(&request.now.to_be_bytes());
    hash.update(&request.attempt.to_be_bytes());
    hash.digest().bytes()
}

/// The key of a request.
pub fn key(nonce: &[u8; 20]) -> String {
    STANDARD.encode(&nonce[..16])
}

/// What a server must answer to a key.
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.digest().bytes())
}

/// The request.
pub fn request(config: &Config, target: &Target, key: &str) -> Result<Vec<u8>, ProbeError> {
    let token = |text: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(good)
    };
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n",
        target.path, target.authority
    );
    for (name, value) in &config.headers {
        let at = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        if !token(name) || value.chars().any(|c| c.is_control() || !c.is_ascii()) {
            let text = format!("expected a header of visible ASCII, found {name:?}: {value:?}");
            return Err(ProbeError::config(at, text));
        }
        let own = [
            "host",
            "upgrade",
            "connection",
            "content-length",
            "transfer-encoding",
        ];
        let lower = name.to_ascii_lowercase();
        if own.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
            return Err(ProbeError::config(at, "this header is set by the probe"));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(index) = config.subprotocols.iter().position(|name| !token(name)) {
        return Err(ProbeError::config(
            format!("/subprotocols/{index}"),
            "expected a name of letters, digits and !#$%&'*+-.^_`|~",
        ));
    }
    if !config.subprotocols.is_empty() {
        let names = config.subprotocols.join(", ");
        head.push_str(&format!("Sec-WebSocket-Protocol: {names}\r\n"));
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

/// Reads the answer's head.
pub fn read_head(connection: &dyn Connection) -> Result<Vec<u8>, Error> {
    const EXPECTED: &str = "an HTTP answer";
    match connection.read_until(b"\r\n\r\n", MAX_HEAD) {
        Ok(head) => Ok(head),
        // What came is still there to be read; it says who is talking.
        Err(Error::TooLarge(_) | Error::Closed(_)) => {
            let found = connection.read(256).unwrap_or_default();
            match found.as_slice() {
                [] => Err(ended(EXPECTED)),
                found => Err(unexpected(EXPECTED, found)),
            }
        }
        Err(other) => Err(other),
    }
}

/// Judges the answer's head; returns the chosen subprotocol.
pub fn judge(head: &[u8], key: &str, offered: &[String]) -> Result<Option<String>, Error> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1));
    let Some(code) = code else {
        return Err(unexpected("an HTTP answer", head));
    };
    if code != "101" {
        return Err(unexpected("101 Switching Protocols", status.as_bytes()));
    }
    let headers: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let header = |wanted: &str| {
        let mut found = headers.iter();
        let found = found.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| *value)
    };
    let wrong = |name: &str, expected: &str| {
        let found = quoted(header(name).unwrap_or_default().as_bytes());
        Error::Protocol(format!("expected {name}: {expected}, found {found}"))
    };
    let has = |name: &str, word: &str| {
        let value = header(name).unwrap_or_default();
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has("Upgrade", "websocket") {
        return Err(wrong("Upgrade", "websocket"));
    }
    if !has("Connection", "Upgrade") {
        return Err(wrong("Connection", "Upgrade"));
    }
    let expected = accept(key);
    if header("Sec-WebSocket-Accept") != Some(expected.as_str()) {
        return Err(wrong("Sec-WebSocket-Accept", &expected));
    }
    let chosen = header("Sec-WebSocket-Protocol");
    match chosen {
        None if offered.is_empty() => Ok(None),
        Some(name) if offered.iter().any(|one| one == name) => Ok(Some(name.to_owned())),
        _ => {
            let expected = if offered.is_empty() {
                "none".to_owned()
            } else {
                format!("one of {}", offered.join(", "))
            };
            Err(wrong("Sec-WebSocket-Protocol", &expected))
        }
    }
}
