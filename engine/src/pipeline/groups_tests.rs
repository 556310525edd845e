use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::check::outcome::State;
use crate::config::spec::EnvelopeSpec;
use crate::pipeline::Input;
use crate::pipeline::changes::{Changes, NotificationKind, OutboxRow, Phase, TimelineEvent};
use crate::pipeline::policy::Grouping;
use crate::pipeline::snapshot::{Loaded, Snapshot};
use crate::pipeline::tests::{START, World, configured_as, loaded};

const NODES: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

fn configuration(by: &[&str], wait: u64) -> Input {
    let rules = [("down", "state == \"critical\"", 0, None)];
    let Input::Configured {
        policy,
        mail_domain,
        generation,
    } = configured_as(&NODES, &rules, Some(EnvelopeSpec::default()))
    else {
        unreachable!("it is a configuration");
    };
    let mut policy = Arc::into_inner(policy).unwrap();
    let group = Arc::new(Grouping {
        by: by.iter().map(|name| (*name).to_owned()).collect(),
        wait: Duration::from_secs(wait),
        interval: Duration::from_secs(300),
    });
    for recipient in &mut policy.rules[0].recipients {
        recipient.group = Some(group.clone());
    }
    Input::Configured {
        policy: Arc::new(policy),
        mail_domain,
        generation,
    }
}

fn grouped(by: &[&str], wait: u64) -> World {
    let mut world = World {
        snapshot: Snapshot::new(loaded()),
        now: START,
    };
    world.input(configuration(by, wait));
    for node in NODES {
        world.report(node, State::Ok);
    }
    world
}

fn only(changes: &Changes) -> &OutboxRow {
    assert_eq!(changes.outbox.len(), 1);
    &changes.outbox[0]
}

/// Seconds after the start at which it leaves.
fn leaves(row: &OutboxRow) -> i64 {
    assert_eq!(row.slot.as_ref().unwrap().at, row.next_at);
    row.next_at.secs() - START.secs()
}

fn slot(row: &OutboxRow) -> &str {
    &row.slot.as_ref().unwrap().id
}

#[test]
fn the_first_leaves_at_once_and_followers_share_a_mail() {
    let mut world = grouped(&["rule"], 0);
    let first = world.report("web-1", State::Critical);
    let first = only(&first);
    assert_eq!(leaves(first), 0);
    assert_eq!(slot(first), first.message_id);

    let second = world.after(10).report("web-2", State::Critical);
    let told = second.timeline.iter().find_map(|line| match line.event {
        TimelineEvent::NotificationQueued { leaves_at, .. } => Some(leaves_at),
        _ => None,
    });
    assert_eq!(
        told,
        Some(Some((START + Duration::from_secs(300)).micros()))
    );
    let second = only(&second).clone();
    let third = world.after(200).report("web-3", State::Critical);
    let third = only(&third);
    assert_eq!((leaves(&second), leaves(third)), (300, 300));
    assert_eq!(slot(&second), second.message_id);
    assert_eq!(slot(third), slot(&second));
    assert_ne!(third.message_id, second.message_id);

    // What ends before the mail leaves is in it, and answers to no other mail.
    let ended = world.after(50).report("web-3", State::Ok);
    let ended = only(&ended);
    assert_eq!((leaves(ended), slot(ended)), (300, slot(&second)));
    assert_eq!(ended.payload.in_reply_to, None);

    // The mail that left begins another interval; later ones answer to it.
    let later = world.after(100).report("web-2", State::Ok);
    let later = only(&later);
    assert_eq!(leaves(later), 600);
    assert_eq!(later.payload.in_reply_to.as_deref(), Some(slot(&second)));
    // After a quiet interval the next is a first again.
    let quiet = world.after(600).report("web-1", State::Ok);
    let quiet = only(&quiet);
    assert_eq!(leaves(quiet), 960);
    assert_eq!(quiet.payload.in_reply_to.as_ref(), Some(&first.message_id));
}

