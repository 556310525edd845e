//! Flows through the pure core: results in, rows and effects out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::changes::{
    Changes, DeliveryResult, Effect, NotificationKind, OutboxUpdate, Phase, RunStatus,
    TimelineEvent, VerifyStatus,
};
use super::policy::{CheckPolicy, Policy, Recipient, RemedyPolicy, RulePolicy};
use super::snapshot::{Loaded, NextIds, Snapshot};
use super::{Input, apply};
use crate::alert::expr::QuerySet;
use crate::alert::rules::RuleDef;
use crate::check::outcome::{
    ActionFailure, ActionOutcome, ActionReport, Cause, Digest, Fault, FaultKind, Job, JobSpec,
    LogLevel, LogRecord, NodeInfo, Outcome, Report, RunLimits, SeriesId, State,
};
use crate::clock::Timestamp;
use crate::config::spec::{EnvelopeSpec, RuleSpec};
use crate::config::units::{Rate, Span};

pub(super) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(super) struct World {
    pub(super) snapshot: Snapshot,
    pub(super) now: Timestamp,
}

/// One check `homepage` on `web-1` and `web-2`, and the rules given as YAML-like
/// (name, when, hold seconds, remediation).
pub(super) fn world(rules: &[(&str, &str, u64, Option<&str>)], envelope: EnvelopeSpec) -> World {
    let mut world = World {
        snapshot: Snapshot::new(loaded()),
        now: START,
    };
    world.input(configured(rules, envelope));
    world
}

pub(super) fn loaded() -> Loaded {
    Loaded {
        next: NextIds {
            series: 1,
            metric: 1,
            alert: 1,
            outbox: 1,
            action_run: 1,
        },
        installation: "test".into(),
        ..Loaded::default()
    }
}

pub(super) fn configured(
    rules: &[(&str, &str, u64, Option<&str>)],
    envelope: EnvelopeSpec,
) -> Input {
    configured_as(&["web-1", "web-2"], rules, Some(envelope))
}

