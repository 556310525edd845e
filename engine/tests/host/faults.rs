//! The line between a target that is down and a fault.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::check::outcome::{FaultKind, PluginState, State, StateEntry};
use bellwether::plugin::resolve::{Resolve, ResolveError, Resolving};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_probe_reports() {
    let host = host();
    let digest = install(&host, "testing/noop").await;
    let outcome = job(&digest, json!({})).run(&host).await;
    let report = outcome.verdict.unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "nothing to do")
    );
    assert_eq!(
        (&*report.metrics[0].name, report.metrics[0].value),
        ("answer", 42.0)
    );
    assert!(outcome.finished >= outcome.started);
}

#[tokio::test]
async fn what_a_guest_does_wrong_is_a_fault() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    for (config, kind, text) in [
        (
            json!({"mode": "endless-loop"}),
            FaultKind::Deadline,
            "computed beyond its deadline of 600 ms",
        ),
        (
            json!({"mode": "endless-host-call"}),
            FaultKind::Deadline,
            "computed beyond its deadline",
        ),
        (
            json!({"mode": "memory-bomb"}),
            FaultKind::Limit,
            "the limit is 67108864 (limits.memory)",
        ),
        (
            json!({"mode": "stack-overflow", "what": "calls"}),
            FaultKind::Trap,
            "stack overflow",
        ),
        (json!({"mode": "huge-output"}), FaultKind::Limit, "limit"),
        (
            json!({"mode": "huge-output", "what": "summary", "amount": 70000}),
            FaultKind::Limit,
            "70000 bytes, the limit is 65536",
        ),
        (
            json!({"mode": "huge-output", "what": "details", "amount": 2000000}),
            FaultKind::Limit,
            "output:",
        ),
        (
            json!({"mode": "huge-output", "what": "metrics", "amount": 1001}),
            FaultKind::Limit,
            "1001 metrics, the limit is 1000",
        ),
        (
            json!({"mode": "trap", "what": "unreachable"}),
            FaultKind::Trap,
            "unreachable",
        ),
        (
            json!({"mode": "trap", "what": "panic"}),
            FaultKind::Trap,
            "told to panic",
        ),
        (
            json!({"mode": "trap", "what": "divide"}),
            FaultKind::Trap,
            "divide",
        ),
        (
            json!({"mode": "oddities", "what": "invalid-utf8"}),
            FaultKind::Trap,
            "broke the contract",
        ),
        (
            json!({"mode": "nonsense"}),
            FaultKind::Config,
            "config /mode: expected a mode",
        ),
        (
            json!({"mode": "denied-capability", "target": "http://127.0.0.1:1/"}),
            FaultKind::Denied,
            "net 127.0.0.1:1 is not granted",
        ),
        (
            json!({"mode": "denied-capability", "what": "command", "target": "x"}),
            FaultKind::Denied,
            "command x is not granted",
        ),
        (
            json!({"mode": "denied-capability", "what": "state"}),
            FaultKind::Denied,
            "`state` is not granted",
        ),
    ] {
        let fault = job(&hostile, config.clone())
            .timeout(100)
            .fault(&host)
            .await;
        assert_eq!(fault.kind, kind, "{config}: {fault:?}");
        assert!(fault.text.contains(text), "{config}: {}", fault.text);
    }
}

#[tokio::test]
async fn odd_values_are_dropped_and_counted() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let outcome = job(&hostile, json!({"mode": "nan-metrics"}))
        .run(&host)
        .await;
    let report = outcome.verdict.unwrap();
    assert_eq!((report.metrics.len(), report.metrics[0].value), (1, 1.5));
    assert!(
        outcome.log[0].message.starts_with("3 metrics were dropped"),
        "{:?}",
        outcome.log
    );

    let report = job(&hostile, json!({"mode": "oddities", "what": "duplicates"}))
        .report(&host)
        .await;
    assert_eq!((report.metrics.len(), report.metrics[0].value), (1, 1.0));
    let report = job(&hostile, json!({"mode": "oddities", "what": "control"}))
        .report(&host)
        .await;
    assert!(
        !report.summary.chars().any(char::is_control) && !report.details.contains('\u{1b}'),
        "{report:?}"
    );
}

#[tokio::test]
async fn the_log_is_bounded() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let outcome = job(&hostile, json!({"mode": "log-flood", "amount": 10000}))
        .run(&host)
        .await;
    outcome.verdict.unwrap();
    assert!(
        outcome
            .log
            .iter()
            .map(|line| line.message.len())
            .sum::<usize>()
            < 17 << 10
    );
    assert!(
        outcome
            .log
            .last()
            .unwrap()
            .message
            .ends_with("more lines were dropped")
    );
}

#[tokio::test]
async fn memory_within_the_limit_is_had() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let allocate =
        |limit: u64| job(&hostile, json!({"mode": "allocate", "amount": 20 << 20})).memory(limit);
    assert_eq!(allocate(64 << 20).report(&host).await.state, State::Ok);
    assert_eq!(allocate(16 << 20).fault(&host).await.kind, FaultKind::Limit);
    // Less than the component begins with.
    let fault = allocate(64 << 10).fault(&host).await;
    assert_eq!(fault.kind, FaultKind::Limit, "{fault:?}");
}

#[tokio::test]
async fn state_leaves_with_the_outcome() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let flood = |amount| {
        job(&hostile, json!({"mode": "state-flood", "amount": amount})).grants(|g| g.state = true)
    };
    let outcome = flood(2).run(&host).await;
    assert_eq!(outcome.verdict.unwrap().summary, "wrote 2 keys");
    assert_eq!(outcome.state_writes.len(), 2);
    assert_eq!(outcome.state_writes[0].1.as_ref().unwrap().version, 1);

    let report = flood(1000).report(&host).await;
    assert!(report.summary.contains("Quota"), "{}", report.summary);

    let before = [(
        "key-0".to_owned(),
        StateEntry {
            value: vec![1],
            version: 7,
        },
    )];
    let report = flood(2)
        .state(PluginState(before.into()))
        .report(&host)
        .await;
    assert!(report.summary.contains("Conflict"), "{}", report.summary);
}

