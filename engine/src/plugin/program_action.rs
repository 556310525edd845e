//! Command plugins as actions: the alert as JSON on standard input, exit code 0
//! for done.

use std::sync::Arc;

use serde::Serialize;

use super::action::{MAX_SUMMARY, redacted};
use super::catalogue::LoadedProgram;
use super::host::Inner;
use super::probe::{MAX_TEXT, lines, one_line};
use super::program::{self, Finished};
use super::program_check::MAX_STDOUT;
use super::run::{End, RunSetup, phase_name};
use crate::check::outcome::{ActionFailure, ActionJob, ActionReport, Fault, FaultKind, NodeInfo};
use crate::config::spec::GrantsSpec;

/// What an action's program reads.
#[derive(Serialize)]
struct Context<'a> {
    remediation: &'a str,
    alert: i64,
    rule: &'a str,
    severity: &'a str,
    summary: &'a str,
    check: Option<&'a str>,
    node: Option<&'a NodeInfo>,
    labels: &'a std::collections::BTreeMap<String, String>,
    attempt: u32,
    dry_run: bool,
    idempotency_key: &'a str,
}

impl Inner {
    /// Runs an action.
    pub async fn act_by_program(
        &self,
        loaded: &LoadedProgram,
        job: &ActionJob,
    ) -> Result<ActionReport, ActionFailure> {
        let mut given =
            program::given(loaded, &job.config, MAX_STDOUT).map_err(ActionFailure::Fault)?;
        let context = Context {
            remediation: &job.remediation,
            alert: job.alert,
            rule: &job.rule,
            severity: &job.severity,
            summary: &job.summary,
            check: job.check.as_deref(),
            node: job.node.as_deref(),
            labels: &job.labels,
            attempt: job.attempt,
            dry_run: job.dry_run,
            idempotency_key: &job.idempotency_key,
        };
        let context = serde_json::to_vec(&context).map_err(|error| {
            ActionFailure::Fault(Fault::new(
                FaultKind::Engine,
                format!("the alert as JSON: {error}"),
            ))
        })?;
        given.stdin = context.into();
        // A program does not know what a dry run is: it gets no network then.
        let grants = if job.dry_run {
            Arc::new(GrantsSpec::default())
        } else {
            Arc::clone(&job.grants)
        };
        let store = self.store(RunSetup {
            node: job.node.clone(),
            dry_run: job.dry_run,
            ..program::setup(&job.limits, grants)
        });
        let Finished {
            result,
            stdout,
            mut data,
            busy,
        } = loaded.program.run(store, given).await;
        let text = String::from_utf8_lossy(&stdout.bytes);
        let (summary, details) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
        let verdict = match result {
            Ok(0) => Ok(ActionReport {
                summary: one_line(data.redactor.clip(summary.trim_end(), MAX_SUMMARY)),
                details: lines(data.redactor.clip(details, MAX_TEXT - MAX_SUMMARY)),
            }),
            Ok(code) => {
                let said = data.log.text(&data.redactor);
                let said = [text.trim(), said.as_str()].join("\n");
                let text = format!("exit code {code}\n{}", said.trim());
                let text = data.redactor.clip(text.trim_end(), MAX_TEXT);
                Err(ActionFailure::Failed(lines(text)))
            }
            Err(End::Target(phase)) => Err(ActionFailure::Failed(format!(
                "timed out in {}",
                phase_name(phase)
            ))),
            Err(End::Fault(fault)) => Err(ActionFailure::Fault(fault)),
        };
        let fault = match &verdict {
            Err(ActionFailure::Fault(fault)) => Some(fault.kind),
            _ => None,
        };
        loaded.cost.add(busy, &mut data, fault);
        redacted(&data.redactor, verdict)
    }
}
