//! What the API shows of series and alerts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::SeriesRef;
use crate::check::outcome::{Fault, FaultKind, State};
use crate::config::spec::Severity;
use crate::live::{Live, LiveView};
use crate::pipeline::changes::{Alert, AlertSource, Phase};

/// A check on a node, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    #[schema(value_type = String)]
    pub check: Arc<str>,
    #[schema(value_type = String)]
    pub node: Arc<str>,
    /// Confirmed state; absent until the first report.
    pub state: Option<State>,
    /// Since when, in µs; absent until the first report.
    pub since: Option<i64>,
    /// State of the last report; differs from `state` while `soft`.
    pub last_state: Option<State>,
    /// The last reports differ from `state` and are not confirmed yet.
    pub soft: bool,
    /// Failures in a row, counted up to the check's `attempts`.
    pub attempt: u32,
    /// The last runs faulted, so `state` is of before them.
    pub stale: bool,
    /// The fault of the last run.
    pub fault: Option<Fault>,
    /// The newest result; absent until the first.
    pub last: Option<LastResult>,
    pub paused: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastResult {
    /// Start of the run in µs.
    pub ts: i64,
    pub duration_us: u32,
    /// Summary, or the fault's text.
    #[schema(value_type = String)]
    pub summary: Arc<str>,
}

/// Series by state; a series that is stale or paused counts there as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCounts {
    pub ok: u64,
    pub warning: u64,
    pub critical: u64,
    pub unknown: u64,
    /// Not reported yet.
    pub pending: u64,
    pub stale: u64,
    pub paused: u64,
}

impl StateCounts {
    /// Counts a series.
    pub fn add(&mut self, paused: bool, live: Option<&Live>) {
        let known = live.and_then(|live| live.state.as_deref());
        match known.and_then(|state| state.hard) {
            Some(State::Ok) => self.ok += 1,
            Some(State::Warning) => self.warning += 1,
            Some(State::Critical) => self.critical += 1,
            Some(State::Unknown) => self.unknown += 1,
            None => self.pending += 1,
        }
        self.stale += u64::from(known.is_some_and(|state| state.is_stale()));
        self.paused += u64::from(paused);
    }
}

/// How urgent a series is: higher is worse, 0 is well.
pub fn urgency(live: Option<&Live>) -> u8 {
    let Some(state) = live.and_then(|live| live.state.as_deref()) else {
        return 0;
    };
    match (state.hard, state.is_stale(), state.is_soft()) {
        (Some(State::Critical), ..) => 5,
        (Some(State::Unknown), ..) => 4,
        (Some(State::Warning), ..) => 3,
        (_, true, _) => 2,
        (_, _, true) => 1,
        _ => 0,
    }
}

/// What is shown of a series.
pub fn series(one: &SeriesRef, live: Option<&Live>) -> Series {
    let state = live.and_then(|live| live.state.as_deref());
    Series {
        check: one.check.clone(),
        node: one.node.clone(),
        state: state.and_then(|state| state.hard),
        since: state
            .filter(|state| state.hard.is_some())
            .map(|state| state.hard_since.micros()),
        last_state: state.and_then(|state| state.last),
        soft: state.is_some_and(|state| state.is_soft()),
        attempt: state.map_or(0, |state| state.attempt),
        stale: state.is_some_and(|state| state.is_stale()),
        fault: state.and_then(|state| state.fault.clone()),
        last: live
            .and_then(|live| live.newest.as_ref())
            .map(|newest| LastResult {
                ts: newest.ts.micros(),
                duration_us: newest.duration_us,
                summary: newest.summary.clone(),
            }),
        paused: one.paused,
    }
}

/// Series with their states, worst first, then as given; at most `limit`.
pub fn worst_first<'a>(
    refs: impl Iterator<Item = &'a SeriesRef>,
    live: &LiveView,
    limit: usize,
) -> (Vec<Series>, StateCounts) {
    live.read(|all| {
        let mut counts = StateCounts::default();
        let mut sorted: Vec<(Reverse<u8>, usize, &SeriesRef)> = refs
            .enumerate()
            .map(|(position, one)| {
                let live = all.get(&one.id);
                counts.add(one.paused, live);
                (Reverse(urgency(live)), position, one)
            })
            .collect();
        sorted.sort_unstable_by_key(|(urgency, position, _)| (*urgency, *position));
        let shown = sorted.iter().take(limit);
        let list = shown
            .map(|(_, _, one)| series(one, all.get(&one.id)))
            .collect();
        (list, counts)
    })
}

