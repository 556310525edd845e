//! Nodes that are reached through others: what is behind a node that is down is
//! recorded and shown, and told only if it is still wrong when the way is open
//! again.
//!
//! A node is down while one of its checks is hard critical and none is hard ok.
//! Checks that are paused, that fault or that have not reported yet say nothing.

use std::collections::HashSet;

use super::changes::{Changes, NotificationKind, TimelineEvent};
use super::snapshot::Snapshot;
use crate::check::outcome::{SeriesId, State};
use crate::clock::Timestamp;

impl Snapshot {
    /// Looks up the series of the nodes that are parents.
    pub(super) fn configure_parents(&mut self) {
        let policy = self.policy.clone();
        let parents: HashSet<_> = policy.parents.values().flatten().collect();
        self.of_parent.clear();
        if parents.is_empty() {
            return;
        }
        for series in self.series.iter().flatten() {
            let runs = policy
                .checks
                .get(&series.check)
                .is_some_and(|check| !check.paused);
            if runs && series.node.is_some() && parents.contains(&series.node_name) {
                self.of_parent
                    .entry(series.node_name.clone())
                    .or_default()
                    .push(series.id);
            }
        }
    }

    /// Since when a node is not down; absent while it is. The beginning of time
    /// where nothing says that it is up, either.
    fn up_since(&self, node: &str) -> Option<Timestamp> {
        let mut up: Option<Timestamp> = None;
        let mut critical = false;
        let series = self.of_parent.get(node).into_iter().flatten();
        for series in series.filter_map(|id| self.get(*id)) {
            if series.state.is_stale() {
                continue;
            }
            match series.state.hard {
                Some(State::Ok) => {
                    let since = series.state.hard_since;
                    up = Some(up.map_or(since, |up| up.min(since)));
                }
                Some(State::Critical) => critical = true,
                _ => {}
            }
        }
        match (up, critical) {
            (Some(since), _) => Some(since),
            (None, true) => None,
            (None, false) => Some(Timestamp(i64::MIN)),
        }
    }

    /// The parents of the node of a series, where it has some and all are down.
    pub(super) fn down_parents(&self, series: Option<SeriesId>) -> Vec<String> {
        let Some(series) = series.and_then(|id| self.get(id)) else {
            return Vec::new();
        };
        let parents = self.policy.parents.get(&series.node_name);
        let parents = parents.map(Vec::as_slice).unwrap_or_default();
        if parents.iter().any(|node| self.up_since(node).is_some()) {
            return Vec::new();
        }
        parents.iter().map(ToString::to_string).collect()
    }

    /// Tells people of an alert that was held back, where the result that has
    /// just arrived was made on an open way.
    pub(super) fn release_alert(
        &mut self,
        id: i64,
        summary: &str,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let held = |alert: &&super::changes::Alert| !alert.suppressed_by.is_empty();
        let Some(alert) = self.alerts.get(&id).filter(held) else {
            return;
        };
        let Some(series) = alert.series.and_then(|id| self.get(id)) else {
            return;
        };
        let Some(started) = series.recent.back().map(|line| line.ts) else {
            return;
        };
        let reason = match self.policy.parents.get(&series.node_name) {
            None => "the node has no parents any more".to_owned(),
            Some(parents) => {
                let open = |node: &&std::sync::Arc<str>| {
                    self.up_since(node).is_some_and(|since| since <= started)
                };
                match parents.iter().find(open) {
                    Some(parent) => format!("{parent} is not down any more"),
                    None => return,
                }
            }
        };
        let Some(mut alert) = self.alerts.remove(&id) else {
            return;
        };
        alert.suppressed_by.clear();
        summary.clone_into(&mut alert.summary);
        let event = TimelineEvent::AlertUnsuppressed { reason };
        self.record(&alert, event, now, changes);
        self.notify(&mut alert, NotificationKind::Firing, now, changes);
        self.open_alert(alert, changes);
        self.remediate(id, now, changes);
    }
}

#[cfg(test)]
#[path = "parents_tests.rs"]
mod tests;