/// A configuration with these nodes, and the remediation where it has an
/// envelope.
pub(super) fn configured_as(
    nodes: &[&str],
    rules: &[(&str, &str, u64, Option<&str>)],
    envelope: Option<EnvelopeSpec>,
) -> Input {
    let nodes: BTreeMap<Arc<str>, Arc<NodeInfo>> = nodes
        .iter()
        .copied()
        .map(|name| (name.into(), Arc::new(node(name))))
        .collect();
    let mut queries = QuerySet::default();
    let rules: Vec<RulePolicy> = rules
        .iter()
        .map(|(name, when, hold, remedy)| {
            let spec: RuleSpec = serde_json::from_value(serde_json::json!({
                "name": name, "when": when, "notify": ["oncall"],
            }))
            .unwrap();
            let def = Arc::new(RuleDef::compile(Arc::new(spec), &mut queries).unwrap());
            RulePolicy {
                name: (*name).into(),
                expression: (*when).into(),
                per_series: def.per_result(),
                def,
                hold: Duration::from_secs(*hold),
                severity: crate::config::spec::Severity::Critical,
                labels: BTreeMap::new(),
                recipients: vec![Recipient {
                    contact: "oncall".into(),
                    mailbox: "ops@example.org".into(),
                }],
                remediate: remedy.iter().map(|name| (*name).to_owned()).collect(),
            }
        })
        .collect();
    let check = CheckPolicy {
        attempts: 1,
        nodes,
        rules: (0..rules.len()).filter(|i| rules[*i].per_series).collect(),
        plugin: Digest("p".into()),
        paused: false,
    };
    let remedy = |envelope| RemedyPolicy {
        envelope,
        plugin: Digest("d".into()),
        config: "{}".into(),
        grants: Arc::default(),
        limits: RunLimits {
            memory: 1 << 20,
            timeout: Duration::from_secs(1),
        },
    };
    let policy = Policy {
        checks: [("homepage".into(), check)].into(),
        rules,
        queries: Arc::new(queries),
        remedies: envelope
            .map(|envelope| ("restart".to_owned(), remedy(envelope)))
            .into_iter()
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

pub(super) fn node(name: &str) -> NodeInfo {
    NodeInfo {
        name: name.into(),
        address: "127.0.0.1".into(),
        labels: BTreeMap::new(),
    }
}

impl World {
    pub(super) fn input(&mut self, input: Input) -> Changes {
        apply(&mut self.snapshot, vec![input], self.now)
    }

    pub(super) fn after(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }

    pub(super) fn series(&self, node: &str) -> SeriesId {
        self.snapshot
            .series()
            .find(|s| &*s.node_name == node)
            .unwrap()
            .id
    }

    pub(super) fn outcome(
        &self,
        node_name: &str,
        cause: Cause,
        verdict: Result<Report, Fault>,
    ) -> Input {
        let spec = JobSpec {
            series: self.series(node_name),
            check: "homepage".into(),
            node: Arc::new(node(node_name)),
            plugin: Digest("p".into()),
            config: "{}".into(),
            input: None,
            grants: Arc::default(),
            limits: RunLimits {
                memory: 1 << 20,
                timeout: Duration::from_secs(1),
            },
        };
        Input::Checked(Box::new(Outcome {
            job: Job {
                spec: Arc::new(spec),
                scheduled: self.now,
                attempt: 1,
                cause,
                state: Arc::default(),
            },
            started: self.now,
            finished: self.now + Duration::from_millis(5),
            verdict,
            state_writes: Vec::new(),
            log: Vec::new(),
        }))
    }

    pub(super) fn report(&mut self, node: &str, state: State) -> Changes {
        let input = self.outcome(node, Cause::Schedule, Ok(report(state)));
        self.input(input)
    }

    pub(super) fn fault(&mut self, node: &str) -> Changes {
        let input = self.outcome(node, Cause::Schedule, Err(fault()));
        self.input(input)
    }

    pub(super) fn tick(&mut self) -> Changes {
        self.input(Input::Tick)
    }

    pub(super) fn action(&mut self, run: i64, ok: bool) -> Changes {
        let verdict = if ok {
            Ok(ActionReport {
                summary: "restarted".into(),
                details: "done".into(),
            })
        } else {
            Err(ActionFailure::Failed("exit code 1\nno such unit".into()))
        };
        let (started, finished) = (self.now, self.now + Duration::from_millis(20));
        self.input(Input::ActionFinished(Box::new(ActionOutcome {
            id: run,
            started,
            finished,
            verdict,
        })))
    }
}

pub(super) fn report(state: State) -> Report {
    Report {
        state,
        summary: format!("it is {}", state.as_str()),
        details: String::new(),
        metrics: Vec::new(),
    }
}

pub(super) fn fault() -> Fault {
    Fault::new(FaultKind::Trap, "unreachable executed")
}

pub(super) fn mails(changes: &Changes) -> Vec<NotificationKind> {
    changes.outbox.iter().map(|row| row.payload.kind).collect()
}

pub(super) fn kinds(changes: &Changes) -> Vec<&'static str> {
    changes
        .timeline
        .iter()
        .map(|entry| entry.event.kind())
        .collect()
}

pub(super) fn action_runs(changes: &Changes) -> Vec<i64> {
    let run = |effect: &Effect| match effect {
        Effect::RunAction(job) => Some(job.id),
        _ => None,
    };
    changes.effects.iter().filter_map(run).collect()
}

const DOWN: &[(&str, &str, u64, Option<&str>)] = &[("down", "state == \"critical\"", 0, None)];
const REPAIRED: &[(&str, &str, u64, Option<&str>)] =
    &[("down", "state == \"critical\"", 0, Some("restart"))];

fn verified_envelope() -> EnvelopeSpec {
    EnvelopeSpec {
        verify: Some("homepage".into()),
        cooldown: Span::secs(60),
        ..EnvelopeSpec::default()
    }
}

#[test]
fn an_outage_is_one_mail_and_its_end_another_in_the_same_thread() {
    let mut world = world(DOWN, EnvelopeSpec::default());
    assert!(world.report("web-1", State::Ok).outbox.is_empty());
    let fired = world.after(10).report("web-1", State::Critical);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);
    assert!(fired.must_survive_power_loss());
    assert!(kinds(&fired).contains(&"alert_fired"));
    let first = &fired.outbox[0];
    assert_eq!(first.payload.in_reply_to, None);
    assert_eq!(first.payload.last_results.len(), 2);
    assert_eq!(first.payload.last_results[0].state, "critical");

    let still = world.after(10).report("web-1", State::Critical);
    assert!(still.outbox.is_empty() && still.alerts.is_empty());

    let resolved = world.after(10).report("web-1", State::Ok);
    assert_eq!(mails(&resolved), [NotificationKind::Resolved]);
    assert_eq!(
        resolved.outbox[0].payload.in_reply_to.as_ref(),
        Some(&first.message_id)
    );
    assert_ne!(resolved.outbox[0].message_id, first.message_id);
    assert_eq!(
        resolved.alerts.values().next().unwrap().phase,
        Phase::Resolved
    );
    assert_eq!(world.snapshot.open_alerts().count(), 0);
}

