//! Everything that reads bytes from outside, as functions that take any bytes:
//! for `engine/fuzz`, and for the test that feeds them damaged samples.
//!
//! Each function asserts what its callers rely on.

use std::path::Path;

use bytes::Bytes;

use super::bindings::bellwether::plugin::net::{DnsQuery, DnsTransport};
use super::bindings::bellwether::plugin::types as wit;
use super::bindings::exports::bellwether::plugin::log_parser::{Entry, Field, Records, Span};
use super::dns_message::Question;
use super::grants::NetGrant;
use super::manifest::{Manifest, is_metric_name};
use super::secrets::Redactor;
use super::wasi::Kept;
use super::{output, parser, program_lines};
use crate::alert::expr::{NodeExpr, QuerySet, RuleExpr};
use crate::alert::query::LogQuery;
use crate::check::schedule::CronTable;
use crate::clock::Timestamp;
use crate::config::{self, Config, PluginFacts};
use crate::log::lines::{LineReader, MAX_LINE};

/// A reader of bytes from outside.
pub type Target = fn(&[u8]);

/// All of them, by the name of their fuzz target.
pub const TARGETS: [(&str, Target); 9] = [
    ("monitoring_output", monitoring_output),
    ("program_records", program_records),
    ("parser_answer", parser_answer),
    ("log_lines", log_lines),
    ("manifest", manifest),
    ("configuration", configuration),
    ("dns_answer", dns_answer),
    ("expressions", expressions),
    ("redaction", redaction),
];

/// What a program prints by the monitoring-plugins convention.
pub fn monitoring_output(bytes: &[u8]) {
    let output = output::parse(bytes);
    assert!(!output.summary.contains('\n'));
    let (metrics, dropped) = output.metrics(100);
    assert_eq!(metrics.len() + dropped, output.perfdata.len());
    for metric in metrics {
        assert!(is_metric_name(&metric.name) && metric.value.is_finite());
    }
    output::leading_state(&output.summary);
}

/// Records of a program that parses logs. The first two bytes say how many lines
/// it was given and whether its output was cut.
pub fn program_records(bytes: &[u8]) {
    let [lines, dropped, text @ ..] = bytes else {
        return;
    };
    let stdout = Kept {
        bytes: text.to_vec(),
        dropped: u64::from(dropped % 2),
    };
    let lines = usize::from(*lines);
    let parsed = program_lines::convert(&stdout, lines, Timestamp(0));
    assert!(parsed.records.len() + parsed.unparsed.len() <= lines);
    for one in parsed.records {
        assert!((one.line as usize) < lines);
        assert!(one.record.fields.len() <= parser::MAX_FIELDS);
        let names = one.record.fields.iter().map(|(name, _)| name.len());
        assert!(names.max().unwrap_or(0) <= parser::MAX_FIELD_NAME);
    }
}

/// Records of a log parser, made of numbers in the bytes.
pub fn parser_answer(bytes: &[u8]) {
    let mut numbers = bytes.chunks(2).map(|pair| {
        let low = u32::from(pair[0]);
        // Small numbers mostly: most large ones are wrong in the same way.
        match pair.get(1) {
            Some(255) => u32::MAX - low,
            Some(high) => low + (u32::from(*high) >> 6 << 8),
            None => low,
        }
    });
    let mut next = || numbers.next().unwrap_or(0);
    let (lines, held) = (next() as usize % 64, next() % 64);
    let span = |next: &mut dyn FnMut() -> u32| Span {
        start: next(),
        end: next(),
    };
    let entries = (0..next() % 64).map(|_| Entry {
        line: next() % 64,
        time: None,
        level: wit::Level::Info,
        message: span(&mut next),
        fields: (0..next() % 8)
            .map(|_| Field {
                name: next() % 4,
                value: span(&mut next),
            })
            .collect(),
    });
    let answer = Records {
        entries: entries.collect(),
        extra: "ü extra".into(),
        names: vec!["a".into(), "b".repeat(1_000)],
        unparsed: vec![bytes.len() as u32 % 64],
        held,
    };
    let text = "some lines of text\nand a second öne\n";
    if let Ok(parsed) = parser::convert(answer, text, lines, Timestamp(0)) {
        let records = parsed.records.iter();
        assert!(
            records
                .clone()
                .all(|one| lines == 0 || (one.line as usize) < lines)
        );
        assert!(parsed.held as usize <= lines);
    }
}

/// A log file in pieces.
pub fn log_lines(bytes: &[u8]) {
    let step = 1 + usize::from(bytes.first().copied().unwrap_or(0));
    let mut reader = LineReader::at(0);
    let mut lines = Vec::new();
    for piece in bytes.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            let used = reader.push(rest, 2, &mut lines);
            assert!(used > 0);
            rest = &rest[used..];
        }
    }
    lines.extend(reader.finish());
    assert_eq!(reader.next_byte(), bytes.len() as u64);
    let ends = lines.iter().map(|line| line.end);
    assert!(ends.is_sorted());
    // Three bytes for each that is not UTF-8, and the note on what was dropped.
    assert!(
        lines
            .iter()
            .all(|line| line.text.len() <= 3 * MAX_LINE + 100)
    );
}

/// What a plugin says of itself; its fields are the lines.
pub fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let raw = wit::Manifest {
        name: next(),
        version: next(),
        summary: next(),
        config_schema: next(),
        capabilities: next().split(' ').map(str::to_owned).collect(),
        metrics: vec![
            wit::MetricSpec {
                name: next(),
                unit: next(),
                description: next(),
            };
            2 - bytes.len() % 2
        ],
    };
    if let Ok(manifest) = Manifest::check(raw) {
        assert!(manifest.config_schema.is_object());
        assert!(manifest.metrics.iter().all(|one| is_metric_name(&one.name)));
    }
}

/// A configuration file.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(loaded) = config::load_str("fuzz.yaml", &text, Path::new("/nowhere")) {
        let _ = Config::build(&loaded.spec, &|_: &str| None::<PluginFacts>);
    }
}

/// A name server's answer; the first two bytes are its identifier.
pub fn dns_answer(bytes: &[u8]) {
    let asked = DnsQuery {
        server: None,
        port: None,
        name: "example.org".into(),
        record_type: "ANY".into(),
        class: None,
        recursion: true,
        dnssec: true,
        checking_disabled: false,
        transport: DnsTransport::Auto,
        attempts: 1,
    };
    let Ok(question) = Question::new(&asked) else {
        return;
    };
    let id = bytes
        .get(..2)
        .map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    if let Some(Ok(answer)) = question.answer(id, bytes) {
        assert!(!answer.rcode().is_empty());
    }
}

/// Queries, rules, selectors and grants.
pub fn expressions(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = LogQuery::parse(&text);
    let _ = RuleExpr::compile(&text, &mut QuerySet::default());
    let _ = NodeExpr::compile(&text);
    let _ = text.parse::<NetGrant>();
    let _ = CronTable::parse(&text, chrono_tz::Tz::UTC);
}

/// An answer of a target that was sent a secret: the first line is the secret.
pub fn redaction(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some((secret, text)) = text.split_once('\n') else {
        return;
    };
    if secret.is_empty() || secret.contains('*') {
        return;
    }
    let mut redactor = Redactor::default();
    redactor.add(secret);
    let body = Bytes::copy_from_slice(text.as_bytes());
    let redacted = redactor.bytes(&body);
    assert_eq!(redacted.len(), body.len());
    assert!(!redactor.finds(&redacted));
    let whole = redactor.whole(text.to_owned());
    assert!(!whole.contains(secret));
    assert!(!redactor.clip(text, 100).contains(secret));
}
