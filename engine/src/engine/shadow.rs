//! Shadow runs: after each scheduled run of a check the same request goes to
//! another version of its plugin, and the two are compared in memory.
//!
//! Invariant: a shadow run is never submitted to the recorder. So it moves no
//! state, writes none, raises no alert and quarantines nothing. It begins when
//! the real run has ended, in capacity that the scheduler does not have.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::check::outcome::{Cause, Digest, Job, JobSpec, Outcome, SeriesId};
use crate::check::runner::{RunJob, RunnerFigures};
use crate::clock::Timestamp;
use crate::http::shadow::{ShadowRun, ShadowSeries, ShadowSide, ShadowVersion, ShadowView};
use crate::plugin::Host;

/// Shadow runs at the same time. The host has room for them beside the
/// scheduler's.
pub const MOST: u32 = 8;
/// Plugins with a shadow at the same time.
const MOST_PLUGINS: usize = 8;
/// Series whose runs are kept for a plugin, and runs kept of each.
const SERIES: usize = 200;
const RUNS: usize = 10;
/// Longest summary kept, in bytes, and most metrics.
const SUMMARY: usize = 500;
const METRICS: usize = 50;

/// All shadows; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Shadows {
    all: Arc<Mutex<BTreeMap<String, Shadow>>>,
    /// Shadow runs under way.
    in_flight: Arc<AtomicUsize>,
    /// How many there are of `all`, readable without its lock.
    count: Arc<AtomicUsize>,
    /// Real runs in flight above which there are no shadow runs.
    busy_at: Arc<AtomicUsize>,
}

/// What a shadow is of.
#[derive(Clone, Debug)]
pub struct Pairing {
    pub current: ShadowVersion,
    pub shadow: ShadowVersion,
    pub since: Timestamp,
    pub started_by: String,
}

#[derive(Debug)]
struct Shadow {
    pairing: Pairing,
    agreements: u64,
    disagreements: u64,
    skipped: u64,
    series: BTreeMap<SeriesId, Series>,
}

#[derive(Debug)]
struct Series {
    check: String,
    node: String,
    agreements: u64,
    disagreements: u64,
    runs: VecDeque<ShadowRun>,
}

/// A run to be made when the real one has ended.
struct Beside {
    plugin: String,
    job: Job,
    /// Its place among those in flight.
    _place: Place,
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shadows {
    /// Begins a shadow; another one of the plugin ends.
    ///
    /// # Errors
    /// Too many plugins have one.
    pub fn start(&self, plugin: &str, pairing: Pairing) -> Result<(), String> {
        let mut all = self.all.lock();
        if !all.contains_key(plugin) && all.len() >= MOST_PLUGINS {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            return Err(format!(
                "expected at most {MOST_PLUGINS} plugins with a shadow: end one of {}",
                names.join(", ")
            ));
        }
        let shadow = Shadow {
            pairing,
            agreements: 0,
            disagreements: 0,
            skipped: 0,
            series: BTreeMap::new(),
        };
        all.insert(plugin.to_owned(), shadow);
        self.count.store(all.len(), Ordering::Release);
        Ok(())
    }

    /// Ends a plugin's shadow. False where there is none.
    pub fn end(&self, plugin: &str) -> bool {
        let mut all = self.all.lock();
        let ended = all.remove(plugin).is_some();
        self.count.store(all.len(), Ordering::Release);
        ended
    }

    /// Ends the shadow of a plugin if it is of this version.
    pub fn end_of(&self, plugin: &str, digest: &Digest) {
        let mut all = self.all.lock();
        if all.get(plugin).is_some_and(|shadow| {
            shadow.pairing.shadow.digest == *digest || shadow.pairing.current.digest == *digest
        }) {
            all.remove(plugin);
        }
        self.count.store(all.len(), Ordering::Release);
    }

    /// Shadows rest while more than half of the scheduler's runs are in flight.
    pub fn configure(&self, max_in_flight: usize) {
        self.busy_at
            .store((max_in_flight / 2).max(1), Ordering::Release);
    }

    /// How a plugin's versions compare.
    pub fn view(&self, plugin: &str) -> Option<ShadowView> {
        let all = self.all.lock();
        let shadow = all.get(plugin)?;
        let mut series: Vec<ShadowSeries> = shadow
            .series
            .values()
            .map(|one| ShadowSeries {
                check: one.check.clone(),
                node: one.node.clone(),
                agreements: one.agreements,
                disagreements: one.disagreements,
                runs: one.runs.iter().cloned().collect(),
            })
            .collect();
        series.sort_by(|a, b| {
            let key = |one: &ShadowSeries| std::cmp::Reverse(one.disagreements > 0);
            (key(a), &a.check, &a.node).cmp(&(key(b), &b.check, &b.node))
        });
        let pairing = shadow.pairing.clone();
        Some(ShadowView {
            current: pairing.current,
            shadow: pairing.shadow,
            since: pairing.since.micros(),
            started_by: pairing.started_by,
            agreements: shadow.agreements,
            disagreements: shadow.disagreements,
            skipped: shadow.skipped,
            series,
        })
    }

    /// The run to be made beside a job, if one is wanted and there is room.
    fn beside(&self, job: &Job, running: u64) -> Option<Beside> {
        if self.count.load(Ordering::Acquire) == 0 || job.cause != Cause::Schedule {
            return None;
        }
        let mut all = self.all.lock();
        let (plugin, shadow) = all
            .iter_mut()
            .find(|(_, shadow)| shadow.pairing.current.digest == job.spec.plugin)?;
        let busy = running > self.busy_at.load(Ordering::Acquire) as u64;
        let taken = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (!busy && count < MOST as usize).then_some(count + 1)
            });
        if taken.is_err() {
            shadow.skipped += 1;
            return None;
        }
        let spec = JobSpec {
            plugin: shadow.pairing.shadow.digest.clone(),
            ..(*job.spec).clone()
        };
        Some(Beside {
            plugin: plugin.clone(),
            job: Job {
                spec: Arc::new(spec),
                ..job.clone()
            },
            _place: Place(Arc::clone(&self.in_flight)),
        })
    }

    /// Keeps what came of two runs of the same slot.
    fn compare(&self, plugin: &str, current: &Side, shadow: &Outcome) {
        let spec = &*shadow.job.spec;
        let mut all = self.all.lock();
        // It may have ended, or be another one by now.
        let Some(known) = all.get_mut(plugin).filter(|known| {
            known.pairing.shadow.digest == spec.plugin
                && known.pairing.current.digest == current.plugin
        }) else {
            return;
        };
        let run = ShadowRun {
            at: current.at,
            agrees: judgement(&current.side) == judgement(&side(shadow)),
            current: current.side.clone(),
            shadow: side(shadow),
        };
        let count = |agrees: bool, yes: &mut u64, no: &mut u64| {
            *(if agrees { yes } else { no }) += 1;
        };
        count(run.agrees, &mut known.agreements, &mut known.disagreements);
        let full = known.series.len() >= SERIES;
        let series = match known.series.entry(spec.series) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if full => return,
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Series {
                check: spec.check.clone(),
                node: spec.node.name.clone(),
                agreements: 0,
                disagreements: 0,
                runs: VecDeque::new(),
            }),
        };
        count(
            run.agrees,
            &mut series.agreements,
            &mut series.disagreements,
        );
        series.runs.push_front(run);
        series.runs.truncate(RUNS);
    }
}

