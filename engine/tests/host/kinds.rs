//! Actions, parsers and notifiers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::check::outcome::{
    ActionFailure, ActionJob, ActionReport, Digest, FaultKind, LogLevel, NodeInfo, RunLimits,
};
use bellwether::clock::Timestamp;
use bellwether::log::{LineBatch, LineParser as _};
use bellwether::plugin::notifier::{NotificationKind, NotifyFailure, NotifyJob};
use bellwether::plugin::{Host, Settings, SourceParser};
use serde_json::json;

use crate::support::*;

pub fn limits(ms: u64) -> RunLimits {
    RunLimits {
        memory: 64 << 20,
        timeout: Duration::from_millis(ms),
    }
}

pub fn action(plugin: &Digest, config: serde_json::Value) -> ActionJob {
    ActionJob {
        id: 7,
        remediation: "restart".into(),
        alert: 3,
        rule: "down".into(),
        severity: "critical".into(),
        summary: "it is down".into(),
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        check: Some("homepage".into()),
        node: Some(Arc::new(NodeInfo {
            name: "web-1".into(),
            address: "127.0.0.1".into(),
            labels: BTreeMap::new(),
        })),
        plugin: plugin.clone(),
        config: config.to_string().into(),
        grants: Arc::default(),
        limits: limits(1000),
        attempt: 2,
        dry_run: false,
        idempotency_key: "key-1".into(),
    }
}

pub fn commands(list: &[(&str, &[&str])]) -> Settings {
    let commands = list
        .iter()
        .map(|(name, argv)| {
            (
                (*name).to_owned(),
                argv.iter().map(|a| (*a).to_owned()).collect(),
            )
        })
        .collect();
    Settings {
        commands,
        ..Settings::default()
    }
}

async fn run_command(
    host: &Host,
    plugin: &Digest,
    name: &str,
    change: impl FnOnce(&mut ActionJob),
) -> Result<ActionReport, ActionFailure> {
    let mut job = action(plugin, json!({"command": name}));
    Arc::make_mut(&mut job.grants).commands = vec![name.to_owned()];
    change(&mut job);
    host.run_action(job).await.verdict
}

#[tokio::test]
async fn commands_run_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("left");
    let slow = format!("(sleep 2; touch {}) & sleep 30", left.display());
    let host = host_with(|config| {
        config.settings = commands(&[
            (
                "echo",
                &[
                    "/bin/echo",
                    "{{ node.name }}",
                    "at {{ node.address }}",
                    "$(id) ; *",
                ],
            ),
            ("env", &["/usr/bin/env"]),
            ("fail", &["/bin/sh", "-c", "echo broken >&2; exit 3"]),
            (
                "noise",
                &["/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"],
            ),
            ("slow", &["/bin/sh", "-c", &slow]),
            ("missing", &["/nonexistent/program"]),
        ]);
    });
    let plugin = install(&host, "run-command").await;
    let report = run_command(&host, &plugin, "echo", |_| {}).await.unwrap();
    assert!(
        report.details.contains("web-1 at 127.0.0.1 $(id) ; *"),
        "{report:?}"
    );

    let report = run_command(&host, &plugin, "env", |_| {}).await.unwrap();
    let variables: Vec<&str> = report
        .details
        .lines()
        .filter(|line| line.contains('='))
        .collect();
    assert!(
        variables.iter().all(|line| line.starts_with("PATH=")) && variables.len() == 1,
        "{report:?}"
    );

    let failed = run_command(&host, &plugin, "fail", |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(&failed, ActionFailure::Failed(text) if text.contains('3') && text.contains("broken")),
        "{failed:?}"
    );
    let failed = run_command(&host, &plugin, "missing", |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(&failed, ActionFailure::Failed(text) if text.contains("did not start")),
        "{failed:?}"
    );
    let report = run_command(&host, &plugin, "noise", |_| {}).await;
    assert!(report.is_ok_and(|report| report.details.len() <= 64 << 10));

    let failed = run_command(&host, &plugin, "slow", |job| job.limits = limits(300))
        .await
        .unwrap_err();
    assert!(
        matches!(&failed, ActionFailure::Failed(text) if text.contains("timed out")),
        "{failed:?}"
    );
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!left.exists(), "a child of the command outlived it");
}

