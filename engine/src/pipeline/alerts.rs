//! Rules and alerts: evaluate, step, record, tell, repair.

use std::sync::Arc;
use std::time::Duration;

use super::changes::{
    Alert, AlertSource, Changes, Effect, Event, NotificationKind, Phase, TimelineEntry,
    TimelineEvent,
};
use super::policy::RulePolicy;
use super::snapshot::{AlertKey, Snapshot};
use crate::alert::expr::{Agg, QuerySet, ResultView, Windows};
use crate::alert::rules::RuleDef;
use crate::alert::state::{Transition, step};
use crate::check::outcome::{LogRecord, Metric, Report, SeriesId, State};
use crate::clock::Timestamp;
use crate::config::spec::Severity;

/// What a step of a rule is about.
struct Subject<'a> {
    rule: &'a RulePolicy,
    series: Option<SeriesId>,
    summary: &'a str,
    /// A result has just said so, not the passing of time.
    reported: bool,
}

impl Snapshot {
    /// Rules that read the result, after it was applied. `before` is the hard
    /// state before it. A series that was never confirmed in any state is not
    /// judged by rules yet.
    pub(super) fn evaluate_result_rules(
        &mut self,
        id: SeriesId,
        report: &Report,
        duration_us: u32,
        before: Option<State>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let policy = self.policy.clone();
        let Some(series) = self.get(id) else { return };
        let Some(check) = policy.checks.get(&series.check) else {
            return;
        };
        if check.rules.is_empty() {
            return;
        }
        let (Some(node), Some(hard)) = (series.node.clone(), series.state.hard) else {
            return;
        };
        let (name, attempt) = (series.check.clone(), series.state.attempt);
        let result = ResultView {
            check: &name,
            node: &node.name,
            labels: &node.labels,
            state: hard,
            last_state: before.unwrap_or(State::Unknown),
            attempt,
            metrics: &report.metrics,
            summary: &report.summary,
            duration_ms: f64::from(duration_us) / 1000.0,
        };
        for index in &check.rules {
            let rule = &policy.rules[*index];
            if self.waits(rule) {
                continue;
            }
            let view = View {
                snapshot: self,
                series: Some(id),
                now,
            };
            let value = rule.def.holds(&result, &view);
            let subject = Subject {
                rule,
                series: Some(id),
                summary: &report.summary,
                reported: true,
            };
            self.step_alert(subject, value, now, changes);
        }
    }

    /// Whether a rule is not judged until the past of its windows was read.
    fn waits(&self, rule: &RulePolicy) -> bool {
        !self.filling.is_empty() && self.filling.contains_key(&rule.name)
    }

    /// What a rule that is not in force would say of a series and the metrics
    /// of its newest result, or at all. Log windows that no rule in force counts
    /// are empty.
    pub fn try_rule(
        &self,
        def: &RuleDef,
        queries: &QuerySet,
        series: Option<SeriesId>,
        metrics: &[Metric],
        now: Timestamp,
    ) -> bool {
        let view = Trial {
            view: View {
                snapshot: self,
                series,
                now,
            },
            queries,
        };
        let Some(series) = series.and_then(|id| self.get(id)) else {
            return def.holds_globally(&view);
        };
        let (Some(node), Some(hard)) = (&series.node, series.state.hard) else {
            return false;
        };
        let newest = series.recent.back();
        let result = ResultView {
            check: &series.check,
            node: &node.name,
            labels: &node.labels,
            state: hard,
            last_state: hard,
            attempt: series.state.attempt,
            metrics,
            summary: newest.map_or("", |line| &line.summary),
            duration_ms: newest.map_or(0.0, |line| f64::from(line.duration_us) / 1000.0),
        };
        def.holds(&result, &view)
    }

    /// Time went on: rules about windows and logs, pending alerts, faults,
    /// verifications.
    pub(super) fn tick(&mut self, now: Timestamp, changes: &mut Changes) {
        self.log_windows.expire(now);
        self.evaluate_window_rules(now, changes);
        self.evaluate_mixed_rules(now, changes);
        let policy = self.policy.clone();
        let pending: Vec<i64> = self
            .alerts
            .values()
            .filter(|alert| alert.phase == Phase::Pending && alert.series.is_some())
            .map(|alert| alert.id)
            .collect();
        for id in pending {
            let Some(alert) = self.alerts.get(&id) else {
                continue;
            };
            // Nobody knows yet whether it is still so.
            if self.unheard(alert.series) {
                continue;
            }
            let (series, summary) = (alert.series, alert.summary.clone());
            let rule = policy
                .rules
                .iter()
                .find(|rule| *rule.name == *alert.source.name());
            if let Some(rule) = rule {
                // It was true at the last result and nothing has said otherwise.
                self.step_alert(
                    Subject {
                        rule,
                        series,
                        summary: &summary,
                        reported: false,
                    },
                    true,
                    now,
                    changes,
                );
            }
        }
        self.faults_due(now, changes);
        self.expire_groups(now);
        self.remedies_due(now, changes);
    }

