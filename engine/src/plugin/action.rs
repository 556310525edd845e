//! Runs of actions.

use std::sync::Arc;

use wasmtime::component::{ComponentType, Lower};

use super::bindings::exports::bellwether::plugin::action::{ActionError, Report as WitReport};
use super::catalogue::{Entry, Loaded, Ran};
use super::host::Inner;
use super::kind::Kind;
use super::probe::{MAX_TEXT, NodeArg, config_fault, denied_fault, lines, millis, one_line};
use super::run::{End, HOSTCALL_FUEL, RunSetup, ended, phase_name};
use super::secrets::Redactor;
use crate::check::outcome::{
    ActionFailure, ActionJob, ActionOutcome, ActionReport, Fault, FaultKind,
};
use crate::clock::Timestamp;

/// Bytes of the summary's share.
pub(super) const MAX_SUMMARY: usize = 4 << 10;

/// `action.context`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct ContextArg<'a> {
    remediation: &'a str,
    alert: &'a str,
    rule: &'a str,
    severity: &'a str,
    summary: &'a str,
    check: Option<&'a str>,
    node: Option<NodeArg<'a>>,
    labels: Vec<(&'a str, &'a str)>,
    config: &'a str,
    attempt: u32,
    #[component(name = "dry-run")]
    dry_run: bool,
    #[component(name = "idempotency-key")]
    idempotency_key: &'a str,
    now: i64,
    deadline: i64,
    #[component(name = "timeout-ms")]
    timeout_ms: u32,
}

pub(super) type RunResult = (Result<WitReport, ActionError>,);

/// The outcome of a run whose task is gone.
pub(super) fn lost(id: i64, started: Timestamp, finished: Timestamp) -> ActionOutcome {
    let fault = Fault::new(
        FaultKind::Engine,
        "the run was lost: the plugin host ended or panicked",
    );
    ActionOutcome {
        id,
        started,
        finished,
        verdict: Err(ActionFailure::Fault(fault)),
    }
}

impl Inner {
    /// Runs an action to its end.
    pub async fn run_action(&self, job: ActionJob) -> ActionOutcome {
        let started = self.shared.clock.now();
        let verdict = match self.entry(&job.plugin, Kind::Action) {
            Ok(Entry::Program(program)) => self.act_by_program(&program, &job).await,
            Ok(Entry::Plugin(loaded)) => self.act(&loaded, &job, started.micros()).await,
            Err(fault) => Err(ActionFailure::Fault(fault)),
        };
        ActionOutcome {
            id: job.id,
            started,
            finished: self.shared.clock.now(),
            verdict,
        }
    }

    async fn act(
        &self,
        loaded: &Loaded,
        job: &ActionJob,
        now: i64,
    ) -> Result<ActionReport, ActionFailure> {
        let length = job.limits.deadline();
        let store = self.store(RunSetup {
            timeout: job.limits.timeout,
            length,
            memory: job.limits.memory,
            grants: Arc::clone(&job.grants),
            node: job.node.clone(),
            state: None,
            dry_run: job.dry_run,
            fuel: HOSTCALL_FUEL,
        });
        let alert = job.alert.to_string();
        let context = ContextArg {
            remediation: &job.remediation,
            alert: &alert,
            rule: &job.rule,
            severity: &job.severity,
            summary: &job.summary,
            check: job.check.as_deref(),
            node: job.node.as_deref().map(NodeArg::new),
            labels: job
                .labels
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect(),
            config: &job.config,
            attempt: job.attempt,
            dry_run: job.dry_run,
            idempotency_key: &job.idempotency_key,
            now,
            deadline: now.saturating_add(length.as_micros() as i64),
            timeout_ms: millis(job.limits.timeout),
        };
        let Ran {
            result,
            mut data,
            busy,
        } = loaded.run::<_, RunResult>(store, 1, (context,)).await;
        let redactor = &data.redactor;
        let verdict = match data.unless_own_fault(result, |(answer,)| answer.is_ok()) {
            // A command may print more than a report holds: cut, not refused.
            Ok((Ok(report),)) => Ok(ActionReport {
                summary: one_line(redactor.clip(&report.summary, MAX_SUMMARY)),
                details: lines(redactor.clip(&report.details, MAX_TEXT - MAX_SUMMARY)),
            }),
            Ok((Err(error),)) => Err(match error {
                ActionError::Config(problem) => {
                    ActionFailure::Fault(config_fault(&problem, redactor))
                }
                ActionError::Denied(what) => ActionFailure::Fault(denied_fault(&what, redactor)),
                ActionError::Failed(text) => {
                    ActionFailure::Failed(lines(redactor.clip(&text, MAX_TEXT)))
                }
            }),
            Err(error) => Err(match ended(&error, &mut data) {
                End::Target(phase) => {
                    ActionFailure::Failed(format!("timed out in {}", phase_name(phase)))
                }
                End::Fault(fault) => ActionFailure::Fault(fault),
            }),
        };
        let fault = match &verdict {
            Err(ActionFailure::Fault(fault)) => Some(fault.kind),
            _ => None,
        };
        loaded.cost.add(busy, &mut data, fault);
        redacted(&data.redactor, verdict)
    }
}

/// A verdict without the secrets that its run used.
pub(super) fn redacted(
    redactor: &Redactor,
    verdict: Result<ActionReport, ActionFailure>,
) -> Result<ActionReport, ActionFailure> {
    if redactor.is_empty() {
        return verdict;
    }
    match verdict {
        Ok(report) => Ok(ActionReport {
            summary: redactor.text(report.summary),
            details: redactor.text(report.details),
        }),
        Err(ActionFailure::Failed(text)) => Err(ActionFailure::Failed(redactor.text(text))),
        Err(ActionFailure::Fault(fault)) => Err(ActionFailure::Fault(Fault {
            text: redactor.text(fault.text),
            ..fault
        })),
    }
}
