//! What is known after a restart, and after the clock was set back.

use std::sync::Arc;
use std::time::Duration;

use super::Input;
use super::changes::{Alert, Changes, Effect, NotificationKind, Phase, RunStatus};
use super::quarantine::PluginName;
use super::snapshot::{Loaded, Snapshot};
use super::tests::{
    World, action_runs, configured, configured_as, fault, kinds, loaded, mails, report, world,
};
use crate::check::outcome::{Cause, Digest, Metric, Report, State};
use crate::config::spec::EnvelopeSpec;
use crate::config::units::Span;

const HELD: &[(&str, &str, u64, Option<&str>)] =
    &[("down", "state == \"critical\"", 20, Some("restart"))];

fn again(before: &World, alerts: Vec<Alert>) -> World {
    let series = before.snapshot.series().cloned();
    let unheard = series.map(|series| super::snapshot::Series {
        heard: false,
        sound: None,
        node: None,
        ..series
    });
    World {
        snapshot: Snapshot::new(Loaded {
            series: unheard.collect(),
            alerts,
            next: before.snapshot.next,
            ..loaded()
        }),
        now: before.now,
    }
}

fn asked_again(changes: &Changes) -> usize {
    let runs = |effect: &&Effect| matches!(effect, Effect::RunNow { .. });
    changes.effects.iter().filter(runs).count()
}

#[test]
fn time_in_which_the_engine_was_down_is_no_time_in_which_a_target_was() {
    let mut before = world(HELD, EnvelopeSpec::default());
    before.report("web-1", State::Ok);
    let pending = before.after(5).report("web-1", State::Critical);
    let alert = pending.alerts.values().next().unwrap().clone();
    assert_eq!(alert.phase, Phase::Pending);

    // It had recovered meanwhile.
    let mut world = again(&before, vec![alert.clone()]);
    let configured = world
        .after(60)
        .input(configured(HELD, EnvelopeSpec::default()));
    assert_eq!(asked_again(&configured), 1, "it is looked at without delay");
    let ticked = world.tick();
    assert!(mails(&ticked).is_empty() && action_runs(&ticked).is_empty());
    let ended = world.after(1).report("web-1", State::Ok);
    assert_eq!(mails(&ended), []);
    assert_eq!(ended.alerts[&alert.id].phase, Phase::Cancelled);

    // It had not.
    let mut world = again(&before, vec![alert]);
    world
        .after(60)
        .input(super::tests::configured(HELD, EnvelopeSpec::default()));
    let fired = world.report("web-1", State::Critical);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);
    assert_eq!(action_runs(&fired), [1]);
}

#[test]
fn a_repair_that_fell_due_meanwhile_waits_for_the_word_that_it_is_needed() {
    let rules = &[("down", "state == \"critical\"", 0, Some("restart"))];
    let envelope = || EnvelopeSpec {
        cooldown: Span::secs(30),
        ..EnvelopeSpec::default()
    };
    let mut before = world(rules, envelope());
    before.report("web-1", State::Critical);
    let failed = before.after(1).action(1, false);
    let alert = failed.alerts.values().next().unwrap().clone();
    assert!(alert.remedies["restart"].next_at.is_some());

    let mut world = again(&before, vec![alert]);
    world.after(60).input(configured(rules, envelope()));
    assert!(action_runs(&world.tick()).is_empty());
    let still = world.after(2).report("web-1", State::Critical);
    let ran: Vec<i64> = action_runs(&still)
        .into_iter()
        .chain(action_runs(&world.after(2).tick()))
        .collect();
    assert_eq!(ran, [2]);
}

#[test]
fn one_fault_before_a_stop_is_no_alert_after_it() {
    let mut before = world(&[], EnvelopeSpec::default());
    before.fault("web-1");
    let mut world = again(&before, Vec::new());
    world
        .after(3_600)
        .input(configured(&[], EnvelopeSpec::default()));
    assert_eq!(mails(&world.tick()), []);
    assert_eq!(
        mails(&world.after(1).fault("web-1")),
        [NotificationKind::Fault]
    );
}

/// As [`configured`], with the plugin of the check.
fn with_plugin() -> Input {
    let Input::Configured {
        policy,
        mail_domain,
        generation,
    } = configured(&[], EnvelopeSpec::default())
    else {
        unreachable!("it is a configuration");
    };
    let mut policy = Arc::into_inner(policy).unwrap();
    let name = PluginName {
        name: "probe".into(),
        version: "1.0.0".into(),
    };
    policy.plugins.insert(Digest("p".into()), name);
    Input::Configured {
        policy: Arc::new(policy),
        mail_domain,
        generation,
    }
}

#[test]
fn a_plugin_that_served_others_before_a_stop_is_sound_after_it() {
    let mut before = world(&[], EnvelopeSpec::default());
    before.input(with_plugin());
    before.report("web-2", State::Ok);
    for _ in 0..20 {
        before.after(1).fault("web-1");
    }
    let held = |changes: &Changes| {
        let held = |effect: &Effect| matches!(effect, Effect::Held(_));
        changes.effects.iter().any(held)
    };
    let mut world = again(&before, Vec::new());
    world.input(with_plugin());
    for _ in 0..20 {
        assert!(!held(&world.after(1).fault("web-1")));
    }
    // Its own next run says that it is not.
    assert!(held(&world.after(1).fault("web-2")));
}

