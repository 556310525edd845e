//! What the pipeline remembers between batches: the in-memory side of the
//! database, rebuilt from it at start.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::changes::{
    ActionRun, ActiveSeries, Alert, AlertSource, Changes, Effect, Phase, ResultLine, SeriesRow,
    TimelineEntry, TimelineEvent,
};
use super::policy::Policy;
use super::quarantine::{Quarantine, Quarantines};
use crate::alert::window::{LogCounters, MetricRings};
use crate::check::outcome::{Digest, LogRecord, NodeInfo, PluginState, SeriesId};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::remedy::envelope::PastRun;

/// Results kept per series for mails.
pub(super) const RECENT: usize = 5;

/// What identifies an open alert.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertKey {
    pub source: AlertSource,
    pub series: Option<SeriesId>,
}

/// Next numbers of rows that the pipeline creates.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextIds {
    pub series: i64,
    pub metric: u32,
    pub alert: i64,
    pub outbox: i64,
    pub action_run: i64,
}

/// A check on a node, as remembered.
#[derive(Clone, Debug)]
pub struct Series {
    pub id: SeriesId,
    pub check: Arc<str>,
    pub node_name: Arc<str>,
    pub state: CheckState,
    /// Newest last.
    pub recent: VecDeque<ResultLine>,
    pub plugin_state: Arc<PluginState>,
    /// The node while the configuration selects it; `None` otherwise.
    pub node: Option<Arc<NodeInfo>>,
    /// The plugin of its newest run, where the guest came to its end.
    pub sound: Option<Digest>,
}

/// Everything that is read at start.
#[derive(Debug, Default)]
pub struct Loaded {
    pub series: Vec<Series>,
    pub metrics: Vec<(u32, Arc<str>)>,
    pub alerts: Vec<Alert>,
    pub action_runs: Vec<ActionRun>,
    /// Remediation, and its runs of the longest rate window.
    pub history: Vec<(String, PastRun)>,
    /// Plugins that are held back.
    pub quarantines: Vec<Quarantine>,
    pub next: NextIds,
    /// Random name of this installation, in Message-IDs.
    pub installation: String,
}

/// The memory of the pipeline.
pub struct Snapshot {
    pub(super) policy: Arc<Policy>,
    /// Indexed by series id.
    pub(super) series: Vec<Option<Series>>,
    pub(super) by_name: HashMap<(Arc<str>, Arc<str>), SeriesId>,
    pub(super) metrics: HashMap<Arc<str>, u32>,
    pub(super) alerts: BTreeMap<i64, Alert>,
    pub(super) open: HashMap<AlertKey, i64>,
    /// Running, awaiting approval or waiting for their verification.
    pub(super) action_runs: BTreeMap<i64, ActionRun>,
    /// When a verification is due.
    pub(super) verifies: BTreeSet<(Timestamp, i64)>,
    /// When a remediation of an alert is asked again.
    pub(super) retries: BTreeSet<(Timestamp, i64)>,
    pub(super) history: HashMap<String, Vec<PastRun>>,
    /// Series of each check that are faulting.
    pub(super) faulting: HashMap<Arc<str>, BTreeSet<SeriesId>>,
    pub(super) quarantines: Quarantines,
    /// Series that say whether a node is down, of nodes that are parents.
    pub(super) of_parent: HashMap<Arc<str>, Vec<SeriesId>>,
    pub(super) windows: MetricRings,
    pub(super) log_windows: LogCounters,
    pub(super) next: NextIds,
    pub(super) installation: String,
    /// Domain of the sender, in Message-IDs.
    pub(super) mail_domain: String,
}

