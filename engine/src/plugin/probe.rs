//! Runs of probes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentType, Lower, TypedFunc};

use super::bindings::bellwether::plugin::types as wit;
use super::bindings::exports::bellwether::plugin::probe::{ProbeError, Report as WitReport};
use super::catalogue::{Entry, Loaded, Ran};
use super::crash::Crash;
use super::host::Inner;
use super::kind::Kind;
use super::log::RunLog;
use super::manifest::{Manifest, is_metric_name};
use super::run::{End, HOSTCALL_FUEL, RunSetup, ended, phase_name};
use super::secrets::Redactor;
use super::watch::Beside;
use crate::check::outcome::{
    Digest, Fault, FaultKind, Job, Metric, NodeInfo, Outcome, Report, RunLimits, RunLogLine, State,
    StateEntry,
};
use crate::clock::Timestamp;
use crate::pipeline::quarantine::is_crash;

/// Summary and details together, in bytes.
pub(super) const MAX_TEXT: usize = 64 << 10;
/// Metrics of one report.
pub const MAX_METRICS: usize = 1_000;

/// A node as guests get it, borrowed from the job.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct NodeArg<'a> {
    name: &'a str,
    address: &'a str,
    labels: Vec<(&'a str, &'a str)>,
}

impl<'a> NodeArg<'a> {
    pub fn new(node: &'a NodeInfo) -> Self {
        Self {
            name: &node.name,
            address: &node.address,
            labels: node
                .labels
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect(),
        }
    }
}

/// `probe.request`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct RequestArg<'a> {
    check: &'a str,
    node: NodeArg<'a>,
    config: &'a str,
    now: i64,
    deadline: i64,
    #[component(name = "timeout-ms")]
    timeout_ms: u32,
    attempt: u32,
}

pub(super) type CheckResult = (Result<WitReport, ProbeError>,);

/// A run's verdict and what it leaves beside it.
pub(super) struct Ended {
    pub verdict: Result<Report, Fault>,
    pub state_writes: Vec<(String, Option<StateEntry>)>,
    pub log: Vec<RunLogLine>,
}

impl Inner {
    /// Runs a check to its end.
    pub async fn run_probe(&self, job: Job, beside: Beside) -> Outcome {
        let started = self.shared.clock.now();
        let refused = |fault| Ended {
            verdict: Err(fault),
            state_writes: Vec::new(),
            log: Vec::new(),
        };
        let entry = match &beside.watch {
            Some(watch) => {
                watch.begin();
                self.entry_watched(&job.spec.plugin, Kind::Probe)
            }
            None => self.entry(&job.spec.plugin, Kind::Probe),
        };
        let ended = match entry {
            Ok(Entry::Program(program)) => {
                self.check_program(&program, &job, started, beside).await
            }
            Ok(Entry::Plugin(loaded)) => self.check(&loaded, &job, started.micros(), beside).await,
            Err(fault) => refused(fault),
        };
        let Ended {
            verdict,
            state_writes,
            log,
        } = ended;
        Outcome {
            job,
            started,
            finished: self.shared.clock.now(),
            verdict,
            state_writes,
            log,
        }
    }

    /// The outcome of a run whose task is gone.
    pub fn lost_probe(&self, job: Job) -> Outcome {
        let now = self.shared.clock.now();
        Outcome {
            job,
            started: now,
            finished: now,
            verdict: Err(Fault::new(
                FaultKind::Engine,
                "the run was lost: the plugin host ended or panicked",
            )),
            state_writes: Vec::new(),
            log: Vec::new(),
        }
    }

