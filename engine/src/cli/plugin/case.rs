//! A recorded request and what is expected of it, as `tests/*.json` have it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::outcome::{
    Cause, FaultKind, Job, JobSpec, LogLevel, NodeInfo, Outcome, PluginState, RunLimits, SeriesId,
    State, StateEntry,
};
use crate::clock::Timestamp;
use crate::config::InputSpec;
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::GrantsSpec;
use crate::config::units::Span;
use crate::log::{LineBatch, Parsed};
use crate::plugin::replay::{Bytes, Exchange};

/// Metrics closer than this are the same, relative to what is expected.
const PRECISION: f64 = 1e-9;

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    #[serde(default)]
    pub request: Request,
    /// What a log parser is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<String>>,
    /// Calls of the network in order, and what came of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<Exchange>,
    pub expect: Expect,
}

/// What a plugin is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    pub check: String,
    pub node: Node,
    pub config: Map<String, Value>,
    /// What a WASI program is handed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<InputSpec>,
    /// RFC 3339.
    pub now: String,
    pub timeout: Span,
    pub attempt: u32,
    /// What the plugin kept from the run before, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Bytes>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            check: "test".into(),
            node: Node::default(),
            config: Map::new(),
            input: None,
            now: "2026-01-01T00:00:00Z".into(),
            timeout: Span::secs(5),
            attempt: 1,
            kept: BTreeMap::new(),
        }
    }
}

/// The node under check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    pub name: String,
    pub address: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "node".into(),
            address: "192.0.2.10".into(),
            labels: BTreeMap::new(),
        }
    }
}

/// What is expected; only what is named is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_contains: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// All metrics; `null` for a value that differs from run to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<BTreeMap<String, Option<f64>>>,
    /// The kind of a fault: no judgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_contains: Option<String>,
    /// What the plugin keeps for the next run; `null` for what it deletes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<BTreeMap<String, Option<Bytes>>>,
    /// All records of a log parser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Record>>,
    /// Numbers of the lines that stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unparsed: Option<Vec<u32>>,
}

/// A record expected; only what is named is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Number of the line, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

/// A moment of a file.
fn moment(text: &str, path: &str) -> Result<Timestamp, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| Timestamp(time.timestamp_micros()))
        .map_err(|_| {
            format!("{path}: expected a time such as 2026-01-01T00:00:00Z, found {text:?}")
        })
}

impl Case {
    /// When the run is.
    pub fn now(&self) -> Result<Timestamp, String> {
        moment(&self.request.now, "request.now")
    }

    /// The run that is asked for.
    pub fn job(&self, plugin: crate::check::outcome::Digest) -> Result<Job, String> {
        let request = &self.request;
        let mut state = PluginState::default();
        for (key, value) in &request.kept {
            let value = value
                .decode()
                .ok_or_else(|| format!("request.kept.{key}: expected base64"))?;
            state
                .0
                .insert(key.clone(), StateEntry { value, version: 1 });
        }
        let spec = JobSpec {
            series: SeriesId(0),
            check: request.check.clone(),
            node: Arc::new(NodeInfo {
                name: request.node.name.clone(),
                address: request.node.address.clone(),
                labels: request.node.labels.clone(),
            }),
            plugin,
            config: Value::Object(request.config.clone()).to_string().into(),
            input: request.input.clone().map(Arc::new),
            // Nothing leaves the machine: the recording answers.
            grants: Arc::new(GrantsSpec {
                state: true,
                ..GrantsSpec::default()
            }),
            limits: self.limits(),
        };
        Ok(Job {
            spec: Arc::new(spec),
            scheduled: self.now()?,
            attempt: request.attempt,
            cause: Cause::RunNow,
            state: Arc::new(state),
        })
    }

    /// The bounds of the run.
    pub fn limits(&self) -> RunLimits {
        RunLimits {
            memory: DEFAULT_MEMORY,
            timeout: self.request.timeout.0.max(Duration::from_millis(1)),
        }
    }

    /// Lines as the engine hands them over.
    pub fn batch(lines: &[String], received: Timestamp) -> LineBatch {
        let mut ends = Vec::with_capacity(lines.len());
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            text.push_str(line);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        LineBatch {
            text,
            ends,
            received,
        }
    }

