//! What a rule would have said of the past: stored results and log records
//! through the pipeline itself, with nothing but that rule in force and nobody
//! to tell. There is no second evaluator.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::changes::{Alert, AlertSource, Changes, Phase, ResultRow, SeriesRow};
use super::policy::{CheckPolicy, Policy, RulePolicy};
use super::snapshot::{Loaded, NextIds, Series, Snapshot};
use super::{Input, apply};
use crate::alert::expr::QuerySet;
use crate::check::outcome::{
    Cause, Digest, Job, JobSpec, LogRecord, Metric, Outcome, Report, RunLimits, SeriesId,
};
use crate::check::state::CheckState;
use crate::clock::Timestamp;

/// Alerts that are kept; more are counted.
pub const MAX_ALERTS: usize = 1_000;

/// What a rule is tried on.
#[derive(Debug)]
pub struct Past {
    pub rule: RulePolicy,
    /// Log queries that the rule counts.
    pub queries: Arc<QuerySet>,
    /// Checks with their nodes; which of them the rule reads is worked out here.
    pub checks: HashMap<Arc<str>, CheckPolicy>,
    /// Stored series, by which results are known.
    pub series: Vec<SeriesRow>,
    /// Stored names of metrics.
    pub metrics: Vec<(u32, Arc<str>)>,
}

/// An alert that would have fired.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    pub check: Option<String>,
    pub node: Option<String>,
    /// When the expression became true.
    pub pending_at: Timestamp,
    pub fired_at: Timestamp,
    /// Absent where it still fires at the end.
    pub ended_at: Option<Timestamp>,
    /// What the result said with which it fired.
    pub summary: String,
}

/// What a rule would have done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// In the order in which they fired, at most [`MAX_ALERTS`].
    pub alerts: Vec<Episode>,
    /// How many fired.
    pub fired: u64,
    /// True for less than `for`.
    pub cancelled: u64,
    /// Pending at the end.
    pub pending: u64,
}

/// A pipeline that looks back. Feed it in order of time.
pub struct Backtest {
    snapshot: Snapshot,
    armed: Arc<Policy>,
    per_series: bool,
    names: HashMap<u32, Arc<str>>,
    jobs: HashMap<SeriesId, Arc<JobSpec>>,
    now: Timestamp,
    evaluating: bool,
    episodes: BTreeMap<i64, Episode>,
    fired: u64,
    cancelled: u64,
}

impl Backtest {
    /// A pipeline whose windows and states are filled by what comes before
    /// [`begin`](Self::begin).
    pub fn new(past: Past, start: Timestamp) -> Self {
        let Past {
            rule,
            queries,
            checks,
            series,
            metrics,
        } = past;
        let per_series = rule.per_series;
        let names = metrics.iter().cloned().collect();
        let last = series.iter().map(|row| row.id.0).max().unwrap_or(0);
        let loaded = Loaded {
            series: series.into_iter().map(remembered).collect(),
            next: NextIds {
                series: last + 1,
                metric: metrics.iter().map(|(id, _)| *id).max().unwrap_or(0) + 1,
                alert: 1,
                outbox: 1,
                action_run: 1,
            },
            metrics,
            ..Loaded::default()
        };
        let rule = Arc::new(rule);
        let policy = |evaluating: bool| Policy {
            checks: checks
                .iter()
                .map(|(name, check)| {
                    let read = evaluating
                        && per_series
                        && rule.def.check_filter().is_none_or(|one| one == &**name);
                    let check = CheckPolicy {
                        rules: if read { vec![0] } else { Vec::new() },
                        ..check.clone()
                    };
                    (name.clone(), check)
                })
                .collect(),
            rules: vec![(*rule).clone()],
            queries: queries.clone(),
            ..Policy::default()
        };
        let mut backtest = Self {
            snapshot: Snapshot::new(loaded),
            armed: Arc::new(policy(true)),
            per_series,
            names,
            jobs: HashMap::new(),
            now: start,
            evaluating: false,
            episodes: BTreeMap::new(),
            fired: 0,
            cancelled: 0,
        };
        backtest.configure(Arc::new(policy(false)));
        backtest
    }

    fn configure(&mut self, policy: Arc<Policy>) {
        let mut changes = Changes::default();
        self.snapshot
            .configure(policy, String::new(), self.now, &mut changes);
        let jobs = self.snapshot.series().filter_map(|series| {
            let spec = JobSpec {
                series: series.id,
                check: series.check.to_string(),
                node: series.node.clone()?,
                plugin: Digest("".into()),
                config: "{}".into(),
                input: None,
                grants: Arc::default(),
                limits: RunLimits {
                    memory: 0,
                    timeout: Duration::ZERO,
                },
            };
            Some((series.id, Arc::new(spec)))
        });
        self.jobs = jobs.collect();
    }