impl Snapshot {
    /// The memory as it was committed. The configuration follows by
    /// [`configure`](Self::configure).
    pub fn new(loaded: Loaded) -> Self {
        let mut snapshot = Self {
            policy: Arc::default(),
            series: Vec::new(),
            by_name: HashMap::new(),
            metrics: loaded
                .metrics
                .into_iter()
                .map(|(id, name)| (name, id))
                .collect(),
            alerts: BTreeMap::new(),
            open: HashMap::new(),
            action_runs: BTreeMap::new(),
            verifies: BTreeSet::new(),
            retries: BTreeSet::new(),
            history: HashMap::new(),
            faulting: HashMap::new(),
            quarantines: Quarantines::new(loaded.quarantines),
            of_parent: HashMap::new(),
            windows: MetricRings::default(),
            log_windows: LogCounters::default(),
            next: loaded.next,
            installation: loaded.installation,
            mail_domain: "localhost".into(),
        };
        for series in loaded.series {
            if series.state.faults > 0 {
                snapshot
                    .faulting
                    .entry(series.check.clone())
                    .or_default()
                    .insert(series.id);
            }
            snapshot.insert_series(series);
        }
        for alert in loaded.alerts {
            for remedy in alert.remedies.values() {
                if let Some(at) = remedy.next_at
                    && !remedy.done
                {
                    snapshot.retries.insert((at, alert.id));
                }
            }
            let key = AlertKey {
                source: alert.source.clone(),
                series: alert.series,
            };
            snapshot.open.insert(key, alert.id);
            snapshot.alerts.insert(alert.id, alert);
        }
        for run in loaded.action_runs {
            snapshot.action_runs.insert(run.id, run);
        }
        for (remediation, run) in loaded.history {
            snapshot.history.entry(remediation).or_default().push(run);
        }
        snapshot
    }

