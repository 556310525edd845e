//! When which series runs: a heap of slots, in-flight capacity, overload.
//!
//! Invariant: runs of one series never overlap, and nothing here waits: a tick
//! takes what is due and returns. The driver in [`crate::engine`] sleeps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::outcome::{Cause, Job, JobSpec, PluginState, RunLimits, SeriesId};
use super::schedule::{Schedule, next_due};
use crate::clock::Timestamp;

/// A clock that goes back by more than this was set, not adjusted.
const SET_BACK: Duration = Duration::from_secs(5);

/// A run that somebody asked for waits this long for capacity.
const ASKED_RUN: Duration = Duration::from_secs(60);

/// A series as the scheduler knows it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub job: Arc<JobSpec>,
    pub schedule: Arc<Schedule>,
    /// Of the series' name: its phase on the grid.
    pub hash: u64,
    pub paused: bool,
}

#[derive(Debug)]
struct Entry {
    plan: Plan,
    state: Arc<PluginState>,
    /// Slot this entry waits for in the heap; a heap item with another time is
    /// outdated.
    next: Option<Timestamp>,
    /// Slot of the last run.
    last: Option<Timestamp>,
    soft: bool,
    attempt: u32,
    /// Runs asked for while it was busy or paused, or simply at once.
    asked: Vec<Cause>,
}

/// A job that waits for in-flight capacity.
#[derive(Debug)]
struct Queued {
    job: Job,
    /// When its slot is lost: the next one is due, or its deadline is over.
    lost_at: Timestamp,
}

/// What a tick decided.
#[derive(Debug, Default)]
pub struct Due {
    /// To be run now.
    pub run: Vec<Job>,
    /// Given up for lack of capacity; each is a fault of the engine.
    pub shed: Vec<Job>,
}

/// Counters for /metrics and the overview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Slots that passed while nothing could run (sleep, overload, long runs).
    pub missed_slots: u64,
    /// Jobs given up for lack of capacity.
    pub shed: u64,
}

/// The schedule of all series.
#[derive(Debug)]
pub struct Scheduler {
    entries: HashMap<SeriesId, Entry>,
    heap: BinaryHeap<Reverse<(Timestamp, SeriesId)>>,
    /// Series with a run under way or waiting. Apart from the entries, so that
    /// a series that is removed and comes back does not overlap with itself.
    busy: HashSet<SeriesId>,
    /// Waiting for capacity, by the time at which their slot is lost.
    waiting: BTreeMap<(Timestamp, SeriesId), Queued>,
    in_flight: usize,
    max_in_flight: usize,
    /// The latest time that was seen.
    latest: Timestamp,
    counters: Counters,
}

impl Scheduler {
    /// A scheduler that lets at most `max_in_flight` jobs run at a time.
    pub fn new(max_in_flight: usize) -> Self {
        Self {
            entries: HashMap::new(),
            heap: BinaryHeap::new(),
            busy: HashSet::new(),
            waiting: BTreeMap::new(),
            in_flight: 0,
            max_in_flight: max_in_flight.max(1),
            latest: Timestamp(i64::MIN),
            counters: Counters::default(),
        }
    }

    /// Takes a new configuration. Series that stay keep their slot unless their
    /// schedule changed; a run that is under way ends normally.
    pub fn configure(
        &mut self,
        plans: impl IntoIterator<Item = (SeriesId, Plan, Arc<PluginState>)>,
        max_in_flight: usize,
        now: Timestamp,
    ) {
        self.max_in_flight = max_in_flight.max(1);
        let mut old = std::mem::take(&mut self.entries);
        for (id, plan, state) in plans {
            let entry = match old.remove(&id) {
                Some(mut entry) => {
                    let same =
                        entry.plan.schedule == plan.schedule && entry.plan.paused == plan.paused;
                    entry.plan = plan;
                    if !same {
                        entry.soft = false;
                        entry.replan(None, now);
                        self.heap.extend(entry.next.map(|at| Reverse((at, id))));
                    }
                    entry
                }
                None => {
                    let mut entry = Entry {
                        plan,
                        state,
                        next: None,
                        last: None,
                        soft: false,
                        attempt: 0,
                        asked: Vec::new(),
                    };
                    entry.replan(None, now);
                    self.heap.extend(entry.next.map(|at| Reverse((at, id))));
                    entry
                }
            };
            self.entries.insert(id, entry);
        }
        // Runs of removed series still end and give their capacity back.
        self.waiting.retain(|(_, id), _| {
            let kept = self.entries.contains_key(id);
            if !kept {
                self.busy.remove(id);
            }
            kept
        });
    }

    /// Takes everything that is due at `now`.
    pub fn tick(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        if now + SET_BACK < self.latest {
            self.set_back(now);
        }
        self.latest = now;
        self.shed_lost(now, &mut due);
        while let Some(Reverse((at, id))) = self.heap.peek().copied()
            && at <= now
        {
            self.heap.pop();
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.next != Some(at) || entry.plan.paused {
                continue;
            }
            // After sleep or overload the slots that passed make one run, for
            // the latest of them.
            let mut slot = at;
            let mut missed = entry.replan(Some(at), now);
            if let Some(later) = entry.next.filter(|next| *next <= now) {
                slot = later;
                missed += 1 + entry.replan(Some(later), now);
            }
            self.counters.missed_slots += missed;
            let next = entry.next;
            self.heap.extend(next.map(|at| Reverse((at, id))));
            if self.busy.contains(&id) {
                self.counters.missed_slots += 1;
            } else {
                entry.last = Some(slot);
                let deadline = now + entry.plan.job.limits.deadline();
                let lost_at = next.map_or(deadline, |next| next.max(deadline));
                self.start(id, slot, Cause::Schedule, lost_at, &mut due);
            }
        }
        self.start_waiting(&mut due);
        due
    }