#[test]
fn a_run_that_ends_after_its_check_was_removed_alarms_nobody() {
    let mut world = world(&[], EnvelopeSpec::default());
    for _ in 0..3 {
        world.after(1).fault("web-1");
    }
    let in_flight = world.outcome("web-1", Cause::Schedule, Err(fault()));
    world.after(1).input(configured_as(&["web-2"], &[], None));
    let ended = world.after(1).input(in_flight);
    assert_eq!(ended.results.len(), 1, "it is kept");
    assert_eq!(mails(&ended), []);
    assert_eq!(world.snapshot.open_alerts().count(), 0);
}

#[test]
fn a_rule_that_looks_elsewhere_lets_go_of_its_alert() {
    let mut world = world(
        &[(
            "down",
            "check == \"homepage\" && state == \"critical\"",
            0,
            Some("restart"),
        )],
        EnvelopeSpec::default(),
    );
    world.report("web-1", State::Critical);
    let elsewhere = (
        "down",
        "check == \"other\" && state == \"critical\"",
        0,
        Some("restart"),
    );
    let Input::Configured {
        policy,
        mail_domain,
        generation,
    } = configured(&[elsewhere], EnvelopeSpec::default())
    else {
        unreachable!("it is a configuration");
    };
    let mut policy = Arc::into_inner(policy).unwrap();
    // As the engine resolves it: the rule can never be true for this check.
    policy
        .checks
        .values_mut()
        .for_each(|check| check.rules.clear());
    let removed = world.after(1).input(Input::Configured {
        policy: Arc::new(policy),
        mail_domain,
        generation,
    });
    assert_eq!(
        removed.alerts.values().next().unwrap().phase,
        Phase::Removed
    );
    assert_eq!(mails(&removed), []);
    world.after(1).action(1, false);
    assert!(action_runs(&world.after(3_600).tick()).is_empty());
}

#[test]
fn approvals_are_within_the_limits_too() {
    let rules = &[("down", "state == \"critical\"", 0, Some("restart"))];
    let envelope = EnvelopeSpec {
        approve: true,
        overall: "1/h".parse().unwrap(),
        ..EnvelopeSpec::default()
    };
    let mut world = world(rules, envelope);
    world.report("web-1", State::Critical);
    world.report("web-2", State::Critical);
    let approve = |run| Input::ActionApproved {
        run,
        approved: true,
    };
    let first = world.after(1).input(approve(1));
    assert_eq!(action_runs(&first), [1]);
    let second = world.after(1).input(approve(2));
    assert!(action_runs(&second).is_empty());
    assert_eq!(second.action_runs[&2].status, RunStatus::Cancelled);
    assert!(kinds(&second).contains(&"remediation_refused"));
    assert_eq!(mails(&second), [NotificationKind::RepairFailed]);
}

#[test]
fn a_check_that_makes_up_metrics_is_kept_in_bounds() {
    let mut world = world(&[], EnvelopeSpec::default());
    let mut names = 0;
    let mut told = 0;
    for round in 0..10 {
        let metrics = (0..1_000).map(|number| Metric {
            name: format!("m{round}_{number}").into(),
            value: 1.0,
        });
        let made = Report {
            metrics: metrics.collect(),
            ..report(State::Ok)
        };
        let input = world.outcome("web-1", Cause::Schedule, Ok(made));
        let changes = world.after(1).input(input);
        names += changes.new_metrics.len();
        let tells = |effect: &&Effect| matches!(effect, Effect::TooManyMetrics { .. });
        told += changes.effects.iter().filter(tells).count();
    }
    assert_eq!((names, told), (5_000, 1));
    // Known ones are kept as before.
    let known = Report {
        metrics: vec![Metric {
            name: "m0_0".into(),
            value: 2.0,
        }],
        ..report(State::Ok)
    };
    let input = world.outcome("web-1", Cause::Schedule, Ok(known));
    assert_eq!(world.after(1).input(input).results[0].metrics.len(), 1);
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_wait_for_the_old_time() {
    let mut world = world(HELD, EnvelopeSpec::default());
    world.report("web-1", State::Ok);
    world.after(7_200).report("web-1", State::Critical);
    world.now = world.now - Duration::from_secs(7_200);
    assert_eq!(mails(&world.tick()), []);
    let fired = world.after(21).tick();
    assert_eq!(mails(&fired), [NotificationKind::Firing]);

    // Samples of the time to come are not newer than those of now.
    let quick = (
        "quick",
        "max(\"duration_ms\", \"1m\", \"homepage\") >= 0.0",
        0,
        None,
    );
    let mut world = self::world(&[quick], EnvelopeSpec::default());
    world.after(7_200).report("web-1", State::Ok);
    world.now = world.now - Duration::from_secs(7_200);
    world.tick();
    world.after(1).report("web-1", State::Ok);
    let open = world.after(1).tick();
    assert_eq!(
        world.snapshot.open_alerts().count(),
        1,
        "{:?}",
        kinds(&open)
    );
}
