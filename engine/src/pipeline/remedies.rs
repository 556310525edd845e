//! Remediation: decide, hand over, verify, escalate. Every decision is in the
//! alert's timeline.

use super::changes::{
    ActionRun, AlertSource, Changes, Effect, NotificationKind, Phase, RunStatus, TimelineEntry,
    TimelineEvent, VerifyStatus,
};
use super::snapshot::Snapshot;
use crate::check::outcome::{ActionFailure, ActionJob, ActionOutcome, Cause};
use crate::clock::Timestamp;
use crate::remedy::envelope::{Ask, Decision, PastRun, allow};

impl Snapshot {
    /// Asks every remediation of a firing alert that is due.
    pub(super) fn remediate(&mut self, alert_id: i64, now: Timestamp, changes: &mut Changes) {
        let Some(alert) = self.alerts.get(&alert_id) else {
            return;
        };
        if alert.phase != Phase::Firing || !alert.suppressed_by.is_empty() {
            return;
        }
        let AlertSource::Rule { name } = &alert.source else {
            return;
        };
        let policy = self.policy.clone();
        let Some(rule) = policy.rules.iter().find(|rule| *rule.name == **name) else {
            return;
        };
        for remediation in &rule.remediate {
            let progress = self
                .alerts
                .get(&alert_id)
                .and_then(|a| a.remedies.get(remediation));
            let due = progress.is_none_or(|progress| {
                !progress.done
                    && progress.in_flight.is_none()
                    && progress.next_at.is_none_or(|at| at <= now)
            });
            if due {
                self.decide(alert_id, remediation, now, changes);
            }
        }
        self.save_alert(alert_id, changes);
    }

    fn decide(&mut self, alert_id: i64, remediation: &str, now: Timestamp, changes: &mut Changes) {
        let policy = self.policy.clone();
        let Some(remedy) = policy.remedies.get(remediation) else {
            return;
        };
        let Some(alert) = self.alerts.get(&alert_id) else {
            return;
        };
        let series_id = alert.series;
        let node = series_id
            .and_then(|id| self.get(id))
            .and_then(|series| series.node.clone());
        let selected_nodes = alert
            .check
            .as_deref()
            .and_then(|check| policy.checks.get(check))
            .map_or(1, |check| check.nodes.len());
        let spec = &remedy.envelope;
        let under_repair = self
            .alerts
            .values()
            .filter(|other| {
                other.id != alert_id
                    && other.check == alert.check
                    && other.node != alert.node
                    && other
                        .remedies
                        .get(remediation)
                        .is_some_and(|progress| progress.runs > 0)
            })
            .map(|other| other.node.as_deref())
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        let ask = Ask {
            node: node.as_deref().map(|n| n.name.as_str()),
            selected_nodes,
            under_repair,
        };
        let longest = spec.per_node.per.max(spec.overall.per).max(spec.cooldown.0);
        let history = self.history.entry(remediation.to_owned()).or_default();
        history.retain(|run| run.at > now - longest);
        match allow(spec, history, ask, now) {
            decision @ (Decision::Run | Decision::AwaitApproval) => {
                let approve = decision == Decision::AwaitApproval;
                if !approve {
                    history.push(PastRun {
                        at: now,
                        node: node.as_deref().map(|node| node.name.as_str().into()),
                    });
                }
                self.start(alert_id, remediation, approve, now, changes);
            }
            Decision::Wait { until } => {
                self.ask_again(alert_id, remediation, until, None);
            }
            Decision::TooManyNodes {
                allowed,
                under_repair,
            } => {
                let reason = format!(
                    "max_share allows {allowed} of {selected_nodes} nodes under repair, {under_repair} are"
                );
                // Only put off: a slot may become free, and people know of the
                // alert already.
                let until = now + spec.cooldown.0.max(std::time::Duration::from_secs(1));
                let last = format!("not run: {reason}");
                let remedies = self.alerts.get(&alert_id).map(|alert| &alert.remedies);
                let told = remedies
                    .and_then(|remedies| remedies.get(remediation))
                    .is_some_and(|progress| progress.last == last);
                self.ask_again(alert_id, remediation, until, Some(&reason));
                // Once for the same reason: the timeline is not a clock.
                if !told {
                    self.refused(alert_id, remediation, reason, now, changes);
                }
            }
            Decision::Exhausted { limit } => {
                let reason = format!("limit {limit} is used up");
                if let Some(progress) = self
                    .alerts
                    .get_mut(&alert_id)
                    .map(|alert| alert.remedies.entry(remediation.to_owned()).or_default())
                {
                    progress.done = true;
                    progress.next_at = None;
                }
                let dry_run = spec.dry_run;
                self.refused(alert_id, remediation, reason.clone(), now, changes);
                // A rehearsal alarms nobody.
                if !dry_run {
                    self.escalate(alert_id, remediation, reason, now, changes);
                }
            }
        }
    }

