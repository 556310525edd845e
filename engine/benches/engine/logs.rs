//! Lines through the `regex` log parser, against the same expression native
//! making the same records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::check::outcome::{LogLevel, LogRecord, RunLimits};
use bellwether::clock::{SystemClock, Timestamp};
use bellwether::log::parser::LineBatch;
use bellwether::plugin::{CompilerConfig, Host, HostConfig, Settings};

use crate::support::plugin;

const PATTERN: &str = r#"^(?<client>\S+) \S+ \S+ \[(?<time>[^\]]+)\] "(?<message>[^"]*)" (?<status>\d+) (?<size>\d+)"#;
const TIME: &str = "%d/%b/%Y:%H:%M:%S %z";
const LINES: usize = 1_000;
const ROUNDS: usize = 200;

pub async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::new(HostConfig {
        data_dir: folder.path().to_owned(),
        cache_dir: folder.path().join("code"),
        compiler: CompilerConfig {
            exe: env!("CARGO_BIN_EXE_bellwether").into(),
            timeout: Duration::from_secs(60),
            max_size: 64 << 20,
        },
        max_in_flight: 64,
        max_memory: 256 << 20,
        settings: Settings::default(),
        resolver: None,
        extra_roots: Vec::new(),
        clock: Arc::new(SystemClock),
    })
    .expect("a host");
    let bytes = std::fs::read(plugin("regex")).expect("the plugin");
    let digest = host
        .install(bytes, |_| {})
        .await
        .expect("the plugin")
        .digest;
    let config = serde_json::json!({ "pattern": PATTERN, "time_format": TIME }).to_string();
    let limits = RunLimits {
        memory: 64 << 20,
        timeout: Duration::from_secs(5),
    };
    let mut parser = host
        .new_parser(&digest, config.clone().into(), limits.clone())
        .await
        .expect("a parser");

    let lines: Vec<String> = (0..LINES)
        .map(|n| {
            format!(
                "192.0.2.{} - - [14/Nov/2023:22:13:{:02} +0000] \"GET /shop/items/{n}?page={} HTTP/1.1\" {} {}",
                n % 250,
                n % 60,
                n % 7,
                if n % 50 == 0 { 503 } else { 200 },
                512 + n * 3
            )
        })
        .collect();
    let batch = || {
        let mut ends = Vec::with_capacity(LINES);
        let text = lines.join("\n");
        let mut end = 0;
        for line in &lines {
            end += line.len() as u32;
            ends.push(end);
            end += LineBatch::GAP;
        }
        LineBatch {
            text,
            ends,
            received: Timestamp::from_secs(1_700_000_000),
        }
    };
    let pattern = regex::Regex::new(PATTERN).expect("a pattern");
    // The same records, else the comparison says nothing.
    let parsed = parser.parse(batch()).await.expect("records");
    let records: Vec<LogRecord> = parsed.records.into_iter().map(|one| one.record).collect();
    assert_eq!(records, native(&pattern, &batch()));

    let (mut inside, mut outside) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let (one, other) = (batch(), batch());
        let began = Instant::now();
        std::hint::black_box(native(&pattern, &one));
        outside += began.elapsed();
        if parser.should_recycle() {
            parser = host
                .new_parser(&digest, config.clone().into(), limits.clone())
                .await
                .expect("a parser");
        }
        let began = Instant::now();
        std::hint::black_box(parser.parse(other).await.expect("records"));
        inside += began.elapsed();
    }
    let rate = |time: Duration| (LINES * ROUNDS) as f64 / time.as_secs_f64();
    println!(
        "regex log parser: {:.0} lines/s in the plugin, {:.0} native: {:.2} of it",
        rate(inside),
        rate(outside),
        rate(inside) / rate(outside)
    );
}

fn native(pattern: &regex::Regex, batch: &LineBatch) -> Vec<LogRecord> {
    let names: Vec<Option<Arc<str>>> = pattern
        .capture_names()
        .map(|name| name.map(Arc::from))
        .collect();
    let mut records = Vec::with_capacity(batch.len());
    for n in 0..batch.len() {
        let Some(found) = batch.line(n).and_then(|line| pattern.captures(line)) else {
            continue;
        };
        let mut record = LogRecord {
            time: batch.received,
            received: batch.received,
            level: LogLevel::default(),
            message: String::new(),
            fields: Vec::new(),
        };
        for (name, group) in names.iter().zip(found.iter()) {
            let (Some(name), Some(group)) = (name, group) else {
                continue;
            };
            match &**name {
                "time" => {
                    let time =
                        chrono::DateTime::parse_from_str(group.as_str(), TIME).expect("a time");
                    record.time = Timestamp(time.timestamp_micros());
                }
                "message" => record.message = group.as_str().to_owned(),
                _ => record
                    .fields
                    .push((Arc::clone(name), group.as_str().to_owned())),
            }
        }
        records.push(record);
    }
    records
}
