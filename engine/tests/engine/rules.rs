//! Rules tried on the past, and nodes that are reached through others.

use std::process::Output;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::smtp::SmtpServer;
use crate::support::{Service, TestApp, subjects};

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn shop(service: &Service) -> String {
    format!(
        r#"
nodes:
  - {{ name: web-1, address: 127.0.0.1, labels: {{ role: web }} }}
checks:
  - {{ name: homepage, plugin: http, nodes: 'labels.role == "web"', every: 10s, timeout: 5s, attempts: 2, config: {{ url: "http://{{{{ node.address }}}}:{}/health" }} }}
rules:
  - {{ name: down, when: 'check == "homepage" && state == "critical"', for: 30s, severity: critical }}
"#,
        service.address.port()
    )
}

async fn bellwether(arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(arguments)
        .env_remove("BELLWETHER_CONFIG")
        .output()
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Begin and end of what fired.
fn spans(alerts: &Value) -> Vec<(i64, i64, Option<i64>)> {
    let alerts = alerts.as_array().unwrap().iter();
    alerts
        .map(|one| {
            (
                one["pending_at"].as_i64().unwrap(),
                one["fired_at"].as_i64().unwrap(),
                one["ended_at"].as_i64(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_says_what_a_rule_fired_and_what_another_would_have() {
    let service = Service::start().await;
    let app = TestApp::start(&shop(&service)).await;
    let api = app.api().await;
    app.pass(minutes(2)).await;
    service.broken.store(true, Ordering::SeqCst);
    app.pass(minutes(3)).await;
    service.broken.store(false, Ordering::SeqCst);
    app.pass(minutes(1)).await;

    let fired = spans(&api.get("/alerts?rule=down").await["items"]);
    assert_eq!(fired.len(), 1);
    let report = api.post("/rules/backtest", json!({"rule": "down"})).await;
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["cut"], Value::Null);
    assert!(report["results"].as_u64() >= Some(30), "{report}");
    let said = spans(&report["alerts"]);
    assert_eq!(said.len(), 1, "{report}");
    // The live clock stands still while a run goes on.
    let near = |a: i64, b: i64| (a - b).abs() < 2_000_000;
    assert!(near(said[0].0, fired[0].0), "{said:?} {fired:?}");
    assert!(near(said[0].1, fired[0].1), "{said:?} {fired:?}");
    assert!(near(said[0].2.unwrap(), fired[0].2.unwrap()));
    assert_eq!(report["alerts"][0]["node"], "web-1");

    // A longer `for` would have told nobody; an average over time, too late.
    let patient = json!({"rule": "down", "for": "10m"});
    let report = api.post("/rules/backtest", patient).await;
    assert_eq!(
        (&report["fired"], &report["cancelled"]),
        (&json!(0), &json!(1))
    );
    let silent = json!({"when": r#"count("duration_ms", "1m", "homepage") == 0"#});
    let report = api.post("/rules/backtest", silent).await;
    assert_eq!(report["per_series"], false);
    // Nothing was recorded before the engine began.
    assert_eq!(report["fired"], 1, "{report}");

    for (ask, path) in [
        (json!({"when": "stat == 1"}), "when"),
        (json!({"rule": "dawn"}), "rule"),
        (json!({}), "rule"),
        (json!({"rule": "down", "from": i64::MAX}), "from"),
        (json!({"rule": "down", "from": 0}), "from"),
    ] {
        let report = api.post("/rules/backtest", ask).await;
        assert_eq!(report["ok"], false);
        assert_eq!(report["fields"][0]["path"], path, "{report}");
    }

    // A rule may have the name of the tool.
    let rule = json!({"name": "backtest", "when": "state == \"ok\""});
    api.post("/rules", rule).await;
    let page = api.get("/rules/backtest").await;
    assert_eq!(page["spec"]["name"], "backtest");

    // The command reads the data folder beside the running engine.
    let data = app.world.data().display().to_string();
    let config = app.world.file("bellwether.yaml").display().to_string();
    let folder = ["--data-dir", &data, "--config", &config];
    let range = [
        "--from",
        "2026-01-06T11:00:00Z",
        "--to",
        "2026-01-06T13:00:00Z",
    ];
    let command = ["rule", "backtest"];
    let out = bellwether(&[&command[..], &["down"], &folder, &range].concat()).await;
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}", text(&out.stderr));
    assert!(said.contains("fired 1, true for less than 30s 0"), "{said}");
    assert!(said.contains("homepage on web-1: "), "{said}");
    let wrong = ["--when", "stat == 1"];
    let out = bellwether(&[&command[..], &wrong, &folder, &range].concat()).await;
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stdout));
    // Of the UI's rules, too, and as JSON.
    let out = bellwether(&[&command[..], &["backtest", "--json"], &folder, &range].concat()).await;
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["fired"], 2, "{report}");

    // And asks a running engine; a wrong expression is no success.
    let token = json!({"name": "test", "role": "operator"});
    let token = api.post("/tokens", token).await;
    let url = format!("http://{}", app.address());
    let server = ["--url", &url, "--token", token["token"].as_str().unwrap()];
    let out = bellwether(&[&command[..], &["down"], &server, &range].concat()).await;
    let said = text(&out.stdout);
    assert!(said.contains("fired 1"), "{said}{}", text(&out.stderr));
    for (when, code) in [("state == \"ok\"", 0), ("stat == \"ok\"", 1)] {
        let out = bellwether(&[&["rule", "test", when], &server[..]].concat()).await;
        assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_node_that_is_down_is_told_when_the_way_is_open() {
    let server = SmtpServer::start().await;
    let (switch, web) = (Service::start().await, Service::start().await);
    let yaml = format!(
        r#"
smtp: {{ url: "smtp://{smtp}", from: "Bellwether <alerts@example.org>" }}
nodes:
  - {{ name: switch-1, address: 127.0.0.1, labels: {{ port: "{switch}" }} }}
  - {{ name: web-1, address: 127.0.0.1, labels: {{ port: "{web}" }}, parents: [switch-1] }}
checks:
  - {{ name: alive, plugin: http, every: 10s, timeout: 5s, config: {{ url: "http://127.0.0.1:{{{{ node.labels.port }}}}/health" }} }}
rules:
  - {{ name: down, when: 'check == "alive" && state == "critical"', for: 20s, notify: [oncall], remediate: [mend] }}
contacts:
  - {{ name: oncall, email: ["ops@example.org"] }}
remediations:
  - {{ name: mend, plugin: http-request, config: {{ url: "http://127.0.0.1:{web}/repair" }}, limits: {{ cooldown: 1h }} }}
"#,
        smtp = server.addr(),
        switch = switch.address.port(),
        web = web.address.port(),
    );
    web.stubborn.store(true, Ordering::SeqCst);
    let app = TestApp::start(&yaml).await;
    app.pass(minutes(1)).await;
    switch.broken.store(true, Ordering::SeqCst);
    web.broken.store(true, Ordering::SeqCst);
    app.pass(minutes(2)).await;
    // Only the switch is told and repaired.
    server.wait_for(1).await;
    let api = app.api().await;
    let alerts = api.get("/alerts?node=web-1&phase=firing").await;
    let alert = &alerts["items"][0];
    assert_eq!(alert["suppressed_by"], json!(["switch-1"]), "{alerts}");
    assert_eq!(alert["remedies"], json!({}));
    let page = api.get(&format!("/alerts/{}", alert["id"])).await;
    let timeline = page["timeline"].as_array().unwrap();
    let suppressed = timeline
        .iter()
        .find(|line| line["event"] == "alert_suppressed");
    assert_eq!(suppressed.unwrap()["parents"], json!(["switch-1"]));

    // It is still held back after a restart.
    let app = app.restart().await;
    app.pass(minutes(1)).await;
    assert_eq!(subjects(&server).len(), 1);
    let told = &subjects(&server)[0];
    assert!(told.starts_with("[FIRING] down on switch-1"), "{told}");
    assert_eq!(web.repairs.load(Ordering::SeqCst), 1, "of the switch");

    switch.broken.store(false, Ordering::SeqCst);
    app.pass(minutes(1)).await;
    server.wait_for(3).await;
    let mut told = subjects(&server).split_off(1);
    told.sort();
    assert!(told[0].starts_with("[FIRING] down on web-1"), "{told:?}");
    assert!(
        told[1].starts_with("[RESOLVED] down on switch-1"),
        "{told:?}"
    );
    let api = app.api().await;
    let alerts = api.get("/alerts?node=web-1&phase=firing").await;
    assert_eq!(alerts["items"][0]["suppressed_by"], json!([]));
    assert_eq!(alerts["items"][0]["remedies"]["mend"]["runs"], 1);
    app.stop().await;
}