    /// What wasmtime alone takes, for the benchmark.
    pub async fn bare_runs(&self, digest: &Digest, runs: usize) -> wasmtime::Result<Vec<Duration>> {
        let loaded = match self.entry(digest, Kind::Probe) {
            Ok(Entry::Plugin(loaded)) => loaded,
            Ok(Entry::Program(loaded)) => {
                let limits = RunLimits {
                    memory: u64::MAX,
                    timeout: Duration::from_secs(5),
                };
                let data = || {
                    let setup = super::program::setup(&limits, Arc::default());
                    self.store(setup).into_data()
                };
                let engine = &self.catalogue.wasm.engine;
                return loaded.program.bare_runs(runs, engine, data).await;
            }
            Err(_) => return Ok(Vec::new()),
        };
        let node = NodeInfo {
            name: "n".into(),
            address: "127.0.0.1".into(),
            labels: Default::default(),
        };
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let setup = RunSetup {
                timeout: Duration::from_secs(5),
                length: Duration::from_secs(6),
                memory: u64::MAX,
                grants: Arc::default(),
                node: None,
                state: None,
                dry_run: false,
                fuel: HOSTCALL_FUEL,
            };
            let data = self.store(setup).into_data();
            let request = RequestArg {
                check: "bench",
                node: NodeArg::new(&node),
                config: "{}",
                now: 0,
                deadline: 0,
                timeout_ms: 5_000,
                attempt: 1,
            };
            let begun = std::time::Instant::now();
            let mut store = wasmtime::Store::new(&self.catalogue.wasm.engine, data);
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
            let instance = loaded.pre.instantiate_async(&mut store).await?;
            let check: TypedFunc<(RequestArg<'_>,), CheckResult> =
                instance.get_typed_func(&mut store, loaded.exports.function(1)?)?;
            let result = check.call_async(&mut store, (request,)).await?;
            drop(store);
            drop(result);
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    async fn check(&self, loaded: &Loaded, job: &Job, now: i64, beside: Beside) -> Ended {
        let spec = &*job.spec;
        let length = spec.limits.deadline();
        let mut store = self.store(RunSetup {
            timeout: spec.limits.timeout,
            length,
            memory: spec.limits.memory,
            grants: Arc::clone(&spec.grants),
            node: Some(Arc::clone(&spec.node)),
            state: Some(Arc::clone(&job.state)),
            dry_run: false,
            fuel: HOSTCALL_FUEL,
        });
        store.data_mut().go_with(beside);
        let request = RequestArg {
            check: &spec.check,
            node: NodeArg::new(&spec.node),
            config: &spec.config,
            now,
            deadline: now.saturating_add(length.as_micros() as i64),
            timeout_ms: millis(spec.limits.timeout),
            attempt: job.attempt,
        };
        let Ran {
            result,
            mut data,
            busy,
        } = loaded.run::<_, CheckResult>(store, 1, (request,)).await;
        let fine = |(answer,): &CheckResult| matches!(answer, Ok(report) if report.state == wit::State::Ok);
        let verdict = match data.unless_own_fault(result, fine) {
            Ok((Ok(report),)) => judge(report, &loaded.installed.manifest, &mut data.log),
            Ok((Err(error),)) => Err(probe_fault(error, &data.redactor)),
            Err(error) => match ended(&error, &mut data) {
                End::Target(phase) => Ok(timed_out(phase_name(phase))),
                End::Fault(fault) => Err(fault),
            },
        };
        let fault = verdict.as_ref().err().map(|fault| fault.kind);
        data.watched(busy);
        loaded.cost.add(busy, &mut data, fault);
        let watched = data.watch.is_some();
        let redactor = data.redactor;
        let verdict = if redactor.is_empty() {
            verdict
        } else {
            redacted(&redactor, verdict)
        };
        let (state, log) = (data.state, data.log.finish(&redactor));
        if let Err(fault) = &verdict
            && is_crash(fault.kind)
            && !watched
        {
            let crash = Crash {
                installed: &loaded.installed,
                job,
                at: Timestamp(now),
                fault,
                log: &log,
            };
            self.shared
                .crashes
                .keep(&self.shared, crash, redactor)
                .await;
        }
        Ended {
            // What a failed run wrote is not committed.
            state_writes: if verdict.is_ok() {
                state.into_writes()
            } else {
                Vec::new()
            },
            log,
            verdict,
        }
    }
}

/// Milliseconds as the contract carries them.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The engine's own judgement of a target that never answered.
pub(super) fn timed_out(phase: &str) -> Report {
    Report {
        state: State::Critical,
        summary: format!("timed out in {phase}"),
        details: String::new(),
        metrics: Vec::new(),
    }
}

fn probe_fault(error: ProbeError, redactor: &Redactor) -> Fault {
    match error {
        ProbeError::Config(problem) => config_fault(&problem, redactor),
        ProbeError::Denied(what) => denied_fault(&what, redactor),
        ProbeError::Failed(text) => Fault::new(FaultKind::Failed, redactor.clip(&text, MAX_FAULT)),
    }
}

/// Longest text of a fault, in bytes.
pub(super) const MAX_FAULT: usize = 4 << 10;

pub(super) fn config_fault(problem: &wit::ConfigProblem, redactor: &Redactor) -> Fault {
    let pointer = match problem.pointer.as_str() {
        "" => String::new(),
        pointer => format!(" {}", redactor.clip(pointer, 256)),
    };
    let message = redactor.clip(&problem.message, MAX_FAULT);
    Fault::new(FaultKind::Config, format!("config{pointer}: {message}"))
}

pub(super) fn denied_fault(what: &str, redactor: &Redactor) -> Fault {
    Fault::new(
        FaultKind::Denied,
        format!("denied: {}", redactor.clip(what, MAX_FAULT)),
    )
}

pub(super) fn redacted(
    redactor: &Redactor,
    verdict: Result<Report, Fault>,
) -> Result<Report, Fault> {
    match verdict {
        Ok(report) => Ok(Report {
            summary: redactor.text(report.summary),
            details: redactor.text(report.details),
            metrics: report
                .metrics
                .into_iter()
                .map(|metric| Metric {
                    name: Arc::from(redactor.text(metric.name.to_string())),
                    ..metric
                })
                .collect(),
            ..report
        }),
        Err(fault) => Err(Fault {
            text: redactor.text(fault.text),
            ..fault
        }),
    }
}

/// Bounds of a text that a guest reports.
pub(super) fn check_size(summary: &str, details: &str) -> Result<(), Fault> {
    let size = summary.len() + details.len();
    if size > MAX_TEXT {
        return Err(Fault::new(
            FaultKind::Limit,
            format!("output: summary and details have {size} bytes, the limit is {MAX_TEXT}"),
        ));
    }
    Ok(())
}

/// One line without control characters.
pub(super) fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    } else {
        text
    }
}

