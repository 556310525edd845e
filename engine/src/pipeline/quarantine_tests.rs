use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::check::outcome::{Cause, Job, JobSpec, NodeInfo, Report, RunLimits, State};
use crate::pipeline::policy::{CheckPolicy, Policy, Recipient};
use crate::pipeline::snapshot::Loaded;
use crate::pipeline::{Input, apply};

const NODES: [&str; 2] = ["a", "b"];

struct World {
    snapshot: Snapshot,
    now: Timestamp,
}

fn digest(text: &str) -> Digest {
    Digest(text.into())
}

fn node(name: &str) -> Arc<NodeInfo> {
    Arc::new(NodeInfo {
        name: name.into(),
        address: "127.0.0.1".into(),
        labels: BTreeMap::new(),
    })
}

fn policy(plugin: &str, blocked: &[(&str, QuarantineCause)]) -> Input {
    let check = CheckPolicy {
        attempts: 1,
        nodes: NODES.map(|name| (name.into(), node(name))).into(),
        rules: Vec::new(),
        plugin: digest(plugin),
        paused: false,
    };
    let name = PluginName {
        name: "nasty".into(),
        version: "1.0.0".into(),
    };
    let policy = Policy {
        checks: [("c".into(), check)].into(),
        plugins: [(digest(plugin), name)].into(),
        blocked: blocked
            .iter()
            .map(|(text, cause)| {
                let blocked = Blocked {
                    cause: *cause,
                    reason: "as configured".into(),
                };
                (digest(text), blocked)
            })
            .collect(),
        fault_contacts: vec![Recipient {
            contact: "oncall".into(),
            mailbox: "ops@example.org".into(),
        }],
        ..Policy::default()
    };
    Input::Configured {
        policy: Arc::new(policy),
        mail_domain: "example.org".into(),
        generation: 1,
    }
}

fn world(held: Vec<Quarantine>) -> World {
    let mut world = World {
        snapshot: Snapshot::new(Loaded {
            next: crate::pipeline::snapshot::NextIds {
                series: 1,
                metric: 1,
                alert: 1,
                outbox: 1,
                action_run: 1,
            },
            quarantines: held,
            ..Loaded::default()
        }),
        now: Timestamp::from_secs(1_000_000),
    };
    world.input(policy("p", &[]));
    world
}

impl World {
    fn input(&mut self, input: Input) -> Changes {
        apply(&mut self.snapshot, vec![input], self.now)
    }

    /// A run that ends after some seconds.
    fn run(&mut self, seconds: u64, name: &str, fault: Option<FaultKind>) -> Changes {
        self.now = self.now + Duration::from_secs(seconds);
        let series = self.snapshot.series();
        let id = series
            .filter(|s| *s.node_name == *name)
            .map(|s| s.id)
            .next();
        let spec = JobSpec {
            series: id.unwrap(),
            check: "c".into(),
            node: node(name),
            plugin: digest("p"),
            config: "{}".into(),
            input: None,
            grants: Arc::default(),
            limits: RunLimits {
                memory: 1 << 20,
                timeout: Duration::from_secs(1),
            },
        };
        let report = Report {
            state: State::Ok,
            summary: String::new(),
            details: String::new(),
            metrics: Vec::new(),
        };
        let outcome = Outcome {
            job: Job {
                spec: Arc::new(spec),
                scheduled: self.now,
                attempt: 1,
                cause: Cause::Schedule,
                state: Arc::default(),
            },
            started: self.now,
            finished: self.now,
            verdict: match fault {
                Some(kind) => Err(Fault::new(kind, "it broke")),
                None => Ok(report),
            },
            state_writes: Vec::new(),
            log: Vec::new(),
        };
        self.input(Input::Checked(Box::new(outcome)))
    }

    fn crash(&mut self, times: usize, name: &str) -> Changes {
        let mut last = Changes::default();
        for _ in 0..times {
            last = self.run(1, name, Some(FaultKind::Trap));
        }
        last
    }
}

fn held(changes: &Changes) -> Option<&Quarantine> {
    changes.quarantines.get(&digest("p"))?.as_ref()
}

fn released(changes: &Changes) -> bool {
    changes.quarantines.get(&digest("p")) == Some(&None)
}

/// Mails of the plugin's own alert.
fn mails(changes: &Changes) -> Vec<NotificationKind> {
    changes
        .outbox
        .iter()
        .filter(|row| row.payload.name == "nasty")
        .map(|row| row.payload.kind)
        .collect()
}