    /// A run that happened, with its outcome as what is expected.
    pub fn of(outcome: &Outcome, network: Vec<Exchange>) -> Self {
        let spec = &*outcome.job.spec;
        let bytes = |entry: &StateEntry| Bytes::of(&entry.value);
        let before = outcome.job.state.0.iter();
        let report = outcome.verdict.as_ref().ok();
        let fault = outcome.verdict.as_ref().err();
        let writes = outcome.state_writes.iter();
        Self {
            about: String::new(),
            request: Request {
                check: spec.check.clone(),
                node: Node {
                    name: spec.node.name.clone(),
                    address: spec.node.address.clone(),
                    labels: spec.node.labels.clone(),
                },
                config: serde_json::from_str(&spec.config).unwrap_or_default(),
                input: spec.input.as_deref().cloned(),
                now: outcome.started.to_rfc3339(),
                timeout: Span(spec.limits.timeout),
                attempt: outcome.job.attempt,
                kept: before
                    .map(|(key, entry)| (key.clone(), bytes(entry)))
                    .collect(),
            },
            lines: None,
            network,
            expect: Expect {
                state: report.map(|report| report.state),
                summary: report.map(|report| report.summary.clone()),
                details: report
                    .map(|report| report.details.clone())
                    .filter(|details| !details.is_empty()),
                metrics: report.map(|report| {
                    let metrics = report.metrics.iter();
                    metrics
                        .map(|metric| (metric.name.to_string(), Some(metric.value)))
                        .collect()
                }),
                fault: fault.map(|fault| fault.kind),
                kept: (!outcome.state_writes.is_empty()).then(|| {
                    writes
                        .map(|(key, entry)| (key.clone(), entry.as_ref().map(bytes)))
                        .collect()
                }),
                ..Expect::default()
            },
        }
    }
}

/// One difference, in words.
fn differs(what: &str, expected: impl std::fmt::Debug, found: impl std::fmt::Debug) -> String {
    format!("{what}: expected {expected:?}, found {found:?}")
}

impl Expect {
    /// What is otherwise with the outcome of a check.
    pub fn of_check(&self, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let report = match &outcome.verdict {
            Ok(report) => {
                if let Some(kind) = self.fault {
                    let found = format!("{} - {}", report.state.as_str(), report.summary);
                    wrong.push(format!(
                        "expected a fault ({}), found {found}",
                        kind.as_str()
                    ));
                }
                report
            }
            Err(fault) => {
                match self.fault {
                    Some(kind) if kind == fault.kind => {}
                    Some(kind) => wrong.push(format!(
                        "fault: expected {}, found {}: {}",
                        kind.as_str(),
                        fault.kind.as_str(),
                        fault.text
                    )),
                    None => wrong.push(format!(
                        "expected a report, found a fault ({}): {}",
                        fault.kind.as_str(),
                        fault.text
                    )),
                }
                if let Some(part) = &self.fault_contains
                    && !fault.text.contains(part)
                {
                    wrong.push(differs("fault_contains", part, &fault.text));
                }
                return wrong;
            }
        };
        if let Some(state) = self.state
            && state != report.state
        {
            wrong.push(format!(
                "state: expected {}, found {}",
                state.as_str(),
                report.state.as_str()
            ));
        }
        if let Some(summary) = &self.summary
            && *summary != report.summary
        {
            wrong.push(differs("summary", summary, &report.summary));
        }
        if let Some(part) = &self.summary_contains
            && !report.summary.contains(part)
        {
            wrong.push(differs("summary_contains", part, &report.summary));
        }
        if let Some(details) = &self.details
            && *details != report.details
        {
            wrong.push(differs("details", details, &report.details));
        }
        if let Some(metrics) = &self.metrics {
            let found: BTreeMap<&str, f64> = report
                .metrics
                .iter()
                .map(|metric| (&*metric.name, metric.value))
                .collect();
            for (name, expected) in metrics {
                match (expected, found.get(name.as_str())) {
                    (Some(expected), Some(value)) if !close(*expected, *value) => {
                        wrong.push(format!("metric {name}: expected {expected}, found {value}"));
                    }
                    (_, None) => wrong.push(format!("metric {name}: expected it, found none")),
                    _ => {}
                }
            }
            for (name, value) in found {
                if !metrics.contains_key(name) {
                    wrong.push(format!("metric {name}: expected none, found {value}"));
                }
            }
        }
        if let Some(kept) = &self.kept {
            let found: BTreeMap<String, Option<Bytes>> = outcome
                .state_writes
                .iter()
                .map(|(key, entry)| {
                    let value = entry.as_ref().map(|entry| Bytes::of(&entry.value));
                    (key.clone(), value)
                })
                .collect();
            if *kept != found {
                wrong.push(differs("kept", kept, found));
            }
        }
        wrong
    }

    /// What is otherwise with what a log parser made of its lines.
    pub fn of_records(&self, parsed: &Parsed) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(expected) = &self.records {
            if expected.len() != parsed.records.len() {
                wrong.push(format!(
                    "records: expected {}, found {}",
                    expected.len(),
                    parsed.records.len()
                ));
            }
            for (number, (expected, found)) in expected.iter().zip(&parsed.records).enumerate() {
                wrong.extend(expected.compare(number, found.line, &found.record));
            }
        }
        if let Some(unparsed) = &self.unparsed
            && *unparsed != parsed.unparsed
        {
            wrong.push(differs("unparsed", unparsed, &parsed.unparsed));
        }
        wrong
    }
}