#[tokio::test]
async fn a_target_that_hangs_is_critical() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let http = install(&host, "http").await;
    let url = format!("http://{}/", silent().await);

    // The host call says so and the plugin reports it.
    let report = job(&http, json!({"url": url}))
        .net(&["node"])
        .timeout(200)
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical);
    assert!(report.summary.contains("first-byte"), "{}", report.summary);

    // A plugin that asks again and again meets its deadline while it waits.
    let report = job(
        &hostile,
        json!({"mode": "endless-host-call", "target": url}),
    )
    .net(&["node"])
    .timeout(400)
    .report(&host)
    .await;
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Critical, "timed out in first-byte")
    );
}

/// Answers so late that every timer of the run has passed, as on a machine that
/// has no processor to give.
struct Starved(SocketAddr);

impl Resolve for Starved {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            std::thread::sleep(Duration::from_millis(1_200));
            Ok(vec![self.0.ip()])
        })
    }
}

#[tokio::test]
async fn a_target_that_hangs_is_critical_on_a_starved_machine_too() {
    let target = silent().await;
    let host = host_with(|config| config.resolver = Some(Arc::new(Starved(target))));
    let http = install(&host, "http").await;
    let url = format!("http://slow.example:{}/", target.port());
    let grant = target.to_string();
    let report = job(&http, json!({ "url": url }))
        .net(&[&grant, "slow.example:*"])
        .timeout(500)
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical, "{}", report.summary);
}

/// The engine's machine cannot ask.
struct Speechless;

impl Resolve for Speechless {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        Box::pin(async { Err(ResolveError::Host("no files left".into())) })
    }
}

#[tokio::test]
async fn a_resolver_that_cannot_ask_is_a_fault() {
    let host = host_with(|config| config.resolver = Some(Arc::new(Speechless)));
    let http = install(&host, "http").await;
    let fault = job(&http, json!({"url": "http://a.example/"}))
        .net(&["a.example:*"])
        .fault(&host)
        .await;
    assert_eq!(fault.kind, FaultKind::Engine, "{}", fault.text);
    assert!(
        fault
            .text
            .contains("a.example cannot be resolved: no files left"),
        "{}",
        fault.text
    );
}

#[tokio::test]
async fn hostile_runs_do_not_hold_up_others() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let noop = install(&host, "testing/noop").await;
    let url = format!("http://{}/", silent().await);
    let tasks = tokio_util::task::TaskTracker::new();
    let mut ends = Vec::new();
    for config in [
        json!({"mode": "endless-loop"}),
        json!({"mode": "endless-loop"}),
        json!({"mode": "endless-host-call"}),
        json!({"mode": "endless-host-call", "target": url}),
    ] {
        let (host, job) = (
            Arc::clone(&host.host),
            job(&hostile, config).net(&["node"]).timeout(1500).build(),
        );
        ends.push(tasks.spawn(async move { host.run_probe(job).await.verdict }));
    }
    // Meanwhile: as many as come, one after the other.
    let (mut runs, begun) = (0, Instant::now());
    while begun.elapsed() < Duration::from_millis(1000) {
        assert_eq!(job(&noop, json!({})).report(&host).await.state, State::Ok);
        runs += 1;
    }
    assert!(runs >= 10, "only {runs} runs beside the hostile ones");
    for end in &mut ends[..3] {
        assert_eq!(end.await.unwrap().unwrap_err().kind, FaultKind::Deadline);
    }
    assert_eq!(ends[3].take_summary().await, "timed out in first-byte");
}

trait TakeSummary {
    async fn take_summary(&mut self) -> String;
}

impl TakeSummary
    for tokio::task::JoinHandle<
        Result<bellwether::check::outcome::Report, bellwether::check::outcome::Fault>,
    >
{
    async fn take_summary(&mut self) -> String {
        self.await.unwrap().unwrap().summary
    }
}

#[tokio::test]
async fn hundreds_that_hang_are_all_critical() {
    let host = host();
    let http = install(&host, "http").await;
    let url = format!("http://{}/", silent().await);
    let tasks = tokio_util::task::TaskTracker::new();
    let runs: Vec<_> = (0..300)
        .map(|_| {
            let (host, job) = (
                Arc::clone(&host.host),
                job(&http, json!({"url": url}))
                    .net(&["node"])
                    .timeout(1000)
                    .build(),
            );
            tasks.spawn(async move { host.run_probe(job).await.verdict })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap().state, State::Critical);
    }
}

#[tokio::test]
async fn more_runs_than_fit_are_engine_faults() {
    let host = host_with(|config| config.max_in_flight = 64);
    let http = install(&host, "http").await;
    let url = format!("http://{}/", silent().await);
    assert_eq!(host.capacity(), 64);
    let tasks = tokio_util::task::TaskTracker::new();
    let runs: Vec<_> = (0..70)
        .map(|_| {
            let (host, job) = (
                Arc::clone(&host.host),
                job(&http, json!({"url": url}))
                    .net(&["node"])
                    .timeout(1500)
                    .build(),
            );
            tasks.spawn(async move { host.run_probe(job).await.verdict })
        })
        .collect();
    let mut refused = 0;
    for run in runs {
        if let Err(fault) = run.await.unwrap() {
            assert_eq!(fault.kind, FaultKind::Engine, "{fault:?}");
            refused += 1;
        }
    }
    assert_eq!(refused, 6);
}
