//! kill -9 at random points, under load, with the mail server up and down in
//! turn: no transition without its mail, no mail without its transition, no
//! mail twice beyond the one that was in flight, and a sound database.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use bellwether::pipeline::changes::{NotificationKind, Phase};
use bellwether::store::{Store, alerts, outbox};

use crate::smtp::SmtpServer;

const ROUNDS: u64 = 8;
const NODES: usize = 20;

/// A service that is well and broken in turn, a different half of the nodes at
/// a time.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with its runtime"
)]
async fn flapping_service() -> SocketAddr {
    let hits = Arc::new(AtomicU64::new(0));
    let router = Router::new().route(
        "/health",
        get(move || {
            let hit = hits.fetch_add(1, Ordering::SeqCst);
            async move {
                if (hit / 25).is_multiple_of(2) {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn start(config: &Path, data: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .arg("--data-dir")
        .arg(data)
        .env("BELLWETHER_ADMIN_PASSWORD", "correct horse battery")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A small generator: kills fall at other moments in every round, and at the
/// same ones in every run.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_points_nothing_is_lost_and_nothing_told_twice() {
    let (server, service) = (SmtpServer::start().await, flapping_service().await);
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (
        folder.path().join("bellwether.yaml"),
        folder.path().join("data"),
    );
    let nodes: String = (0..NODES)
        .map(|n| format!("  - {{ name: web-{n}, address: 127.0.0.1 }}\n"))
        .collect();
    let yaml = format!(
        r#"
smtp: {{ url: "smtp://{}", from: "Bellwether <alerts@example.org>", timeout: 2s }}
nodes:
{nodes}
checks:
  - {{ name: health, plugin: http, every: 1s, timeout: 1s, config: {{ url: "http://{{{{ node.address }}}}:{}/health", expect_status: [200] }} }}
rules:
  - {{ name: down, when: 'check == "health" && state == "critical"', severity: critical, notify: [oncall] }}
contacts:
  - {{ name: oncall, email: ["ops@example.org"] }}
"#,
        server.addr(),
        service.port(),
    );
    std::fs::write(&config, yaml).unwrap();

    let mut seed = 42;
    for round in 0..ROUNDS {
        if round % 2 == 1 {
            server.down();
        } else if round > 0 {
            server.up().await;
        }
        let mut child = start(&config, &data);
        tokio::time::sleep(Duration::from_millis(1_500 + random(&mut seed) % 3_000)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What is queued leaves when the server is back.
    server.up().await;
    let mut child = start(&config, &data);
    tokio::time::sleep(Duration::from_secs(6)).await;
    child.kill().unwrap();
    child.wait().unwrap();

    let (store, writer) = Store::open(&data).await.unwrap();
    assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new());
    let mut reader = store.reader().await.unwrap();
    let all = alerts::list(&mut reader, &alerts::Filter::default(), None, 1_000)
        .await
        .unwrap();
    assert!(all.len() >= 10, "expected many alerts, found {}", all.len());
    let mut told: BTreeMap<(i64, &'static str), usize> = BTreeMap::new();
    let mut sent = BTreeSet::new();
    let mut before = None;
    loop {
        let page = outbox::list(&mut reader, None, None, before, 1_000)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.row.id);
        for one in &page {
            let kind = match one.row.payload.kind {
                NotificationKind::Firing => "firing",
                NotificationKind::Resolved => "resolved",
                other => panic!("unexpected {other:?}"),
            };
            *told.entry((one.row.alert, kind)).or_default() += 1;
            if one.status == outbox::Status::Sent {
                sent.insert(one.row.message_id.clone());
            }
        }
    }
    for alert in &all {
        assert_eq!(
            told.remove(&(alert.id, "firing")),
            Some(1),
            "alert {} fired once",
            alert.id
        );
        let resolved = (alert.phase == Phase::Resolved).then_some(1);
        assert_eq!(
            told.remove(&(alert.id, "resolved")),
            resolved,
            "alert {}",
            alert.id
        );
    }
    assert!(told.is_empty(), "mails without a transition: {told:?}");

    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    for mail in server.mails() {
        *received
            .entry(mail.header("Message-ID").unwrap())
            .or_default() += 1;
    }
    for id in &sent {
        assert!(
            received.contains_key(id),
            "{id} is marked as sent and was not received"
        );
    }
    // Each kill may catch the mails of four connections in flight, no more.
    let doubled: usize = received.values().map(|times| times - 1).sum();
    assert!(
        doubled as u64 <= 4 * (ROUNDS + 1),
        "{doubled} mails came twice"
    );
    // The pool closes when its last connection is back.
    drop(reader);
    writer.close().await.unwrap();
    store.close().await;
}
