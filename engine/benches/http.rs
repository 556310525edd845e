//! Prints how long the pages that everybody looks at take with 10,000 series.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use bellwether::check::outcome::{Fault, FaultKind, SeriesId, State};
use bellwether::check::state::CheckState;
use bellwether::clock::{Clock, SharedClock, TestClock, Timestamp};
use bellwether::config::spec::Spec;
use bellwether::http::commands::Commands;
use bellwether::http::state::{ConfigView, Deps, EngineStatus, SeriesRef, Settings};
use bellwether::http::uploads::Uploads;
use bellwether::http::{router, setup};
use bellwether::live::LiveView;
use bellwether::pipeline::Input;
use bellwether::pipeline::changes::{Changes, ResultRow};
use bellwether::recorder::{Limits, Recorder};
use bellwether::store::{Store, users::Role};
use http_body_util::BodyExt;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const NODES: i64 = 2_500;
const CHECKS: [&str; 4] = ["disk", "homepage", "load", "ping"];
const REQUESTS: usize = 300;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, mut writer) = Store::open(folder.path()).await.expect("open");
    let clock = TestClock::new(Timestamp::from_secs(1_700_000_000));
    let conn = writer.connection().await.expect("connection");
    let now = clock.now();
    let token = setup::create_token(conn, "bench", Role::Viewer, None, now)
        .await
        .expect("token");
    let shared: SharedClock = clock.clone();
    let live = LiveView::new();
    let (events, _) = broadcast::channel(16);
    // Nothing is written here, so the recorder does not run.
    let (_recorder, handle) = Recorder::<Input>::new(
        writer,
        Box::new(|_, _| Changes::default()),
        Box::new(|_| {}),
        shared.clone(),
        live.clone(),
        events.clone(),
        Limits::default(),
    );
    let view = Arc::new(configuration());
    fill(&live, view.series(), now);
    let (_config, config) = watch::channel(view);
    let (_status, status) = watch::channel(EngineStatus::default());
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let router = router(Deps {
        settings: Settings::default(),
        clock: shared,
        store,
        recorder: handle,
        live,
        config,
        status,
        commands: Commands::channel().0,
        uploads: Uploads::new(events.clone()),
        events,
        costs: Default::default(),
        metrics: metrics.handle(),
        stop: CancellationToken::new(),
    });
    for path in [
        "/overview",
        "/checks/ping",
        "/checks",
        "/nodes",
        "/series?limit=500",
    ] {
        for encoding in ["identity", "gzip"] {
            let mut times = Vec::with_capacity(REQUESTS);
            let mut size = 0;
            for _ in 0..REQUESTS {
                // Past the age at which an answer is handed out again.
                clock.advance(Duration::from_secs(1));
                let request = Request::builder()
                    .uri(format!("/api/v1{path}"))
                    .header(header::HOST, "127.0.0.1:8480")
                    .header(header::AUTHORIZATION, format!("Bearer {token}"))
                    .header(header::ACCEPT_ENCODING, encoding)
                    .body(Body::empty())
                    .expect("request");
                let began = Instant::now();
                let answer = router.clone().oneshot(request).await.expect("answer");
                assert!(answer.status().is_success(), "{path}: {}", answer.status());
                size = answer
                    .into_body()
                    .collect()
                    .await
                    .expect("body")
                    .to_bytes()
                    .len();
                times.push(began.elapsed());
            }
            times.sort();
            println!(
                "{path:<18} {encoding:<8} {:>8} bytes  p50 {:>6.1} ms  p99 {:>6.1} ms",
                size,
                times[REQUESTS / 2].as_secs_f64() * 1e3,
                times[REQUESTS * 99 / 100].as_secs_f64() * 1e3,
            );
        }
    }
}

fn configuration() -> ConfigView {
    let nodes: Vec<_> = (0..NODES)
        .map(|n| serde_json::json!({ "name": format!("node-{n:05}"), "address": "127.0.0.1" }))
        .collect();
    let checks: Vec<_> = CHECKS
        .map(|name| serde_json::json!({ "name": name, "plugin": "http", "every": "10s" }))
        .into();
    let spec: Spec =
        serde_json::from_value(serde_json::json!({ "nodes": nodes, "checks": checks }))
            .expect("spec");
    let mut series = Vec::new();
    for check in CHECKS {
        for node in &spec.nodes {
            series.push(SeriesRef {
                id: SeriesId(series.len() as i64 + 1),
                check: check.into(),
                node: node.name.as_str().into(),
                paused: false,
            });
        }
    }
    ConfigView::new(1, spec, HashMap::new(), series)
}

/// The worst case for the overview: everything is down.
fn fill(live: &LiveView, series: &[SeriesRef], now: Timestamp) {
    let mut changes = Changes::default();
    for one in series {
        let state = CheckState {
            hard: Some(State::Critical),
            hard_since: now,
            last: Some(State::Critical),
            attempt: 3,
            faults: 1,
            faulty_since: Some(now),
            fault: Some(Fault::new(FaultKind::Trap, "trapped: unreachable executed")),
        };
        changes.series_states.insert(one.id, state);
        changes.results.push(ResultRow {
            ts: now,
            series: one.id,
            verdict: Ok(State::Critical),
            duration_us: 5_000_000,
            lateness_us: 0,
            summary: format!("timed out in connect to {}", one.node),
            details: None,
            metrics: Vec::new(),
        });
    }
    live.apply(&changes);
}