    /// Series in memory, for the scheduler and the live view.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().flatten()
    }

    /// Series that the configuration selects.
    pub(super) fn active_series(&self) -> Vec<ActiveSeries> {
        self.series()
            .filter(|series| series.node.is_some())
            .map(|series| ActiveSeries {
                id: series.id,
                check: series.check.clone(),
                node: series.node_name.clone(),
                plugin_state: series.plugin_state.clone(),
            })
            .collect()
    }

    /// Alerts that are pending or firing.
    pub fn open_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    pub(super) fn get(&self, id: SeriesId) -> Option<&Series> {
        self.series.get(usize::try_from(id.0).ok()?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SeriesId) -> Option<&mut Series> {
        self.series.get_mut(usize::try_from(id.0).ok()?)?.as_mut()
    }

    fn insert_series(&mut self, series: Series) {
        let index = usize::try_from(series.id.0).unwrap_or(0);
        if self.series.len() <= index {
            self.series.resize_with(index + 1, || None);
        }
        self.by_name
            .insert((series.check.clone(), series.node_name.clone()), series.id);
        self.series[index] = Some(series);
    }

    /// Names of metrics by their numbers.
    pub fn metric_names(&self) -> HashMap<u32, Arc<str>> {
        self.metrics
            .iter()
            .map(|(name, id)| (*id, name.clone()))
            .collect()
    }

    /// Makes the windows that `policy` needs, so that they can be filled before
    /// it is in force.
    pub fn prepare_windows(&mut self, policy: &Policy) {
        let needs = policy
            .rules
            .iter()
            .flat_map(|rule| &rule.def.facts().metrics);
        self.windows
            .set_needs(needs.map(|need| (&*need.metric, need.window)));
        self.log_windows.set_queries(&policy.queries);
    }

    /// Longest window of each metric that rules look at: what
    /// [`preload_sample`](Self::preload_sample) should be given.
    pub fn window_needs(&self) -> Vec<(String, Duration)> {
        self.windows
            .needs()
            .map(|(metric, window)| (metric.to_owned(), window))
            .collect()
    }

    /// Puts a stored sample back into its window, oldest first.
    pub fn preload_sample(&mut self, series: SeriesId, metric: &str, at: Timestamp, value: f64) {
        self.windows.push(series, metric, at, value);
    }

    /// Counts a stored record again.
    pub fn preload_log(&mut self, policy: &Policy, source: &str, record: &LogRecord) {
        self.log_windows.add(&policy.queries, record, source);
    }

    /// Takes a new configuration: series that it adds are created, alerts of
    /// rules, checks and nodes that it no longer has end as `removed`.
    pub fn configure(
        &mut self,
        policy: Arc<Policy>,
        mail_domain: String,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        self.mail_domain = mail_domain;
        for series in self.series.iter_mut().flatten() {
            series.node = None;
        }
        for (check, check_policy) in &policy.checks {
            for (node, info) in &check_policy.nodes {
                let id = self.by_name.get(&(check.clone(), node.clone())).copied();
                let id = id.unwrap_or_else(|| {
                    let id = SeriesId(self.next.series);
                    self.next.series += 1;
                    changes.new_series.push(SeriesRow {
                        id,
                        check: check.clone(),
                        node: node.clone(),
                        created_at: now,
                    });
                    self.insert_series(Series {
                        id,
                        check: check.clone(),
                        node_name: node.clone(),
                        state: CheckState::default(),
                        recent: VecDeque::with_capacity(RECENT),
                        plugin_state: Arc::default(),
                        node: None,
                        sound: None,
                    });
                    id
                });
                if let Some(series) = self.get_mut(id) {
                    series.node = Some(info.clone());
                }
            }
        }
        self.prepare_windows(&policy);
        self.policy = policy;
        self.configure_parents();
        let mut faulting = std::mem::take(&mut self.faulting);
        for series in faulting.values_mut() {
            series.retain(|id| self.get(*id).is_some_and(|series| series.node.is_some()));
        }
        faulting.retain(|_, series| !series.is_empty());
        self.faulting = faulting;
        self.configure_quarantines(now, changes);
        self.remove_orphaned_alerts(now, changes);
    }

    fn remove_orphaned_alerts(&mut self, now: Timestamp, changes: &mut Changes) {
        let orphans: Vec<(i64, String)> = self
            .alerts
            .values()
            .filter_map(|alert| self.orphan_reason(alert).map(|reason| (alert.id, reason)))
            .collect();
        for (id, reason) in orphans {
            self.close_alert(id, Phase::Removed, now, changes);
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: None,
                alert: Some(id),
                event: TimelineEvent::AlertRemoved { reason },
            });
        }
    }

    fn orphan_reason(&self, alert: &Alert) -> Option<String> {
        match &alert.source {
            AlertSource::Rule { name } => {
                let Some(rule) = self.policy.rules.iter().find(|rule| *rule.name == **name) else {
                    return Some(format!("rule {name} was removed"));
                };
                if rule.per_series != alert.series.is_some() {
                    return Some(format!("rule {name} now alerts about something else"));
                }
                let series = alert.series?;
                match self.get(series) {
                    Some(series) if series.node.is_some() => None,
                    _ => Some("the check no longer runs on this node".into()),
                }
            }
            AlertSource::Fault { check } if !self.policy.checks.contains_key(check.as_str()) => {
                Some(format!("check {check} was removed"))
            }
            // `faulting` knows only series that still run.
            AlertSource::Fault { check } => (!self.faulting.contains_key(check.as_str()))
                .then(|| "the check no longer runs on the nodes with faults".into()),
            // Ends with its quarantine.
            AlertSource::Plugin { .. } => None,
        }
    }

    /// Ends an open alert in memory and hands its last version to the batch.
    pub(super) fn close_alert(
        &mut self,
        id: i64,
        phase: Phase,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Option<Alert> {
        let mut alert = self.alerts.remove(&id)?;
        self.open.remove(&AlertKey {
            source: alert.source.clone(),
            series: alert.series,
        });
        alert.phase = phase;
        alert.ended_at = Some(now);
        self.cancel_waiting(id, now, changes);
        changes
            .effects
            .push(Effect::Event(super::changes::Event::Alert {
                id,
                name: alert.source.name().to_owned(),
                phase,
            }));
        changes.alerts.insert(id, alert.clone());
        Some(alert)
    }

    /// A repair that waited for a person has nothing left to repair.
    fn cancel_waiting(&mut self, alert: i64, now: Timestamp, changes: &mut Changes) {
        let waiting = |run: &&super::changes::ActionRun| {
            run.alert == alert && run.status == super::changes::RunStatus::AwaitingApproval
        };
        let runs: Vec<_> = self.action_runs.values().filter(waiting).cloned().collect();
        for mut run in runs {
            self.action_runs.remove(&run.id);
            run.status = super::changes::RunStatus::Cancelled;
            run.finished_at = Some(now);
            run.summary = "not run: its alert has ended".into();
            changes.action_runs.insert(run.id, run);
        }
    }

    /// Hands the current version of an open alert to the batch.
    pub(super) fn save_alert(&mut self, id: i64, changes: &mut Changes) {
        if let Some(alert) = self.alerts.get(&id) {
            changes
                .effects
                .push(Effect::Event(super::changes::Event::Alert {
                    id,
                    name: alert.source.name().to_owned(),
                    phase: alert.phase,
                }));
            changes.alerts.insert(id, alert.clone());
        }
    }

    pub(super) fn metric_id(&mut self, name: &Arc<str>, changes: &mut Changes) -> u32 {
        if let Some(id) = self.metrics.get(name) {
            return *id;
        }
        let id = self.next.metric;
        self.next.metric += 1;
        self.metrics.insert(name.clone(), id);
        changes.new_metrics.push((id, name.clone()));
        id
    }
}