    fn evaluate_window_rules(&mut self, now: Timestamp, changes: &mut Changes) {
        let policy = self.policy.clone();
        for rule in policy.rules.iter().filter(|rule| !rule.per_series) {
            if self.waits(rule) {
                continue;
            }
            let value = rule.def.holds_globally(&View {
                snapshot: self,
                series: None,
                now,
            });
            let summary = if value {
                rule.expression.to_string()
            } else {
                String::new()
            };
            self.step_alert(
                Subject {
                    rule,
                    series: None,
                    summary: &summary,
                    reported: false,
                },
                value,
                now,
                changes,
            );
        }
    }

    /// Rules that read a result and count logs, over the newest result of each
    /// series: records do not wait for the next one. A rule that reads the metrics of
    /// a result, or the state before it, is judged when one comes.
    fn evaluate_mixed_rules(&mut self, now: Timestamp, changes: &mut Changes) {
        let policy = self.policy.clone();
        for (index, rule) in policy.rules.iter().enumerate() {
            let facts = rule.def.facts();
            if !rule.per_series || facts.queries.is_empty() || facts.of_a_moment {
                continue;
            }
            if self.waits(rule) {
                continue;
            }
            let checks = policy.checks.iter();
            for (name, check) in checks.filter(|(_, check)| check.rules.contains(&index)) {
                for node in check.nodes.keys() {
                    let id = self.by_name.get(&(name.clone(), node.clone())).copied();
                    let Some(series) = id.and_then(|id| self.get(id)) else {
                        continue;
                    };
                    let Some(newest) = series.recent.back().filter(|_| series.heard) else {
                        continue;
                    };
                    let summary = newest.summary.to_string();
                    let value = self.try_rule(&rule.def, &policy.queries, id, &[], now);
                    let subject = Subject {
                        rule,
                        series: id,
                        summary: &summary,
                        reported: false,
                    };
                    self.step_alert(subject, value, now, changes);
                }
            }
        }
    }

    /// Counts records for the rules that ask for them and evaluates those.
    pub(super) fn logs_arrived(
        &mut self,
        source: &Arc<str>,
        records: Vec<LogRecord>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let policy = self.policy.clone();
        let mut matched = false;
        for record in &records {
            matched |= !self
                .log_windows
                .add(&policy.queries, record, source)
                .is_empty();
        }
        if matched {
            self.evaluate_window_rules(now, changes);
            self.evaluate_mixed_rules(now, changes);
        }
        if !records.is_empty() {
            changes.effects.push(Effect::Event(Event::Logs {
                source: source.to_string(),
                count: records.len() as u64,
            }));
        }
        changes
            .logs
            .extend(records.into_iter().map(|record| (source.clone(), record)));
    }

    fn step_alert(
        &mut self,
        subject: Subject<'_>,
        value: bool,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let rule = subject.rule;
        // Most rules are false and have no alert: no key is built for them.
        if !value && self.open.is_empty() {
            return;
        }
        let key = AlertKey {
            source: AlertSource::Rule {
                name: rule.name.to_string(),
            },
            series: subject.series,
        };
        let open = self.open.get(&key).copied();
        let phase = open
            .and_then(|id| self.alerts.get(&id))
            .map(|a| (a.phase, a.pending_at));
        match step(phase, value, rule.hold, now) {
            Transition::None => {
                if let Some(id) = open
                    && value
                    && subject.reported
                {
                    self.release_alert(id, subject.summary, now, changes);
                }
            }
            Transition::Pend => {
                let alert = self.new_alert(key, rule.severity, &subject, now);
                let until = (now + rule.hold).0;
                self.record(
                    &alert,
                    TimelineEvent::AlertPending {
                        rule: rule.name.to_string(),
                        until,
                    },
                    now,
                    changes,
                );
                self.open_alert(alert, changes);
            }
            Transition::Fire => {
                let alert = match open.and_then(|id| self.alerts.remove(&id)) {
                    Some(mut alert) => {
                        subject.summary.clone_into(&mut alert.summary);
                        alert
                    }
                    None => self.new_alert(key, rule.severity, &subject, now),
                };
                self.fire(alert, NotificationKind::Firing, now, changes);
            }
            Transition::Resolve => {
                if let Some(id) = open {
                    self.resolve(
                        id,
                        subject.summary,
                        NotificationKind::Resolved,
                        now,
                        changes,
                    );
                }
            }
            Transition::Cancel => {
                if let Some(alert) =
                    open.and_then(|id| self.close_alert(id, Phase::Cancelled, now, changes))
                {
                    self.record(&alert, TimelineEvent::AlertCancelled, now, changes);
                }
            }
        }
    }

