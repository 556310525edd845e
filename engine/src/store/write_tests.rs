use std::sync::Arc;

use super::*;
use crate::check::outcome::{LogLevel, LogRecord, NodeInfo};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::config::spec::Severity;
use crate::pipeline::changes::*;
use crate::store::Store;
use crate::store::testkit::{count, fixture, result, results, with_series};

pub(crate) fn alert(id: i64, phase: Phase) -> Alert {
    Alert {
        id,
        source: AlertSource::Rule {
            name: format!("r{id}"),
        },
        series: Some(SeriesId(1)),
        check: Some("c1".into()),
        node: Some("n1".into()),
        phase,
        severity: Severity::Critical,
        labels: Default::default(),
        summary: "down".into(),
        pending_at: Timestamp(id),
        fired_at: (phase == Phase::Firing).then_some(Timestamp(id + 1)),
        ended_at: (!phase.is_open()).then_some(Timestamp(id + 2)),
        threads: Default::default(),
        remedies: Default::default(),
        escalated: false,
        suppressed_by: Vec::new(),
    }
}

pub(crate) fn outbox(id: i64, key: &str) -> OutboxRow {
    OutboxRow {
        id,
        idempotency_key: key.into(),
        alert: 1,
        contact: "oncall".into(),
        recipient: "ops@example.org".into(),
        message_id: format!("<{id}@example.org>"),
        payload: Arc::new(Notification {
            kind: NotificationKind::Firing,
            alert: 1,
            name: "r1".into(),
            check: Some("c1".into()),
            node: Some(NodeInfo {
                name: "n1".into(),
                address: "127.0.0.1".into(),
                labels: Default::default(),
            }),
            severity: Severity::Critical,
            labels: Default::default(),
            summary: "down".into(),
            since: Timestamp(1),
            at: Timestamp(2),
            expression: "true".into(),
            last_results: Vec::new(),
            tried: Vec::new(),
            in_reply_to: None,
        }),
        attempts: 0,
        created_at: Timestamp(5),
        next_at: Timestamp(5),
    }
}

pub(crate) fn run(id: i64, status: RunStatus) -> ActionRun {
    ActionRun {
        id,
        alert: 1,
        remediation: "restart".into(),
        series: Some(SeriesId(1)),
        node: Some("n1".into()),
        attempt: 1,
        status,
        verify: VerifyStatus::None,
        verify_faults: 0,
        idempotency_key: format!("run-{id}"),
        created_at: Timestamp(id),
        finished_at: None,
        summary: String::new(),
        output: String::new(),
    }
}

pub(crate) fn log(ts: i64, level: LogLevel, message: &str) -> (Arc<str>, LogRecord) {
    (
        Arc::from("app"),
        LogRecord {
            time: Timestamp(ts),
            received: Timestamp(ts + 1),
            level,
            message: message.into(),
            fields: vec![(Arc::from("user"), "alice".into())],
        },
    )
}

async fn text(store: &Store, sql: &'static str) -> Option<String> {
    let mut conn = store.reader().await.expect("reader");
    sqlx::query_scalar(sql)
        .fetch_one(&mut *conn)
        .await
        .expect("query")
}

#[tokio::test]
async fn every_number_of_rows_is_written() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(1)).await.expect("series");
    let mut total = 0;
    for n in [1, 3, 5, 17, 100, 1023, 1024, 1025, 2500] {
        let rows = (total..total + n).map(|i| result(i, 1)).collect();
        f.writer.commit(&results(rows)).await.expect("commit");
        total += n;
        assert_eq!(count(&f.store, "results").await, total);
    }
}

