//! Plugins that were built once against a released contract: each must load and
//! run for ever. `engine/tests/compat/README.md` says where they come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bellwether::check::outcome::{Digest, LogLevel, State};
use bellwether::clock::Timestamp;
use bellwether::config::InputSpec;
use bellwether::plugin::Kind;
use serde_json::json;

use crate::kinds::{action, batch, commands, limits, notification};
use crate::support::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

/// Greatest size of a stored plugin, in bytes.
const MAX_SIZE: u64 = 100_000;

/// Every stored plugin by its file's name, installed.
async fn stored(host: &TestHost) -> BTreeMap<String, (Digest, Kind)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "wasm") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let size = path.metadata().unwrap().len();
        assert!(size < MAX_SIZE, "{name} has {size} bytes");
        let bytes = std::fs::read(&path).unwrap();
        let installed = host.install(bytes, |_| {}).await;
        let installed = installed.unwrap_or_else(|error| panic!("{name}: {error}"));
        found.insert(name, (installed.digest, installed.kind));
    }
    found
}

#[tokio::test]
async fn what_was_built_against_a_released_contract_runs() {
    let host = host_with(|config| config.settings = commands(&[("yes", &["true"])]));
    let stored = stored(&host).await;
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for (name, (digest, kind)) in &stored {
        assert!(
            readme.contains(&format!("`{name}.wasm`")),
            "{name} is not in the README"
        );
        match kind {
            Kind::Probe => probe(&host, name, digest).await,
            Kind::Command => command(&host, name, digest).await,
            Kind::LogParser => log_parser(&host, name, digest).await,
            Kind::Action => an_action(&host, name, digest).await,
            Kind::Notifier => notifier(&host, name, digest).await,
        }
    }
    // One of each kind at least, of each version of the contract.
    let kinds = |version: &str| {
        let of = stored.iter().filter(|(name, _)| name.ends_with(version));
        let mut kinds: Vec<Kind> = of.map(|(_, (_, kind))| *kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds.len()
    };
    assert_eq!(kinds("-0.1.0"), 5, "{stored:?}");
}

async fn probe(host: &TestHost, name: &str, digest: &Digest) {
    let report = job(digest, json!({})).report(host).await;
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "nothing to do"),
        "{name}"
    );
    assert_eq!(report.metrics[0].value, 42.0, "{name}");
}

async fn command(host: &TestHost, name: &str, digest: &Digest) {
    let run = |wanted: &str| {
        let input = InputSpec::Text("a body of text".into());
        let config = json!({"args": [wanted], "env": {"HTTP_STATUS": "200"}});
        job(digest, config).input(input).report(host)
    };
    let report = run("body").await;
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "OK - 14 bytes as expected"),
        "{name}"
    );
    assert_eq!(report.metrics[0].value, 14.0, "{name}");
    assert_eq!(run("nobody").await.state, State::Critical, "{name}");
}

async fn log_parser(host: &TestHost, name: &str, digest: &Digest) {
    let parser = host.new_parser(digest, "{}".into(), limits(5_000)).await;
    let mut parser = parser.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    let lines = [
        "2026-01-02T03:04:05Z ERROR payment failed order=17 shop=north",
        "something else",
    ];
    let parsed = parser.parse(batch(lines, Timestamp(7))).await.unwrap();
    parser.flush(Timestamp(8)).await.unwrap();
    assert_eq!(parsed.unparsed, [1], "{name}");
    let record = &parsed.records[0].record;
    assert_eq!(
        (record.time, record.level, record.message.as_str()),
        (
            Timestamp(1_767_323_045_000_000),
            LogLevel::Error,
            "payment failed"
        ),
        "{name}"
    );
    assert_eq!(record.fields.len(), 2, "{name}: {record:?}");
}

async fn an_action(host: &TestHost, name: &str, digest: &Digest) {
    let mut job = action(digest, json!({"command": "yes"}));
    Arc::make_mut(&mut job.grants).commands = vec!["yes".into()];
    let outcome = host.run_action(job).await;
    assert!(outcome.verdict.is_ok(), "{name}: {:?}", outcome.verdict);
}

async fn notifier(host: &TestHost, name: &str, digest: &Digest) {
    let sent = host.notify(notification(digest, json!({}))).await;
    assert!(sent.is_ok(), "{name}: {sent:?}");
}
