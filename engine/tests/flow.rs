//! The main job, end to end in one process: a plugin notices a real outage, the
//! mail arrives at a real SMTP server, the repair runs and is verified, the
//! resolved mail follows in the same thread. And again across restarts.

#[path = "support/smtp.rs"]
mod smtp;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bellwether::clock::SystemClock;
use bellwether::engine::{Engine, Options};
use bellwether::store::Store;

use smtp::SmtpServer;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP service that can be broken, and whose repair can be refused.
struct Service {
    address: SocketAddr,
    broken: Arc<AtomicBool>,
    stubborn: Arc<AtomicBool>,
    repairs: Arc<AtomicUsize>,
}

impl Service {
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with its runtime")]
    async fn start() -> Self {
        let broken = Arc::new(AtomicBool::new(false));
        let stubborn = Arc::new(AtomicBool::new(false));
        let repairs = Arc::new(AtomicUsize::new(0));
        let (health, mend) = (broken.clone(), (broken.clone(), stubborn.clone(), repairs.clone()));
        let router = Router::new()
            .route(
                "/health",
                get(move || {
                    let broken = health.load(Ordering::SeqCst);
                    async move {
                        if broken { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
                    }
                }),
            )
            .route(
                "/repair",
                post(move || {
                    let (broken, stubborn, repairs) = mend.clone();
                    async move {
                        repairs.fetch_add(1, Ordering::SeqCst);
                        if !stubborn.load(Ordering::SeqCst) {
                            broken.store(false, Ordering::SeqCst);
                        }
                        "repaired"
                    }
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, broken, stubborn, repairs }
    }
}

/// A data folder with a configuration, and engines that run on it one after
/// another.
struct World {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl World {
    fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bellwether.yaml");
        std::fs::write(&config, yaml).unwrap();
        Self { folder, config }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn start(&self) -> Engine {
        let mut options = Options::new(self.data(), Arc::new(SystemClock));
        options.config = Some(self.config.clone());
        options.listen = "127.0.0.1:0".parse().unwrap();
        options.compiler = PathBuf::from(env!("CARGO_BIN_EXE_bellwether"));
        options.admin_password = Some("correct horse battery".into());
        Engine::start(options).await.unwrap()
    }

    /// Timeline events in order, once the engine is stopped.
    async fn timeline(&self) -> Vec<String> {
        let (store, writer) = Store::open(&self.data()).await.unwrap();
        let mut reader = store.reader().await.unwrap();
        let mut entries = bellwether::store::timeline::recent(&mut reader, None, 1_000).await.unwrap();
        entries.reverse();
        drop(reader);
        assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new());
        writer.close().await.unwrap();
        store.close().await;
        entries.iter().map(|entry| entry.entry.event.kind().to_owned()).collect()
    }
}

async fn stop(engine: Engine) {
    engine.stop(std::future::pending()).await;
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain: {what}");
}

fn yaml(smtp: SocketAddr, service: SocketAddr, log: &Path, cooldown: &str) -> String {
    format!(
        r#"
smtp: {{ url: "smtp://{smtp}", from: "Bellwether <alerts@example.org>" }}
faults: {{ notify: [oncall] }}
nodes:
  - {{ name: web-1, address: 127.0.0.1, labels: {{ role: web }} }}
checks:
  - name: homepage
    plugin: http
    nodes: 'labels.role == "web"'
    every: 1s
    timeout: 1s
    attempts: 2
    retry_every: 1s
    config: {{ url: "http://{{{{ node.address }}}}:{port}/health", expect_status: [200] }}
rules:
  - {{ name: homepage-down, when: 'check == "homepage" && state == "critical"', severity: critical, notify: [oncall], remediate: [mend] }}
  - {{ name: many-errors, when: 'log_count("level:error source:app", "5m") > 2', notify: [oncall] }}
contacts:
  - {{ name: oncall, email: ["ops@example.org"] }}
remediations:
  - name: mend
    plugin: http-request
    config: {{ url: "http://127.0.0.1:{port}/repair" }}
    limits: {{ cooldown: {cooldown}, verify: homepage, verify_after: 1s }}
log_sources:
  - {{ name: app, file: "{log}", parser: json-lines }}
"#,
        port = service.port(),
        log = log.display(),
    )
}

fn subjects(server: &SmtpServer) -> Vec<String> {
    server.mails().iter().map(|mail| mail.header("Subject").unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_noticed_told_repaired_and_resolved_in_one_thread() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let logs = tempfile::tempdir().unwrap();
    let world = World::new(&yaml(server.addr(), service.address, &logs.path().join("app.log"), "60s"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    let mails = server.wait_for(2).await;
    assert_eq!(service.repairs.load(Ordering::SeqCst), 1);
    // The check's next run may end the alert before the repair is verified.
    tokio::time::sleep(Duration::from_secs(4)).await;
    stop(engine).await;

    let subjects = subjects(&server);
    assert!(subjects[0].starts_with("[FIRING] homepage-down on web-1: "), "{subjects:?}");
    assert!(subjects[1].starts_with("[RESOLVED] homepage-down on web-1: "), "{subjects:?}");
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    let first = mails[0].header("Message-ID").unwrap();
    assert_eq!(mails[1].header("In-Reply-To").as_deref(), Some(first.as_str()));
    assert!(mails[1].header("References").unwrap().contains(&first));
    assert!(mails[1].part("text/plain").contains("mend"), "what was tried is told");

    let timeline = world.timeline().await;
    let wanted = [
        "alert_fired",
        "notification_queued",
        "remediation_started",
        "remediation_finished",
        "alert_resolved",
    ];
    let mut rest = timeline.iter();
    for event in wanted {
        assert!(rest.any(|found| found == event), "{event} in {timeline:?}");
    }
    let verified = timeline.iter().filter(|event| *event == "remediation_verified").count();
    assert_eq!(verified, 1, "{timeline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_does_not_help_is_escalated() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    service.stubborn.store(true, Ordering::SeqCst);
    let logs = tempfile::tempdir().unwrap();
    let world = World::new(&yaml(server.addr(), service.address, &logs.path().join("app.log"), "1h"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    server.wait_for(2).await;
    stop(engine).await;
    let subjects = subjects(&server);
    assert!(subjects[1].starts_with("[REPAIR FAILED] homepage-down on web-1: "), "{subjects:?}");
    assert_eq!(service.repairs.load(Ordering::SeqCst), 1, "the cooldown holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_an_outage_mails_nothing_twice_and_keeps_the_thread() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    service.stubborn.store(true, Ordering::SeqCst);
    let logs = tempfile::tempdir().unwrap();
    let world = World::new(&yaml(server.addr(), service.address, &logs.path().join("app.log"), "1h"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    server.wait_for(2).await;
    stop(engine).await;
    for _ in 0..2 {
        let engine = world.start().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop(engine).await;
    }
    assert_eq!(server.mails().len(), 2, "{:?}", subjects(&server));
    service.broken.store(false, Ordering::SeqCst);
    let engine = world.start().await;
    let mails = server.wait_for(3).await;
    stop(engine).await;
    assert!(subjects(&server)[2].starts_with("[RESOLVED] "));
    assert_eq!(mails[2].header("In-Reply-To"), mails[0].header("Message-ID"));
    assert_eq!(service.repairs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_a_log_alert_through_a_parser_plugin() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let logs = tempfile::tempdir().unwrap();
    let path = logs.path().join("app.log");
    std::fs::write(&path, "{\"level\":\"error\",\"msg\":\"old\"}\n".repeat(9)).unwrap();
    let world = World::new(&yaml(server.addr(), service.address, &path, "60s"));
    let engine = world.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(subjects(&server), Vec::<String>::new(), "what was there before is not read");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, "{\"level\":\"error\",\"msg\":\"checkout failed\"}\n".repeat(3).as_bytes()).unwrap();
    server.wait_for(1).await;
    stop(engine).await;
    assert!(subjects(&server)[0].starts_with("[FIRING] many-errors: "), "{:?}", subjects(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_down_delays_mails_only() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    server.down();
    let logs = tempfile::tempdir().unwrap();
    let world = World::new(&yaml(server.addr(), service.address, &logs.path().join("app.log"), "60s"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    let repairs = service.repairs.clone();
    until("the repair runs without mail", || repairs.load(Ordering::SeqCst) == 1).await;
    server.up().await;
    server.wait_for(2).await;
    stop(engine).await;
    assert!(subjects(&server)[0].starts_with("[FIRING] "));
}
