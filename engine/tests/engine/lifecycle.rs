//! The life of a plugin in a running engine: what it costs, what happens when
//! it crashes, who may sign it, who uses it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::smtp::SmtpServer;
use crate::support::{PATIENCE, TestApp, World, plugin_file, stop, subjects};

const NODES: &str = "nodes: [{ name: web-1, address: 127.0.0.1 }]\n";

fn check(name: &str, plugin: &str, config: Value) -> Value {
    json!({ "name": name, "plugin": plugin, "every": "1s", "timeout": "1s", "config": config })
}

/// The version of an uploaded plugin that is in use.
fn version(page: &Value) -> &Value {
    let versions = page["versions"].as_array().unwrap();
    versions.iter().find(|v| v["active"] == true).unwrap()
}

/// What a scraper reads.
async fn metrics_of(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_costs_is_counted_and_shown() {
    let world = World::new(&format!("web: {{ open_metrics: true }}\n{NODES}"));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let file = plugin_file("testing/hostile");
    api.upload("nasty", &file).await.unwrap();
    for (name, config) in [
        ("burns", json!({"mode": "burn", "amount": 2_000_000})),
        ("traps", json!({"mode": "trap", "what": "unreachable"})),
        ("floods", json!({"mode": "log-flood", "amount": 50})),
        ("takes", json!({"mode": "allocate", "amount": 8 << 20})),
    ] {
        api.post("/checks", check(name, "nasty", config)).await;
    }
    let page = api
        .until("/plugins/nasty", "runs and traps of all checks", |page| {
            let cost = &version(page)["cost"];
            cost["runs"].as_u64() >= Some(8) && cost["faults"]["trap"].as_u64() >= Some(2)
        })
        .await;
    let cost = &version(&page)["cost"];
    assert!(cost["cpu_us"].as_u64() > Some(0), "{cost}");
    assert!(cost["peak_memory"].as_u64() >= Some(8 << 20), "{cost}");
    assert!(cost["host_calls"].as_u64() >= Some(50), "{cost}");

    // The figures of /metrics are written once a second.
    let waiting = async {
        loop {
            let text = metrics_of(engine.address()).await;
            if text.contains("bellwether_plugin_faults_total{plugin=\"nasty\",kind=\"trap\"}") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let metrics = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    for name in [
        "runs_total",
        "cpu_microseconds_total",
        "host_calls_total",
        "peak_memory_bytes",
    ] {
        let line = format!("bellwether_plugin_{name}{{plugin=\"nasty\"}} ");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    stop(engine).await;
}

async fn alerts_of_plugins(api: &Api) -> Vec<Value> {
    let alerts = api.get("/alerts").await;
    let items = alerts["items"].as_array().unwrap().iter();
    items
        .filter(|alert| alert["source"]["kind"] == "plugin")
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_crashes_again_and_again_is_quarantined() {
    let server = SmtpServer::start().await;
    let yaml = format!(
        r#"
smtp: {{ url: "smtp://{}", from: "Bellwether <alerts@example.org>" }}
faults: {{ notify: [oncall] }}
{NODES}
contacts: [{{ name: oncall, email: ["ops@example.org"] }}]
"#,
        server.addr()
    );
    let app = TestApp::start(&yaml).await;
    let api = app.api().await;
    api.upload("nasty", &plugin_file("testing/hostile"))
        .await
        .unwrap();
    for name in ["one", "two"] {
        let config = json!({"mode": "trap", "what": "unreachable"});
        api.post("/checks", check(name, "nasty", config)).await;
    }
    app.pass(Duration::from_secs(20)).await;

    let page = api.get("/plugins/nasty").await;
    let first = version(&page).clone();
    let quarantine = &first["quarantine"];
    assert_eq!(quarantine["cause"], "crashes", "{page}");
    let reason = quarantine["reason"].as_str().unwrap();
    assert!(reason.contains("unreachable"), "{reason}");
    assert_eq!(alerts_of_plugins(&api).await.len(), 1);
    let series = api.get("/series?check=one").await;
    let fault = &series["items"][0]["fault"];
    assert_eq!(fault["kind"], "plugin", "{series}");
    let text = fault["text"].as_str().unwrap();
    assert!(text.contains("activate another version"), "{text}");

    // It holds across a restart, without another mail; a trial is made later.
    let app = app.restart().await;
    let api = app.api().await;
    app.pass(Duration::from_secs(30)).await;
    let held = api.get("/plugins/nasty").await;
    assert_eq!(version(&held)["cost"]["runs"], 0, "nothing of it runs");
    assert_eq!(version(&held)["quarantine"]["trials"], 0, "{held}");
    app.pass(Duration::from_secs(300)).await;
    let tried = api.get("/plugins/nasty").await;
    assert_eq!(version(&tried)["cost"]["runs"], 1, "{tried}");
    assert_eq!(version(&tried)["quarantine"]["trials"], 1, "{tried}");
    assert_eq!(alerts_of_plugins(&api).await.len(), 1);
    server.wait_for(1).await;
    let told = subjects(&server);
    let about = |subject: &&String| subject.contains("nasty");
    assert_eq!(told.iter().filter(about).count(), 1, "{told:?}");

    // A person lets it run again; it crashes again.
    let body = json!({ "digest": first["digest"] });
    api.post("/plugins/nasty/release", body.clone()).await;
    let open = api.get("/plugins/nasty").await;
    assert_eq!(version(&open)["quarantine"], Value::Null, "{open}");
    assert_eq!(alerts_of_plugins(&api).await[0]["phase"], "resolved");
    let audit = api.get("/audit").await;
    let actions = audit["items"].as_array().unwrap().iter();
    assert_eq!(actions.filter(|row| row["action"] == "release").count(), 1);
    let (status, _) = api.send(Method::POST, "/plugins/nasty/release", body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    app.pass(Duration::from_secs(20)).await;
    assert_eq!(alerts_of_plugins(&api).await.len(), 2);

    // Another version is in use: nothing is held back any more.
    let other = api
        .upload("nasty", &plugin_file("testing/noop"))
        .await
        .unwrap();
    let body = json!({ "digest": other["digest"] });
    api.post("/plugins/nasty/activate", body).await;
    let page = api.get("/plugins/nasty").await;
    for version in page["versions"].as_array().unwrap() {
        assert_eq!(version["quarantine"], Value::Null, "{page}");
    }
    let phases = alerts_of_plugins(&api).await;
    assert!(phases.iter().all(|alert| alert["phase"] == "resolved"));
    app.pass(Duration::from_secs(2)).await;
    let series = api.get("/series?check=one").await;
    assert_eq!(series["items"][0]["fault"], Value::Null, "{series}");
    app.stop().await;
}
