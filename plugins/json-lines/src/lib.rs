//! Log lines that are JSON objects.
//!
//! A line is walked once; values stay the slices of the batch that they are.
//! Only strings with escapes are decoded into new text.

mod walk;

#[cfg(test)]
mod tests;

use bellwether_plugin::{Batch, LogParser, Manifest, ParseError, Records, export_log_parser};
use serde::Deserialize;

/// Configuration of one source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys that hold the time; the first readable one counts.
    #[serde(default = "time_keys")]
    pub time_keys: Vec<String>,
    /// Keys that hold the level.
    #[serde(default = "level_keys")]
    pub level_keys: Vec<String>,
    /// Keys that hold the message.
    #[serde(default = "message_keys")]
    pub message_keys: Vec<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn time_keys() -> Vec<String> {
    words(&["time", "ts", "timestamp", "@timestamp"])
}

fn level_keys() -> Vec<String> {
    words(&["level", "severity"])
}

fn message_keys() -> Vec<String> {
    words(&["msg", "message"])
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"time_keys":{"type":"array","items":{"type":"string"},"default":["time","ts","timestamp","@timestamp"],"description":"keys that hold the time: RFC 3339, or seconds, milliseconds, microseconds or nanoseconds since 1970"},
"level_keys":{"type":"array","items":{"type":"string"},"default":["level","severity"],"description":"keys that hold the level, as a word or a number"},
"message_keys":{"type":"array","items":{"type":"string"},"default":["msg","message"],"description":"keys that hold the message"}
}}"##;

/// The parser.
pub struct JsonLines {
    config: Config,
    scratch: walk::Scratch,
}

impl LogParser for JsonLines {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "json-lines",
            env!("CARGO_PKG_VERSION"),
            "log lines that are JSON objects",
            SCHEMA,
        )
    }

    fn configure(config: Config) -> Result<Self, ParseError> {
        Ok(JsonLines {
            config,
            scratch: walk::Scratch::default(),
        })
    }

    fn parse(&mut self, batch: &Batch, records: &mut Records<'_>) -> Result<(), ParseError> {
        for (number, line) in batch.lines() {
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let mut entry = records.entry(number);
            match walk::object(text, &self.config, &mut self.scratch, &mut entry) {
                Some(()) => entry.add(),
                None => records.unparsed(number),
            }
        }
        Ok(())
    }
}

export_log_parser!(JsonLines);
