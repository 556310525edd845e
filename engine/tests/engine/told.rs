//! Who is told, how and when: groups, notifiers, faults of log sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::smtp::SmtpServer;
use crate::support::{PATIENCE, Service, TestApp, World, plugin_file, stop, subjects, until};

#[tokio::test(flavor = "multi_thread")]
async fn followers_of_a_group_are_told_in_one_mail_across_a_restart() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let yaml = format!(
        r#"
smtp: {{ url: "smtp://{smtp}", from: "Bellwether <alerts@example.org>" }}
nodes:
  - {{ name: web-1, address: 127.0.0.1 }}
  - {{ name: web-2, address: 127.0.0.1 }}
  - {{ name: web-3, address: 127.0.0.1 }}
checks:
  - {{ name: homepage, plugin: http, every: 10s, timeout: 5s, config: {{ url: "http://127.0.0.1:{port}/health" }} }}
rules:
  - {{ name: down, when: 'check == "homepage" && state == "critical"', notify: [oncall, oncall, twin] }}
contacts:
  - {{ name: oncall, email: ["ops@example.org", "boss@example.org"], group_by: [rule], group_interval: 1m }}
  - {{ name: twin, email: ["The boss <BOSS@example.org>"] }}
"#,
        smtp = server.addr(),
        port = service.address.port(),
    );
    let app = TestApp::start(&yaml).await;
    app.pass(Duration::from_secs(15)).await;
    service.broken.store(true, Ordering::SeqCst);
    app.pass(Duration::from_secs(15)).await;
    // The first at once, once to each mailbox, however often it is named.
    server.wait_for(2).await;
    let first = subjects(&server);
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.iter().all(|s| s.starts_with("[FIRING] down on web-")));

    let app = app.restart().await;
    app.pass(Duration::from_secs(60)).await;
    server.wait_for(4).await;
    let others = subjects(&server).split_off(2);
    assert_eq!(others.len(), 2, "{others:?}");
    for subject in &others {
        assert!(
            subject.starts_with("[FIRING] 2 firing: down on web-"),
            "{subject}"
        );
    }
    // Each alert knows of its own mails.
    let alerts = app.api().await.get("/alerts").await;
    for alert in alerts["items"].as_array().unwrap() {
        let page = app
            .api()
            .await
            .get(&format!("/alerts/{}", alert["id"]))
            .await;
        let mails = page["outbox"].as_array().unwrap();
        assert_eq!(mails.len(), 2, "{page}");
        assert!(mails.iter().all(|mail| mail["status"] == "sent"), "{page}");
    }

    service.broken.store(false, Ordering::SeqCst);
    app.pass(Duration::from_secs(90)).await;
    until("the end of all is told", || {
        let told: String = server
            .mails()
            .iter()
            .map(|mail| mail.part("text/plain"))
            .collect();
        told.matches("RESOLVED: down on web-").count() == 6
    })
    .await;
    app.stop().await;
}

/// A receiver of notifications that can refuse them.
#[derive(Clone, Default)]
struct Hook {
    busy: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<(String, Value)>>>,
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: String) -> StatusCode {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let body = serde_json::from_str(&body).unwrap();
    hook.got.lock().push((key, body));
    match hook.busy.load(Ordering::SeqCst) {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    }
}

