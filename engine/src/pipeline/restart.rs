//! What is known after a restart, and after the clock was set back: less than
//! what is remembered.

use std::collections::BTreeSet;
use std::time::Duration;

use super::changes::{Alert, Changes, Effect, Phase, RemedyProgress};
use super::snapshot::Snapshot;
use crate::check::outcome::{Cause, SeriesId};
use crate::clock::Timestamp;

/// Series that are run at once after a restart.
const MOST_AT_ONCE: usize = 200;
/// A clock that goes back by more than this was set.
const SET_BACK: Duration = Duration::from_secs(5);

impl Snapshot {
    /// Alerts that wait for something to go on being so are asked about at once
    /// after a restart: what their series said last is from before it.
    pub(super) fn look_again(&mut self, changes: &mut Changes) {
        if std::mem::replace(&mut self.looked, true) {
            return;
        }
        let waits = |alert: &&Alert| {
            let asked = |progress: &RemedyProgress| !progress.done && progress.next_at.is_some();
            alert.phase == Phase::Pending || alert.remedies.values().any(asked)
        };
        let unheard = |id: &SeriesId| {
            self.get(*id)
                .is_some_and(|series| !series.heard && series.node.is_some())
        };
        let series = self.alerts.values().filter(waits);
        let series: BTreeSet<SeriesId> = series.filter_map(|alert| alert.series).collect();
        // The others come round with their schedule: no burst at the start.
        for series in series.into_iter().filter(unheard).take(MOST_AT_ONCE) {
            changes.effects.push(Effect::RunNow {
                series,
                cause: Cause::RunNow,
            });
        }
    }

    /// Whether the state of an alert's series is from before the start.
    pub(super) fn unheard(&self, series: Option<SeriesId>) -> bool {
        let series = series.and_then(|id| self.get(id));
        series.is_some_and(|series| !series.heard)
    }

    /// Takes notice of the time of a batch. A clock that was set back must not
    /// make anything wait, or be left out, until the old time comes again.
    pub(super) fn clock(&mut self, now: Timestamp) {
        if now + SET_BACK < self.latest {
            for run in self.history.values_mut().flatten() {
                run.at = run.at.min(now);
            }
            let pending = |alert: &&mut Alert| alert.phase == Phase::Pending;
            for alert in self.alerts.values_mut().filter(pending) {
                alert.pending_at = alert.pending_at.min(now);
            }
            for progress in self
                .alerts
                .values_mut()
                .flat_map(|alert| alert.remedies.values_mut())
            {
                progress.next_at = progress.next_at.map(|at| at.min(now));
            }
            let sooner = |due: &BTreeSet<(Timestamp, i64)>| {
                due.iter().map(|(at, id)| ((*at).min(now), *id)).collect()
            };
            self.retries = sooner(&self.retries);
            self.verifies = sooner(&self.verifies);
            self.windows.forget_after(now);
            self.log_windows.forget_after(now);
        }
        self.latest = now;
    }
}
