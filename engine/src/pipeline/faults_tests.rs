use std::sync::Arc;

use crate::check::outcome::Digest;
use crate::config::spec::EnvelopeSpec;
use crate::pipeline::Input;
use crate::pipeline::changes::{Changes, NotificationKind, Phase};
use crate::pipeline::snapshot::{Loaded, Snapshot};
use crate::pipeline::tests::{START, World, configured, fault, kinds, loaded, mails};

fn configuration(sources: &[&str]) -> Input {
    let Input::Configured {
        policy,
        mail_domain,
        generation,
    } = configured(&[], EnvelopeSpec::default())
    else {
        unreachable!("it is a configuration");
    };
    let mut policy = Arc::into_inner(policy).unwrap();
    policy.log_sources = sources
        .iter()
        .map(|name| ((*name).into(), Digest("parser".into())))
        .collect();
    Input::Configured {
        policy: Arc::new(policy),
        mail_domain,
        generation,
    }
}

fn world() -> World {
    let mut world = World {
        snapshot: Snapshot::new(loaded()),
        now: START,
    };
    world.input(configuration(&["app"]));
    world
}

fn faulted(world: &mut World) -> Changes {
    world.input(Input::SourceFaulted {
        source: "app".into(),
        fault: fault(),
    })
}

fn sound(world: &mut World) -> Changes {
    world.input(Input::SourceSound {
        source: "app".into(),
    })
}

#[test]
fn three_faults_of_a_source_in_a_row_are_one_alert() {
    let mut world = world();
    for _ in 0..2 {
        assert!(faulted(&mut world).outbox.is_empty());
    }
    // In a row: what is between ends it.
    let ended = sound(&mut world);
    assert!(ended.outbox.is_empty());
    assert_eq!(ended.source_faults.get("app"), Some(&None));
    for _ in 0..2 {
        assert!(faulted(&mut world).outbox.is_empty());
    }
    let third = faulted(&mut world);
    assert_eq!(mails(&third), [NotificationKind::Fault]);
    let told = &third.outbox[0].payload;
    assert_eq!(told.name, "app");
    assert_eq!(told.summary, "unreachable executed");
    let known = third.source_faults["app"].as_ref().unwrap();
    assert_eq!((known.faults, known.since), (3, START));
    assert!(faulted(&mut world).outbox.is_empty(), "told once");

    let ended = sound(&mut world);
    assert_eq!(mails(&ended), [NotificationKind::FaultResolved]);
    assert!(sound(&mut world).outbox.is_empty());
}

#[test]
fn a_source_that_faults_for_a_minute_alerts() {
    let mut world = world();
    faulted(&mut world);
    assert!(world.after(59).tick().outbox.is_empty());
    let fired = world.after(1).tick();
    assert_eq!(mails(&fired), [NotificationKind::Fault]);
    assert_eq!(fired.outbox[0].payload.since, START);
}

#[test]
fn after_a_restart_the_first_good_reading_ends_it() {
    let mut world = world();
    faulted(&mut world);
    let fired = world.after(60).tick();
    let mut again = World {
        snapshot: Snapshot::new(Loaded {
            alerts: fired.alerts.values().cloned().collect(),
            next: world.snapshot.next,
            ..loaded()
        }),
        now: world.now,
    };
    let configured = again.input(configuration(&["app"]));
    assert!(configured.alerts.is_empty(), "it still stands");
    assert!(faulted(&mut again).outbox.is_empty(), "told already");
    let ended = sound(&mut again);
    assert_eq!(mails(&ended), [NotificationKind::FaultResolved]);
    assert_eq!(
        ended.outbox[0].payload.in_reply_to.as_ref(),
        Some(&fired.outbox[0].message_id)
    );
}

#[test]
fn a_source_that_is_removed_ends_its_alert_without_an_all_clear() {
    let mut world = world();
    for _ in 0..3 {
        faulted(&mut world);
    }
    let removed = world.after(1).input(configuration(&[]));
    assert!(removed.outbox.is_empty());
    assert!(kinds(&removed).contains(&"alert_removed"));
    assert_eq!(removed.source_faults.get("app"), Some(&None));
    let alert = removed.alerts.values().next().unwrap();
    assert_eq!(alert.phase, Phase::Removed);
    // What its task still says comes too late.
    assert!(faulted(&mut world).source_faults.is_empty());
}