#[test]
fn a_restart_in_the_middle_of_an_outage_mails_nothing_twice() {
    let mut world = world(DOWN, EnvelopeSpec::default());
    world.report("web-1", State::Ok);
    let fired = world.after(5).report("web-1", State::Critical);
    let alert = fired.alerts.values().next().unwrap().clone();
    let series: Vec<_> = world.snapshot.series().cloned().collect();

    let mut again = World {
        snapshot: Snapshot::new(Loaded {
            series,
            alerts: vec![alert],
            next: world.snapshot.next,
            ..loaded()
        }),
        now: world.now,
    };
    let configured = again.input(configured(DOWN, EnvelopeSpec::default()));
    assert!(configured.outbox.is_empty() && configured.alerts.is_empty());
    assert!(
        again
            .after(5)
            .report("web-1", State::Critical)
            .outbox
            .is_empty()
    );
    let resolved = again.after(5).report("web-1", State::Ok);
    assert_eq!(mails(&resolved), [NotificationKind::Resolved]);
    assert_eq!(
        resolved.outbox[0].payload.in_reply_to.as_ref(),
        Some(&fired.outbox[0].message_id)
    );
}

#[test]
fn a_rule_with_for_waits_and_needs_no_further_result_to_fire() {
    let mut world = world(
        &[("down", "state == \"critical\"", 30, None)],
        EnvelopeSpec::default(),
    );
    world.report("web-1", State::Ok);
    let pending = world.after(1).report("web-1", State::Critical);
    assert!(pending.outbox.is_empty());
    assert!(kinds(&pending).contains(&"alert_pending"));
    assert!(world.after(29).tick().outbox.is_empty());
    assert_eq!(mails(&world.after(1).tick()), [NotificationKind::Firing]);

    world.after(1).report("web-1", State::Ok);
    let pending = world.after(1).report("web-1", State::Critical);
    assert!(kinds(&pending).contains(&"alert_pending"));
    let cancelled = world.after(5).report("web-1", State::Ok);
    assert!(kinds(&cancelled).contains(&"alert_cancelled"));
    assert!(cancelled.outbox.is_empty());
}

#[test]
fn a_fault_moves_no_state_and_alerts_once_for_the_check() {
    let mut world = world(DOWN, EnvelopeSpec::default());
    world.report("web-1", State::Ok);
    world.report("web-2", State::Ok);
    for _ in 0..2 {
        let changes = world.after(1).fault("web-1");
        assert!(changes.outbox.is_empty());
    }
    let third = world.after(1).fault("web-1");
    assert_eq!(mails(&third), [NotificationKind::Fault]);
    for _ in 0..5 {
        assert!(
            world.after(1).fault("web-2").outbox.is_empty(),
            "one mail for the check"
        );
    }
    let series = world.series("web-1");
    assert_eq!(
        world.snapshot.get(series).unwrap().state.hard,
        Some(State::Ok)
    );
    assert!(world.after(1).report("web-1", State::Ok).outbox.is_empty());
    let over = world.after(1).report("web-2", State::Ok);
    assert_eq!(mails(&over), [NotificationKind::FaultResolved]);
    assert!(over.outbox[0].payload.in_reply_to.is_some());
}

#[test]
fn a_single_long_fault_alerts_after_a_minute() {
    let mut world = world(DOWN, EnvelopeSpec::default());
    world.fault("web-1");
    assert!(world.after(59).tick().outbox.is_empty());
    assert_eq!(mails(&world.after(1).tick()), [NotificationKind::Fault]);
    assert!(world.after(1).tick().outbox.is_empty());
}

#[test]
fn a_repair_runs_once_is_verified_and_told_in_the_resolved_mail() {
    let mut world = world(REPAIRED, verified_envelope());
    world.report("web-1", State::Ok);
    let fired = world.after(1).report("web-1", State::Critical);
    assert_eq!(action_runs(&fired), [1]);
    assert_eq!(
        fired.action_runs[&1].status,
        RunStatus::Running,
        "committed before it runs"
    );
    assert!(action_runs(&world.after(1).tick()).is_empty());

    let finished = world.after(1).action(1, true);
    assert_eq!(finished.action_runs[&1].verify, VerifyStatus::Waiting);
    assert!(
        world
            .after(4)
            .tick()
            .effects
            .iter()
            .all(|e| !matches!(e, Effect::RunNow { .. }))
    );
    let due = world.after(1).tick();
    assert!(due.effects.iter().any(|e| matches!(
        e,
        Effect::RunNow {
            cause: Cause::Verify(1),
            ..
        }
    )));

    let input = world.outcome("web-1", Cause::Verify(1), Ok(report(State::Ok)));
    let verified = world.input(input);
    assert_eq!(mails(&verified), [NotificationKind::Resolved]);
    assert_eq!(verified.action_runs[&1].verify, VerifyStatus::Ok);
    assert!(kinds(&verified).contains(&"remediation_verified"));
}