/// What is kept of the real run until the shadow run has ended.
struct Side {
    plugin: Digest,
    at: i64,
    side: ShadowSide,
}

fn side(outcome: &Outcome) -> ShadowSide {
    let duration_us = u64::try_from(outcome.duration().as_micros()).unwrap_or(u64::MAX);
    match &outcome.verdict {
        Ok(report) => ShadowSide {
            state: Some(report.state),
            summary: cut(&report.summary),
            metrics: report.metrics.iter().take(METRICS).cloned().collect(),
            fault: None,
            duration_us,
        },
        Err(fault) => ShadowSide {
            state: None,
            summary: cut(&fault.text),
            metrics: Vec::new(),
            fault: Some(crate::check::outcome::Fault {
                kind: fault.kind,
                text: cut(&fault.text),
            }),
            duration_us,
        },
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(SUMMARY)].to_owned()
}

/// What two runs agree on or not: values and texts differ from run to run.
fn judgement(
    side: &ShadowSide,
) -> (
    Option<crate::check::outcome::State>,
    Option<crate::check::outcome::FaultKind>,
) {
    (side.state, side.fault.as_ref().map(|fault| fault.kind))
}

/// How checks are run: by the host, and where a shadow is wanted by another
/// version afterwards.
pub fn run_job(
    host: Arc<Host>,
    shadows: Shadows,
    figures: Arc<RunnerFigures>,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> RunJob {
    Arc::new(move |job: Job| -> BoxFuture<'static, Outcome> {
        let beside = shadows.beside(&job, figures.in_flight.load(Ordering::Relaxed));
        let host = host.clone();
        let Some(beside) = beside else {
            return Box::pin(async move { host.run_probe(job).await });
        };
        let (shadows, tasks, stop) = (shadows.clone(), tasks.clone(), stop.clone());
        Box::pin(async move {
            let outcome = host.run_probe(job).await;
            let current = Side {
                plugin: outcome.job.spec.plugin.clone(),
                at: outcome.started.micros(),
                side: side(&outcome),
            };
            let on = host.handle().clone();
            let shadow = async move {
                let Beside {
                    plugin,
                    job,
                    _place,
                } = beside;
                // A version that is held back is due for trials of its own.
                if host.held(&job.spec.plugin).is_some() {
                    return;
                }
                if let Some(shadow) = stop.run_until_cancelled(host.run_probe(job)).await {
                    shadows.compare(&plugin, &current, &shadow);
                }
            };
            tasks.spawn_on(shadow, &on);
            outcome
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::outcome::{Fault, FaultKind, NodeInfo, Report, RunLimits, State};
    use std::time::Duration;

    fn version(name: &str) -> ShadowVersion {
        ShadowVersion {
            digest: Digest(name.into()),
            version: name.into(),
        }
    }

    fn job(plugin: &str, series: i64, cause: Cause) -> Job {
        Job {
            spec: Arc::new(JobSpec {
                series: SeriesId(series),
                check: format!("check-{series}"),
                node: Arc::new(NodeInfo {
                    name: "n".into(),
                    address: "192.0.2.1".into(),
                    labels: Default::default(),
                }),
                plugin: Digest(plugin.into()),
                config: "{}".into(),
                input: None,
                grants: Arc::default(),
                limits: RunLimits {
                    memory: 1,
                    timeout: Duration::from_secs(1),
                },
            }),
            scheduled: Timestamp::from_secs(1),
            attempt: 1,
            cause,
            state: Arc::default(),
        }
    }

    fn ended(job: Job, verdict: Result<State, FaultKind>) -> Outcome {
        Outcome {
            job,
            started: Timestamp::from_secs(1),
            finished: Timestamp::from_secs(2),
            verdict: match verdict {
                Ok(state) => Ok(Report {
                    state,
                    summary: "é".repeat(SUMMARY),
                    details: String::new(),
                    metrics: Vec::new(),
                }),
                Err(kind) => Err(Fault::new(kind, "why")),
            },
            state_writes: Vec::new(),
            log: Vec::new(),
        }
    }

    fn shadows() -> Shadows {
        let shadows = Shadows::default();
        shadows.configure(100);
        let pairing = Pairing {
            current: version("old"),
            shadow: version("new"),
            since: Timestamp::from_secs(0),
            started_by: "admin".into(),
        };
        shadows.start("p", pairing).unwrap();
        shadows
    }

    #[test]
    fn only_scheduled_runs_of_the_version_in_use_have_a_shadow() {
        let shadows = shadows();
        let beside = |plugin: &str, cause| shadows.beside(&job(plugin, 1, cause), 0);
        assert!(beside("other", Cause::Schedule).is_none());
        assert!(beside("new", Cause::Schedule).is_none());
        assert!(beside("old", Cause::RunNow).is_none());
        assert!(beside("old", Cause::Verify(1)).is_none());
        let run = beside("old", Cause::Schedule).unwrap();
        assert_eq!(&*run.job.spec.plugin.0, "new");
        assert_eq!(shadows.view("p").unwrap().skipped, 0);
        assert!(shadows.end("p") && !shadows.end("p"));
        assert!(beside("old", Cause::Schedule).is_none());
    }

    #[test]
    fn capacity_is_bounded_and_given_back() {
        let shadows = shadows();
        let one = || shadows.beside(&job("old", 1, Cause::Schedule), 0);
        let held: Vec<_> = (0..MOST).map(|_| one().unwrap()).collect();
        assert!(one().is_none());
        drop(held);
        assert!(one().is_some());
        // Half of the scheduler's runs are in flight: they come first.
        let busy = shadows.beside(&job("old", 1, Cause::Schedule), 51);
        assert!(busy.is_none());
        assert_eq!(shadows.view("p").unwrap().skipped, 2);
    }

    #[test]
    fn runs_are_compared_and_the_newest_kept() {
        let shadows = shadows();
        let pair = |series: i64, current, shadow| {
            let real = ended(job("old", series, Cause::Schedule), current);
            let current = Side {
                plugin: Digest("old".into()),
                at: 1,
                side: side(&real),
            };
            let shadow = ended(job("new", series, Cause::Schedule), shadow);
            shadows.compare("p", &current, &shadow);
        };
        for _ in 0..RUNS + 5 {
            pair(1, Ok(State::Ok), Ok(State::Ok));
        }
        pair(2, Ok(State::Ok), Err(FaultKind::Trap));
        pair(2, Err(FaultKind::Trap), Err(FaultKind::Trap));
        pair(2, Ok(State::Critical), Ok(State::Warning));
        let view = shadows.view("p").unwrap();
        assert_eq!((view.agreements, view.disagreements), (RUNS as u64 + 6, 2));
        // What disagrees comes first.
        assert_eq!(view.series[0].check, "check-2");
        assert_eq!(view.series[0].runs.len(), 3);
        assert!(!view.series[0].runs[0].agrees);
        assert_eq!(view.series[0].runs[2].shadow.state, None);
        assert_eq!(view.series[1].runs.len(), RUNS);
        assert!(view.series[1].runs[0].current.summary.len() <= SUMMARY);
        for series in 3..SERIES as i64 + 10 {
            pair(series, Ok(State::Ok), Ok(State::Ok));
        }
        assert_eq!(shadows.view("p").unwrap().series.len(), SERIES);
        // A shadow of other versions does not hear of it.
        shadows.end_of("p", &Digest("new".into()));
        pair(1, Ok(State::Ok), Ok(State::Ok));
        assert!(shadows.view("p").is_none());
    }
}
