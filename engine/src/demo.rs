//! `bellwether demo`: a small shop to watch, and the configuration that watches
//! it. The engine itself runs as in `serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;

/// Interval of the shop's own traffic, one log line each.
const TRAFFIC: Duration = Duration::from_millis(500);

/// The watched shop: an HTTP service that can be broken and repaired, and the
/// log it writes.
#[derive(Clone)]
pub struct Shop {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    broken: AtomicBool,
    restarts: AtomicU64,
    log: PathBuf,
    clock: SharedClock,
}

impl Shop {
    /// Starts the service on a free loopback port and its log writer.
    pub async fn start(
        folder: &Path,
        clock: SharedClock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let log = folder.join("shop.log");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("cannot listen for the demo's shop")?;
        let address = listener
            .local_addr()
            .context("the demo's shop has no address")?;
        let shared = Arc::new(Shared {
            broken: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            log,
            clock,
        });
        let router = Router::new()
            .route("/health", get(health))
            .route("/restart", post(restart))
            .with_state(shared.clone());
        let serving = stop.clone();
        tasks.spawn(async move {
            let served = axum::serve(listener, router)
                .with_graceful_shutdown(async move { serving.cancelled().await });
            if let Err(error) = served.await {
                tracing::error!(%error, "the demo's shop stopped");
            }
        });
        let writer = shared.clone();
        tasks.spawn(async move {
            let mut order = 1_000_u64;
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(TRAFFIC) => {}
                }
                order += 1;
                if writer.broken.load(Ordering::Relaxed) {
                    writer.write(
                        "error",
                        "checkout failed: database connection refused",
                        order,
                    );
                } else {
                    writer.write("info", "order placed", order);
                }
            }
        });
        shared.write("info", "shop started", 0);
        Ok(Self { shared, address })
    }

    /// Breaks or repairs the shop, as the switch in the UI does.
    pub fn set_broken(&self, broken: bool) {
        if self.shared.broken.swap(broken, Ordering::SeqCst) != broken {
            let message = if broken {
                "somebody broke the shop"
            } else {
                "the shop is repaired"
            };
            self.shared
                .write(if broken { "critical" } else { "notice" }, message, 0);
        }
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::SeqCst)
    }

    /// The configuration that watches this shop, written into `folder` together
    /// with the folder for its mails.
    pub fn write_configuration(&self, folder: &Path, public_url: &str) -> anyhow::Result<PathBuf> {
        let mails = folder.join("mails");
        std::fs::create_dir_all(&mails)
            .with_context(|| format!("cannot create {}", mails.display()))?;
        let port = self.address.port();
        let yaml = format!(
            r#"# Written by `bellwether demo`: a shop, and what watches it.
public_url: {public_url:?}
smtp: {{ url: "file://{mails}", from: "Bellwether <alerts@example.org>" }}
faults: {{ notify: [oncall] }}
nodes:
  - {{ name: shop-1, address: 127.0.0.1, labels: {{ role: shop, env: demo }} }}
checks:
  - name: homepage
    plugin: http
    nodes: 'labels.role == "shop"'
    every: 2s
    timeout: 1s
    attempts: 2
    retry_every: 1s
    config: {{ url: "http://{{{{ node.address }}}}:{port}/health", expect_status: [200] }}
  - name: port
    plugin: tcp
    nodes: 'labels.role == "shop"'
    every: 5s
    timeout: 1s
    config: {{ port: {port} }}
rules:
  - name: homepage-down
    when: 'check == "homepage" && state == "critical"'
    severity: critical
    labels: {{ team: shop }}
    notify: [oncall]
    remediate: [restart-shop]
  - name: many-errors
    when: 'log_count("level:error source:shop", "1m") > 5'
    severity: warning
    notify: [oncall]
contacts:
  - {{ name: oncall, email: ["oncall@example.org"] }}
remediations:
  - name: restart-shop
    plugin: http-request
    config: {{ url: "http://127.0.0.1:{port}/restart", method: POST }}
    limits: {{ per_node: "6/h", overall: "20/h", cooldown: 30s, verify: homepage, verify_after: 1s }}
log_sources:
  - {{ name: shop, file: "{log}", parser: json-lines, from: start }}
"#,
            mails = mails.display(),
            log = self.shared.log.display(),
        );
        let path = folder.join("demo.yaml");
        std::fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Shared {
    fn write(&self, level: &str, message: &str, order: u64) {
        let line = json!({
            "time": self.clock.now().to_rfc3339(),
            "level": level,
            "msg": message,
            "service": "shop",
            "order": order,
        });
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.log.display(), "cannot write the demo's log");
        }
    }
}

async fn health(State(shop): State<Arc<Shared>>) -> impl IntoResponse {
    if shop.broken.load(Ordering::SeqCst) {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "database connection refused\n",
        )
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// What the remediation calls.
async fn restart(State(shop): State<Arc<Shared>>) -> impl IntoResponse {
    let times = shop.restarts.fetch_add(1, Ordering::SeqCst) + 1;
    shop.broken.store(false, Ordering::SeqCst);
    shop.write("notice", "restarted by a remediation", times);
    (StatusCode::OK, format!("restarted, {times} times so far\n"))
}