#[test]
fn a_first_that_waits_takes_others_along() {
    let mut world = grouped(&[], 30);
    let first = world.report("web-1", State::Critical);
    let second = world.after(29).report("web-2", State::Critical);
    assert_eq!((leaves(only(&first)), leaves(only(&second))), (30, 30));
    assert_eq!(slot(only(&second)), only(&first).message_id);
    let third = world.after(1).report("web-3", State::Critical);
    assert_eq!(leaves(only(&third)), 330);
}

#[test]
fn groups_that_differ_do_not_wait_for_each_other() {
    let mut world = grouped(&["rule", "node"], 0);
    for node in NODES {
        let row = world.report(node, State::Critical);
        assert_eq!(leaves(only(&row)), 0);
    }
    let again = world.after(10).report("web-1", State::Ok);
    assert_eq!(leaves(only(&again)), 300);
}

#[test]
fn a_restart_knows_what_waits() {
    let mut world = grouped(&["rule"], 0);
    world.report("web-1", State::Critical);
    let second = world.after(10).report("web-2", State::Critical);
    let groups = world.snapshot.groups.clone().into_iter().collect();
    let mut again = World {
        snapshot: Snapshot::new(Loaded {
            series: world.snapshot.series().cloned().collect(),
            alerts: world.snapshot.open_alerts().cloned().collect(),
            next: world.snapshot.next,
            groups,
            ..loaded()
        }),
        now: world.now,
    };
    again.input(configuration(&["rule"], 0));
    let third = again.after(10).report("web-3", State::Critical);
    assert_eq!(slot(only(&third)), slot(only(&second)));
    assert_eq!(leaves(only(&third)), 300);
}

#[test]
fn groups_are_forgotten_and_a_clock_that_was_set_back_holds_nothing_up() {
    let mut world = grouped(&["rule"], 0);
    world.report("web-1", State::Critical);
    world.after(2 * 3_600).tick();
    assert!(world.snapshot.groups.is_empty());
    world.report("web-2", State::Critical);
    world.now = START;
    let row = world.report("web-3", State::Critical);
    assert_eq!(leaves(only(&row)), 0);
}

proptest! {
    /// Whatever happens, every transition has one row, no mail leaves more than
    /// an interval after what it tells, rows of a mail leave together, and mails
    /// of a group are an interval apart unless one was asked for at once.
    #[test]
    fn every_transition_is_in_one_mail(
        steps in prop::collection::vec((0usize..4, any::<bool>(), 0u64..200), 1..80),
        wait in 0u64..60,
    ) {
        let mut world = grouped(&["rule"], wait);
        let mut told: BTreeMap<(i64, bool), usize> = BTreeMap::new();
        let mut transitions: BTreeMap<(i64, bool), usize> = BTreeMap::new();
        let mut mails: BTreeMap<String, i64> = BTreeMap::new();
        for (node, bad, gap) in steps {
            world.now = world.now + Duration::from_secs(gap);
            let state = if bad { State::Critical } else { State::Ok };
            let changes = world.report(NODES[node], state);
            for alert in changes.alerts.values() {
                *transitions.entry((alert.id, alert.phase == Phase::Firing)).or_default() += 1;
            }
            for row in &changes.outbox {
                let firing = row.payload.kind == NotificationKind::Firing;
                *told.entry((row.alert, firing)).or_default() += 1;
                let late = row.next_at.since(world.now);
                prop_assert!(row.next_at >= world.now && late <= Duration::from_secs(300));
                let known = *mails.entry(slot(row).to_owned()).or_insert(row.next_at.0);
                prop_assert_eq!(known, row.next_at.0);
            }
        }
        prop_assert_eq!(told, transitions);
        let mut times: Vec<i64> = mails.into_values().collect();
        times.sort_unstable();
        let apart = |pair: &[i64]| pair[1] - pair[0] >= 300_000_000;
        prop_assert!(times.windows(2).all(apart), "{:?}", times);
    }
}