#[test]
fn a_repair_that_does_not_help_escalates_once_and_stops_at_its_limit() {
    let mut world = world(REPAIRED, verified_envelope());
    world.report("web-1", State::Ok);
    world.after(1).report("web-1", State::Critical);
    let mut escalations = 0;
    let mut runs = 1;
    for _ in 0..20 {
        world.after(1).action(runs, true);
        world.after(5).tick();
        let input = world.outcome("web-1", Cause::Verify(runs), Ok(report(State::Critical)));
        let changes = world.input(input);
        escalations += mails(&changes).len();
        let changes = world.after(120).tick();
        escalations += mails(&changes).len();
        runs += action_runs(&changes).len() as i64;
    }
    assert_eq!(runs, 3, "per_node 3/h");
    assert_eq!(escalations, 1, "once per alert");
}

#[test]
fn an_interrupted_repair_is_not_repeated_before_the_check_and_the_cooldown() {
    let mut world = world(REPAIRED, verified_envelope());
    world.report("web-1", State::Ok);
    world.after(1).report("web-1", State::Critical);
    let interrupted = world.after(1).input(Input::ActionInterrupted { run: 1 });
    assert_eq!(interrupted.action_runs[&1].status, RunStatus::Interrupted);
    assert!(
        interrupted
            .effects
            .iter()
            .any(|e| matches!(e, Effect::RunNow { .. }))
    );
    assert!(action_runs(&interrupted).is_empty());
    assert!(action_runs(&world.after(30).tick()).is_empty());
    assert_eq!(action_runs(&world.after(60).tick()), [2]);
    assert!(
        world.action(1, true).action_runs.is_empty(),
        "a late outcome changes nothing"
    );
}

#[test]
fn a_share_postpones_and_approval_waits_for_a_person() {
    let envelope = EnvelopeSpec {
        max_share: Some("50%".parse().unwrap()),
        per_node: Rate {
            count: 9,
            per: Duration::from_secs(3600),
        },
        ..verified_envelope()
    };
    let mut world = world(REPAIRED, envelope);
    world.report("web-1", State::Critical);
    let second = world.report("web-2", State::Critical);
    assert!(kinds(&second).contains(&"remediation_refused"));
    assert_eq!(
        mails(&second),
        [NotificationKind::Firing],
        "what is only put off has not failed"
    );
    assert!(action_runs(&second).is_empty());
    // The first node is well again: its slot is free.
    world.after(1).action(1, true);
    world.after(1).report("web-1", State::Ok);
    assert_eq!(action_runs(&world.after(60).tick()), [2]);

    let approve = EnvelopeSpec {
        approve: true,
        ..verified_envelope()
    };
    let mut world = self::world(REPAIRED, approve);
    let fired = world.report("web-1", State::Critical);
    assert_eq!(fired.action_runs[&1].status, RunStatus::AwaitingApproval);
    assert!(action_runs(&fired).is_empty());
    let approved = world.after(1).input(Input::ActionApproved {
        run: 1,
        approved: true,
    });
    assert_eq!(action_runs(&approved), [1]);

    // An approval that comes after the end of the alert runs nothing.
    let mut world = self::world(
        REPAIRED,
        EnvelopeSpec {
            approve: true,
            ..verified_envelope()
        },
    );
    world.report("web-1", State::Critical);
    let ended = world.after(1).report("web-1", State::Ok);
    assert_eq!(ended.action_runs[&1].status, RunStatus::Cancelled);
    let late = world.after(1).input(Input::ActionApproved {
        run: 1,
        approved: true,
    });
    assert!(action_runs(&late).is_empty() && late.action_runs.is_empty());
}

#[test]
fn a_rehearsal_at_its_limit_alarms_nobody() {
    let envelope = EnvelopeSpec {
        dry_run: true,
        per_node: "1/h".parse().unwrap(),
        cooldown: "1s".parse().unwrap(),
        ..EnvelopeSpec::default()
    };
    let mut world = world(REPAIRED, envelope);
    world.report("web-1", State::Critical);
    world.after(1).action(1, true);
    let refused = world.after(2).tick();
    assert!(kinds(&refused).contains(&"remediation_refused"));
    assert_eq!(mails(&refused), []);
}

