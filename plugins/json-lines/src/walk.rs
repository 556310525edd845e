//! Walking one JSON object.

use std::borrow::Cow;
use std::fmt;

use bellwether_plugin::{EntryBuilder, log, time};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Config;

/// Objects nested deeper than this stay JSON text.
const MAX_DEPTH: usize = 8;

/// Fields of one record beyond this are dropped.
const MAX_FIELDS: usize = 256;

/// Memory that lives from line to line.
#[derive(Default)]
pub struct Scratch {
    /// The keys above the current one, each with a dot behind it.
    prefix: String,
}

/// Fills the entry from a line; `None` where the line is no JSON object.
pub fn object(
    line: &str,
    config: &Config,
    scratch: &mut Scratch,
    entry: &mut EntryBuilder<'_, '_>,
) -> Option<()> {
    scratch.prefix.clear();
    let mut walk = Walk {
        config,
        scratch,
        entry,
        depth: 0,
        found: Found::default(),
    };
    let mut reader = serde_json::Deserializer::from_str(line);
    (&mut walk).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let Found { message, .. } = walk.found;
    if !message {
        // Without a message the line is what people read and search.
        entry.message(line);
    }
    Some(())
}

/// What a record has only once.
#[derive(Default)]
struct Found {
    time: bool,
    level: bool,
    message: bool,
}

struct Walk<'w, 'r, 'a> {
    config: &'w Config,
    scratch: &'w mut Scratch,
    entry: &'w mut EntryBuilder<'r, 'a>,
    depth: usize,
    found: Found,
}

/// A key: a slice of the line where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(KeyVisitor)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Walk<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            self.value(&key, value.get());
        }
        Ok(())
    }
}

impl Walk<'_, '_, '_> {
    /// One value, as the JSON text that it is.
    fn value(&mut self, key: &str, raw: &str) {
        match raw.as_bytes().first() {
            Some(b'"') => {
                let inner = &raw[1..raw.len() - 1];
                // Decoding fails on half a surrogate pair only: such text stays
                // as it was written.
                match inner
                    .contains('\\')
                    .then(|| serde_json::from_str::<String>(raw))
                {
                    Some(Ok(decoded)) => self.text(key, &decoded),
                    _ => self.text(key, inner),
                }
            }
            Some(b'{') if self.depth < MAX_DEPTH => self.nested(key, raw),
            Some(b'n') => {}
            _ => self.text(key, raw),
        }
    }

    fn nested(&mut self, key: &str, raw: &str) {
        let length = self.scratch.prefix.len();
        self.scratch.prefix.push_str(key);
        self.scratch.prefix.push('.');
        self.depth += 1;
        let mut reader = serde_json::Deserializer::from_str(raw);
        let walked = (&mut *self).deserialize(&mut reader);
        self.depth -= 1;
        self.scratch.prefix.truncate(length);
        if walked.is_err() {
            // The syntax was checked a level up; a key with half a surrogate
            // pair gets here.
            self.field(key, raw);
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        if self.depth == 0 && self.claimed(key, text) {
            return;
        }
        self.field(key, text);
    }

    /// True where the value is the record's time, level or message.
    fn claimed(&mut self, key: &str, text: &str) -> bool {
        let is = |keys: &[String]| keys.iter().any(|name| name == key);
        if !self.found.message && is(&self.config.message_keys) {
            self.entry.message(text);
            self.found.message = true;
            return true;
        }
        if !self.found.level && is(&self.config.level_keys) {
            if let Some(level) = log::parse_level(text) {
                self.entry.level(level);
                self.found.level = true;
                return true;
            }
        } else if !self.found.time
            && is(&self.config.time_keys)
            && let Some(time) = time::parse_rfc3339(text).or_else(|| time::parse_epoch(text))
        {
            self.entry.time(time);
            self.found.time = true;
            return true;
        }
        false
    }

    fn field(&mut self, key: &str, value: &str) {
        if self.entry.field_count() >= MAX_FIELDS {
            return;
        }
        if self.scratch.prefix.is_empty() {
            self.entry.field(key, value);
        } else {
            let length = self.scratch.prefix.len();
            self.scratch.prefix.push_str(key);
            self.entry.field(&self.scratch.prefix, value);
            self.scratch.prefix.truncate(length);
        }
    }
}
