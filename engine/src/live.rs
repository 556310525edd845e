//! The newest result and state of every series, in memory.
//!
//! Invariant: changed only after the commit of the rows it shows, so nobody sees
//! what a crash could take back. The overview of 10,000 checks is served from
//! here, without SQL.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::check::outcome::{FaultKind, SeriesId, State};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::pipeline::changes::{Changes, ResultRow};
use crate::pipeline::faults::SourceFault;

/// What is known of a series right now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// The newest result; absent until the first.
    pub newest: Option<Newest>,
    /// Hard and soft state; absent until the first change.
    pub state: Option<Arc<CheckState>>,
}

/// The newest result of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// Start of the run.
    pub ts: Timestamp,
    pub verdict: Result<State, FaultKind>,
    pub duration_us: u32,
    pub lateness_us: u32,
    /// Summary, or the fault's text.
    pub summary: Arc<str>,
}

impl Newest {
    fn of(row: &ResultRow, before: Option<&Newest>) -> Self {
        // Most summaries repeat: no allocation then.
        let summary = match before {
            Some(old) if *old.summary == *row.summary => Arc::clone(&old.summary),
            _ => Arc::from(row.summary.as_str()),
        };
        Self {
            ts: row.ts,
            verdict: row.verdict.as_ref().map(|s| *s).map_err(|f| f.kind),
            duration_us: row.duration_us,
            lateness_us: row.lateness_us,
            summary,
        }
    }
}

/// Shared view; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LiveView {
    series: Arc<RwLock<HashMap<SeriesId, Live>>>,
    sources: Arc<RwLock<HashMap<Arc<str>, SourceFault>>>,
}

impl LiveView {
    /// An empty view.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the rows of a batch that was committed.
    pub fn apply(&self, changes: &Changes) {
        if !changes.source_faults.is_empty() {
            let mut sources = self.sources.write();
            for (source, fault) in &changes.source_faults {
                match fault {
                    Some(fault) => sources.insert(source.clone(), fault.clone()),
                    None => sources.remove(source),
                };
            }
        }
        if changes.results.is_empty() && changes.series_states.is_empty() {
            return;
        }
        let mut series = self.series.write();
        for row in &changes.results {
            let live = series.entry(row.series).or_default();
            if live.newest.as_ref().is_none_or(|old| old.ts <= row.ts) {
                live.newest = Some(Newest::of(row, live.newest.as_ref()));
            }
        }
        for (id, state) in &changes.series_states {
            series.entry(*id).or_default().state = Some(Arc::new(state.clone()));
        }
    }

    /// Takes what was stored before the start.
    pub fn load(
        &self,
        newest: Vec<ResultRow>,
        states: impl IntoIterator<Item = (SeriesId, CheckState)>,
    ) {
        let mut changes = Changes {
            results: newest,
            ..Changes::default()
        };
        changes.series_states.extend(states);
        self.apply(&changes);
    }

    /// The faults of a log source; absent while it reads.
    pub fn source_fault(&self, source: &str) -> Option<SourceFault> {
        self.sources.read().get(source).cloned()
    }

    /// One series.
    pub fn get(&self, id: SeriesId) -> Option<Live> {
        self.series.read().get(&id).cloned()
    }

    /// Reads many under one lock; keep it short, the recorder waits meanwhile.
    pub fn read<R>(&self, f: impl FnOnce(&HashMap<SeriesId, Live>) -> R) -> R {
        f(&self.series.read())
    }

    /// Forgets series that are no longer configured.
    pub fn retain(&self, keep: impl Fn(SeriesId) -> bool) {
        self.series.write().retain(|id, _| keep(*id));
    }

    /// Number of series known.
    pub fn len(&self) -> usize {
        self.series.read().len()
    }

    /// True where no series is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::outcome::Fault;

    fn row(ts: i64, verdict: Result<State, Fault>, summary: &str) -> ResultRow {
        ResultRow {
            ts: Timestamp(ts),
            series: SeriesId(7),
            verdict,
            duration_us: 10,
            lateness_us: 0,
            summary: summary.into(),
            details: None,
            metrics: Vec::new(),
        }
    }

    fn results(rows: Vec<ResultRow>) -> Changes {
        Changes {
            results: rows,
            ..Changes::default()
        }
    }

    #[test]
    fn the_newest_result_stays_whatever_the_order() {
        let live = LiveView::new();
        live.apply(&results(vec![
            row(20, Ok(State::Ok), "b"),
            row(10, Ok(State::Critical), "a"),
        ]));
        let newest = live.get(SeriesId(7)).and_then(|l| l.newest);
        assert_eq!(newest.as_ref().map(|n| n.ts), Some(Timestamp(20)));
        assert_eq!(newest.map(|n| n.verdict), Some(Ok(State::Ok)));
        live.apply(&results(vec![row(
            30,
            Err(Fault::new(FaultKind::Trap, "trap")),
            "trap",
        )]));
        let newest = live.get(SeriesId(7)).and_then(|l| l.newest);
        assert_eq!(newest.map(|n| n.verdict), Some(Err(FaultKind::Trap)));
    }

    #[test]
    fn a_repeated_summary_is_shared() {
        let live = LiveView::new();
        live.apply(&results(vec![row(1, Ok(State::Ok), "same")]));
        let first = live.get(SeriesId(7)).and_then(|l| l.newest);
        live.apply(&results(vec![row(2, Ok(State::Ok), "same")]));
        let second = live.get(SeriesId(7)).and_then(|l| l.newest);
        let (Some(first), Some(second)) = (first, second) else {
            panic!("no result");
        };
        assert!(Arc::ptr_eq(&first.summary, &second.summary));
        assert_eq!(second.ts, Timestamp(2));
    }

    #[test]
    fn states_and_forgetting() {
        let live = LiveView::new();
        let mut changes = Changes::default();
        changes.series_states.insert(
            SeriesId(1),
            CheckState {
                hard: Some(State::Ok),
                ..CheckState::default()
            },
        );
        live.apply(&changes);
        assert_eq!(
            live.get(SeriesId(1)).and_then(|l| l.state?.hard),
            Some(State::Ok)
        );
        live.retain(|id| id.0 != 1);
        assert!(live.is_empty());
    }
}