impl Record {
    fn compare(
        &self,
        number: usize,
        line: u32,
        record: &crate::check::outcome::LogRecord,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let at = |what: &str| format!("records[{number}].{what}");
        if let Some(expected) = self.line
            && expected != line
        {
            wrong.push(differs(&at("line"), expected, line));
        }
        if let Some(time) = &self.time {
            match moment(time, &at("time")) {
                Ok(expected) if expected == record.time => {}
                Ok(expected) => wrong.push(format!(
                    "{}: expected {}, found {}",
                    at("time"),
                    expected.to_rfc3339(),
                    record.time.to_rfc3339()
                )),
                Err(text) => wrong.push(text),
            }
        }
        if let Some(level) = self.level
            && level != record.level
        {
            wrong.push(differs(&at("level"), level.as_str(), record.level.as_str()));
        }
        if let Some(message) = &self.message
            && *message != record.message
        {
            wrong.push(differs(&at("message"), message, &record.message));
        }
        if let Some(fields) = &self.fields {
            let found: BTreeMap<String, String> = record
                .fields
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect();
            if *fields != found {
                wrong.push(differs(&at("fields"), fields, found));
            }
        }
        wrong
    }
}

fn close(expected: f64, found: f64) -> bool {
    (expected - found).abs() <= PRECISION * expected.abs().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::outcome::{Fault, LogRecord, Metric, Report};
    use crate::log::ParsedRecord;

    fn outcome(verdict: Result<Report, Fault>) -> Outcome {
        let case: Case = serde_json::from_str(r#"{"expect": {}}"#).unwrap();
        Outcome {
            job: case
                .job(crate::check::outcome::Digest("00".into()))
                .unwrap(),
            started: case.now().unwrap(),
            finished: case.now().unwrap(),
            verdict,
            state_writes: Vec::new(),
            log: Vec::new(),
        }
    }

    fn expect(text: &str) -> Expect {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_report_is_compared_with_what_is_named() {
        let found = outcome(Ok(Report {
            state: State::Ok,
            summary: "fine in 3 ms".into(),
            details: String::new(),
            metrics: vec![Metric {
                name: "ms".into(),
                value: 3.0,
            }],
        }));
        let fits = [
            "{}",
            r#"{"state": "ok", "summary": "fine in 3 ms", "details": "", "metrics": {"ms": 3}}"#,
            r#"{"summary_contains": "fine", "metrics": {"ms": null}}"#,
        ];
        for text in fits {
            assert_eq!(
                expect(text).of_check(&found),
                Vec::<String>::new(),
                "{text}"
            );
        }
        let wrong = [
            (
                r#"{"state": "critical"}"#,
                "state: expected critical, found ok",
            ),
            (
                r#"{"summary": "x"}"#,
                r#"summary: expected "x", found "fine in 3 ms""#,
            ),
            (r#"{"metrics": {}}"#, "metric ms: expected none, found 3"),
            (
                r#"{"metrics": {"ms": 4}}"#,
                "metric ms: expected 4, found 3",
            ),
            (
                r#"{"metrics": {"ms": 3, "s": 1}}"#,
                "metric s: expected it, found none",
            ),
            (
                r#"{"fault": "denied"}"#,
                "expected a fault (denied), found ok - fine in 3 ms",
            ),
        ];
        for (text, says) in wrong {
            assert_eq!(expect(text).of_check(&found), [says], "{text}");
        }
        let fault = outcome(Err(Fault::new(FaultKind::Trap, "gave up")));
        assert_eq!(
            expect(r#"{"state": "ok"}"#).of_check(&fault),
            ["expected a report, found a fault (trap): gave up"]
        );
        assert!(
            expect(r#"{"fault": "trap", "fault_contains": "gave"}"#)
                .of_check(&fault)
                .is_empty()
        );
    }

    #[test]
    fn records_are_compared_with_what_is_named() {
        let record = LogRecord {
            time: Timestamp::from_secs(0),
            received: Timestamp::from_secs(9),
            level: LogLevel::Error,
            message: "failed".into(),
            fields: vec![("order".into(), "17".into())],
        };
        let parsed = Parsed {
            records: vec![ParsedRecord { line: 2, record }],
            unparsed: vec![0],
            held: 0,
        };
        let text = r#"{"records": [{"line": 2, "time": "1970-01-01T01:00:00+01:00",
            "level": "error", "message": "failed", "fields": {"order": "17"}}], "unparsed": [0]}"#;
        assert!(expect(text).of_records(&parsed).is_empty());
        let text = r#"{"records": [{"level": "info"}, {}], "unparsed": []}"#;
        assert_eq!(
            expect(text).of_records(&parsed),
            [
                "records: expected 2, found 1",
                r#"records[0].level: expected "info", found "error""#,
                "unparsed: expected [], found [0]",
            ]
        );
    }

    #[test]
    fn a_run_is_written_and_read_back() {
        let ran = outcome(Ok(Report {
            state: State::Warning,
            summary: "slow".into(),
            details: "more".into(),
            metrics: Vec::new(),
        }));
        let case = Case::of(&ran, Vec::new());
        let text = serde_json::to_string(&case).unwrap();
        let read: Case = serde_json::from_str(&text).unwrap();
        assert_eq!(read, case);
        assert!(read.expect.of_check(&ran).is_empty());
        assert_eq!(
            *read.job(ran.job.spec.plugin.clone()).unwrap().spec,
            *ran.job.spec
        );
    }
}