    /// Evaluates the rule from `at` on, as if it had been added then with its
    /// windows filled.
    pub fn begin(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        self.configure(self.armed.clone());
        self.evaluating = true;
    }

    /// Lets time pass until `to`, with a tick at each second that can matter.
    pub fn advance(&mut self, to: Timestamp) {
        while self.evaluating {
            let next = Timestamp::from_secs(self.now.secs() + 1);
            let idle = self.per_series && self.snapshot.open_alerts().all(fires);
            if idle || next > to {
                break;
            }
            self.now = next;
            self.input(Input::Tick);
        }
        self.now = self.now.max(to);
    }

    /// A result that was recorded. Of a series that the configuration does not
    /// select it is ignored.
    pub fn result(&mut self, row: ResultRow) {
        let Some(spec) = self.jobs.get(&row.series).cloned() else {
            return;
        };
        let finished = row.ts + Duration::from_micros(u64::from(row.duration_us));
        self.advance(finished);
        let report = |state| Report {
            state,
            metrics: row
                .metrics
                .iter()
                .filter_map(|(id, value)| {
                    Some(Metric {
                        name: self.names.get(id)?.clone(),
                        value: *value,
                    })
                })
                .collect(),
            summary: row.summary.clone(),
            details: String::new(),
        };
        let verdict = row.verdict.clone().map(report);
        self.input(Input::Checked(Box::new(Outcome {
            job: Job {
                spec,
                scheduled: row.ts,
                attempt: 1,
                cause: Cause::Schedule,
                state: Arc::default(),
            },
            started: row.ts,
            finished,
            verdict,
            state_writes: Vec::new(),
            log: Vec::new(),
        })));
    }

    /// A log record that was received.
    pub fn log(&mut self, source: &Arc<str>, record: LogRecord) {
        if !self.evaluating {
            let policy = self.armed.clone();
            self.snapshot.preload_log(&policy, source, &record);
            return;
        }
        self.advance(record.received);
        self.input(Input::Logs {
            source: source.clone(),
            records: vec![record],
            checkpoints: Vec::new(),
        });
    }

    fn input(&mut self, input: Input) {
        let changes = apply(&mut self.snapshot, vec![input], self.now);
        for alert in changes.alerts.into_values() {
            if matches!(alert.source, AlertSource::Rule { .. }) {
                self.note(alert);
            }
        }
    }

    fn note(&mut self, alert: Alert) {
        match (alert.phase, alert.fired_at) {
            (Phase::Cancelled, _) => self.cancelled += 1,
            (Phase::Firing, Some(fired_at)) if !self.episodes.contains_key(&alert.id) => {
                // An alert is written once when it fires: nothing else about it
                // changes without contacts and remediations.
                self.fired += 1;
                if self.episodes.len() < MAX_ALERTS {
                    let episode = Episode {
                        check: alert.check,
                        node: alert.node,
                        pending_at: alert.pending_at,
                        fired_at,
                        ended_at: None,
                        summary: alert.summary,
                    };
                    self.episodes.insert(alert.id, episode);
                }
            }
            (Phase::Resolved | Phase::Removed, _) => {
                if let Some(episode) = self.episodes.get_mut(&alert.id) {
                    episode.ended_at = alert.ended_at;
                }
            }
            _ => {}
        }
    }

    /// What came out.
    pub fn finish(self) -> Verdict {
        let open = self.snapshot.open_alerts();
        let pending = open.filter(|alert| alert.phase == Phase::Pending).count() as u64;
        let mut alerts: Vec<Episode> = self.episodes.into_values().collect();
        alerts.sort_by_key(|one| one.fired_at);
        Verdict {
            alerts,
            fired: self.fired,
            cancelled: self.cancelled,
            pending,
        }
    }
}

/// True where a tick changes nothing about an alert of a series.
fn fires(alert: &Alert) -> bool {
    alert.phase != Phase::Pending
}

fn remembered(row: SeriesRow) -> Series {
    Series {
        id: row.id,
        check: row.check,
        node_name: row.node,
        state: CheckState::default(),
        recent: Default::default(),
        plugin_state: Arc::default(),
        node: None,
        sound: None,
        heard: true,
    }
}

#[cfg(test)]
#[path = "backtest_tests.rs"]
mod tests;
