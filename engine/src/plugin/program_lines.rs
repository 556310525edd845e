//! Command plugins as log parsers: lines on standard input, a JSON record for
//! each on standard output.
//!
//! One run for a batch. The n-th line out speaks for the n-th line in: a JSON
//! object is its record, an empty line drops it, and a line that is anything
//! else, or is missing, keeps it as a plain record.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime};
use serde_json::{Map, Value};
use wasmtime::Engine;

use super::catalogue::LoadedProgram;
use super::host::Shared;
use super::log::clip;
use super::parser::{MAX_FIELD_NAME, MAX_FIELDS};
use super::program::{self, Finished};
use super::run::{End, new_store, phase_name};
use super::wasi::Kept;
use crate::check::outcome::{Fault, FaultKind, LogLevel, LogRecord, RunLimits};
use crate::clock::Timestamp;
use crate::log::{LineBatch, Parsed, ParsedRecord};

/// Bytes of standard output kept: records may be longer than their lines.
const MAX_STDOUT: usize = 4 << 20;
/// Objects nested deeper than this stay JSON text.
const MAX_DEPTH: usize = 8;

/// The parser of one source.
pub(super) struct ProgramLines {
    pub loaded: Arc<LoadedProgram>,
    pub engine: Engine,
    pub shared: Arc<Shared>,
    pub config: Arc<str>,
    pub limits: RunLimits,
}

impl ProgramLines {
    /// Runs the program over a batch.
    pub async fn parse(&self, batch: &LineBatch) -> Result<Parsed, Fault> {
        let mut given = program::given(&self.loaded, &self.config, MAX_STDOUT)?;
        given.stdin = Bytes::from(format!("{}\n", batch.text));
        let setup = program::setup(&self.limits, Arc::default());
        let store = new_store(&self.engine, &self.shared, setup);
        let Finished {
            result,
            stdout,
            mut data,
            busy,
        } = self.loaded.program.run(store, given).await;
        let parsed = match result {
            Ok(0) => Ok(convert(&stdout, batch.len(), batch.received)),
            Ok(code) => Err(Fault::new(
                FaultKind::Failed,
                format!("the program ended with exit code {code}, expected 0"),
            )),
            Err(End::Fault(fault)) => Err(fault),
            Err(End::Target(phase)) => Err(Fault::new(
                FaultKind::Deadline,
                format!("timed out in {}", phase_name(phase)),
            )),
        };
        let fault = parsed.as_ref().err().map(|fault| fault.kind);
        self.loaded.cost.add(busy, &mut data, fault);
        parsed
    }
}

pub(super) fn convert(stdout: &Kept, lines: usize, received: Timestamp) -> Parsed {
    let mut bytes = stdout.bytes.as_slice();
    if stdout.dropped > 0 {
        // The last line is not whole.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        bytes = bytes.get(..end).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(bytes);
    let mut answers = text.lines();
    let mut parsed = Parsed::default();
    for line in 0..u32::try_from(lines).unwrap_or(u32::MAX) {
        match answers.next().map(str::trim) {
            Some("") => {}
            Some(answer) => match record(answer, received) {
                Some(record) => parsed.records.push(ParsedRecord { line, record }),
                None => parsed.unparsed.push(line),
            },
            None => parsed.unparsed.push(line),
        }
    }
    parsed
}

/// A record of one line of output; absent where it is no JSON object.
fn record(text: &str, received: Timestamp) -> Option<LogRecord> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let mut found = Found::default();
    for (key, value) in object {
        found.take(key, value);
    }
    Some(LogRecord {
        time: found.time.unwrap_or(received),
        received,
        level: found.level.unwrap_or_default(),
        message: found.message.unwrap_or_else(|| text.to_owned()),
        fields: found.fields,
    })
}

/// The parts of a record, as the plugin json-lines reads them.
#[derive(Default)]
struct Found {
    time: Option<Timestamp>,
    level: Option<LogLevel>,
    message: Option<String>,
    fields: Vec<(Arc<str>, String)>,
}

impl Found {
    fn take(&mut self, key: String, value: Value) {
        let text = match &value {
            Value::Null => return,
            Value::Object(_) => return self.field(key, value, 0),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match key.as_str() {
            "msg" | "message" if self.message.is_none() => self.message = Some(text),
            "level" | "severity" if self.level.is_none() && level(&text).is_some() => {
                self.level = level(&text);
            }
            "time" | "ts" | "timestamp" | "@timestamp"
                if self.time.is_none() && time(&text).is_some() =>
            {
                self.time = time(&text);
            }
            _ => self.field(key, value, 0),
        }
    }

    fn field(&mut self, mut key: String, value: Value, depth: usize) {
        if self.fields.len() >= MAX_FIELDS {
            return;
        }
        // Before it is repeated in front of every name below it.
        key.truncate(clip(&key, MAX_FIELD_NAME).len());
        match value {
            Value::Null => {}
            Value::Object(map) if depth < MAX_DEPTH => {
                for (inner, value) in map {
                    self.field(format!("{key}.{inner}"), value, depth + 1);
                }
            }
            Value::String(text) => self.fields.push((key.into(), text)),
            other => self.fields.push((key.into(), other.to_string())),
        }
    }
}

/// The level that a word, a syslog severity or a number of pino names.
fn level(text: &str) -> Option<LogLevel> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "trace" | "10" => LogLevel::Trace,
        "debug" | "dbg" | "verbose" | "7" | "20" => LogLevel::Debug,
        "info" | "information" | "informational" | "6" | "30" => LogLevel::Info,
        "notice" | "5" => LogLevel::Notice,
        "warning" | "warn" | "4" | "40" => LogLevel::Warning,
        "error" | "err" | "severe" | "3" | "50" => LogLevel::Error,
        "critical" | "crit" | "fatal" | "alert" | "emerg" | "emergency" | "panic" | "0" | "1"
        | "2" | "60" => LogLevel::Critical,
        _ => return None,
    })
}