#[test]
fn a_failed_action_is_told_with_its_output() {
    let mut world = world(REPAIRED, verified_envelope());
    world.report("web-1", State::Critical);
    let failed = world.after(1).action(1, false);
    assert_eq!(mails(&failed), [NotificationKind::RepairFailed]);
    assert_eq!(failed.action_runs[&1].status, RunStatus::Failed);
    let output = failed.timeline.iter().find_map(|entry| match &entry.event {
        TimelineEvent::RemediationFinished { output, .. } => Some(output.as_str()),
        _ => None,
    });
    assert_eq!(output, Some("no such unit"));
}

#[test]
fn a_removed_rule_ends_its_alert_without_an_all_clear() {
    let mut world = world(DOWN, EnvelopeSpec::default());
    world.report("web-1", State::Critical);
    let removed = world
        .after(1)
        .input(configured(&[], EnvelopeSpec::default()));
    assert_eq!(
        removed.alerts.values().next().unwrap().phase,
        Phase::Removed
    );
    assert!(removed.outbox.is_empty());
    assert!(kinds(&removed).contains(&"alert_removed"));
}

#[test]
fn a_fault_alert_ends_with_the_last_node_that_had_faults() {
    let mut world = world(&[], EnvelopeSpec::default());
    world.report("web-2", State::Ok);
    for _ in 0..3 {
        world.after(1).fault("web-1");
    }
    let everywhere = world.input(configured(&[], EnvelopeSpec::default()));
    assert!(everywhere.alerts.is_empty(), "it still has faults");
    let removed = world.after(1).input(configured_as(&["web-2"], &[], None));
    let alert = removed.alerts.values().next().unwrap();
    assert_eq!(alert.phase, Phase::Removed);
    assert!(removed.outbox.is_empty());
}

#[test]
fn an_approval_of_a_remediation_that_is_gone_runs_nothing() {
    let approve = EnvelopeSpec {
        approve: true,
        ..verified_envelope()
    };
    let mut world = world(REPAIRED, approve);
    world.report("web-1", State::Critical);
    let bare = [(REPAIRED[0].0, REPAIRED[0].1, REPAIRED[0].2, None)];
    world.input(configured_as(&["web-1", "web-2"], &bare, None));
    let approved = world.after(1).input(Input::ActionApproved {
        run: 1,
        approved: true,
    });
    assert!(action_runs(&approved).is_empty());
    let run = &approved.action_runs[&1];
    assert_eq!(run.status, RunStatus::Cancelled);
    assert!(run.summary.contains("removed"), "{}", run.summary);
}

#[test]
fn a_rehearsal_that_fails_alarms_nobody() {
    let envelope = EnvelopeSpec {
        dry_run: true,
        ..EnvelopeSpec::default()
    };
    let mut world = world(REPAIRED, envelope);
    world.report("web-1", State::Critical);
    let failed = world.after(1).action(1, false);
    assert_eq!(failed.action_runs[&1].status, RunStatus::Failed);
    assert_eq!(mails(&failed), []);
}

#[test]
fn log_rules_fire_when_records_arrive_and_resolve_with_time() {
    let rules = [(
        "errors",
        "log_count(\"level:error source:app\", \"1m\") > 2",
        0,
        None,
    )];
    let mut world = world(&rules, EnvelopeSpec::default());
    let record = |now: Timestamp, level| LogRecord {
        time: now,
        received: now,
        level,
        message: "checkout failed".into(),
        fields: Vec::new(),
    };
    let logs = |now, n: usize, level| Input::Logs {
        source: "app".into(),
        records: (0..n).map(|_| record(now, level)).collect(),
        checkpoints: Vec::new(),
    };
    let input = logs(world.now, 2, LogLevel::Error);
    assert!(world.input(input).outbox.is_empty());
    let input = logs(world.now, 5, LogLevel::Info);
    assert!(world.input(input).outbox.is_empty());
    let input = logs(world.now, 1, LogLevel::Error);
    let fired = world.input(input);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);
    assert_eq!(fired.outbox[0].payload.node, None);
    assert_eq!(fired.logs.len(), 1);
    assert_eq!(mails(&world.after(90).tick()), [NotificationKind::Resolved]);
}

#[test]
fn deliveries_are_told_in_the_timeline() {
    let mut world = world(DOWN, EnvelopeSpec::default());
    let update = OutboxUpdate {
        id: 1,
        alert: 1,
        recipient: "ops@example.org".into(),
        attempts: 1,
        at: world.now,
        result: DeliveryResult::Failed("550 no such user".into()),
    };
    let changes = world.input(Input::Delivered(update));
    assert_eq!(kinds(&changes), ["notification_failed"]);
    assert_eq!(changes.outbox_updates.len(), 1);
}