/// Lines without other control characters.
pub(super) fn lines(text: String) -> String {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.chars().any(bad) {
        text.chars()
            .filter(|c| *c != '\r')
            .map(|c| if bad(c) { ' ' } else { c })
            .collect()
    } else {
        text
    }
}

/// A guest's report within the limits; metrics that rules cannot use are
/// dropped and counted in the run's log.
fn judge(report: WitReport, manifest: &Manifest, log: &mut RunLog) -> Result<Report, Fault> {
    check_size(&report.summary, &report.details)?;
    if report.metrics.len() > MAX_METRICS {
        return Err(Fault::new(
            FaultKind::Limit,
            format!(
                "output: the report has {} metrics, the limit is {MAX_METRICS}",
                report.metrics.len()
            ),
        ));
    }
    let (mut not_finite, mut unusable) = (0, 0);
    let mut metrics: Vec<Metric> = Vec::with_capacity(report.metrics.len());
    let mut seen = HashSet::new();
    for metric in report.metrics {
        if !metric.value.is_finite() {
            not_finite += 1;
            continue;
        }
        // Names from the manifest are checked and shared already.
        let name = match manifest
            .metrics
            .iter()
            .find(|spec| *spec.name == *metric.name)
        {
            Some(spec) => Arc::clone(&spec.name),
            None if is_metric_name(&metric.name) => Arc::from(metric.name),
            None => {
                unusable += 1;
                continue;
            }
        };
        if !seen.insert(Arc::clone(&name)) {
            unusable += 1;
            continue;
        }
        metrics.push(Metric {
            name,
            value: metric.value,
        });
    }
    if not_finite > 0 {
        log.push(
            "warning",
            &format!("{not_finite} metrics were dropped: not a finite number"),
        );
    }
    if unusable > 0 {
        log.push(
            "warning",
            &format!(
                "{unusable} metrics were dropped: a wrong name, or one that was there already"
            ),
        );
    }
    Ok(Report {
        state: match report.state {
            wit::State::Ok => State::Ok,
            wit::State::Warning => State::Warning,
            wit::State::Critical => State::Critical,
            wit::State::Unknown => State::Unknown,
        },
        summary: one_line(report.summary),
        details: lines(report.details),
        metrics,
    })
}
