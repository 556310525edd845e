//! Configuration values that plugins speaking HTTP share.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::net::{HttpRequest, SecretHeader};

/// Status codes that are right, from a list of codes, ranges (`"200-299"`) and
/// classes (`"2xx"`).
#[derive(Debug, Clone, PartialEq)]
pub struct StatusSet {
    ranges: Vec<(u16, u16)>,
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Code(u16),
    Text(String),
}

impl StatusSet {
    /// One range, both ends included.
    pub fn range(first: u16, last: u16) -> Self {
        StatusSet {
            ranges: vec![(first, last)],
            text: format!("{first}-{last}"),
        }
    }

    /// True where the code is right.
    pub fn contains(&self, code: u16) -> bool {
        self.ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&code))
    }

    /// As the operator wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        const EXPECTED: &str =
            "expected a code like 200, a range like \"200-299\" or a class like \"2xx\"";
        let items = Vec::<Item>::deserialize(reader)
            .map_err(|_| D::Error::custom(format!("{EXPECTED} in a list, found something else")))?;
        let mut ranges = Vec::new();
        let mut words = Vec::new();
        for item in items {
            let word = match item {
                Item::Code(code) => code.to_string(),
                Item::Text(text) => text.trim().to_owned(),
            };
            ranges.push(
                read(&word)
                    .ok_or_else(|| D::Error::custom(format!("{EXPECTED}, found \"{word}\"")))?,
            );
            words.push(word);
        }
        if ranges.is_empty() {
            return Err(D::Error::custom(
                "expected at least one status code, found none",
            ));
        }
        Ok(StatusSet {
            ranges,
            text: words.join(", "),
        })
    }
}

fn read(word: &str) -> Option<(u16, u16)> {
    if let Some(class) = word.strip_suffix("xx").or_else(|| word.strip_suffix("XX")) {
        let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && (100..=999).contains(&first) && last <= 999).then_some((first, last))
}

/// A secret's name, with what goes before its value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum SecretValue {
    /// The value as it is.
    Name(String),
    /// `prefix` and then the value, as in `Bearer …`.
    Prefixed {
        /// Name of the secret.
        secret: String,
        /// Text before the value.
        #[serde(default)]
        prefix: String,
    },
}

/// Sets headers by value and by secret, as configured.
pub fn set_headers(
    request: &mut HttpRequest,
    headers: &BTreeMap<String, String>,
    secret_headers: &BTreeMap<String, SecretValue>,
) {
    for (name, value) in headers {
        request.headers.push(crate::net::Header {
            name: name.clone(),
            value: value.clone(),
        });
    }
    for (name, value) in secret_headers {
        let (secret, prefix) = match value {
            SecretValue::Name(secret) => (secret, ""),
            SecretValue::Prefixed { secret, prefix } => (secret, prefix.as_str()),
        };
        request.secret_headers.push(SecretHeader {
            name: name.clone(),
            prefix: prefix.to_owned(),
            secret: secret.clone(),
        });
    }
}

/// At most `max` characters, with a sign that more were there.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn status_sets_hold_what_was_written() {
        let set: StatusSet = config::parse(r#"[200, "3xx", "404-410"]"#).unwrap();
        for (code, right) in [
            (200, true),
            (201, false),
            (300, true),
            (399, true),
            (403, false),
            (410, true),
        ] {
            assert_eq!(set.contains(code), right, "{code}");
        }
        assert_eq!(set.text(), "200, 3xx, 404-410");
        for wrong in [
            r#"[]"#,
            r#"["ok"]"#,
            r#"["300-200"]"#,
            r#"[20]"#,
            r#"[true]"#,
            r#""200""#,
        ] {
            assert!(config::parse::<StatusSet>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shorten("äöü", 2), "äö…");
        assert_eq!(shorten("äöü", 3), "äöü");
    }
}
