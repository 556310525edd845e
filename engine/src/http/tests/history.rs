//! What was recorded, read back over the API.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;

use super::*;
use crate::check::outcome::{Fault, FaultKind, LogLevel, LogRecord};
use crate::config::spec::Severity;
use crate::pipeline::changes::{
    Alert, AlertSource, Notification, NotificationKind, OutboxRow, Phase, ResultRow, SeriesRow,
    TimelineEntry, TimelineEvent,
};

/// Ten minutes of `ping` on `n0001` (series 5): one result every 10 s, five
/// minutes of trouble in between, a fault at the end.
async fn recorded() -> Bench {
    let bench = Bench::new().await;
    let series = SeriesId(5);
    let mut changes = Changes {
        new_series: vec![SeriesRow {
            id: series,
            check: "ping".into(),
            node: "n0001".into(),
            created_at: START,
        }],
        new_metrics: vec![(1, "latency_ms".into())],
        ..Changes::default()
    };
    for n in 0..60i64 {
        let verdict = match n {
            59 => Err(Fault::new(FaultKind::Trap, "trapped")),
            15..45 => Ok(State::Critical),
            _ => Ok(State::Ok),
        };
        changes.results.push(ResultRow {
            ts: START + Duration::from_secs(n as u64 * 10),
            series,
            summary: if verdict.is_ok() {
                "answer".into()
            } else {
                "trapped".into()
            },
            metrics: if verdict.is_ok() {
                vec![(1, n as f64)]
            } else {
                Vec::new()
            },
            verdict,
            duration_us: 2_000,
            lateness_us: 5,
            details: None,
        });
    }
    let alert = Alert {
        id: 1,
        source: AlertSource::Rule {
            name: "down".into(),
        },
        series: Some(series),
        check: Some("ping".into()),
        node: Some("n0001".into()),
        phase: Phase::Firing,
        severity: Severity::Critical,
        labels: Default::default(),
        summary: "answer".into(),
        pending_at: START,
        fired_at: Some(START),
        ended_at: None,
        threads: Default::default(),
        remedies: Default::default(),
        escalated: false,
        suppressed_by: Vec::new(),
    };
    changes.alerts.insert(1, alert);
    changes.timeline.push(TimelineEntry {
        ts: START,
        series: Some(series),
        alert: Some(1),
        event: TimelineEvent::AlertFired {
            rule: "down".into(),
            severity: Severity::Critical,
            summary: "answer".into(),
        },
    });
    changes.outbox.push(OutboxRow {
        id: 1,
        idempotency_key: "k".into(),
        alert: 1,
        contact: "oncall".into(),
        recipient: "ops@example.org".into(),
        message_id: "<m@x>".into(),
        payload: Arc::new(Notification {
            kind: NotificationKind::Firing,
            alert: 1,
            name: "down".into(),
            check: Some("ping".into()),
            node: None,
            severity: Severity::Critical,
            labels: Default::default(),
            summary: "answer".into(),
            since: START,
            at: START,
            expression: "true".into(),
            last_results: Vec::new(),
            tried: Vec::new(),
            in_reply_to: None,
        }),
        attempts: 0,
        created_at: START,
        next_at: START,
    });
    for n in 0..30i64 {
        let record = LogRecord {
            time: START + Duration::from_secs(n as u64),
            received: START,
            level: if n % 3 == 0 {
                LogLevel::Error
            } else {
                LogLevel::Info
            },
            message: format!("checkout {n}"),
            fields: vec![("user".into(), format!("u{}", n % 2))],
        };
        changes.logs.push(("app".into(), record));
    }
    bench.commit(changes).await;
    bench.advance(600);
    bench
}