    fn ask_again(&mut self, alert_id: i64, remediation: &str, at: Timestamp, why: Option<&str>) {
        let Some(alert) = self.alerts.get_mut(&alert_id) else {
            return;
        };
        let progress = alert.remedies.entry(remediation.to_owned()).or_default();
        progress.next_at = Some(at);
        if let Some(why) = why {
            progress.last = format!("not run: {why}");
        }
        self.retries.insert((at, alert_id));
    }

    pub(super) fn refused(
        &mut self,
        alert_id: i64,
        remediation: &str,
        reason: String,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(alert) = self.alerts.get_mut(&alert_id) else {
            return;
        };
        let progress = alert.remedies.entry(remediation.to_owned()).or_default();
        if progress.runs == 0 {
            progress.last = format!("not run: {reason}");
        }
        let series = alert.series;
        changes.timeline.push(TimelineEntry {
            ts: now,
            series,
            alert: Some(alert_id),
            event: TimelineEvent::RemediationRefused {
                remediation: remediation.to_owned(),
                reason,
            },
        });
    }

    fn start(
        &mut self,
        alert_id: i64,
        remediation: &str,
        approve: bool,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let run_id = self.next.action_run;
        let key = format!("{}-action-{run_id}", self.installation);
        let Some(alert) = self.alerts.get_mut(&alert_id) else {
            return;
        };
        self.next.action_run += 1;
        let progress = alert.remedies.entry(remediation.to_owned()).or_default();
        progress.runs += 1;
        progress.in_flight = Some(run_id);
        progress.next_at = None;
        progress.last = if approve {
            "waits for approval".into()
        } else {
            "running".into()
        };
        let run = ActionRun {
            id: run_id,
            alert: alert_id,
            remediation: remediation.to_owned(),
            series: alert.series,
            node: alert.node.clone(),
            attempt: progress.runs,
            status: if approve {
                RunStatus::AwaitingApproval
            } else {
                RunStatus::Running
            },
            verify: VerifyStatus::None,
            verify_faults: 0,
            idempotency_key: key,
            created_at: now,
            finished_at: None,
            summary: String::new(),
            output: String::new(),
        };
        if approve {
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: run.series,
                alert: Some(alert_id),
                event: TimelineEvent::RemediationRefused {
                    remediation: remediation.to_owned(),
                    reason: "it waits for a person's approval".into(),
                },
            });
        } else {
            self.hand_over(&run, now, changes);
        }
        changes.action_runs.insert(run_id, run.clone());
        self.action_runs.insert(run_id, run);
    }

    /// The intent commits with this batch; the action is called after that.
    pub(super) fn hand_over(&mut self, run: &ActionRun, now: Timestamp, changes: &mut Changes) {
        let policy = self.policy.clone();
        let Some(remedy) = policy.remedies.get(&run.remediation) else {
            return;
        };
        let Some(alert) = self.alerts.get(&run.alert) else {
            return;
        };
        let node = run
            .series
            .and_then(|id| self.get(id))
            .and_then(|series| series.node.clone());
        changes.timeline.push(TimelineEntry {
            ts: now,
            series: run.series,
            alert: Some(run.alert),
            event: TimelineEvent::RemediationStarted {
                run: run.id,
                remediation: run.remediation.clone(),
                attempt: run.attempt,
                dry_run: remedy.envelope.dry_run,
            },
        });
        changes.effects.push(Effect::RunAction(Box::new(ActionJob {
            id: run.id,
            remediation: run.remediation.clone(),
            alert: run.alert,
            rule: alert.source.name().to_owned(),
            severity: alert.severity.as_str().to_owned(),
            summary: alert.summary.clone(),
            labels: alert.labels.clone(),
            check: alert.check.clone(),
            node,
            plugin: remedy.plugin.clone(),
            config: remedy.config.clone(),
            grants: remedy.grants.clone(),
            limits: remedy.limits.clone(),
            attempt: run.attempt,
            dry_run: remedy.envelope.dry_run,
            idempotency_key: run.idempotency_key.clone(),
        })));
    }

    /// Takes the outcome of an action run.
    pub(super) fn action_finished(
        &mut self,
        outcome: ActionOutcome,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(mut run) = self.action_runs.remove(&outcome.id) else {
            return;
        };
        let policy = self.policy.clone();
        let envelope = policy
            .remedies
            .get(&run.remediation)
            .map(|remedy| &remedy.envelope);
        let dry_run = envelope.is_some_and(|envelope| envelope.dry_run);
        let (ok, summary, output) = match outcome.verdict {
            Ok(report) => (true, report.summary, report.details),
            Err(ActionFailure::Failed(text)) => {
                let (summary, output) = text.split_once('\n').unwrap_or((&text, ""));
                (false, summary.to_owned(), output.to_owned())
            }
            Err(ActionFailure::Fault(fault)) => {
                (false, format!("fault: {}", fault.text), String::new())
            }
        };
        run.finished_at = Some(outcome.finished);
        run.status = match (ok, dry_run) {
            (true, true) => RunStatus::DryRun,
            (true, false) => RunStatus::Succeeded,
            (false, _) => RunStatus::Failed,
        };
        run.summary.clone_from(&summary);
        run.output.clone_from(&output);
        changes.timeline.push(TimelineEntry {
            ts: now,
            series: run.series,
            alert: Some(run.alert),
            event: TimelineEvent::RemediationFinished {
                run: run.id,
                remediation: run.remediation.clone(),
                ok,
                summary: summary.clone(),
                output,
                duration_us: u64::try_from(outcome.finished.since(outcome.started).as_micros())
                    .unwrap_or(u64::MAX),
            },
        });
        let verify = envelope
            .filter(|_| ok && !dry_run)
            .and_then(|envelope| envelope.verify.as_ref().map(|_| envelope.verify_after.0));
        if let Some(after) = verify {
            run.verify = VerifyStatus::Waiting;
            self.verifies.insert((now + after, run.id));
            self.action_runs.insert(run.id, run.clone());
            self.progress(&run, |progress| {
                progress.last = format!("{summary}; not verified yet")
            });
        } else {
            let cooldown =
                envelope.map_or(std::time::Duration::ZERO, |envelope| envelope.cooldown.0);
            self.run_over(&run, &summary, now + cooldown);
        }
        self.save_alert(run.alert, changes);
        changes.action_runs.insert(run.id, run.clone());
        if !ok && !envelope.is_some_and(|envelope| envelope.dry_run) {
            let reason = format!("attempt {} failed: {summary}", run.attempt);
            self.escalate(run.alert, &run.remediation, reason, now, changes);
        }
    }

    /// A run that was committed, and has no outcome from before the restart: it
    /// counts, the check is run first, and only then is it asked again.
    pub(super) fn action_interrupted(
        &mut self,
        run_id: i64,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(mut run) = self.action_runs.remove(&run_id) else {
            return;
        };
        match run.status {
            RunStatus::Running => {
                run.status = RunStatus::Interrupted;
                run.finished_at = Some(now);
                changes.timeline.push(TimelineEntry {
                    ts: now,
                    series: run.series,
                    alert: Some(run.alert),
                    event: TimelineEvent::RemediationInterrupted {
                        run: run_id,
                        remediation: run.remediation.clone(),
                    },
                });
                let cooldown = self
                    .policy
                    .remedies
                    .get(&run.remediation)
                    .map_or(std::time::Duration::from_secs(300), |r| {
                        r.envelope.cooldown.0
                    });
                self.run_over(
                    &run,
                    "interrupted by a restart of the engine",
                    now + cooldown,
                );
                if let Some(series) = run.series {
                    changes.effects.push(Effect::RunNow {
                        series,
                        cause: Cause::RunNow,
                    });
                }
                self.save_alert(run.alert, changes);
                changes.action_runs.insert(run_id, run);
            }
            // Its verification is simply due now.
            _ if run.verify == VerifyStatus::Waiting => {
                self.verifies.insert((now, run_id));
                self.action_runs.insert(run_id, run);
            }
            _ => {
                self.action_runs.insert(run_id, run);
            }
        }
    }

    /// Verifications and repeated questions that are due.
    pub(super) fn remedies_due(&mut self, now: Timestamp, changes: &mut Changes) {
        while let Some((at, run_id)) = self.verifies.first().copied()
            && at <= now
        {
            self.verifies.pop_first();
            self.begin_verify(run_id, now, changes);
        }
        while let Some((at, alert_id)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.pop_first();
            // After a restart a repair waits for the word that it is needed.
            let series = self.alerts.get(&alert_id).and_then(|alert| alert.series);
            if self.unheard(series) {
                let later = now + std::time::Duration::from_secs(1);
                self.retries.insert((later, alert_id));
                continue;
            }
            self.remediate(alert_id, now, changes);
        }
    }

    /// The run is over and did not settle the alert: asked again at `next_at`.
    pub(super) fn run_over(&mut self, run: &ActionRun, last: &str, next_at: Timestamp) {
        let alert = run.alert;
        self.progress(run, |progress| {
            progress.in_flight = None;
            progress.next_at = Some(next_at);
            last.clone_into(&mut progress.last);
        });
        if self.alerts.contains_key(&alert) {
            self.retries.insert((next_at, alert));
        }
    }

    pub(super) fn progress(
        &mut self,
        run: &ActionRun,
        change: impl FnOnce(&mut super::changes::RemedyProgress),
    ) {
        if let Some(alert) = self.alerts.get_mut(&run.alert) {
            change(alert.remedies.entry(run.remediation.clone()).or_default());
        }
    }

    /// Tells the rule's contacts, once per alert, that repairing failed.
    pub(super) fn escalate(
        &mut self,
        alert_id: i64,
        remediation: &str,
        reason: String,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(mut alert) = self.alerts.get(&alert_id).cloned() else {
            return;
        };
        if alert.escalated {
            return;
        }
        alert.escalated = true;
        changes.timeline.push(TimelineEntry {
            ts: now,
            series: alert.series,
            alert: Some(alert_id),
            event: TimelineEvent::RemediationEscalated {
                remediation: remediation.to_owned(),
                reason,
            },
        });
        self.notify(&mut alert, NotificationKind::RepairFailed, now, changes);
        self.alerts.insert(alert_id, alert);
        self.save_alert(alert_id, changes);
    }
}