/// RFC 3339 (without an offset: UTC), or seconds, milliseconds, microseconds or
/// nanoseconds since 1970, told apart by their size.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(number) = text.parse::<f64>() {
        let micros = match number {
            number if (1e9..1e11).contains(&number) => number * 1e6,
            number if (1e11..1e14).contains(&number) => number * 1e3,
            number if (1e14..1e17).contains(&number) => number,
            number if (1e17..9e18).contains(&number) => number / 1e3,
            _ => return None,
        };
        return Some(Timestamp(micros.round() as i64));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(Timestamp(time.timestamp_micros()));
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some(Timestamp(naive.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(5);

    fn parsed(text: &str, dropped: u64, lines: usize) -> Parsed {
        let kept = Kept {
            bytes: text.into(),
            dropped,
        };
        convert(&kept, lines, NOW)
    }

    #[test]
    fn each_line_out_speaks_for_one_line_in() {
        let found = parsed("{\"msg\":\"a\"}\n\nnothing\n{\"msg\":\"b\"}\n[1]\n", 0, 7);
        let records: Vec<(u32, &str)> = found
            .records
            .iter()
            .map(|r| (r.line, r.record.message.as_str()))
            .collect();
        assert_eq!(records, [(0, "a"), (3, "b")]);
        assert_eq!(found.unparsed, [2, 4, 5, 6]);
        // More lines than went in speak for none.
        assert_eq!(parsed("{}\n{}\n{}\n", 0, 1).records.len(), 1);
        // A line that was cut is none.
        let cut = parsed("{\"msg\":\"a\"}\n{\"n\":1}", 3, 2);
        assert_eq!((cut.records.len(), cut.unparsed), (1, vec![1]));
        assert_eq!(parsed("{\"n\":1}", 3, 1).unparsed, [0]);
    }

    #[test]
    fn records_are_those_of_json_lines() {
        let one = record(
            r#"{"ts":1767323045.5,"level":"warn","msg":"m","a":{"b":1,"c":null},"list":[1,2],"ok":true,"severity":"odd","time":"later"}"#,
            NOW,
        )
        .unwrap();
        assert_eq!(one.time, Timestamp(1_767_323_045_500_000));
        assert_eq!((one.level, one.message.as_str()), (LogLevel::Warning, "m"));
        let fields: Vec<(&str, &str)> =
            one.fields.iter().map(|(k, v)| (&**k, v.as_str())).collect();
        assert_eq!(
            fields,
            [
                ("a.b", "1"),
                ("list", "[1,2]"),
                ("ok", "true"),
                ("severity", "odd"),
                ("time", "later")
            ]
        );
        let bare = record(r#"{"a":1}"#, NOW).unwrap();
        assert_eq!((bare.time, bare.message.as_str()), (NOW, r#"{"a":1}"#));
        assert_eq!(record("12", NOW), None);
    }

    #[test]
    fn names_are_cut_before_they_are_repeated() {
        let long = "ä".repeat(MAX_FIELD_NAME);
        let text = format!(r#"{{"{long}":{{"a":1,"b":{{"c":2}}}}}}"#);
        let one = record(&text, NOW).unwrap();
        let cut = "ä".repeat(MAX_FIELD_NAME / 2);
        let names: Vec<&str> = one.fields.iter().map(|(key, _)| &**key).collect();
        assert_eq!(names, [cut.as_str(), cut.as_str()]);
    }

    #[test]
    fn times() {
        let at = Some(Timestamp(1_767_323_045_000_000));
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T04:04:05+01:00",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05",
            "1767323045",
            "1767323045000",
            "1767323045000000",
            "1767323045000000000",
        ] {
            assert_eq!(time(text), at, "{text}");
        }
        for text in ["", "42", "noon", "nan", "1e300", "2026-13-01T00:00:00Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_output_panics(text in "\\PC{0,200}", dropped in 0u64..2, lines in 0usize..5) {
            let found = parsed(&text, dropped, lines);
            prop_assert!(found.records.len() + found.unparsed.len() <= lines);
        }
    }
}