#[tokio::test]
async fn commands_need_grant_name_and_a_harmless_node() {
    let host = host_with(|config| {
        config.settings = commands(&[("echo", &["/bin/echo", "{{ node.name }}"])])
    });
    let plugin = install(&host, "testing/hostile-action").await;
    let mut job = action(&plugin, json!({"mode": "command", "target": "echo"}));
    let denied = host.run_action(job.clone()).await.verdict.unwrap_err();
    assert!(
        matches!(&denied, ActionFailure::Fault(fault) if fault.kind == FaultKind::Denied),
        "{denied:?}"
    );

    Arc::make_mut(&mut job.grants).commands = vec!["echo".into(), "other".into()];
    assert_eq!(
        host.run_action(job.clone())
            .await
            .verdict
            .unwrap()
            .details
            .trim(),
        "web-1"
    );

    let mut odd = job.clone();
    odd.node = Some(Arc::new(NodeInfo {
        name: "-rf".into(),
        address: "127.0.0.1".into(),
        labels: BTreeMap::new(),
    }));
    let failed = host.run_action(odd).await.verdict.unwrap_err();
    assert!(
        matches!(&failed, ActionFailure::Failed(text) if text.contains("-rf")),
        "{failed:?}"
    );

    let mut dry = job.clone();
    dry.dry_run = true;
    let held = host.run_action(dry).await.verdict.unwrap_err();
    assert!(
        matches!(&held, ActionFailure::Fault(fault) if fault.text.contains("dry run")),
        "{held:?}"
    );

    // Taken from the configuration while running.
    host.reconfigure(Settings::default());
    let gone = host.run_action(job).await.verdict.unwrap_err();
    assert!(
        matches!(&gone, ActionFailure::Fault(fault) if fault.text.contains("not configured")),
        "{gone:?}"
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing_over_http() {
    let host = host();
    let plugin = install(&host, "testing/hostile-action").await;
    let server = http(|head| {
        response(
            if head.starts_with("POST") {
                "201 Created"
            } else {
                "200 OK"
            },
            "",
            "",
        )
    })
    .await;
    let mut job = action(
        &plugin,
        json!({"mode": "http", "target": format!("http://{server}/")}),
    );
    Arc::make_mut(&mut job.grants).net = vec!["node".into()];
    assert_eq!(
        host.run_action(job.clone()).await.verdict.unwrap().summary,
        "HTTP 201"
    );
    job.dry_run = true;
    let held = host.run_action(job).await.verdict.unwrap_err();
    assert!(
        matches!(&held, ActionFailure::Fault(fault) if fault.text.contains("dry run: POST")),
        "{held:?}"
    );
}

#[tokio::test]
async fn actions_get_their_context_and_faults_are_told_apart() {
    let host = host();
    let plugin = install(&host, "testing/hostile-action").await;
    let run = async |config| host.run_action(action(&plugin, config)).await;
    let outcome = run(json!({"mode": "context"})).await;
    assert_eq!(outcome.id, 7);
    let details = outcome.verdict.unwrap().details;
    for part in [
        "restart",
        "homepage",
        "web-1",
        "team",
        "shop",
        "key-1",
        "it is down",
    ] {
        assert!(details.contains(part), "{part} is not in {details}");
    }
    for (mode, kind) in [
        ("loop", FaultKind::Deadline),
        ("trap", FaultKind::Trap),
        ("config", FaultKind::Config),
        ("huge-output", FaultKind::Limit),
    ] {
        let mut job = action(&plugin, json!({"mode": mode}));
        job.limits = limits(200);
        let failure = host.run_action(job).await.verdict.unwrap_err();
        assert!(
            matches!(&failure, ActionFailure::Fault(fault) if fault.kind == kind),
            "{mode}: {failure:?}"
        );
    }
    assert_eq!(
        run(json!({"mode": "fail"})).await.verdict,
        Err(ActionFailure::Failed("told to fail".into()))
    );
    let probe = install(&host, "testing/noop").await;
    let failure = host
        .run_action(action(&probe, json!({})))
        .await
        .verdict
        .unwrap_err();
    assert!(
        matches!(&failure, ActionFailure::Fault(fault) if fault.kind == FaultKind::Plugin),
        "{failure:?}"
    );
}

/// Lines as a source hands them over.
pub fn batch<'a>(lines: impl IntoIterator<Item = &'a str>, received: Timestamp) -> LineBatch {
    let (mut text, mut ends) = (String::new(), Vec::new());
    for line in lines {
        if !ends.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        ends.push(text.len() as u32);
    }
    LineBatch {
        text,
        ends,
        received,
    }
}

#[tokio::test]
async fn a_source_s_parser_recovers_by_recycling() {
    let host = host();
    let digest = install(&host, "testing/hostile-parser").await;
    let config = json!({"mode": "trap", "only": "bad"}).to_string();
    let mut parser = SourceParser::new(Arc::clone(&host.host), digest, config.into(), limits(500));
    assert!(!parser.should_recycle());
    assert_eq!(
        parser
            .parse(&batch(["one", "two"], Timestamp(1)))
            .await
            .unwrap()
            .records
            .len(),
        2
    );
    assert_eq!(
        parser
            .parse(&batch(["bad"], Timestamp(1)))
            .await
            .unwrap_err()
            .kind,
        FaultKind::Trap
    );
    assert!(parser.should_recycle());
    parser.recycle().await.unwrap();
    assert_eq!(
        parser
            .parse(&batch(["three"], Timestamp(1)))
            .await
            .unwrap()
            .records
            .len(),
        1
    );
}

#[tokio::test]
async fn lines_become_records() {
    let host = host();
    let digest = install(&host, "json-lines").await;
    let mut parser = host
        .new_parser(&digest, "{}".into(), limits(1000))
        .await
        .unwrap();
    let received = Timestamp::from_secs(1_700_000_000);
    let lines = batch(
        [
            r#"{"time":"2023-11-14T22:13:19Z","level":"error","msg":"a \"quoted\" word","user":"ann","n":3}"#,
            "plain words",
            r#"{"message":"no time"}"#,
        ],
        received,
    );
    let parsed = parser.parse(lines).await.unwrap();
    let first = &parsed.records[0].record;
    assert_eq!(
        (first.time, first.level, first.message.as_str()),
        (
            Timestamp::from_secs(1_699_999_999),
            LogLevel::Error,
            "a \"quoted\" word"
        )
    );
    assert!(
        first
            .fields
            .iter()
            .any(|(name, value)| &**name == "user" && value == "ann"),
        "{first:?}"
    );
    assert_eq!(parsed.unparsed, [1]);
    assert_eq!(parsed.records[1].line, 2);
    assert_eq!(parsed.records[1].record.time, received);
    assert_eq!(parsed.held, 0);
    assert!(!parser.should_recycle());
    parser.flush(received).await.unwrap();
}

#[tokio::test]
async fn held_lines_come_with_the_flush() {
    let host = host();
    let digest = install(&host, "testing/hostile-parser").await;
    let mut parser = host
        .new_parser(&digest, r#"{"mode":"hold"}"#.into(), limits(1000))
        .await
        .unwrap();
    let parsed = parser
        .parse(batch(["one", "two"], Timestamp(1)))
        .await
        .unwrap();
    assert_eq!((parsed.records.len(), parsed.held), (0, 2));
    let flushed = parser.flush(Timestamp(2)).await.unwrap();
    let messages: Vec<&str> = flushed
        .records
        .iter()
        .map(|r| r.record.message.as_str())
        .collect();
    assert_eq!(messages, ["one", "two"]);
}

#[tokio::test]
async fn what_a_parser_does_wrong_is_a_fault() {
    let host = host();
    let digest = install(&host, "testing/hostile-parser").await;
    for (mode, kind) in [
        ("span-outside", FaultKind::Trap),
        ("span-huge", FaultKind::Trap),
        ("span-reversed", FaultKind::Trap),
        ("span-straddles", FaultKind::Trap),
        ("span-cuts", FaultKind::Trap),
        ("bad-name", FaultKind::Trap),
        ("bad-line", FaultKind::Trap),
        ("bad-unparsed", FaultKind::Trap),
        ("hold-too-many", FaultKind::Trap),
        ("names", FaultKind::Trap),
        ("flood", FaultKind::Trap),
        ("trap", FaultKind::Trap),
        ("hang", FaultKind::Deadline),
        ("memory", FaultKind::Limit),
    ] {
        let config = json!({"mode": mode}).to_string();
        let mut parser = host
            .new_parser(&digest, config.into(), limits(200))
            .await
            .unwrap();
        let lines = batch((0..10).map(|_| "grün"), Timestamp(1));
        let fault = parser.parse(lines).await.expect_err(mode);
        assert_eq!(fault.kind, kind, "{mode}: {fault:?}");
        assert!(parser.should_recycle(), "{mode}");
        parser.flush(Timestamp(1)).await.expect_err(mode);
    }
    for (mode, kind) in [
        ("refuse", FaultKind::Config),
        ("hang-configure", FaultKind::Deadline),
    ] {
        let config = json!({"mode": mode}).to_string();
        let fault = host
            .new_parser(&digest, config.into(), limits(200))
            .await
            .err()
            .unwrap();
        assert_eq!(fault.kind, kind, "{mode}: {fault:?}");
    }
    // What it says itself leaves the instance usable.
    let config = json!({"mode": "fail", "only": "bad"}).to_string();
    let mut parser = host
        .new_parser(&digest, config.into(), limits(200))
        .await
        .unwrap();
    let fault = parser
        .parse(batch(["bad"], Timestamp(1)))
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Failed);
    assert_eq!(
        parser
            .parse(batch(["good"], Timestamp(1)))
            .await
            .unwrap()
            .records
            .len(),
        1
    );
}

pub fn notification(plugin: &Digest, config: serde_json::Value) -> NotifyJob {
    NotifyJob {
        plugin: plugin.clone(),
        kind: NotificationKind::RepairFailed,
        alert: "3".into(),
        rule: "down".into(),
        severity: "critical".into(),
        title: "[REPAIR FAILED] down on web-1".into(),
        text: "text".into(),
        check: None,
        node: None,
        labels: BTreeMap::new(),
        since: Timestamp(5),
        link: "http://127.0.0.1:8480/alerts/3".into(),
        config: config.to_string().into(),
        grants: Arc::default(),
        limits: limits(1000),
        idempotency_key: "key-9".into(),
        attempt: 1,
    }
}

#[tokio::test]
async fn notifiers_say_retry_or_fail() {
    let host = host();
    let plugin = install(&host, "testing/echo-notifier").await;
    host.notify(notification(&plugin, json!({}))).await.unwrap();
    assert_eq!(
        host.notify(notification(
            &plugin,
            json!({"result": "retry", "after_ms": 1500})
        ))
        .await,
        Err(NotifyFailure::Retry {
            reason: "told to".into(),
            after: Some(Duration::from_millis(1500))
        })
    );
    assert_eq!(
        host.notify(notification(&plugin, json!({"result": "fail"})))
            .await,
        Err(NotifyFailure::Fail("told to".into()))
    );
    let server = http(|head| {
        response(
            if head.contains("idempotency-key: key-9") {
                "200 OK"
            } else {
                "400 Bad"
            },
            "",
            "",
        )
    })
    .await;
    let mut job = notification(&plugin, json!({"url": format!("http://{server}/")}));
    Arc::make_mut(&mut job.grants).net = vec![server.to_string()];
    host.notify(job).await.unwrap();
}