    pub(super) fn fire(
        &mut self,
        mut alert: Alert,
        kind: NotificationKind,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        alert.phase = Phase::Firing;
        alert.fired_at = Some(now);
        let event = TimelineEvent::AlertFired {
            rule: alert.source.name().to_owned(),
            severity: alert.severity,
            summary: alert.summary.clone(),
        };
        self.record(&alert, event, now, changes);
        let parents = self.down_parents(alert.series);
        if !parents.is_empty() {
            alert.suppressed_by.clone_from(&parents);
            let event = TimelineEvent::AlertSuppressed { parents };
            self.record(&alert, event, now, changes);
            self.open_alert(alert, changes);
            return;
        }
        self.notify(&mut alert, kind, now, changes);
        let id = alert.id;
        self.open_alert(alert, changes);
        self.remediate(id, now, changes);
    }

    pub(super) fn resolve(
        &mut self,
        id: i64,
        summary: &str,
        kind: NotificationKind,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(mut alert) = self.close_alert(id, Phase::Resolved, now, changes) else {
            return;
        };
        if !summary.is_empty() {
            summary.clone_into(&mut alert.summary);
        }
        self.record(
            &alert,
            TimelineEvent::AlertResolved {
                summary: alert.summary.clone(),
            },
            now,
            changes,
        );
        if alert.suppressed_by.is_empty() {
            self.notify(&mut alert, kind, now, changes);
        } else {
            let event = TimelineEvent::NotificationSkipped {
                kind,
                reason: "nobody was told that it fired".into(),
            };
            self.record(&alert, event, now, changes);
        }
        changes.alerts.insert(id, alert);
    }

    pub(super) fn open_alert(&mut self, alert: Alert, changes: &mut Changes) {
        let id = alert.id;
        let key = AlertKey {
            source: alert.source.clone(),
            series: alert.series,
        };
        self.open.insert(key, id);
        self.alerts.insert(id, alert);
        self.save_alert(id, changes);
    }

    fn new_alert(
        &mut self,
        key: AlertKey,
        severity: Severity,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Alert {
        let (check, node) = key
            .series
            .and_then(|id| self.get(id))
            .map(|series| (series.check.to_string(), series.node_name.to_string()))
            .unzip();
        let id = self.next.alert;
        self.next.alert += 1;
        Alert {
            id,
            source: key.source,
            series: key.series,
            check,
            node,
            phase: Phase::Pending,
            severity,
            labels: subject.rule.labels.clone(),
            summary: subject.summary.to_owned(),
            pending_at: now,
            fired_at: None,
            ended_at: None,
            threads: Default::default(),
            remedies: Default::default(),
            escalated: false,
            suppressed_by: Vec::new(),
        }
    }

    pub(super) fn record(
        &self,
        alert: &Alert,
        event: TimelineEvent,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        changes.timeline.push(TimelineEntry {
            ts: now,
            series: alert.series,
            alert: Some(alert.id),
            event,
        });
    }
}

/// The windows as an expression sees them.
struct View<'a> {
    snapshot: &'a Snapshot,
    /// The series at hand.
    series: Option<SeriesId>,
    now: Timestamp,
}

impl Windows for View<'_> {
    fn aggregate(
        &self,
        f: Agg,
        metric: &str,
        window: Duration,
        check: Option<&str>,
        node: Option<&str>,
    ) -> Option<f64> {
        let windows = &self.snapshot.windows;
        match (check, node) {
            (None, _) => windows.aggregate([self.series?], f, metric, window, self.now),
            (Some(check), node) => {
                let nodes = &self.snapshot.policy.checks.get(check)?.nodes;
                let series: Vec<SeriesId> = nodes
                    .keys()
                    .filter(|name| node.is_none_or(|node| node == &***name))
                    .filter_map(|name| {
                        self.snapshot
                            .by_name
                            .get(&(check.into(), name.clone()))
                            .copied()
                    })
                    .collect();
                windows.aggregate(series, f, metric, window, self.now)
            }
        }
    }

    fn log_count(&self, query: usize, window: Duration) -> u64 {
        self.snapshot.log_windows.count(query, window, self.now)
    }
}

/// The windows as a rule sees them whose log queries have numbers of their own.
struct Trial<'a> {
    view: View<'a>,
    queries: &'a QuerySet,
}

impl Windows for Trial<'_> {
    fn aggregate(
        &self,
        f: Agg,
        metric: &str,
        window: Duration,
        check: Option<&str>,
        node: Option<&str>,
    ) -> Option<f64> {
        self.view.aggregate(f, metric, window, check, node)
    }

    fn log_count(&self, query: usize, window: Duration) -> u64 {
        let Some(wanted) = self.queries.list().get(query) else {
            return 0;
        };
        let in_force = self.view.snapshot.policy.queries.list();
        match in_force
            .iter()
            .position(|known| known.query == wanted.query)
        {
            Some(number) => self.view.log_count(number, window),
            None => 0,
        }
    }
}