#[tokio::test]
async fn all_kinds_of_rows_and_their_updates() {
    let mut f = fixture().await;
    let mut first = with_series(2);
    first.results = vec![result(9_000_000, 1), result(16_000_000, 2)];
    first
        .series_states
        .insert(SeriesId(1), CheckState::default());
    first.plugin_state = vec![
        (SeriesId(1), "a".into(), Some(entry(b"1", 1))),
        (SeriesId(1), "a".into(), None),
        (SeriesId(1), "a".into(), Some(entry(b"2", 1))),
        (SeriesId(1), "b".into(), Some(entry(b"3", 1))),
        (SeriesId(1), "b".into(), None),
    ];
    first.alerts.insert(1, alert(1, Phase::Pending));
    first.timeline = vec![TimelineEntry {
        ts: Timestamp(1),
        series: Some(SeriesId(1)),
        alert: Some(1),
        event: TimelineEvent::AlertCancelled,
    }];
    first.outbox = vec![outbox(1, "k1"), outbox(2, "k2"), outbox(3, "k3")];
    first.action_runs.insert(1, run(1, RunStatus::Running));
    first.logs = vec![log(1, LogLevel::Error, "boom")];
    first.checkpoints = vec![checkpoint("1:1", 10, false), checkpoint("1:2", 5, false)];
    f.writer.commit(&first).await.expect("first");
    for (table, rows) in [
        ("series", 2),
        ("metric_names", 2),
        ("results", 2),
        ("series_state", 1),
        ("plugin_state", 1),
        ("alerts", 1),
        ("timeline", 1),
        ("outbox", 3),
        ("action_runs", 1),
        ("logs", 1),
        ("log_checkpoints", 2),
    ] {
        assert_eq!(count(&f.store, table).await, rows, "{table}");
    }
    let value = text(&f.store, "SELECT CAST(value AS TEXT) FROM plugin_state").await;
    assert_eq!(value.as_deref(), Some("2"));

    let mut second = Changes::default();
    second.alerts.insert(1, alert(1, Phase::Firing));
    // The same notification decided again after a restart is not queued twice.
    second.outbox = vec![outbox(9, "k1")];
    second.outbox_updates = vec![
        update(1, DeliveryResult::Sent("250 ok".into())),
        update(
            2,
            DeliveryResult::Retry {
                error: "450 later".into(),
                next_at: Timestamp(99),
            },
        ),
        update(3, DeliveryResult::Failed("550 no".into())),
    ];
    second.action_runs.insert(1, run(1, RunStatus::Succeeded));
    second.series_states.insert(
        SeriesId(1),
        CheckState {
            attempt: 4,
            ..CheckState::default()
        },
    );
    second.checkpoints = vec![
        checkpoint("1:1", 20, false),
        checkpoint("1:2", 6, false),
        checkpoint("1:2", 7, true),
    ];
    f.writer.commit(&second).await.expect("second");
    let store = &f.store;
    assert_eq!(
        text(store, "SELECT phase || fired_at FROM alerts")
            .await
            .as_deref(),
        Some("firing2")
    );
    assert_eq!(
        text(
            store,
            "SELECT group_concat(status || ' ' || next_at || ' ' || reply, '; ') FROM outbox"
        )
        .await
        .as_deref(),
        Some("sent 50 250 ok; queued 99 450 later; failed 50 550 no")
    );
    assert_eq!(
        text(store, "SELECT status FROM action_runs")
            .await
            .as_deref(),
        Some("succeeded")
    );
    assert_eq!(
        text(store, "SELECT state ->> 'attempt' || '' FROM series_state")
            .await
            .as_deref(),
        Some("4")
    );
    assert_eq!(
        text(
            store,
            "SELECT group_concat(file_key || '@' || offset) FROM log_checkpoints"
        )
        .await
        .as_deref(),
        Some("1:1@20")
    );
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let mut f = fixture().await;
    let mut broken = results(vec![result(1, 1)]);
    // No such series: the foreign key refuses it.
    broken
        .series_states
        .insert(SeriesId(77), CheckState::default());
    assert!(f.writer.commit(&broken).await.is_err());
    assert_eq!(count(&f.store, "results").await, 0);
    f.writer.commit(&with_series(1)).await.expect("goes on");
}

fn entry(value: &[u8], version: u64) -> StateEntry {
    StateEntry {
        value: value.to_vec(),
        version,
    }
}

fn checkpoint(key: &str, offset: u64, removed: bool) -> Checkpoint {
    Checkpoint {
        source: Arc::from("app"),
        file_key: key.into(),
        path: "/var/log/app.log".into(),
        offset,
        state: "{}".into(),
        updated_at: Timestamp(1),
        removed,
    }
}

fn update(id: i64, result: DeliveryResult) -> OutboxUpdate {
    OutboxUpdate {
        id,
        alert: 1,
        recipient: "ops@example.org".into(),
        attempts: 1,
        at: Timestamp(50),
        result,
    }
}
