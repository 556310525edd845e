//! A log parser for lines like
//!
//! ```text
//! 2026-03-01T12:00:00Z ERROR payment failed order=17 shop=north
//! ```
//!
//! time, level, message, and `key=value` words at the end. A line without time
//! and level is reported as unparsed; the engine keeps it as plain text.

use bellwether_plugin::time::parse_rfc3339;
use bellwether_plugin::{
    Batch, Level, LogParser, Manifest, ParseError, Records, export_log_parser,
};
use serde::Deserialize;

/// No settings. A misspelt key is then an error instead of silence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

const SCHEMA: &str = r#"{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "properties": {}}"#;

struct AppLog;

impl LogParser for AppLog {
    type Config = Config;

    fn describe() -> Manifest {
        let version = env!("CARGO_PKG_VERSION");
        Manifest::new(
            "app-log-rust",
            version,
            "time, level, message, key=value",
            SCHEMA,
        )
    }

    fn configure(_: Config) -> Result<Self, ParseError> {
        Ok(AppLog)
    }

    fn parse(&mut self, batch: &Batch, records: &mut Records<'_>) -> Result<(), ParseError> {
        for (number, line) in batch.lines() {
            if !line.is_empty() && record(line, number, records).is_none() {
                records.unparsed(number);
            }
        }
        Ok(())
    }
}

/// `None` where the line does not begin with a time and a level.
fn record(line: &str, number: u32, records: &mut Records<'_>) -> Option<()> {
    let (time, rest) = line.split_once(' ')?;
    let time = parse_rfc3339(time)?;
    let (level, mut message) = rest.split_once(' ')?;
    let level = level_of(level)?;

    let mut entry = records.entry(number);
    entry.time(time).level(level);
    // Words are taken from the end for as long as they are key=value. Slices of
    // the line travel as offsets: nothing is copied.
    let mut fields = Vec::new();
    while let Some((before, word)) = message.rsplit_once(' ') {
        let Some((key, value)) = word.split_once('=') else {
            break;
        };
        fields.push((key, value));
        message = before;
    }
    entry.message(message);
    for (key, value) in fields.into_iter().rev() {
        entry.field(key, value);
    }
    entry.add();
    Some(())
}

fn level_of(word: &str) -> Option<Level> {
    Some(match word {
        "TRACE" => Level::Trace,
        "DEBUG" => Level::Debug,
        "INFO" => Level::Info,
        "NOTICE" => Level::Notice,
        "WARN" | "WARNING" => Level::Warning,
        "ERROR" => Level::Error,
        "FATAL" | "CRITICAL" => Level::Critical,
        _ => return None,
    })
}

export_log_parser!(AppLog);
