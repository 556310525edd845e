//! A job that has to report: by its URL, as curl would.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::TestApp;

const YAML: &str = r#"
nodes:
  - { name: db-1, address: 127.0.0.1 }
checks:
  - { name: backup, plugin: heartbeat, every: 10s, config: { within_s: 60, grace_s: 30 } }
"#;

/// Posts without login or cookie; the status.
async fn post(url: &str, body: &str) -> u16 {
    let (address, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("an address and a path");
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).expect("a status line");
    status.parse().unwrap_or_else(|_| panic!("{answer}"))
}

async fn newest(app: &TestApp) -> Value {
    let page = app.api().await.get("/series/backup/db-1").await;
    page["results"][0].clone()
}

async fn state(app: &TestApp) -> (String, String) {
    let newest = newest(app).await;
    let word = |key: &str| newest[key].as_str().unwrap_or_default().to_owned();
    (word("state"), word("summary"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reports_in_time_late_and_failing() {
    let app = TestApp::start(YAML).await;
    app.pass(Duration::from_secs(20)).await;
    let (first, text) = state(&app).await;
    assert_eq!(first, "ok");
    assert!(text.starts_with("waits for a first report"), "{text}");

    let api = app.api().await;
    let made = api.post("/series/backup/db-1/report-url", json!({})).await;
    let url = made["url"].as_str().expect("a URL").to_owned();
    assert_eq!(post(&format!("{url}/start"), "").await, 204);
    app.pass(Duration::from_secs(12)).await;
    // No second passes: the report itself runs the check.
    assert_eq!(post(&url, "3 tables\n").await, 204);
    app.jump(Duration::ZERO).await;
    let result = newest(&app).await;
    assert_eq!(result["state"], "ok", "{result}");
    assert_eq!(result["summary"], "done 0 s ago after 12 s", "{result}");

    // What was told outlives a restart, and the job falls silent.
    let app = app.restart().await;
    app.pass(Duration::from_secs(70)).await;
    let (late, text) = state(&app).await;
    assert_eq!(late, "warning", "{text}");
    app.pass(Duration::from_secs(30)).await;
    let (late, text) = state(&app).await;
    assert_eq!(late, "critical", "{text}");
    assert!(text.contains("expected a report within 60 s"), "{text}");

    let url = moved(&url, &app);
    assert_eq!(post(&format!("{url}/3"), "disk full").await, 204);
    app.jump(Duration::ZERO).await;
    let (failed, text) = state(&app).await;
    assert_eq!(failed, "critical", "{text}");
    assert!(text.contains("exit status 3"), "{text}");
    assert_eq!(post(&format!("{url}/0"), "").await, 204);
    app.jump(Duration::ZERO).await;
    assert_eq!(state(&app).await.0, "ok");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_url_of_a_series_works() {
    let app = TestApp::start(YAML).await;
    let api = app.api().await;
    let path = "/series/backup/db-1/report-url";
    let made = |value: Value| value["url"].as_str().expect("a URL").to_owned();
    let old = made(api.post(path, json!({})).await);
    let new = made(api.post(path, json!({})).await);
    assert_eq!(post(&old, "").await, 404);
    assert_eq!(post(&new, "").await, 204);
    assert_eq!(post(&format!("{new}/256"), "").await, 422);
    assert_eq!(post(&new.replace("/backup/", "/other/"), "").await, 404);
    let (status, _) = api
        .send(Method::POST, "/series/backup/db-2/report-url", json!({}))
        .await;
    assert_eq!(status, 404);
    for _ in 0..59 {
        assert_eq!(post(&new, "").await, 204);
    }
    assert_eq!(post(&new, "").await, 429);
    // Whole logs are taken; only their beginning is kept.
    app.pass(Duration::from_secs(60)).await;
    assert_eq!(post(&new, &"x".repeat(500_000)).await, 204);
    let (status, _) = api.send(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(post(&new, "").await, 404);

    let audit = api.get("/audit").await;
    let actions: Vec<&str> = audit["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["action"].as_str())
        .collect();
    assert!(actions.contains(&"make_report_url"), "{actions:?}");
    assert!(actions.contains(&"remove_report_url"), "{actions:?}");
    assert!(!audit.to_string().contains("bwr_"), "{audit}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_goes_with_its_check_or_node() {
    let app = TestApp::start("nodes: []\n").await;
    let api = app.api().await;
    let node = json!({ "name": "db-1", "address": "127.0.0.1" });
    let check = json!({
        "name": "backup", "plugin": "heartbeat", "every": "10s",
        "config": { "within_s": 60, "grace_s": 30 },
    });
    for (gone, list, object) in [
        ("/checks/backup", "/checks", &check),
        ("/nodes/db-1", "/nodes", &node),
    ] {
        for (path, object) in [("/nodes", &node), ("/checks", &check)] {
            // One of the two is there from the first round.
            api.send(Method::POST, path, object.clone()).await;
        }
        let made = api.post("/series/backup/db-1/report-url", json!({})).await;
        let url = made["url"].as_str().expect("a URL").to_owned();
        assert_eq!(post(&url, "").await, 204);
        let (status, answer) = api.send(Method::DELETE, gone, Value::Null).await;
        assert_eq!(status, 204, "{gone}: {answer}");
        assert_eq!(post(&url, "").await, 404);
        api.post(list, object.clone()).await;
        assert_eq!(post(&url, "").await, 404, "{gone}");
    }
    app.stop().await;
}

/// The same URL at the address that the engine has after its restart.
fn moved(url: &str, app: &TestApp) -> String {
    let (_, path) = url.split_once("/report/").expect("a report URL");
    format!("http://{}/report/{path}", app.address())
}
