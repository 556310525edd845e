//! From the end of the run that fails to the mail server's answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use bellwether::check::outcome::State;
use bellwether::clock::Timestamp;
use bellwether::config::spec::SmtpSpec;
use bellwether::notify::mail::{Delivery, Mail, Mailer};
use bellwether::store::{Store, outbox, results, series};
use tokio_util::task::TaskTracker;

use crate::smtp::SmtpServer;
use crate::support::{Times, engine};

const NODES: usize = 200;

pub async fn run() {
    let server = SmtpServer::start().await;
    println!("one mail by the mailer alone: {}", alone(&server).await);

    // Node n fails from the moment at which `broken` exceeds n.
    let broken = Arc::new(AtomicUsize::new(0));
    let seen = broken.clone();
    let health = move |Path(n): Path<usize>| {
        let fails = n < seen.load(Ordering::Relaxed);
        async move {
            if fails {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            }
        }
    };
    let router = Router::new().route("/{n}", get(health));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tracker = TaskTracker::new();
    tracker.spawn(async move { axum::serve(listener, router).await });

    let nodes: String = (0..NODES)
        .map(|n| format!("  - {{ name: n{n}, address: 127.0.0.1, labels: {{ n: \"{n}\" }} }}\n"))
        .collect();
    let yaml = format!(
        "smtp: {{ url: \"smtp://{}\", from: \"Bellwether <alerts@example.org>\" }}\nnodes:\n{nodes}\
         checks:\n  - {{ name: c, plugin: http, every: 1s, timeout: 5s, attempts: 1, config: {{ url: \"http://127.0.0.1:{port}/{{{{ node.labels.n }}}}\" }} }}\n\
         rules:\n  - {{ name: down, when: 'state == \"critical\"', notify: [oncall] }}\n\
         contacts:\n  - {{ name: oncall, email: [\"ops@example.org\"] }}\n",
        server.addr(),
    );
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(folder.path(), &yaml, None).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..NODES {
        broken.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.wait_for(NODES).await;
    engine.stop(std::future::pending()).await;

    let (store, _writer) = Store::open(&folder.path().join("data"))
        .await
        .expect("a store");
    let mut reader = store.reader().await.expect("a reader");
    let names: HashMap<_, _> = series::all(&mut reader)
        .await
        .expect("series")
        .into_iter()
        .map(|row| (row.id, row.node))
        .collect();
    let mut known: HashMap<String, i64> = HashMap::new();
    results::each_since(&mut reader, Timestamp(0), |row| {
        if row.verdict == Ok(State::Critical) {
            let end = row.ts.0 + i64::from(row.duration_us);
            let first = known.entry(names[&row.series].to_string()).or_insert(end);
            *first = end.min(*first);
        }
    })
    .await
    .expect("results");
    let sent = outbox::list(&mut reader, None, None, None, 1_000)
        .await
        .expect("mails");
    let times = sent.iter().map(|mail| {
        let node = mail.row.payload.node.as_ref().expect("a node");
        let done = mail.done_at.expect("it was sent");
        Duration::from_micros(
            u64::try_from(done.0 - known[&node.name]).expect("sent after it was known"),
        )
    });
    println!(
        "failing result known → mail accepted: {}",
        Times::of(times.collect())
    );
}

async fn alone(server: &SmtpServer) -> Times {
    let spec: SmtpSpec = serde_json::from_value(serde_json::json!({
        "url": format!("smtp://{}", server.addr()), "from": "Bellwether <alerts@example.org>",
    }))
    .expect("a section");
    let mailer = Mailer::new(&spec, None).expect("a mailer");
    let mut times = Vec::with_capacity(NODES);
    for n in 0..NODES {
        let mail = Mail {
            message_id: format!("{n}@example.org"),
            in_reply_to: None,
            recipient: "bench@example.org".into(),
            subject: "[FIRING] down on n: 503".into(),
            text: "down\n".repeat(20),
            html: "<p>down</p>".repeat(20),
            date: Timestamp::from_secs(1_767_700_800),
        };
        let began = Instant::now();
        let delivery = mailer.send(&mail).await;
        times.push(began.elapsed());
        assert!(matches!(delivery, Delivery::Accepted(_)), "{delivery:?}");
    }
    Times::of(times)
}