impl Hook {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server ends with its runtime"
    )]
    async fn start(&self) -> std::net::SocketAddr {
        let router = Router::new()
            .route("/hook", post(take))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_told_by_its_notifier_once_it_takes_it() {
    let (hook, service) = (Hook::default(), Service::start().await);
    hook.busy.store(true, Ordering::SeqCst);
    let address = hook.start().await;
    let yaml = |grants: &str| {
        format!(
            r#"
plugins:
  - {{ name: echo-notifier, path: ./echo.wasm, grants: {{ net: [{grants}] }} }}
nodes: [{{ name: web-1, address: 127.0.0.1 }}]
checks:
  - {{ name: homepage, plugin: http, every: 10s, timeout: 5s, config: {{ url: "http://127.0.0.1:{port}/health" }} }}
rules:
  - {{ name: down, when: 'check == "homepage" && state == "critical"', severity: critical, labels: {{ team: shop }}, notify: [hook] }}
contacts:
  - {{ name: hook, plugin: echo-notifier, config: {{ url: "http://{address}/hook" }} }}
"#,
            port = service.address.port(),
        )
    };
    let granted = format!("\"{address}\"");
    let app = TestApp::start_with(&yaml(&granted), &[("echo.wasm", "testing/echo-notifier")]).await;
    app.pass(Duration::from_secs(12)).await;
    service.broken.store(true, Ordering::SeqCst);
    app.pass(Duration::from_secs(12)).await;
    until("a first attempt", || !hook.got.lock().is_empty()).await;
    let api = app.api().await;
    let alert = api.get("/alerts?rule=down").await["items"][0].clone();
    let page = format!("/alerts/{}", alert["id"]);
    let waits = |page: &Value| page["outbox"][0]["attempts"].as_u64() >= Some(1);
    let told = api.until(&page, "the first attempt", waits).await;
    assert_eq!(told["outbox"][0]["recipient"], "plugin:hook");
    let retry = told["timeline"].as_array().unwrap().iter();
    let retry = retry.filter(|line| line["event"] == "notification_retry");
    let errors: Vec<_> = retry.map(|line| line["error"].clone()).collect();
    assert!(!errors.is_empty() && errors.iter().all(|error| error == "HTTP 503"));

    hook.busy.store(false, Ordering::SeqCst);
    app.pass(Duration::from_secs(30)).await;
    let sent = |page: &Value| page["outbox"][0]["status"] == "sent";
    let told = api.until(&page, "it is taken", sent).await;
    let got = hook.got.lock().clone();
    assert!(got.len() >= 2, "{got:?}");
    assert!(got.iter().all(|(key, _)| *key == got[0].0), "one key");
    let attempts: Vec<_> = got
        .iter()
        .map(|(_, body)| body["attempt"].as_u64())
        .collect();
    let counted: Vec<_> = (1..=got.len() as u64).map(Some).collect();
    assert_eq!(attempts, counted);
    let body = &got[got.len() - 1].1;
    assert_eq!(body["kind"], "Kind::Firing");
    assert_eq!(body["rule"], "down");
    let labels = body["labels"].to_string();
    assert!(
        labels.contains("team") && labels.contains("shop"),
        "{labels}"
    );
    let title = body["title"].as_str().unwrap();
    assert!(title.starts_with("[FIRING] down on web-1"), "{title}");
    let receipt = told["outbox"][0]["reply"].as_str().unwrap();
    assert!(receipt.starts_with("echo-"), "{receipt}");

    // A version that contacts use is not removed.
    let (status, answer) = api
        .send(
            axum::http::Method::DELETE,
            "/plugins/echo-notifier",
            Value::Null,
        )
        .await;
    assert!(status.is_client_error(), "{answer}");
    assert!(answer.to_string().contains("hook") || answer.to_string().contains("file"));

    // Without the grant it says so, and gives up.
    app.world.configure(&yaml(""));
    api.post("/config/reload", Value::Null).await;
    service.broken.store(false, Ordering::SeqCst);
    app.pass(Duration::from_secs(12)).await;
    let failed = |page: &Value| page["outbox"][0]["status"] == "failed";
    let told = api.until(&page, "the refusal", failed).await;
    let reply = told["outbox"][0]["reply"].as_str().unwrap();
    assert!(reply.contains("net"), "{reply}");
    assert_eq!(hook.got.lock().len(), got.len());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_source_that_cannot_be_read_is_a_fault_until_it_can() {
    let server = SmtpServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    // A link to itself: nobody can read it, whoever he is.
    std::os::unix::fs::symlink(&log, &log).unwrap();
    let yaml = format!(
        r#"
smtp: {{ url: "smtp://{smtp}", from: "Bellwether <alerts@example.org>" }}
faults: {{ notify: [oncall] }}
contacts: [{{ name: oncall, email: ["ops@example.org"] }}]
log_sources: [{{ name: app, file: "{log}", parser: json-lines }}]
"#,
        smtp = server.addr(),
        log = log.display(),
    );
    let app = TestApp::start(&yaml).await;
    let api = app.api().await;
    let seen = |source: &Value| source["summary"]["fault"]["faults"].as_u64() >= Some(1);
    let source = api.until("/log_sources/app", "the fault", seen).await;
    let text = source["summary"]["fault"]["fault"]["text"]
        .as_str()
        .unwrap();
    assert!(text.contains("app.log"), "{text}");
    assert_eq!(subjects(&server), Vec::<String>::new());
    // A minute of it is told, once.
    app.pass(Duration::from_secs(61)).await;
    server.wait_for(1).await;
    let told = &subjects(&server)[0];
    assert!(told.starts_with("[FAULT] app: "), "{told}");

    let app = app.restart().await;
    let api = app.api().await;
    let alerts = api.get("/alerts?phase=firing").await;
    assert_eq!(
        alerts["items"][0]["source"],
        json!({"kind": "log_source", "source": "app"})
    );
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, "{\"message\":\"well\"}\n").unwrap();
    server.wait_for(2).await;
    let told = subjects(&server);
    assert_eq!(told[1], "[RESOLVED] app: reads again", "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
    let well = |source: &Value| source["summary"]["fault"].is_null();
    api.until("/log_sources/app", "no fault", well).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_added_looks_back_on_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    std::fs::write(&log, "").unwrap();
    let service = Service::start().await;
    let yaml = format!(
        r#"
nodes: [{{ name: web-1, address: 127.0.0.1 }}]
checks:
  - {{ name: homepage, plugin: http, every: 10s, timeout: 5s, config: {{ url: "http://127.0.0.1:{port}/health" }} }}
log_sources: [{{ name: app, file: "{log}", parser: json-lines, from: start }}]
"#,
        port = service.address.port(),
        log = log.display(),
    );
    let app = TestApp::start(&yaml).await;
    let api = app.api().await;
    let lines = "{\"level\":\"error\",\"message\":\"backup finished\"}\n".repeat(3);
    std::fs::write(&log, lines).unwrap();
    let stored = |logs: &Value| logs["items"].as_array().map(Vec::len) == Some(3);
    api.until("/logs?q=backup", "the records", stored).await;
    app.pass(Duration::from_secs(125)).await;

    // Three that are true only with their past, and one that is false only so.
    for (name, when) in [
        ("many", r#"log_count("level:error", "1h") == 3"#),
        ("long", r#"count("duration_ms", "10m", "homepage") >= 12"#),
        ("each", r#"count("duration_ms", "10m") >= 12"#),
        ("quiet", r#"log_count("backup finished", "26h") == 0"#),
    ] {
        api.post("/rules", json!({"name": name, "when": when}))
            .await;
    }
    let firing = |alerts: &Value| {
        let items = alerts["items"].as_array().unwrap().iter();
        let mut names: Vec<_> = items
            .map(|one| one["source"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names == ["each", "long", "many"]
    };
    let waiting = async {
        loop {
            app.pass(Duration::from_secs(1)).await;
            if firing(&api.get("/alerts").await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{}", api.get("/alerts").await);
    app.pass(Duration::from_secs(20)).await;
    let alerts = api.get("/alerts").await;
    assert!(firing(&alerts), "{alerts}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_what_needs_a_restart() {
    let world = World::new("web: { open_metrics: false }\n");
    let engine = world.start().await;
    let api = crate::api::Api::log_in(engine.address()).await;
    let same = api.post("/config/reload", Value::Null).await;
    assert_eq!(same["restart"], json!([]));
    world.configure("web: { open_metrics: true }\nengine: { max_memory: 128MiB }\n");
    let answer = api.post("/config/reload", Value::Null).await;
    assert_eq!(
        answer["restart"],
        json!(["web.open_metrics", "engine.max_memory"])
    );
    // Also at the next one: it still holds.
    let answer = api.post("/config/reload", Value::Null).await;
    assert_eq!(answer["restart"].as_array().map(Vec::len), Some(2));
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_uploaded_plugins_back() {
    let world = World::new("nodes: [{ name: web-1, address: 127.0.0.1 }]\n");
    let engine = world.start().await;
    let api = crate::api::Api::log_in(engine.address()).await;
    api.upload("mine", &plugin_file("testing/noop"))
        .await
        .unwrap();
    let check = json!({"name": "own", "plugin": "mine", "every": "1s"});
    api.post("/checks", check).await;
    let ran = |series: &Value| series["items"][0]["last"].is_object();
    api.until("/series?check=own", "a result", ran).await;
    // Beside the running engine.
    let (data, file) = (world.data(), world.file("backup.db"));
    let run = async |arguments: &[&std::ffi::OsStr]| {
        let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_bellwether"))
            .args(arguments)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{said}{wrong}");
        said
    };
    let folder = ["--data-dir".as_ref(), data.as_os_str()];
    let said = run(&["backup".as_ref(), folder[0], folder[1], file.as_os_str()]).await;
    assert!(said.contains("with 1 uploaded plugins"), "{said}");
    stop(engine).await;

    std::fs::rename(&data, world.file("lost")).unwrap();
    let said = run(&["restore".as_ref(), folder[0], folder[1], file.as_os_str()]).await;
    assert!(said.contains("with 1 uploaded plugins"), "{said}");
    assert!(!data.join("cache").exists());
    let engine = world.start().await;
    let api = crate::api::Api::log_in(engine.address()).await;
    let before = api.get("/series?check=own").await["items"][0]["last"]["ts"].clone();
    let on = |series: &Value| series["items"][0]["last"]["ts"].as_i64() > before.as_i64();
    api.until("/series?check=own", "it runs again", on).await;
    let plugin = api.get("/plugins/mine").await;
    assert_eq!(plugin["origin"], "upload", "{plugin}");
    stop(engine).await;
}
