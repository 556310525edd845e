//! Results of checks: rows, state, faults, windows; then the rules.

use std::sync::Arc;

use super::changes::{Changes, Effect, Event, ResultLine, ResultRow, TimelineEntry, TimelineEvent};
use super::snapshot::{RECENT, Series, Snapshot};
use crate::check::outcome::{Cause, Fault, Outcome, PluginState, Report, SeriesId, StateEntry};
use crate::clock::Timestamp;

impl Snapshot {
    pub(super) fn checked(&mut self, outcome: Outcome, now: Timestamp, changes: &mut Changes) {
        let id = outcome.job.spec.series;
        let Some(series) = self.get_mut(id) else {
            return;
        };
        series.heard = true;
        let check = series.check.clone();
        let attempts = {
            self.policy
                .checks
                .get(&check)
                .map_or(1, |check| check.attempts)
        };
        self.guest_ended(id, &outcome, now, changes);
        let duration_us = saturate(outcome.duration().as_micros());
        let lateness_us = saturate(outcome.lateness().as_micros());
        let (started, cause) = (outcome.started, outcome.job.cause);
        let plugin_state = self.take_plugin_state(id, outcome.state_writes, changes);
        match outcome.verdict {
            Ok(report) => {
                let row = ResultRow {
                    ts: started,
                    series: id,
                    verdict: Ok(report.state),
                    duration_us,
                    lateness_us,
                    summary: report.summary.clone(),
                    details: (!report.details.is_empty()).then(|| report.details.clone()),
                    metrics: report
                        .metrics
                        .iter()
                        .filter_map(|metric| {
                            let id = self.metric_id(&check, &metric.name, changes)?;
                            Some((id, metric.value))
                        })
                        .collect(),
                };
                changes.results.push(row);
                // Before the rules: a mail that ends the alert tells that the
                // repair was proven.
                if let Cause::Verify(run) = cause {
                    self.verified(run, Ok(&report), now, changes);
                }
                self.reported(id, &report, attempts, duration_us, started, now, changes);
            }
            Err(fault) => {
                changes.results.push(ResultRow {
                    ts: started,
                    series: id,
                    verdict: Err(fault.clone()),
                    duration_us,
                    lateness_us,
                    summary: fault.text.clone(),
                    details: None,
                    metrics: Vec::new(),
                });
                self.faulted(id, &fault, duration_us, started, now, changes);
                if let Cause::Verify(run) = cause {
                    self.verified(run, Err(&fault), now, changes);
                }
            }
        }
        if let Some(series) = self.get(id) {
            changes.effects.push(Effect::SeriesDone {
                series: id,
                soft: series.state.is_soft(),
                attempt: series.state.attempt,
                plugin_state,
            });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it needed")]
    fn reported(
        &mut self,
        id: SeriesId,
        report: &Report,
        attempts: u32,
        duration_us: u32,
        started: Timestamp,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(series) = self.get_mut(id) else {
            return;
        };
        let was_soft = series.state.is_soft();
        let before = series.state.hard;
        let step = series.state.step(report.state, attempts, now);
        remember(
            series,
            ResultLine {
                ts: started,
                state: report.state.as_str().into(),
                duration_us,
                summary: report.summary.clone(),
            },
        );
        if step.changed {
            let state = series.state.clone();
            let is_soft = state.is_soft();
            if step.hard_changed.is_some() || is_soft || was_soft {
                changes.timeline.push(TimelineEntry {
                    ts: now,
                    series: Some(id),
                    alert: None,
                    event: TimelineEvent::StateChanged {
                        from: step.hard_changed.unwrap_or(state.hard),
                        to: report.state,
                        hard: !is_soft,
                        attempt: state.attempt,
                        summary: report.summary.clone(),
                    },
                });
            }
            changes.effects.push(series_event(series));
            changes.series_states.insert(id, state);
        }
        if step.recovered_from_fault {
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: Some(id),
                alert: None,
                event: TimelineEvent::FaultEnded,
            });
            self.fault_ended(id, now, changes);
        }
        self.windows
            .push(id, "duration_ms", started, f64::from(duration_us) / 1000.0);
        for metric in &report.metrics {
            self.windows.push(id, &metric.name, started, metric.value);
        }
        self.evaluate_result_rules(id, report, duration_us, before, now, changes);
    }

    fn faulted(
        &mut self,
        id: SeriesId,
        fault: &Fault,
        duration_us: u32,
        started: Timestamp,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(series) = self.get_mut(id) else {
            return;
        };
        // A run that ends after its check was removed alarms nobody.
        if series.node.is_none() {
            return;
        }
        let step = series.state.fault(fault.clone(), now);
        remember(
            series,
            ResultLine {
                ts: started,
                state: "fault".into(),
                duration_us,
                summary: fault.text.clone(),
            },
        );
        if step.became_faulty {
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: Some(id),
                alert: None,
                event: TimelineEvent::FaultBegan {
                    fault: fault.clone(),
                },
            });
        }
        if step.changed {
            changes.series_states.insert(id, series.state.clone());
            changes.effects.push(series_event(series));
        }
        let check = series.check.clone();
        self.faulting.entry(check).or_default().insert(id);
        self.evaluate_fault_alert(id, now, changes);
    }

    /// Writes what was told from outside where the plugin finds it, and runs the
    /// check: what it makes of the report shows at once.
    pub(super) fn told(
        &mut self,
        id: SeriesId,
        entries: Vec<(String, Vec<u8>)>,
        changes: &mut Changes,
    ) {
        let Some(series) = self.get(id) else {
            return;
        };
        let version = |key: &str| {
            let before = series.plugin_state.0.get(key);
            before.map_or(0, |entry| entry.version).wrapping_add(1)
        };
        let writes = entries
            .into_iter()
            .map(|(key, value)| {
                let version = version(&key);
                (key, Some(StateEntry { value, version }))
            })
            .collect();
        if let Some(plugin_state) = self.take_plugin_state(id, writes, changes) {
            changes.effects.push(Effect::State {
                series: id,
                plugin_state,
            });
            changes.effects.push(Effect::RunNow {
                series: id,
                cause: Cause::RunNow,
            });
        }
    }

    fn take_plugin_state(
        &mut self,
        id: SeriesId,
        writes: Vec<(String, Option<StateEntry>)>,
        changes: &mut Changes,
    ) -> Option<Arc<PluginState>> {
        if writes.is_empty() {
            return None;
        }
        let series = self.get_mut(id)?;
        let state = Arc::make_mut(&mut series.plugin_state);
        for (key, entry) in &writes {
            match entry {
                Some(entry) => state.0.insert(key.clone(), entry.clone()),
                None => state.0.remove(key),
            };
        }
        let state = series.plugin_state.clone();
        changes
            .plugin_state
            .extend(writes.into_iter().map(|(key, entry)| (id, key, entry)));
        Some(state)
    }
}

/// Bytes of a summary that are remembered for mails, which show fewer.
const MAX_SUMMARY: usize = 500;

fn remember(series: &mut Series, mut line: ResultLine) {
    line.summary
        .truncate(line.summary.floor_char_boundary(MAX_SUMMARY));
    if series.recent.len() == RECENT {
        series.recent.pop_front();
    }
    series.recent.push_back(line);
}

fn series_event(series: &Series) -> Effect {
    Effect::Event(Event::Series {
        check: series.check.to_string(),
        node: series.node_name.to_string(),
        state: series.state.hard,
        soft: series.state.is_soft(),
        stale: series.state.is_stale(),
    })
}

fn saturate(micros: u128) -> u32 {
    u32::try_from(micros).unwrap_or(u32::MAX)
}