#[tokio::test]
async fn a_series_tells_its_results_alerts_and_metrics() {
    let bench = recorded().await;
    let token = bench.token(Role::Viewer).await;
    let who = As::Token(&token);
    let page = bench.get("/series/ping/n0001", who).await.json();
    assert_eq!(page["results"].as_array().unwrap().len(), 50);
    assert_eq!(page["results"][0]["fault"], "trap");
    assert_eq!(page["results"][1]["metrics"], json!({ "latency_ms": 58.0 }));
    assert_eq!(page["alerts"][0]["id"], 1);
    let names: Vec<_> = page["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["name"])
        .collect();
    assert_eq!(names, ["duration_ms", "latency_ms"]);
    assert_eq!(
        bench.get("/series/ping/none", who).await.status,
        StatusCode::NOT_FOUND
    );
    let lines = bench.get("/series/ping/n0001/timeline", who).await.json();
    assert_eq!(lines["items"][0]["event"], "alert_fired");
}

#[tokio::test]
async fn results_are_paged_newest_first() {
    let bench = recorded().await;
    let token = bench.token(Role::Viewer).await;
    let mut seen: Vec<i64> = Vec::new();
    let mut path = "/series/ping/n0001/results?limit=25".to_owned();
    loop {
        let page = bench.get(&path, As::Token(&token)).await.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|one| one["ts"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(next) => path = format!("/series/ping/n0001/results?limit=25&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 60);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]));
    let from = START.micros() + 550_000_000;
    let path = format!(
        "/series/ping/n0001/results?from={from}&to={}",
        from + 20_000_000
    );
    let page = bench.get(&path, As::Token(&token)).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn charts_and_strips_cover_the_range() {
    let bench = recorded().await;
    let token = bench.token(Role::Viewer).await;
    let range = format!("from={}&to={}", START.micros(), now(&bench));
    let path = format!("/series/ping/n0001/chart?metric=latency_ms&points=6&{range}");
    let chart = bench.get(&path, As::Token(&token)).await.json();
    assert_eq!(chart["ts"].as_array().unwrap().len(), 6);
    assert_eq!(chart["step_s"], 100.0);
    assert_eq!(
        (&chart["min"][0], &chart["avg"][0], &chart["max"][0]),
        (&json!(0.0), &json!(4.5), &json!(9.0))
    );
    let none = bench
        .get(&path.replace("latency_ms", "none"), As::Token(&token))
        .await;
    assert_eq!(none.json()["ts"], json!([]));
    let strip = bench
        .get(
            &format!("/series/ping/n0001/strip?{range}"),
            As::Token(&token),
        )
        .await;
    let segments: Vec<_> = strip.json()["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let seconds = |key: &str| (one[key].as_i64().unwrap() - START.micros()) / 1_000_000;
            (
                seconds("from"),
                seconds("to"),
                one["state"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let states: Vec<_> = segments
        .iter()
        .map(|(_, _, state)| state.as_str())
        .collect();
    assert_eq!(states, ["ok", "critical", "ok", "stale"]);
    assert_eq!((segments[0].0, segments[3].1), (0, 600));
    assert!((149..=151).contains(&segments[0].1), "{segments:?}");
    let wrong = bench
        .get("/series/ping/n0001/chart?from=5&to=4", As::Token(&token))
        .await;
    assert_eq!(wrong.field(), "from");
}

#[tokio::test]
async fn an_alert_tells_what_was_done_about_it() {
    let bench = recorded().await;
    let token = bench.token(Role::Viewer).await;
    let who = As::Token(&token);
    let page = bench.get("/alerts/1", who).await.json();
    assert_eq!(page["phase"], "firing");
    assert_eq!(page["timeline"][0]["event"], "alert_fired");
    assert_eq!(page["outbox"][0]["recipient"], "ops@example.org");
    assert_eq!(page["results"].as_array().unwrap().len(), 20);
    assert_eq!(
        bench.get("/alerts/99", who).await.status,
        StatusCode::NOT_FOUND
    );
    let count = async |query: &str| {
        let page = bench.get(&format!("/alerts?{query}"), who).await.json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("phase=open&rule=down&node=n0001").await, 1);
    assert_eq!(count("phase=resolved").await, 0);
    assert_eq!(
        bench.get("/alerts?phase=closed", who).await.field(),
        "phase"
    );
    let mails = bench.get("/outbox?status=queued", who).await.json();
    assert_eq!(mails["items"][0]["kind"], "firing");
    let overview = bench.get("/overview", who).await.json();
    assert_eq!(
        overview["alerts"][0]["source"],
        json!({ "kind": "rule", "name": "down" })
    );
}

#[tokio::test]
async fn logs_are_searched_and_paged() {
    let bench = recorded().await;
    let token = bench.token(Role::Viewer).await;
    let get = async |query: &str| {
        bench
            .get(&format!("/logs?{query}"), As::Token(&token))
            .await
    };
    let mut seen = 0;
    let mut query = "q=level:error&limit=4".to_owned();
    loop {
        let page = get(&query).await.json();
        for one in page["items"].as_array().unwrap() {
            assert_eq!(one["level"], "error");
            seen += 1;
        }
        match page["next"].as_str() {
            Some(next) => query = format!("q=level:error&limit=4&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 10);
    let found = get("q=checkout%20user:u1%20-level:error").await.json();
    assert!(
        found["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["fields"]["user"] == "u1")
    );
    assert_eq!(get("q=%22open").await.field(), "q");
    assert_eq!(get("cursor=x").await.field(), "cursor");
    let range = format!("from={}&to={}", START.micros(), START.micros() + 5_000_000);
    assert_eq!(
        get(&range).await.json()["items"].as_array().unwrap().len(),
        5
    );
}
