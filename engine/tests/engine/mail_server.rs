//! A mail server that misbehaves delays mails, and nothing but mails.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether::clock::SystemClock;
use bellwether::engine::{Engine, Options};
use bellwether::recorder::Limits;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::api::{Api, PASSWORD};
use crate::smtp::{Fault, SmtpServer, Stage};
use crate::support::{Service, World, stop, subjects};

fn yaml(server: &SmtpServer, service: &Service) -> String {
    format!(
        r#"
smtp: {{ url: "smtp://{smtp}", from: "Bellwether <alerts@example.org>", timeout: 2s }}
nodes:
  - {{ name: web-1, address: 127.0.0.1 }}
checks:
  - {{ name: homepage, plugin: http, every: 1s, timeout: 1s, config: {{ url: "http://{{{{ node.address }}}}:{port}/health" }} }}
  - {{ name: other, plugin: http, every: 1s, timeout: 1s, config: {{ url: "http://{{{{ node.address }}}}:{port}/health", expect_status: [200, 503] }} }}
rules:
  - {{ name: down, when: 'check == "homepage" && state == "critical"', severity: critical, notify: [oncall] }}
contacts:
  - {{ name: oncall, email: ["ops@example.org"] }}
"#,
        smtp = server.addr(),
        port = service.address.port(),
    )
}

/// Breaks the service while the mail server misbehaves; the other check goes
/// on, and the mail arrives once the server behaves again.
async fn delayed_by(name: &str, misbehave: impl FnOnce(&SmtpServer)) {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let world = World::new(&yaml(&server, &service));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    misbehave(&server);
    service.broken.store(true, Ordering::SeqCst);
    let outbox = api
        .until("/outbox", "an attempt that failed", |outbox| {
            outbox["items"][0]["attempts"].as_u64() >= Some(1)
        })
        .await;
    let row = &outbox["items"][0];
    assert_eq!(row["status"], "queued", "{name}: {row}");
    assert!(
        row["reply"].as_str().is_some_and(|text| !text.is_empty()),
        "{name}: the reason is shown: {row}"
    );

    // Five more results of the other check, each ok, none missed.
    let results = "/series/other/web-1/results";
    let seen = api.get(results).await["items"].as_array().unwrap().len();
    let found = api
        .until(results, "results go on", |page| {
            page["items"].as_array().unwrap().len() >= seen + 5
        })
        .await;
    for result in found["items"].as_array().unwrap() {
        assert_eq!(result["state"], "ok", "{name}: {result}");
    }
    assert_eq!(subjects(&server), Vec::<String>::new(), "{name}");

    server.heal();
    server.wait_for(1).await;
    stop(engine).await;
    assert_eq!(subjects(&server).len(), 1, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers() {
    delayed_by("slow", |server| {
        server.fail(Stage::Greeting, None, Fault::Hold);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_for_now() {
    delayed_by("refusing", |server| {
        server.fail(Stage::Rcpt, None, Fault::Reply("451 4.3.0 try again later"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_in_the_middle_of_data() {
    delayed_by("closing", |server| {
        server.fail(Stage::InBody, None, Fault::Close);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_for_good_is_shown_and_not_asked_again() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let world = World::new(&yaml(&server, &service));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    server.fail(Stage::Rcpt, None, Fault::Reply("550 5.1.1 no such user"));
    service.broken.store(true, Ordering::SeqCst);
    let outbox = api
        .until("/outbox", "given up", |outbox| {
            outbox["items"][0]["status"] == "failed"
        })
        .await;
    let row = &outbox["items"][0];
    assert_eq!(row["attempts"], 1, "{row}");
    assert!(
        row["reply"].as_str().unwrap().contains("no such user"),
        "{row}"
    );
    stop(engine).await;
}

/// Whoever holds the lock of the database stands for a disk that hangs.
#[tokio::test(flavor = "multi_thread")]
async fn that_results_cannot_be_stored_is_told_again_until_a_mail_is_taken() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let world = World::new(&format!(
        "{}faults: {{ notify: [oncall] }}\n",
        yaml(&server, &service)
    ));
    let mut options = Options::new(world.data(), Arc::new(SystemClock));
    options.config = Some(world.file("bellwether.yaml"));
    options.listen = "127.0.0.1:0".parse().unwrap();
    options.compiler = PathBuf::from(env!("CARGO_BIN_EXE_bellwether"));
    options.admin_password = Some(PASSWORD.into());
    options.recorder = Limits {
        degraded_after: Duration::from_millis(500),
        ..Limits::default()
    };
    let engine = Engine::start(options).await.unwrap();
    server.fail(Stage::Rcpt, None, Fault::Reply("451 4.3.0 try again later"));
    let path = world.data().join("bellwether.db");
    let options = SqliteConnectOptions::new().filename(&path);
    let mut lock = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut lock)
        .await
        .unwrap();
    server.wait_for_command("RCPT", 1).await;
    server.heal();
    let mails = server.wait_for(1).await;
    assert_eq!(
        mails[0].header("Subject").unwrap(),
        "[FAULT] the engine cannot store results"
    );
    lock.close().await.unwrap();
    stop(engine).await;
}
