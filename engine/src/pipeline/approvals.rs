//! Repairs that wait for a person.

use super::changes::{ActionRun, Changes, RunStatus, TimelineEntry, TimelineEvent};
use super::snapshot::Snapshot;
use crate::clock::Timestamp;
use crate::config::spec::EnvelopeSpec;
use crate::remedy::envelope::{Ask, Decision, PastRun, allow};

impl Snapshot {
    /// A person approved or refused a repair.
    pub(super) fn action_approved(
        &mut self,
        run_id: i64,
        approved: bool,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(mut run) = self.action_runs.get(&run_id).cloned() else {
            return;
        };
        if run.status != RunStatus::AwaitingApproval {
            return;
        }
        let ended = !self.alerts.contains_key(&run.alert);
        let gone = !self.policy.remedies.contains_key(&run.remediation);
        if approved && !ended && !gone && !self.may_run_now(&run, now, changes) {
            return;
        }
        if approved && !ended && !gone {
            run.status = RunStatus::Running;
            // It counts from when it runs, also after a restart.
            run.created_at = now;
            self.history
                .entry(run.remediation.clone())
                .or_default()
                .push(PastRun {
                    at: now,
                    node: run.node.as_deref().map(Into::into),
                });
            self.hand_over(&run, now, changes);
            self.action_runs.insert(run_id, run.clone());
        } else {
            run.status = RunStatus::Cancelled;
            run.finished_at = Some(now);
            self.action_runs.remove(&run_id);
            let reason = if ended {
                "its alert has ended"
            } else if gone {
                "its remediation was removed"
            } else {
                "a person refused it"
            };
            run.summary = format!("not run: {reason}");
            let last = run.summary.clone();
            self.progress(&run, |progress| {
                progress.in_flight = None;
                progress.done = true;
                progress.last = last;
            });
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: run.series,
                alert: Some(run.alert),
                event: TimelineEvent::RemediationRefused {
                    remediation: run.remediation.clone(),
                    reason: reason.into(),
                },
            });
        }
        self.save_alert(run.alert, changes);
        changes.action_runs.insert(run_id, run);
    }

    /// Whether an approved run is within the limits. It was allowed when it was
    /// asked for; others may have run since. A cooldown lets it wait for another
    /// approval, a rate ends it.
    fn may_run_now(&mut self, run: &ActionRun, now: Timestamp, changes: &mut Changes) -> bool {
        let policy = self.policy.clone();
        let Some(remedy) = policy.remedies.get(&run.remediation) else {
            return true;
        };
        let asked = EnvelopeSpec {
            approve: false,
            max_share: None,
            ..remedy.envelope.clone()
        };
        let history = self.history.entry(run.remediation.clone()).or_default();
        let ask = Ask {
            node: run.node.as_deref(),
            selected_nodes: usize::MAX,
            under_repair: 0,
        };
        match allow(&asked, history, ask, now) {
            Decision::Wait { until } => {
                let seconds = until.since(now).as_secs() + 1;
                let reason =
                    format!("approved within the cooldown: approve it again in {seconds} s");
                self.refused(run.alert, &run.remediation, reason, now, changes);
                self.save_alert(run.alert, changes);
                false
            }
            Decision::Exhausted { limit } => {
                let reason = format!("limit {limit} is used up");
                let mut run = run.clone();
                run.status = RunStatus::Cancelled;
                run.finished_at = Some(now);
                run.summary = format!("not run: {reason}");
                self.action_runs.remove(&run.id);
                let last = run.summary.clone();
                self.progress(&run, |progress| {
                    progress.in_flight = None;
                    progress.done = true;
                    progress.last = last;
                });
                self.refused(run.alert, &run.remediation, reason.clone(), now, changes);
                if !asked.dry_run {
                    self.escalate(run.alert, &run.remediation, reason, now, changes);
                }
                self.save_alert(run.alert, changes);
                changes.action_runs.insert(run.id, run);
                false
            }
            Decision::Run | Decision::AwaitApproval | Decision::TooManyNodes { .. } => true,
        }
    }
}
