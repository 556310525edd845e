use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::check::outcome::{Cause, State};
use crate::config::spec::EnvelopeSpec;
use crate::pipeline::Input;
use crate::pipeline::changes::{NotificationKind, Phase};
use crate::pipeline::snapshot::{Loaded, Snapshot};
use crate::pipeline::tests::{
    START, World, action_runs, configured_as, kinds, loaded, mails, report,
};

type Parents<'a> = &'a [(&'a str, &'a [&'a str])];

const BEHIND: Parents<'_> = &[("web-1", &["switch-1"])];
const TWO_WAYS: Parents<'_> = &[("web-1", &["switch-1", "switch-2"])];

fn configuration(parents: Parents<'_>, paused: bool) -> Input {
    let rules = [(
        "down",
        "node == \"web-1\" && state == \"critical\"",
        0,
        Some("restart"),
    )];
    let nodes = ["switch-1", "switch-2", "web-1"];
    let input = configured_as(&nodes, &rules, Some(EnvelopeSpec::default()));
    let Input::Configured {
        policy,
        mail_domain,
        generation,
    } = input
    else {
        unreachable!("it is a configuration");
    };
    let mut policy = Arc::into_inner(policy).unwrap();
    for check in policy.checks.values_mut() {
        check.paused = paused;
    }
    policy.parents = parents
        .iter()
        .map(|(node, parents)| {
            let parents = parents.iter().map(|one| (*one).into()).collect();
            ((*node).into(), parents)
        })
        .collect();
    Input::Configured {
        policy: Arc::new(policy),
        mail_domain,
        generation,
    }
}

fn behind(parents: Parents<'_>) -> World {
    let mut world = World {
        snapshot: Snapshot::new(loaded()),
        now: START,
    };
    world.input(configuration(parents, false));
    for node in ["switch-1", "switch-2", "web-1"] {
        world.report(node, State::Ok);
    }
    world.after(10);
    world
}

#[test]
fn behind_a_node_that_is_down_nobody_is_told_and_nothing_repaired() {
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Critical);
    let fired = world.after(1).report("web-1", State::Critical);
    assert!(fired.outbox.is_empty(), "{:?}", mails(&fired));
    assert!(action_runs(&fired).is_empty());
    assert!(kinds(&fired).contains(&"alert_suppressed"));
    let alert = fired.alerts.values().next().unwrap();
    assert_eq!(alert.phase, Phase::Firing);
    assert_eq!(alert.suppressed_by, ["switch-1"]);

    // A run that began before the way was open says nothing of it.
    let mut early = world
        .after(10)
        .outcome("web-1", Cause::Schedule, Ok(report(State::Critical)));
    if let Input::Checked(outcome) = &mut early {
        outcome.started = world.now;
    }
    world.after(2).report("switch-1", State::Ok);
    let still = world.after(1).input(early);
    assert!(still.outbox.is_empty());

    let told = world.after(5).report("web-1", State::Critical);
    assert_eq!(mails(&told), [NotificationKind::Firing]);
    assert!(kinds(&told).contains(&"alert_unsuppressed"));
    assert_eq!(action_runs(&told), [1]);
    assert!(told.alerts.values().all(|one| one.suppressed_by.is_empty()));
    // Once, and its end is told, too.
    assert!(
        world
            .after(5)
            .report("web-1", State::Critical)
            .outbox
            .is_empty()
    );
    let resolved = world.after(5).report("web-1", State::Ok);
    assert_eq!(mails(&resolved), [NotificationKind::Resolved]);
}

#[test]
fn what_nobody_was_told_has_no_all_clear() {
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Critical);
    world.after(1).report("web-1", State::Critical);
    let resolved = world.after(5).report("web-1", State::Ok);
    assert!(resolved.outbox.is_empty());
    assert!(kinds(&resolved).contains(&"notification_skipped"));
    let alert = resolved.alerts.values().next().unwrap();
    assert_eq!(alert.phase, Phase::Resolved);
    assert_eq!(alert.suppressed_by, ["switch-1"]);
}

#[test]
fn one_open_way_is_enough_to_tell() {
    let mut world = behind(TWO_WAYS);
    world.report("switch-1", State::Critical);
    let fired = world.after(1).report("web-1", State::Critical);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);

    let mut world = behind(TWO_WAYS);
    world.report("switch-1", State::Critical);
    world.report("switch-2", State::Critical);
    let fired = world.after(1).report("web-1", State::Critical);
    assert!(fired.outbox.is_empty());
    let alert = fired.alerts.values().next().unwrap();
    assert_eq!(alert.suppressed_by, ["switch-1", "switch-2"]);
    world.after(1).report("switch-2", State::Ok);
    let told = world.after(1).report("web-1", State::Critical);
    assert_eq!(mails(&told), [NotificationKind::Firing]);
}

