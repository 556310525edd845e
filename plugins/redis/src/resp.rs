//! The part of the Redis protocol (RESP2) that PING and INFO need.

use std::collections::BTreeMap;

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, read_line, unexpected};

/// Longest answer that is read, in bytes. INFO takes some kilobytes.
const MAX_BULK: usize = 1 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+PONG`, or the text of a bulk string.
    Text(Vec<u8>),
    /// `-ERR what is wrong`, without the sign.
    Error(String),
}

/// A command without arguments that need escaping.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// Reads an answer that is text or an error.
pub fn read_reply(connection: &dyn Connection, expected: &str) -> Result<Reply, Error> {
    let line = read_line(connection, expected)?;
    match line.split_first() {
        Some((b'+', text)) => Ok(Reply::Text(text.to_vec())),
        Some((b'-', text)) => Ok(Reply::Error(String::from_utf8_lossy(text).into_owned())),
        Some((b'$', length)) => {
            let length = length_of(length).ok_or_else(|| unexpected(expected, &line))?;
            let mut text = read_exact(connection, length + 2, expected)?;
            if !text.ends_with(b"\r\n") {
                return Err(unexpected(expected, &text[length.saturating_sub(80)..]));
            }
            text.truncate(length);
            Ok(Reply::Text(text))
        }
        _ => Err(unexpected(expected, &line)),
    }
}

fn length_of(digits: &[u8]) -> Option<usize> {
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (length <= MAX_BULK).then_some(length)
}

/// The fields of INFO.
#[derive(Debug, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// Reads `key:value` lines; others are comments.
    pub fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let fields = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.trim_end().split_once(':'))
            .take(2_000);
        Info(
            fields
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// A field.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A field that is a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.text(key)?.parse().ok().filter(|n: &f64| n.is_finite())
    }

    /// Offsets of the replicas: `slaveN:ip=…,offset=…,lag=…`.
    pub fn replica_offsets(&self) -> impl Iterator<Item = f64> {
        let replicas = self.0.iter().filter(|(key, _)| {
            let digits = key.strip_prefix("slave").unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        replicas.filter_map(|(_, fields)| {
            let offset = fields
                .split(',')
                .find_map(|field| field.strip_prefix("offset="))?;
            offset.parse().ok()
        })
    }
}
