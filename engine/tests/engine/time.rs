//! Hours in fast motion: a clock that the test moves, and restarts in between.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::smtp::SmtpServer;
use crate::support::{Service, TestApp, subjects, until};

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn yaml(server: &SmtpServer, service: &Service, remediate: &str) -> String {
    format!(
        r#"
smtp: {{ url: "smtp://{smtp}", from: "Bellwether <alerts@example.org>" }}
faults: {{ notify: [oncall] }}
nodes:
  - {{ name: web-1, address: 127.0.0.1 }}
checks:
  - {{ name: homepage, plugin: http, every: 30s, timeout: 5s, attempts: 3, retry_every: 10s, config: {{ url: "http://{{{{ node.address }}}}:{port}/health" }} }}
rules:
  - {{ name: down, when: 'check == "homepage" && state == "critical"', for: 5m, severity: critical, notify: [oncall]{remediate} }}
contacts:
  - {{ name: oncall, email: ["ops@example.org"] }}
remediations:
  - {{ name: mend, plugin: http-request, config: {{ url: "http://127.0.0.1:{port}/repair" }}, limits: {{ cooldown: 5m, per_node: "3/h", verify: homepage, verify_after: 10s }} }}
"#,
        smtp = server.addr(),
        port = service.address.port(),
    )
}

async fn state(app: &TestApp) -> (String, u64) {
    let series = app.api().await.get("/series?check=homepage").await;
    let one = &series["items"][0];
    (
        one["state"].as_str().unwrap_or("").to_owned(),
        one["attempt"].as_u64().unwrap(),
    )
}

async fn phases(app: &TestApp) -> Vec<String> {
    let alerts = app.api().await.get("/alerts").await;
    let items = alerts["items"].as_array().unwrap();
    items
        .iter()
        .map(|alert| alert["phase"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_then_for_then_one_mail_across_restarts() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let app = TestApp::start(&yaml(&server, &service, "")).await;
    app.pass(minutes(2)).await;
    assert_eq!(state(&app).await, ("ok".into(), 0));

    service.broken.store(true, Ordering::SeqCst);
    app.pass(Duration::from_secs(31)).await;
    let (hard, attempt) = state(&app).await;
    assert_eq!(hard, "ok", "soft until the third failure");
    assert!((1..=2).contains(&attempt), "{attempt}");
    app.pass(Duration::from_secs(30)).await;
    assert_eq!(state(&app).await, ("critical".into(), 3));
    assert_eq!(phases(&app).await, ["pending"]);

    // The wait goes on across restarts, orderly or not.
    app.pass(minutes(2)).await;
    let app = app.restart().await;
    app.pass(minutes(2)).await;
    assert_eq!(phases(&app).await, ["pending"]);
    assert_eq!(subjects(&server), Vec::<String>::new());
    app.pass(minutes(2)).await;
    assert_eq!(phases(&app).await, ["firing"]);
    server.wait_for(1).await;

    let app = app.restart().await;
    app.pass(minutes(10)).await;
    service.broken.store(false, Ordering::SeqCst);
    app.pass(minutes(1)).await;
    server.wait_for(2).await;
    assert_eq!(phases(&app).await, ["resolved"]);
    let app = app.restart().await;
    app.pass(minutes(5)).await;
    app.stop().await;
    let subjects = subjects(&server);
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert!(subjects[0].starts_with("[FIRING] down on web-1"));
    assert!(subjects[1].starts_with("[RESOLVED] down on web-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shorter_than_for_tells_nobody() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let app = TestApp::start(&yaml(&server, &service, "")).await;
    app.pass(minutes(1)).await;
    service.broken.store(true, Ordering::SeqCst);
    app.pass(minutes(4)).await;
    assert_eq!(phases(&app).await, ["pending"]);
    service.broken.store(false, Ordering::SeqCst);
    app.pass(minutes(10)).await;
    assert_eq!(phases(&app).await, ["cancelled"]);
    let world = app.stop().await;
    assert_eq!(subjects(&server), Vec::<String>::new());
    let timeline = world.timeline().await;
    assert!(
        timeline.iter().any(|event| event == "alert_pending"),
        "why nobody was told is told: {timeline:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_wait_for_their_cooldown_and_end_at_their_limit() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    service.stubborn.store(true, Ordering::SeqCst);
    service.broken.store(true, Ordering::SeqCst);
    let app = TestApp::start(&yaml(&server, &service, ", remediate: [mend]")).await;
    // Hard after a minute at most, firing five minutes later.
    app.pass(minutes(6) + Duration::from_secs(5)).await;
    let repairs = service.repairs.clone();
    until("the first repair", || repairs.load(Ordering::SeqCst) == 1).await;
    app.pass(minutes(4)).await;
    assert_eq!(repairs.load(Ordering::SeqCst), 1, "the cooldown holds");
    let app = app.restart().await;
    app.pass(minutes(2)).await;
    until("the second repair", || repairs.load(Ordering::SeqCst) == 2).await;
    app.pass(minutes(6)).await;
    until("the third repair", || repairs.load(Ordering::SeqCst) == 3).await;
    app.pass(minutes(30)).await;
    assert_eq!(repairs.load(Ordering::SeqCst), 3, "three an hour");
    server.wait_for(2).await;
    app.stop().await;
    let subjects = subjects(&server);
    assert_eq!(subjects.len(), 2, "escalated once: {subjects:?}");
    assert!(subjects[1].starts_with("[REPAIR FAILED] down on web-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_hours_of_sleep_each_check_runs_once() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let app = TestApp::start(&yaml(&server, &service, "")).await;
    app.pass(minutes(2)).await;
    let results = "/series/homepage/web-1/results?limit=500";
    let count = |value: &serde_json::Value| value["items"].as_array().unwrap().len();
    let before = count(&app.api().await.get(results).await);
    app.jump(minutes(6 * 60)).await;
    app.jump(Duration::ZERO).await;
    let after = app.api().await.get(results).await;
    assert_eq!(count(&after), before + 1, "one catch-up run, no burst");
    let lateness = after["items"][0]["lateness_us"].as_u64().unwrap();
    assert!(
        lateness < 30_000_000,
        "the latest slot is the one that runs"
    );
    app.pass(minutes(1)).await;
    let later = count(&app.api().await.get(results).await);
    assert_eq!(later, before + 3, "back on the grid");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_stops_nothing() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let app = TestApp::start(&yaml(&server, &service, "")).await;
    app.pass(minutes(2)).await;
    app.back(minutes(60)).await;
    let results = "/series/homepage/web-1/results?limit=500";
    let count = |value: &serde_json::Value| value["items"].as_array().unwrap().len();
    let before = count(&app.api().await.get(results).await);
    app.pass(minutes(2)).await;
    let after = count(&app.api().await.get(results).await);
    assert!(after >= before + 3, "{before} results, then {after}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_away_for_hours_gets_its_mail_later_and_once() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let app = TestApp::start(&yaml(&server, &service, "")).await;
    server.down();
    service.broken.store(true, Ordering::SeqCst);
    app.pass(minutes(7)).await;
    let api = app.api().await;
    api.until("/outbox", "a failed attempt", |outbox| {
        outbox["items"][0]["attempts"].as_u64() >= Some(1)
    })
    .await;
    for _ in 0..6 {
        app.jump(minutes(30)).await;
        // The attempt itself takes real time.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let app = app.restart().await;
    server.up().await;
    for _ in 0..4 {
        app.jump(minutes(30)).await;
    }
    server.wait_for(1).await;
    app.jump(minutes(60)).await;
    app.stop().await;
    assert_eq!(subjects(&server).len(), 1);
}
