use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Backtest, Past, Verdict};
use crate::check::outcome::{Cause, LogLevel, LogRecord, State};
use crate::clock::Timestamp;
use crate::config::spec::EnvelopeSpec;
use crate::pipeline::Input;
use crate::pipeline::changes::{Alert, Changes, ResultRow};
use crate::pipeline::policy::Policy;
use crate::pipeline::tests::{START, World, configured, fault, report, world};

fn policy(input: Input) -> Policy {
    match input {
        Input::Configured { policy, .. } => Arc::into_inner(policy).unwrap(),
        _ => unreachable!("it is a configuration"),
    }
}

/// A backtest of the one rule, on the series of `world`.
fn backtest(world: &World, rule: (&str, &str, u64, Option<&str>)) -> Backtest {
    let policy = policy(configured(&[rule], EnvelopeSpec::default()));
    let past = Past {
        rule: policy.rules.into_iter().next().unwrap(),
        queries: policy.queries,
        checks: policy.checks,
        series: world
            .snapshot
            .series()
            .map(|one| crate::pipeline::changes::SeriesRow {
                id: one.id,
                check: one.check.clone(),
                node: one.node_name.clone(),
                created_at: START,
            })
            .collect(),
        metrics: Vec::new(),
    };
    Backtest::new(past, START)
}

fn row(world: &World, node: &str, after: u64, state: State) -> ResultRow {
    ResultRow {
        ts: START + Duration::from_secs(after),
        series: world.series(node),
        verdict: Ok(state),
        duration_us: 5_000,
        lateness_us: 0,
        summary: format!("it is {}", state.as_str()),
        details: None,
        metrics: Vec::new(),
    }
}

fn seconds(verdict: &Verdict) -> Vec<(i64, i64, Option<i64>)> {
    let since = |at: Timestamp| at.secs() - START.secs();
    let alerts = verdict.alerts.iter();
    alerts
        .map(|one| {
            (
                since(one.pending_at),
                since(one.fired_at),
                one.ended_at.map(since),
            )
        })
        .collect()
}

#[test]
fn spans_have_begin_end_and_time_pending() {
    let world = world(&[], EnvelopeSpec::default());
    let mut past = backtest(&world, ("down", "state == \"critical\"", 30, None));
    past.begin(START);
    for (after, state) in [
        (0, State::Ok),
        (10, State::Critical),
        (60, State::Critical),
        (70, State::Ok),
        (80, State::Critical),
        (90, State::Ok),
        (100, State::Critical),
        (140, State::Critical),
    ] {
        past.result(row(&world, "web-1", after, state));
    }
    past.result(row(&world, "web-2", 141, State::Critical));
    past.advance(START + Duration::from_secs(150));
    let verdict = past.finish();
    assert_eq!(seconds(&verdict), [(10, 41, Some(70)), (100, 131, None)]);
    assert_eq!(
        (verdict.fired, verdict.cancelled, verdict.pending),
        (2, 1, 1)
    );
    let first = &verdict.alerts[0];
    assert_eq!(first.node.as_deref(), Some("web-1"));
    assert_eq!(first.summary, "it is critical");
}

#[test]
fn what_was_true_before_the_begin_counts_from_there() {
    let world = world(&[], EnvelopeSpec::default());
    let rule = ("slow", "count(\"duration_ms\", \"1m\") >= 3", 0, None);
    let mut past = backtest(&world, rule);
    for after in [0, 10, 20] {
        past.result(row(&world, "web-1", after, State::Ok));
    }
    past.begin(START + Duration::from_secs(25));
    past.result(row(&world, "web-1", 30, State::Ok));
    let verdict = past.finish();
    // Nothing fires before the range, and its window is full at its begin.
    assert_eq!(seconds(&verdict), [(30, 30, None)]);
}

#[test]
fn logs_count_and_silence_is_noticed_without_results() {
    let world = world(&[], EnvelopeSpec::default());
    let rule = ("quiet", "log_count(\"level:info\", \"1m\") == 0", 0, None);
    let mut past = backtest(&world, rule);
    let source: Arc<str> = "app".into();
    let record = |after| LogRecord {
        time: START + Duration::from_secs(after),
        received: START + Duration::from_secs(after),
        level: LogLevel::Info,
        message: "alive".into(),
        fields: Vec::new(),
    };
    past.log(&source, record(0));
    past.begin(START + Duration::from_secs(10));
    past.log(&source, record(30));
    past.log(&source, record(200));
    past.advance(START + Duration::from_secs(210));
    let verdict = past.finish();
    assert_eq!(seconds(&verdict), [(90, 90, Some(200))]);
}

#[test]
fn results_of_nodes_that_are_gone_are_left_out() {
    let world = world(&[], EnvelopeSpec::default());
    let mut past = backtest(&world, ("down", "state == \"critical\"", 0, None));
    past.begin(START);
    let mut gone = row(&world, "web-1", 1, State::Critical);
    gone.series = crate::check::outcome::SeriesId(77);
    past.result(gone);
    assert_eq!(past.finish(), Verdict::default());
}

/// Alerts of a rule as the live path made them, by id.
fn note(live: &mut BTreeMap<i64, Alert>, changes: &Changes) {
    for alert in changes.alerts.values() {
        if matches!(
            alert.source,
            crate::pipeline::changes::AlertSource::Rule { .. }
        ) {
            live.insert(alert.id, alert.clone());
        }
    }
}

proptest! {
    /// A backtest over what a live pipeline recorded says what that pipeline
    /// did.
    #[test]
    fn it_says_what_the_live_path_did(
        steps in prop::collection::vec((0usize..2, 0usize..4, 1u64..15), 1..60),
        hold in 0u64..30,
        windowed in any::<bool>(),
    ) {
        let when = match windowed {
            true => "count(\"duration_ms\", \"10s\", \"homepage\") >= 2",
            false => "state == \"critical\" && attempt >= 1",
        };
        let rule = ("r", when, hold, None);
        let mut live = world(&[rule], EnvelopeSpec::default());
        let (mut alerts, mut rows) = (BTreeMap::new(), Vec::new());
        let run = Duration::from_millis(5);
        for (node, state, gap) in &steps {
            for _ in 0..*gap {
                live.now = Timestamp::from_secs(live.now.secs() + 1);
                note(&mut alerts, &live.tick());
            }
            let node = ["web-1", "web-2"][*node];
            let verdict = match *state {
                3 => Err(fault()),
                state => Ok(report([State::Ok, State::Critical, State::Warning][state])),
            };
            let outcome = live.outcome(node, Cause::Schedule, verdict);
            live.now = live.now + run;
            let changes = live.input(outcome);
            note(&mut alerts, &changes);
            rows.extend(changes.results);
        }
        let mut past = backtest(&live, rule);
        past.begin(START);
        for row in rows {
            past.result(row);
        }
        let verdict = past.finish();
        let fired: Vec<_> = alerts
            .values()
            .filter_map(|one| Some((one.node.clone(), one.pending_at, one.fired_at?, one.ended_at)))
            .collect();
        let mut said: Vec<_> = verdict
            .alerts
            .iter()
            .map(|one| (one.node.clone(), one.pending_at, one.fired_at, one.ended_at))
            .collect();
        let mut fired = fired;
        fired.sort();
        said.sort();
        prop_assert_eq!(said, fired);
    }
}
