//! The main job, end to end in one process: a plugin notices a real outage, the
//! mail arrives at a real SMTP server, the repair runs and is verified, the
//! resolved mail follows in the same thread. And again across restarts.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::smtp::SmtpServer;
use crate::support::{Service, World, stop, subjects, until};

fn yaml(server: &SmtpServer, service: &Service, cooldown: &str) -> String {
    let port = service.address.port();
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
"#,
        smtp = server.addr(),
    )
}

fn with_log(server: &SmtpServer, service: &Service, cooldown: &str, log: &Path) -> String {
    let yaml = yaml(server, service, cooldown);
    let log = log.display();
    format!("{yaml}log_sources:\n  - {{ name: app, file: \"{log}\", parser: json-lines }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_noticed_told_repaired_and_resolved_in_one_thread() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let world = World::new(&yaml(&server, &service, "60s"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    let mails = server.wait_for(2).await;
    assert_eq!(service.repairs.load(Ordering::SeqCst), 1);
    // The check's next run may end the alert before the repair is verified.
    tokio::time::sleep(Duration::from_secs(4)).await;
    stop(engine).await;

    let subjects = subjects(&server);
    assert!(
        subjects[0].starts_with("[FIRING] homepage-down on web-1: "),
        "{subjects:?}"
    );
    assert!(
        subjects[1].starts_with("[RESOLVED] homepage-down on web-1: "),
        "{subjects:?}"
    );
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    let first = mails[0].header("Message-ID").unwrap();
    assert_eq!(
        mails[1].header("In-Reply-To").as_deref(),
        Some(first.as_str())
    );
    assert!(mails[1].header("References").unwrap().contains(&first));
    assert!(
        mails[1].part("text/plain").contains("mend"),
        "what was tried is told"
    );

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
    let verified = timeline
        .iter()
        .filter(|event| *event == "remediation_verified")
        .count();
    assert_eq!(verified, 1, "{timeline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_does_not_help_is_escalated() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    service.stubborn.store(true, Ordering::SeqCst);
    let world = World::new(&yaml(&server, &service, "1h"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    server.wait_for(2).await;
    stop(engine).await;
    let subjects = subjects(&server);
    assert!(
        subjects[1].starts_with("[REPAIR FAILED] homepage-down on web-1: "),
        "{subjects:?}"
    );
    assert_eq!(
        service.repairs.load(Ordering::SeqCst),
        1,
        "the cooldown holds"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_an_outage_mails_nothing_twice_and_keeps_the_thread() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    service.stubborn.store(true, Ordering::SeqCst);
    let world = World::new(&yaml(&server, &service, "1h"));
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
    assert_eq!(
        mails[2].header("In-Reply-To"),
        mails[0].header("Message-ID")
    );
    assert_eq!(service.repairs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_a_log_alert_through_a_parser_plugin() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    let logs = tempfile::tempdir().unwrap();
    let path = logs.path().join("app.log");
    std::fs::write(&path, "{\"level\":\"error\",\"msg\":\"old\"}\n".repeat(9)).unwrap();
    let world = World::new(&with_log(&server, &service, "60s", &path));
    let engine = world.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        subjects(&server),
        Vec::<String>::new(),
        "what was there before is not read"
    );
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    std::io::Write::write_all(
        &mut file,
        "{\"level\":\"error\",\"msg\":\"checkout failed\"}\n"
            .repeat(3)
            .as_bytes(),
    )
    .unwrap();
    server.wait_for(1).await;
    stop(engine).await;
    assert!(
        subjects(&server)[0].starts_with("[FIRING] many-errors: "),
        "{:?}",
        subjects(&server)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_down_delays_mails_only() {
    let (server, service) = (SmtpServer::start().await, Service::start().await);
    server.down();
    let world = World::new(&yaml(&server, &service, "60s"));
    let engine = world.start().await;
    service.broken.store(true, Ordering::SeqCst);
    let repairs = service.repairs.clone();
    until("the repair runs without mail", || {
        repairs.load(Ordering::SeqCst) == 1
    })
    .await;
    server.up().await;
    server.wait_for(2).await;
    stop(engine).await;
    assert!(subjects(&server)[0].starts_with("[FIRING] "));
}
