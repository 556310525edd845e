//! Whether a repair helped: the check is run again, and its next result says so.

use super::changes::{ActionRun, Changes, Effect, TimelineEntry, TimelineEvent, VerifyStatus};
use super::snapshot::Snapshot;
use crate::check::outcome::{Cause, Fault, Report, SeriesId, State};
use crate::clock::Timestamp;

/// Verifications that end in a fault are repeated this often.
const VERIFY_FAULTS: u32 = 3;

impl Snapshot {
    pub(super) fn begin_verify(&mut self, run_id: i64, now: Timestamp, changes: &mut Changes) {
        let Some(run) = self.action_runs.get(&run_id).cloned() else {
            return;
        };
        let check = self
            .policy
            .remedies
            .get(&run.remediation)
            .and_then(|remedy| remedy.envelope.verify.clone());
        match check
            .as_deref()
            .and_then(|check| self.verify_series(check, run.node.as_deref()))
        {
            Some(series) => changes.effects.push(Effect::RunNow {
                series,
                cause: Cause::Verify(run_id),
            }),
            None => {
                let why = format!(
                    "check {} does not run on this node",
                    check.as_deref().unwrap_or("(none)")
                );
                self.verify_failed(run, &why, now, changes);
            }
        }
    }

    fn verify_series(&self, check: &str, node: Option<&str>) -> Option<SeriesId> {
        let nodes = &self.policy.checks.get(check)?.nodes;
        let (node, _) = match node {
            Some(node) => nodes.get_key_value(node)?,
            None => nodes.first_key_value().filter(|_| nodes.len() == 1)?,
        };
        self.by_name.get(&(check.into(), node.clone())).copied()
    }

    /// Takes the result of a verifying run.
    pub(super) fn verified(
        &mut self,
        run_id: i64,
        verdict: Result<&Report, &Fault>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(mut run) = self.action_runs.get(&run_id).cloned() else {
            return;
        };
        if run.verify != VerifyStatus::Waiting {
            return;
        }
        match verdict {
            Ok(report) if report.state == State::Ok => {
                self.action_runs.remove(&run_id);
                run.verify = VerifyStatus::Ok;
                self.progress(&run, |progress| {
                    progress.in_flight = None;
                    progress.done = true;
                    progress.last = format!("{}; verified", run.summary);
                });
                self.push_verified(&run, true, &report.summary, now, changes);
                self.save_alert(run.alert, changes);
                changes.action_runs.insert(run_id, run);
            }
            Ok(report) => self.verify_failed(run, &report.summary, now, changes),
            Err(fault) => {
                run.verify_faults += 1;
                if run.verify_faults >= VERIFY_FAULTS {
                    let why = format!("cannot be verified, fault: {}", fault.text);
                    self.verify_failed(run, &why, now, changes);
                } else {
                    self.verifies
                        .insert((now + std::time::Duration::from_secs(5), run_id));
                    self.action_runs.insert(run_id, run.clone());
                    changes.action_runs.insert(run_id, run);
                }
            }
        }
    }

    fn verify_failed(
        &mut self,
        mut run: ActionRun,
        why: &str,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        self.action_runs.remove(&run.id);
        run.verify = VerifyStatus::Failed;
        let cooldown = self
            .policy
            .remedies
            .get(&run.remediation)
            .map_or(std::time::Duration::ZERO, |remedy| {
                remedy.envelope.cooldown.0
            });
        let last = format!("{}; did not help: {why}", run.summary);
        self.run_over(&run, &last, run.created_at.max(now - cooldown) + cooldown);
        self.push_verified(&run, false, why, now, changes);
        self.save_alert(run.alert, changes);
        changes.action_runs.insert(run.id, run.clone());
        let reason = format!("attempt {} did not help: {why}", run.attempt);
        self.escalate(run.alert, &run.remediation, reason, now, changes);
    }

    fn push_verified(
        &self,
        run: &ActionRun,
        ok: bool,
        summary: &str,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        changes.timeline.push(TimelineEntry {
            ts: now,
            series: run.series,
            alert: Some(run.alert),
            event: TimelineEvent::RemediationVerified {
                run: run.id,
                remediation: run.remediation.clone(),
                ok,
                summary: summary.to_owned(),
            },
        });
    }
}
