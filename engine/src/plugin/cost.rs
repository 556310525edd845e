//! What plugins cost: counted where they run, read by the API and /metrics.
//!
//! Time is taken around each poll of a run: the guest's code and the host
//! calls' own work count, waits do not. That is two clock readings a poll; the
//! thread's CPU clock would be a system call each.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::run::RunData;
use crate::check::outcome::{Digest, FaultKind};

/// Fault kinds by their number, from 1.
const KINDS: usize = 8;

/// Figures of one version since the engine started.
#[derive(Debug, Default)]
pub(super) struct Cost {
    runs: AtomicU64,
    cpu_ns: AtomicU64,
    host_calls: AtomicU64,
    peak_memory: AtomicU64,
    faults: [AtomicU64; KINDS],
}

impl Cost {
    /// Adds a run (of a log parser: a batch) that took `busy` on a guest thread.
    pub fn add(&self, busy: Duration, data: &mut RunData, fault: Option<FaultKind>) {
        let nanos = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.cpu_ns.fetch_add(nanos, Ordering::Relaxed);
        let calls = std::mem::take(&mut data.host_calls);
        self.host_calls.fetch_add(calls, Ordering::Relaxed);
        self.peak_memory
            .fetch_max(data.limiter.used(), Ordering::Relaxed);
        if let Some(count) = fault.and_then(|kind| self.faults.get(kind as usize - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn figures(&self) -> CostFigures {
        let faults = self.faults.iter().enumerate().filter_map(|(at, count)| {
            let count = count.load(Ordering::Relaxed);
            let kind = FaultKind::from_code(at as i64 + 1)?;
            (count > 0).then(|| (kind.as_str().to_owned(), count))
        });
        CostFigures {
            runs: self.runs.load(Ordering::Relaxed),
            faults: faults.collect(),
            cpu_us: self.cpu_ns.load(Ordering::Relaxed) / 1_000,
            host_calls: self.host_calls.load(Ordering::Relaxed),
            peak_memory: self.peak_memory.load(Ordering::Relaxed),
        }
    }
}

/// What a plugin cost since the engine started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostFigures {
    /// Runs that ended; of a log parser: batches.
    pub runs: u64,
    /// Runs that gave no judgement, by the kind of their fault.
    pub faults: BTreeMap<String, u64>,
    /// Time on a guest thread in microseconds, without waits.
    pub cpu_us: u64,
    /// Calls of Bellwether's own interfaces; those of WASI are not counted.
    pub host_calls: u64,
    /// Most linear memory of one run, in bytes.
    pub peak_memory: u64,
}

impl CostFigures {
    /// Adds the figures of another version.
    pub fn merge(&mut self, other: &CostFigures) {
        self.runs += other.runs;
        self.cpu_us += other.cpu_us;
        self.host_calls += other.host_calls;
        self.peak_memory = self.peak_memory.max(other.peak_memory);
        for (kind, count) in &other.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
    }
}

/// Figures of every loaded version. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Costs(Arc<RwLock<HashMap<Digest, Arc<Cost>>>>);

impl Costs {
    /// Figures of a version; zero for one that never ran.
    pub fn get(&self, digest: &Digest) -> CostFigures {
        let cost = self.0.read().get(digest).map(Arc::clone);
        cost.map(|cost| cost.figures()).unwrap_or_default()
    }

    /// Where runs of a version are counted.
    pub(super) fn of(&self, digest: &Digest) -> Arc<Cost> {
        Arc::clone(self.0.write().entry(digest.clone()).or_default())
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.0.write().remove(digest);
    }
}

/// Runs to the end, and how long that took without waits.
pub(super) async fn metered<F: Future>(work: F) -> (F::Output, Duration) {
    let mut work = pin!(work);
    let mut busy = Duration::ZERO;
    let output = poll_fn(|context| {
        let begun = Instant::now();
        let polled = work.as_mut().poll(context);
        busy += begun.elapsed();
        polled
    })
    .await;
    (output, busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_over_versions() {
        let one = CostFigures {
            runs: 2,
            faults: BTreeMap::from([("trap".into(), 1)]),
            cpu_us: 5,
            host_calls: 7,
            peak_memory: 100,
        };
        let mut sum = one.clone();
        sum.merge(&CostFigures {
            peak_memory: 50,
            ..one
        });
        assert_eq!((sum.runs, sum.cpu_us, sum.host_calls), (4, 10, 14));
        assert_eq!((sum.faults["trap"], sum.peak_memory), (2, 100));
    }
}