/// Counts of series, by whatever `key` says.
pub fn count_by<'a, K: std::hash::Hash + Eq>(
    refs: &'a [SeriesRef],
    live: &LiveView,
    key: impl Fn(&'a SeriesRef) -> K,
) -> HashMap<K, StateCounts> {
    live.read(|all| {
        let mut counts: HashMap<K, StateCounts> = HashMap::new();
        for one in refs {
            counts
                .entry(key(one))
                .or_default()
                .add(one.paused, all.get(&one.id));
        }
        counts
    })
}

/// Counts of some series.
pub fn count<'a>(refs: impl Iterator<Item = &'a SeriesRef>, live: &LiveView) -> StateCounts {
    live.read(|all| {
        let mut counts = StateCounts::default();
        for one in refs {
            counts.add(one.paused, all.get(&one.id));
        }
        counts
    })
}

/// An alert, as shown in lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertView {
    pub id: i64,
    pub source: AlertSource,
    pub check: Option<String>,
    pub node: Option<String>,
    pub phase: Phase,
    pub severity: Severity,
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    pub pending_at: i64,
    pub fired_at: Option<i64>,
    pub ended_at: Option<i64>,
    /// Remediations of its rule that have begun or were refused.
    pub remedies: BTreeMap<String, RemedyView>,
    /// People were told that the repair failed.
    pub escalated: bool,
    /// Parents of its node that were all down when it fired, so that nobody was
    /// told; empty where people were.
    pub suppressed_by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemedyView {
    pub runs: u32,
    /// It does not run again for this alert.
    pub done: bool,
    /// What was last decided.
    pub last: String,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        Self {
            id: alert.id,
            source: alert.source,
            check: alert.check,
            node: alert.node,
            phase: alert.phase,
            severity: alert.severity,
            labels: alert.labels,
            summary: alert.summary,
            pending_at: alert.pending_at.micros(),
            fired_at: alert.fired_at.map(|at| at.micros()),
            ended_at: alert.ended_at.map(|at| at.micros()),
            remedies: alert
                .remedies
                .into_iter()
                .map(|(name, remedy)| {
                    let view = RemedyView {
                        runs: remedy.runs,
                        done: remedy.done,
                        last: remedy.last,
                    };
                    (name, view)
                })
                .collect(),
            escalated: alert.escalated,
            suppressed_by: alert.suppressed_by,
        }
    }
}

/// A recorded result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResultView {
    /// Start of the run in µs.
    pub ts: i64,
    /// Absent for a fault.
    pub state: Option<State>,
    pub fault: Option<FaultKind>,
    pub duration_us: u32,
    pub lateness_us: u32,
    /// Summary, or the fault's text.
    pub summary: String,
    pub details: Option<String>,
    pub metrics: BTreeMap<String, f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::outcome::SeriesId;
    use crate::check::state::CheckState;

    fn live(states: &[(i64, State, u32)]) -> LiveView {
        let live = LiveView::new();
        let states = states.iter().map(|(id, hard, faults)| {
            let state = CheckState {
                hard: Some(*hard),
                last: Some(*hard),
                faults: *faults,
                ..CheckState::default()
            };
            (SeriesId(*id), state)
        });
        live.load(Vec::new(), states);
        live
    }

    fn refs(n: i64) -> Vec<SeriesRef> {
        (0..n)
            .map(|id| SeriesRef {
                id: SeriesId(id),
                check: format!("c{id}").into(),
                node: "n".into(),
                paused: false,
            })
            .collect()
    }

    #[test]
    fn the_worst_come_first() {
        let live = live(&[
            (0, State::Ok, 0),
            (1, State::Warning, 0),
            (2, State::Critical, 0),
            (3, State::Ok, 2),
        ]);
        let refs = refs(5);
        let (list, counts) = worst_first(refs.iter(), &live, 3);
        let names: Vec<_> = list.iter().map(|one| &*one.check).collect();
        assert_eq!(names, ["c2", "c1", "c3"]);
        let expected = StateCounts {
            ok: 2,
            warning: 1,
            critical: 1,
            pending: 1,
            stale: 1,
            ..StateCounts::default()
        };
        assert_eq!(counts, expected);
    }
}