    /// Plans anew what was planned by a clock that went ahead: nothing waits
    /// for that time to come again.
    fn set_back(&mut self, now: Timestamp) {
        self.heap.clear();
        for (id, entry) in &mut self.entries {
            entry.last = None;
            entry.replan(None, now);
            self.heap.extend(entry.next.map(|at| Reverse((at, *id))));
        }
        for ((_, id), queued) in std::mem::take(&mut self.waiting) {
            let lost_at = now + queued.job.spec.limits.deadline();
            let queued = Queued { lost_at, ..queued };
            self.waiting.insert((lost_at, id), queued);
        }
    }

    /// When [`tick`](Self::tick) has something to do again.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let slot = self.heap.peek().map(|Reverse((at, _))| *at);
        let lost = self.waiting.first_key_value().map(|((at, _), _)| *at);
        slot.into_iter().chain(lost).min()
    }

    /// Runs a series outside its schedule, as soon as it is free. False where
    /// there is no such series.
    pub fn run_now(&mut self, id: SeriesId, cause: Cause, now: Timestamp) -> Option<Due> {
        let entry = self.entries.get_mut(&id)?;
        let mut due = Due::default();
        if self.busy.contains(&id) {
            if !entry.asked.contains(&cause) {
                entry.asked.push(cause);
            }
        } else {
            self.start(id, now, cause, now + ASKED_RUN, &mut due);
            self.start_waiting(&mut due);
        }
        Some(due)
    }

    /// A run's result was committed.
    pub fn done(
        &mut self,
        id: SeriesId,
        soft: bool,
        attempt: u32,
        state: Option<Arc<PluginState>>,
        now: Timestamp,
    ) -> Due {
        let mut due = Due::default();
        self.busy.remove(&id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.attempt = attempt;
            if let Some(state) = state {
                entry.state = state;
            }
            // Soft failures are retried sooner; afterwards it is back to the grid.
            if soft || entry.soft {
                entry.soft = soft;
                let last = entry.last.unwrap_or(now);
                entry.replan(Some(last), now);
                self.heap.extend(entry.next.map(|at| Reverse((at, id))));
            }
            if let Some(cause) = entry.asked.pop() {
                self.start(id, now, cause, now + ASKED_RUN, &mut due);
            }
        }
        self.start_waiting(&mut due);
        due
    }

    /// The state that the next run of a series finds.
    pub fn set_state(&mut self, id: SeriesId, state: Arc<PluginState>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.state = state;
        }
    }

    /// A job left the runner: its capacity is free.
    pub fn released(&mut self) -> Due {
        self.in_flight = self.in_flight.saturating_sub(1);
        let mut due = Due::default();
        self.start_waiting(&mut due);
        due
    }

    /// Jobs that run at this moment.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Series whose run is under way, waits for capacity or is not committed.
    pub fn busy(&self) -> usize {
        self.busy.len()
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn start(
        &mut self,
        id: SeriesId,
        scheduled: Timestamp,
        cause: Cause,
        lost_at: Timestamp,
        due: &mut Due,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        self.busy.insert(id);
        let job = Job {
            spec: entry.plan.job.clone(),
            scheduled,
            attempt: entry.attempt + 1,
            cause,
            state: entry.state.clone(),
        };
        if self.in_flight < self.max_in_flight && self.waiting.is_empty() {
            self.in_flight += 1;
            due.run.push(job);
        } else {
            self.waiting.insert((lost_at, id), Queued { job, lost_at });
        }
    }

    fn start_waiting(&mut self, due: &mut Due) {
        while self.in_flight < self.max_in_flight
            && let Some((_, queued)) = self.waiting.pop_first()
        {
            self.in_flight += 1;
            due.run.push(queued.job);
        }
    }

    fn shed_lost(&mut self, now: Timestamp, due: &mut Due) {
        while let Some((_, queued)) = self.waiting.first_key_value()
            && queued.lost_at <= now
        {
            if let Some((_, queued)) = self.waiting.pop_first() {
                self.counters.shed += 1;
                due.shed.push(queued.job);
            }
        }
    }
}

impl Entry {
    /// Sets the slot after `last`; returns how many passed without a run.
    fn replan(&mut self, last: Option<Timestamp>, now: Timestamp) -> u64 {
        let due = next_due(&self.plan.schedule, self.plan.hash, last, now, self.soft);
        self.next = due.map(|due| due.at);
        due.map_or(0, |due| due.missed)
    }
}

/// Number of jobs in flight if every target hangs at once.
pub fn planned_in_flight<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> f64 {
    plans
        .into_iter()
        .filter(|plan| !plan.paused)
        .map(|plan| share_in_flight(&plan.schedule, &plan.job.limits))
        // The sum of nothing is -0.
        .fold(0.0, |sum, one| sum + one)
}

/// Share of the time in which a series whose target hangs has a run in flight:
/// deadline / every, with `retry_every` in place of `every` where that is
/// shorter, because then it is retried. Runs of a series never overlap.
pub fn share_in_flight(schedule: &Schedule, limits: &RunLimits) -> f64 {
    let (every, retry) = match schedule {
        Schedule::Every { every, retry, .. } => (*every, *retry),
        // Most crontab lines are a minute apart or more.
        Schedule::Cron { retry, .. } => (Duration::from_secs(60), *retry),
    };
    let between = retry.map_or(every, |retry| retry.min(every));
    let length = limits.deadline();
    length.as_secs_f64() / between.max(length).as_secs_f64().max(0.001)
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
