//! Runs that somebody looks at: their calls, and what they used.

use std::time::Duration;

use bellwether::check::outcome::{FaultKind, State};
use bellwether::plugin::watch::{Beside, HostCall, RunUse, Watch};
use serde_json::json;

use crate::support::*;

async fn watched(
    host: &TestHost,
    job: JobBuilder,
) -> (bellwether::check::outcome::Outcome, Vec<HostCall>, RunUse) {
    let watch = Watch::default();
    let beside = Beside {
        replay: None,
        watch: Some(watch.clone()),
    };
    let outcome = host.rehearse(job.build(), beside).await;
    let (calls, used) = watch.seen();
    (outcome, calls, used)
}

#[tokio::test]
async fn calls_are_listed_with_their_answers_and_times() {
    let host = host();
    let digest = install(&host, "http").await;
    let server = http(|_| response("200 OK", "", "hello")).await;
    let url = format!("http://{server}/");
    let asking = job(&digest, json!({ "url": url })).net(&["node"]);
    let (outcome, calls, used) = watched(&host, asking).await;
    assert_eq!(outcome.verdict.unwrap().state, State::Ok);
    let call = calls.iter().find(|call| call.call == "net.http").unwrap();
    assert_eq!(call.asked, format!("GET {url}"));
    assert_eq!(
        (call.answer.as_deref(), call.failed),
        (Some("200, 5 bytes"), false)
    );
    assert!(
        call.phases.iter().any(|phase| phase.phase == "connect"),
        "{call:?}"
    );
    assert!(
        call.took_us > 0 && call.at_us + call.took_us <= used.ran_us,
        "{call:?} {used:?}"
    );
    assert_eq!((used.memory_limit, used.deadline_us), (64 << 20, 2_500_000));
    assert!(
        used.memory > 0 && used.memory < used.memory_limit,
        "{used:?}"
    );
    assert!(
        used.host_calls >= 1 && used.cpu_us > 0 && used.cpu_us <= used.ran_us,
        "{used:?}"
    );

    let (outcome, calls, _) = watched(&host, job(&digest, json!({ "url": url }))).await;
    assert_eq!(outcome.verdict.unwrap_err().kind, FaultKind::Denied);
    let call = calls.last().unwrap();
    assert!(
        call.failed && call.answer.as_deref().unwrap().starts_with("denied: "),
        "{call:?}"
    );
}

#[tokio::test]
async fn the_call_in_which_a_run_ended_is_there() {
    let host = host();
    let digest = install(&host, "testing/hostile").await;
    let config =
        json!({ "mode": "endless-host-call", "target": format!("http://{}/", silent().await) });
    let asking = job(&digest, config).net(&["node"]).timeout(300);
    let (outcome, calls, used) = watched(&host, asking).await;
    assert_eq!(outcome.verdict.unwrap().state, State::Critical);
    let first = &calls[0];
    assert_eq!(first.answer.as_deref(), Some("timed out in first-byte"));
    let last = calls.last().unwrap();
    assert_eq!((last.answer.as_deref(), last.failed), (None, false));
    assert!(
        last.took_us > 0 && last.at_us + last.took_us <= used.ran_us,
        "{last:?} {used:?}"
    );
}

#[tokio::test]
async fn a_guest_that_fails_leaves_its_stack_in_the_log() {
    let host = host();
    let digest = install(&host, "testing/hostile").await;
    let traps = job(&digest, json!({ "mode": "trap", "what": "unreachable" }));
    let (outcome, _, used) = watched(&host, traps).await;
    assert_eq!(outcome.verdict.unwrap_err().kind, FaultKind::Trap);
    let trace = &outcome.log.last().unwrap().message;
    assert!(
        trace.starts_with("backtrace, innermost first:\n  0: "),
        "{trace}"
    );
    assert!(trace.contains("hostile::"), "{trace}");
    assert!(used.memory > 0, "{used:?}");
}

#[tokio::test]
async fn many_calls_are_bounded_and_counted() {
    let host = host();
    let digest = install(&host, "testing/hostile").await;
    let config = json!({ "mode": "endless-host-call", "target": "http://192.0.2.1/" });
    let (_, calls, used) = watched(&host, job(&digest, config).timeout(50)).await;
    assert_eq!(calls.len(), 200);
    assert!(
        calls
            .iter()
            .all(|call| call.call == "net.http" && call.failed),
        "{calls:?}"
    );
    assert!(used.host_calls > 200, "{used:?}");

    let config = json!({ "mode": "state-flood" });
    let flood = job(&digest, config).grants(|grants| grants.state = true);
    let (_, calls, used) = watched(&host, flood).await;
    let (last, before) = calls.split_last().unwrap();
    assert_eq!(last.answer.as_deref(), Some("quota: 65536"));
    assert!(
        before
            .iter()
            .all(|call| !call.failed && call.call == "state.set"),
        "{before:?}"
    );
    assert!(
        used.state > 60_000 && used.state <= used.state_limit,
        "{used:?}"
    );
}

#[tokio::test]
async fn a_version_that_is_held_back_for_its_crashes_may_be_looked_at() {
    let host = host();
    let digest = install(&host, "testing/noop").await;
    let later = Some(bellwether::clock::Timestamp::default() + Duration::from_secs(1 << 32));
    host.hold(&digest, "held back".into(), later);
    assert_eq!(
        job(&digest, json!({})).fault(&host).await.kind,
        FaultKind::Plugin
    );
    let (outcome, _, _) = watched(&host, job(&digest, json!({}))).await;
    assert!(outcome.verdict.is_ok(), "{outcome:?}");
    host.hold(&digest, "nobody trusts it".into(), None);
    let (outcome, _, _) = watched(&host, job(&digest, json!({}))).await;
    assert_eq!(outcome.verdict.unwrap_err().text, "nobody trusts it");
}
