//! A received mail and what is in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A mail as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    /// Dots unstuffed, CRLF line ends.
    pub raw: String,
    pub tls: bool,
    /// User that was logged in.
    pub user: Option<String>,
    /// Counts connections from 1.
    pub connection: usize,
}

impl Received {
    /// The unfolded header, encoded words decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.raw, name)
    }

    /// Content type and decoded text of each part.
    pub fn parts(&self) -> Vec<(String, String)> {
        let kind = self.header("Content-Type").unwrap_or_default();
        let boundary = kind
            .split("boundary=\"")
            .nth(1)
            .and_then(|b| b.split('"').next());
        let Some(boundary) = boundary else {
            return vec![part(&self.raw)];
        };
        let marker = format!("--{boundary}");
        let body = self.raw.split_once("\r\n\r\n").map_or("", |b| b.1);
        body.split(&marker)
            .skip(1)
            .take_while(|p| !p.starts_with("--"))
            .map(|p| part(p.trim_start_matches("\r\n")))
            .collect()
    }

    /// The text of the part with that content type.
    pub fn part(&self, kind: &str) -> String {
        self.parts()
            .into_iter()
            .find(|(k, _)| k.starts_with(kind))
            .map(|p| p.1)
            .unwrap_or_default()
    }
}

fn header(raw: &str, name: &str) -> Option<String> {
    let head = raw
        .split("\r\n\r\n")
        .next()?
        .replace("\r\n ", " ")
        .replace("\r\n\t", " ");
    let value = head.split("\r\n").find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })?;
    Some(decode_words(&value))
}

/// RFC 2047 words in UTF-8.
fn decode_words(text: &str) -> String {
    let (mut out, mut rest, mut after_word) = (String::new(), text, false);
    while let Some(start) = rest.find("=?utf-8?") {
        let between = &rest[..start];
        if !(after_word && between.trim().is_empty()) {
            out.push_str(between);
        }
        let word = &rest[start + 8..];
        let Some(end) = word[2..].find("?=") else {
            break;
        };
        let coded = &word[2..2 + end];
        let bytes = match word.as_bytes()[0] {
            b'b' | b'B' => BASE64.decode(coded).unwrap_or_default(),
            _ => quoted_printable(&coded.replace('_', " ")),
        };
        out.push_str(&String::from_utf8_lossy(&bytes));
        rest = &word[2 + end + 2..];
        after_word = true;
    }
    out + rest
}

fn part(raw: &str) -> (String, String) {
    let kind = header(raw, "Content-Type").unwrap_or_default();
    let coding = header(raw, "Content-Transfer-Encoding").unwrap_or_default();
    let body = raw.split_once("\r\n\r\n").map_or("", |b| b.1);
    let bytes = match coding.as_str() {
        "base64" => BASE64.decode(body.replace("\r\n", "")).unwrap_or_default(),
        "quoted-printable" => quoted_printable(&body.replace("=\r\n", "")),
        _ => body.as_bytes().to_vec(),
    };
    (kind, String::from_utf8_lossy(&bytes).into_owned())
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut i) = (text.as_bytes(), Vec::new(), 0);
    while i < bytes.len() {
        let hex = text
            .get(i + 1..i + 3)
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[i], hex) {
            (b'=', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    out
}