#[test]
fn states_that_are_not_fresh_hold_nothing_back() {
    // The engine cannot look at the parent any more.
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Critical);
    world.after(1).fault("switch-1");
    let fired = world.after(1).report("web-1", State::Critical);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);

    // Its check is paused.
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Critical);
    world.input(configuration(BEHIND, true));
    let fired = world.after(1).report("web-1", State::Critical);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);

    // A warning is not down.
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Warning);
    let fired = world.after(1).report("web-1", State::Critical);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);
}

#[test]
fn a_parent_that_goes_later_changes_nothing_about_what_was_told() {
    let mut world = behind(BEHIND);
    world.report("web-1", State::Critical);
    world.after(1).report("switch-1", State::Critical);
    let still = world.after(1).report("web-1", State::Critical);
    assert!(still.outbox.is_empty() && still.alerts.is_empty());
    let resolved = world.after(1).report("web-1", State::Ok);
    assert_eq!(mails(&resolved), [NotificationKind::Resolved]);
}

#[test]
fn a_restart_keeps_what_was_held_back() {
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Critical);
    let fired = world.after(1).report("web-1", State::Critical);
    let stored = serde_json::to_string(fired.alerts.values().next().unwrap()).unwrap();
    let mut again = World {
        snapshot: Snapshot::new(Loaded {
            series: world.snapshot.series().cloned().collect(),
            alerts: vec![serde_json::from_str(&stored).unwrap()],
            next: world.snapshot.next,
            ..loaded()
        }),
        now: world.now,
    };
    assert!(again.input(configuration(BEHIND, false)).outbox.is_empty());
    let still = again.after(5).report("web-1", State::Critical);
    assert!(still.outbox.is_empty() && action_runs(&still).is_empty());
    again.after(1).report("switch-1", State::Ok);
    let told = again.after(5).report("web-1", State::Critical);
    assert_eq!(mails(&told), [NotificationKind::Firing]);
}

#[test]
fn parents_that_are_taken_away_let_it_out() {
    let mut world = behind(BEHIND);
    world.report("switch-1", State::Critical);
    world.after(1).report("web-1", State::Critical);
    world.input(configuration(&[], false));
    let told = world.after(1).report("web-1", State::Critical);
    assert_eq!(mails(&told), [NotificationKind::Firing]);
}

proptest! {
    /// Whatever the nodes do: an alert is told at most once, an all-clear goes
    /// out exactly for what was told, and nothing is told of an alert while it
    /// is marked as held back.
    #[test]
    fn told_once_and_ended_once(
        steps in prop::collection::vec((0usize..3, 0usize..3, 0u64..4), 1..80),
    ) {
        let mut world = behind(TWO_WAYS);
        let mut told: BTreeMap<i64, Vec<NotificationKind>> = BTreeMap::new();
        for (node, state, gap) in steps {
            let state = [State::Ok, State::Warning, State::Critical][state];
            world.now = world.now + Duration::from_secs(gap);
            let changes = world.report(["switch-1", "switch-2", "web-1"][node], state);
            for row in &changes.outbox {
                told.entry(row.alert).or_default().push(row.payload.kind);
                prop_assert!(changes.alerts[&row.alert].suppressed_by.is_empty());
            }
            for alert in changes.alerts.values().filter(|one| one.phase == Phase::Resolved) {
                let told = told.get(&alert.id).map(Vec::as_slice).unwrap_or_default();
                let whole = [NotificationKind::Firing, NotificationKind::Resolved];
                match alert.suppressed_by.is_empty() {
                    true => prop_assert_eq!(told, whole),
                    false => prop_assert!(told.is_empty()),
                }
            }
        }
    }
}
