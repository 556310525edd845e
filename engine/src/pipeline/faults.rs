//! Faults: of checks and of log sources. One alert for all nodes of a check, and
//! one for a source; both after three faults in a row or 60 s.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::changes::{Alert, AlertSource, Changes, NotificationKind, Phase};
use super::snapshot::{AlertKey, Snapshot};
use crate::check::outcome::{Fault, SeriesId};
use crate::clock::Timestamp;
use crate::config::spec::Severity;

/// Faults of a log source that have not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceFault {
    /// The newest.
    pub fault: Fault,
    /// Faults in a row.
    pub faults: u32,
    /// The first of them, in µs.
    #[schema(value_type = i64)]
    pub since: Timestamp,
}

impl SourceFault {
    fn alerts(&self, now: Timestamp) -> bool {
        self.faults >= 3 || now.since(self.since) >= Duration::from_secs(60)
    }
}

impl Snapshot {
    /// Faults of a check: one alert for all its nodes, so that a broken plugin
    /// is one mail and not thousands.
    pub(super) fn evaluate_fault_alert(
        &mut self,
        id: SeriesId,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(series) = self.get(id) else { return };
        let check = series.check.clone();
        let key = AlertKey {
            source: AlertSource::Fault {
                check: check.to_string(),
            },
            series: None,
        };
        if self.open.contains_key(&key) {
            return;
        }
        // The alert about the plugin says it for all its checks.
        let policy = self.policy.checks.get(&check);
        if policy.is_some_and(|check| self.quarantines.holds(&check.plugin)) {
            return;
        }
        let Some(faulting) = self.faulting.get(&check) else {
            return;
        };
        let alarming = |id: &&SeriesId| {
            self.get(**id)
                .is_some_and(|series| series.heard && series.state.fault_alerts(now))
        };
        let Some(series) = faulting.iter().find(alarming).and_then(|id| self.get(*id)) else {
            return;
        };
        let text = series
            .state
            .fault
            .as_ref()
            .map(|f| f.text.as_str())
            .unwrap_or_default();
        let others = faulting.len() - 1;
        let summary = match others {
            0 => format!("on {}: {text}", series.node_name),
            _ => format!("on {} and {others} more: {text}", series.node_name),
        };
        let since = series.state.faulty_since.unwrap_or(now);
        let check = check.to_string();
        self.fire_fault(key, Some(check), summary, since, now, changes);
    }

    /// A series reports again.
    pub(super) fn fault_ended(&mut self, id: SeriesId, now: Timestamp, changes: &mut Changes) {
        let Some(check) = self.get(id).map(|series| series.check.clone()) else {
            return;
        };
        if let Some(faulting) = self.faulting.get_mut(&check) {
            faulting.remove(&id);
            if faulting.is_empty() {
                self.faulting.remove(&check);
            }
        }
        if !self.faulting.contains_key(&check) {
            let key = AlertKey {
                source: AlertSource::Fault {
                    check: check.to_string(),
                },
                series: None,
            };
            if let Some(alert) = self.open.get(&key).copied() {
                self.resolve(
                    alert,
                    "reports again",
                    NotificationKind::FaultResolved,
                    now,
                    changes,
                );
            }
        }
    }

    fn fire_fault(
        &mut self,
        key: AlertKey,
        check: Option<String>,
        summary: String,
        since: Timestamp,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let alert = Alert {
            id: self.next.alert,
            source: key.source,
            series: None,
            check,
            node: None,
            phase: Phase::Pending,
            severity: Severity::Warning,
            labels: Default::default(),
            summary,
            pending_at: since,
            fired_at: None,
            ended_at: None,
            threads: Default::default(),
            remedies: Default::default(),
            escalated: false,
            suppressed_by: Vec::new(),
        };
        self.next.alert += 1;
        self.fire(alert, NotificationKind::Fault, now, changes);
    }

    /// A log source could not be read or parsed.
    pub(super) fn source_faulted(
        &mut self,
        source: &Arc<str>,
        fault: Fault,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        if !self.policy.log_sources.contains_key(source) {
            return;
        }
        let known = self
            .source_faults
            .entry(source.clone())
            .or_insert_with(|| SourceFault {
                fault: fault.clone(),
                faults: 0,
                since: now,
            });
        known.faults = known.faults.saturating_add(1);
        known.fault = fault;
        changes
            .source_faults
            .insert(source.clone(), Some(known.clone()));
        self.evaluate_source(source, now, changes);
    }

    /// A log source reads and parses.
    pub(super) fn source_sound(
        &mut self,
        source: &Arc<str>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        if self.source_faults.remove(source).is_some() {
            changes.source_faults.insert(source.clone(), None);
        }
        // Also one from before a restart.
        if let Some(alert) = self.open.get(&source_key(source)).copied() {
            let kind = NotificationKind::FaultResolved;
            self.resolve(alert, "reads again", kind, now, changes);
        }
    }

    fn evaluate_source(&mut self, source: &Arc<str>, now: Timestamp, changes: &mut Changes) {
        let Some(known) = self.source_faults.get(source) else {
            return;
        };
        let key = source_key(source);
        // The alert about the plugin says it for all that use it.
        let parser = self.policy.log_sources.get(source);
        let held = parser.is_some_and(|parser| self.quarantines.holds(parser));
        if held || self.open.contains_key(&key) || !known.alerts(now) {
            return;
        }
        let (summary, since) = (known.fault.text.clone(), known.since);
        self.fire_fault(key, None, summary, since, now, changes);
    }

    /// Time went on: faults that last.
    pub(super) fn faults_due(&mut self, now: Timestamp, changes: &mut Changes) {
        let faulting: Vec<SeriesId> = self
            .faulting
            .values()
            .filter_map(|series| series.first().copied())
            .collect();
        for id in faulting {
            self.evaluate_fault_alert(id, now, changes);
        }
        let sources: Vec<Arc<str>> = self.source_faults.keys().cloned().collect();
        for source in sources {
            self.evaluate_source(&source, now, changes);
        }
    }

    /// Forgets sources that the configuration no longer has.
    pub(super) fn configure_source_faults(&mut self, changes: &mut Changes) {
        let policy = self.policy.clone();
        self.source_faults.retain(|source, _| {
            let kept = policy.log_sources.contains_key(source);
            if !kept {
                changes.source_faults.insert(source.clone(), None);
            }
            kept
        });
    }
}

fn source_key(source: &Arc<str>) -> AlertKey {
    AlertKey {
        source: AlertSource::LogSource {
            source: source.to_string(),
        },
        series: None,
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