#[test]
fn ten_crashes_in_a_row_quarantine_with_one_mail_in_one_batch() {
    let mut world = world(Vec::new());
    let before = world.crash(CRASHES - 1, "a");
    assert_eq!(held(&before), None);
    let tenth = world.run(1, "b", Some(FaultKind::Deadline));
    let quarantine = held(&tenth).unwrap();
    assert_eq!(quarantine.cause, QuarantineCause::Crashes);
    assert_eq!(quarantine.plugin, "nasty");
    assert_eq!(quarantine.trial_at, Some(world.now + FIRST_TRIAL));
    assert!(quarantine.text().contains("it broke"));
    assert_eq!(mails(&tenth), [NotificationKind::Fault]);
    assert!(tenth.must_survive_power_loss());
    let later = world.run(1, "a", Some(FaultKind::Plugin));
    assert!(later.quarantines.is_empty() && mails(&later).is_empty());
}

#[test]
fn one_bad_configuration_does_not_take_the_plugin_from_others() {
    let mut world = world(Vec::new());
    world.run(1, "b", None);
    // Never ten in a row since b was well, and then ten while b is known well.
    assert_eq!(held(&world.crash(3 * CRASHES, "a")), None);
    // An answer, if only that it failed, is no crash.
    world.run(1, "b", Some(FaultKind::Failed));
    assert_eq!(held(&world.crash(3 * CRASHES, "a")), None);
    // Faults of the engine say nothing of the plugin.
    world.run(1, "b", Some(FaultKind::Engine));
    assert_eq!(held(&world.crash(CRASHES, "a")), None);
    // Now b crashes too.
    assert!(held(&world.run(1, "b", Some(FaultKind::Limit))).is_some());
}

#[test]
fn slow_crashes_are_only_faults() {
    let mut world = world(Vec::new());
    for _ in 0..3 * CRASHES {
        assert_eq!(held(&world.run(40, "a", Some(FaultKind::Trap))), None);
    }
}

#[test]
fn trials_back_off_and_a_good_one_releases() {
    let mut world = world(Vec::new());
    world.crash(CRASHES, "a");
    // A run that began before the quarantine is no trial.
    let early = world.run(1, "a", Some(FaultKind::Trap));
    assert!(early.quarantines.is_empty());
    let mut waits = Vec::new();
    for _ in 0..6 {
        let at = world.snapshot.quarantines.held[&digest("p")]
            .trial_at
            .unwrap();
        let wait = at.since(world.now).as_secs();
        let failed = world.run(wait, "a", Some(FaultKind::Trap));
        assert_eq!(mails(&failed), []);
        waits.push(
            held(&failed)
                .unwrap()
                .trial_at
                .unwrap()
                .since(world.now)
                .as_secs(),
        );
    }
    assert_eq!(waits, [600, 1_200, 2_400, 3_600, 3_600, 3_600]);
    let good = world.run(3_600, "a", None);
    assert!(released(&good));
    assert_eq!(mails(&good), [NotificationKind::FaultResolved]);
    // Soon again: the wait goes on where it was.
    world.run(1, "a", None);
    let again = world.crash(CRASHES, "a");
    assert_eq!(held(&again).unwrap().trials, 7);
}

#[test]
fn it_survives_a_restart_and_another_version_or_a_person_ends_it() {
    let mut first = world(Vec::new());
    let tenth = first.crash(CRASHES, "a");
    let quarantine = held(&tenth).unwrap().clone();

    let mut again = world(vec![quarantine.clone()]);
    assert!(again.snapshot.quarantines.holds(&digest("p")));
    assert!(released(&again.input(policy("q", &[]))));

    let mut again = world(vec![quarantine]);
    let by = Input::PluginReleased {
        digest: digest("p"),
        by: "admin".into(),
    };
    assert!(released(&again.input(by)));
}

#[test]
fn what_the_configuration_blocks_is_held_until_it_does_not() {
    let mut world = world(Vec::new());
    let changes = world.input(policy("p", &[("p", QuarantineCause::Revoked)]));
    let quarantine = held(&changes).unwrap();
    assert_eq!(quarantine.trial_at, None);
    assert_eq!(mails(&changes), [NotificationKind::Fault]);
    let same = world.input(policy("p", &[("p", QuarantineCause::Revoked)]));
    assert!(same.quarantines.is_empty());
    // A run that was in flight changes nothing.
    assert!(world.run(1, "a", None).quarantines.is_empty());
    assert!(released(&world.input(policy("p", &[]))));
}
