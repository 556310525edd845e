//! What the pipeline remembers between batches: the in-memory side of the
//! database, rebuilt from it at start.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::changes::{
    ActionRun, ActiveSeries, Alert, AlertSource, Changes, Effect, Phase, ResultLine, SeriesRow,
    TimelineEntry, TimelineEvent,
};
use super::faults::SourceFault;
use super::groups::Gathering;
use super::policy::Policy;
use super::quarantine::{Quarantine, Quarantines};
use crate::alert::expr::{MetricNeed, QueryUse};
use crate::alert::window::{LogCounters, MetricRings};
use crate::check::outcome::{Digest, LogRecord, NodeInfo, PluginState, SeriesId};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::remedy::envelope::PastRun;

/// Results kept per series for mails.
pub(super) const RECENT: usize = 5;
/// Names of metrics, and those that one check may add while the engine runs.
const MAX_NAMES: usize = 200_000;
const MAX_NAMES_OF_CHECK: u32 = 5_000;

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
    /// It was heard of since the start: before that its state is what it was
    /// when the engine stopped.
    pub heard: bool,
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
    /// Groups of notifications and the newest mail of each.
    pub groups: Vec<(String, Gathering)>,
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
    /// Newest mail of each group of notifications.
    pub(super) groups: HashMap<String, Gathering>,
    /// Log sources that are faulting.
    pub(super) source_faults: BTreeMap<Arc<str>, SourceFault>,
    pub(super) quarantines: Quarantines,
    /// Series that say whether a node is down, of nodes that are parents.
    pub(super) of_parent: HashMap<Arc<str>, Vec<SeriesId>>,
    /// Rules that wait for the past of their windows, and the configuration that
    /// asked for it.
    pub(super) filling: HashMap<Arc<str>, u64>,
    pub(super) windows: MetricRings,
    pub(super) log_windows: LogCounters,
    pub(super) next: NextIds,
    pub(super) installation: String,
    /// Domain of the sender, in Message-IDs.
    pub(super) mail_domain: String,
    /// Names of metrics that each check made since the start.
    pub(super) names_made: HashMap<Arc<str>, u32>,
    /// Time of the newest batch.
    pub(super) latest: Timestamp,
    /// What was open at the start has been looked at again.
    pub(super) looked: bool,
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
            groups: loaded.groups.into_iter().collect(),
            source_faults: BTreeMap::new(),
            quarantines: Quarantines::new(loaded.quarantines),
            of_parent: HashMap::new(),
            filling: HashMap::new(),
            windows: MetricRings::default(),
            log_windows: LogCounters::default(),
            next: loaded.next,
            installation: loaded.installation,
            mail_domain: "localhost".into(),
            names_made: HashMap::new(),
            latest: Timestamp(i64::MIN),
            looked: false,
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

    /// Rules of `policy` that look further back than what is kept now, and those
    /// that share a log query with one: its count begins anew for all of them.
    pub fn rules_to_fill(&self, policy: &Policy) -> Vec<Arc<str>> {
        let queries = policy.queries.list();
        let covered = |query: &QueryUse| self.log_windows.covers(&query.text, query.window);
        let mut anew: HashSet<usize> = (0..queries.len())
            .filter(|number| !covered(&queries[*number]))
            .collect();
        let mut held = vec![false; policy.rules.len()];
        loop {
            let before = anew.len();
            for (held, rule) in held.iter_mut().zip(&policy.rules) {
                let facts = rule.def.facts();
                let covers = |need: &MetricNeed| self.windows.covers(&need.metric, need.window);
                *held |= !facts.metrics.iter().all(covers)
                    || facts
                        .queries
                        .iter()
                        .any(|(number, _)| anew.contains(number));
                if *held {
                    anew.extend(facts.queries.iter().map(|(number, _)| *number));
                }
            }
            if anew.len() == before {
                break;
            }
        }
        let rules = policy.rules.iter().zip(held).filter(|(_, held)| *held);
        rules.map(|(rule, _)| rule.name.clone()).collect()
    }

    /// The rules whose windows have no past yet wait for it.
    pub(super) fn hold_rules(&mut self, generation: u64) {
        let policy = self.policy.clone();
        self.filling
            .retain(|name, _| policy.rules.iter().any(|rule| rule.name == *name));
        for name in &policy.filling {
            self.filling.insert(name.clone(), generation);
        }
    }

    /// Rules that waited are judged again: what was read is there.
    pub(super) fn let_rules_go(&mut self, generation: u64) {
        self.filling.retain(|_, of| *of > generation);
    }

    /// Counts log queries from nothing, between two batches: what was committed
    /// before is read and comes by [`fill_logs`](Self::fill_logs).
    pub fn restart_logs(&mut self, texts: &[Arc<str>], generation: u64) {
        self.log_windows.restart(texts, generation);
    }

    /// Adds what was counted before [`restart_logs`](Self::restart_logs).
    pub fn fill_logs(&mut self, past: &LogCounters, generation: u64) {
        self.log_windows.fill(past, generation);
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
                        heard: true,
                    });
                    id
                });
                if let Some(series) = self.get_mut(id) {
                    series.node = Some(info.clone());
                    // As far as is known after a restart: until its next run says
                    // otherwise, what reported well has a sound plugin.
                    let well = |line: &ResultLine| &*line.state != "fault";
                    if !series.heard && series.recent.back().is_some_and(well) {
                        series
                            .sound
                            .get_or_insert_with(|| check_policy.plugin.clone());
                    }
                }
            }
        }
        self.prepare_windows(&policy);
        let series = &self.series;
        let runs = |id: SeriesId| {
            let known = usize::try_from(id.0)
                .ok()
                .and_then(|at| series.get(at)?.as_ref());
            known.is_some_and(|series| series.node.is_some())
        };
        self.windows.retain(runs);
        self.policy = policy;
        self.configure_parents();
        let mut faulting = std::mem::take(&mut self.faulting);
        for series in faulting.values_mut() {
            series.retain(|id| self.get(*id).is_some_and(|series| series.node.is_some()));
        }
        faulting.retain(|_, series| !series.is_empty());
        self.faulting = faulting;
        self.configure_source_faults(changes);
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
                let Some(series) = alert.series else {
                    // About all nodes of the checks that it names, if any.
                    let mut named = rule
                        .def
                        .facts()
                        .metrics
                        .iter()
                        .filter_map(|need| need.check.as_ref())
                        .peekable();
                    let gone = named.peek().is_some()
                        && named.all(|check| !self.policy.checks.contains_key(check));
                    return gone.then(|| "the checks that the rule names were removed".into());
                };
                match self.get(series) {
                    Some(series) if series.node.is_some() => {
                        let read = policy_reads(&self.policy, name, &series.check);
                        (!read).then(|| format!("rule {name} no longer looks at {}", series.check))
                    }
                    _ => Some("the check no longer runs on this node".into()),
                }
            }
            AlertSource::Fault { check } if !self.policy.checks.contains_key(check.as_str()) => {
                Some(format!("check {check} was removed"))
            }
            // `faulting` knows only series that still run.
            AlertSource::Fault { check } => (!self.faulting.contains_key(check.as_str()))
                .then(|| "the check no longer runs on the nodes with faults".into()),
            AlertSource::LogSource { source } => {
                let kept = self.policy.log_sources.contains_key(source.as_str());
                (!kept).then(|| format!("log source {source} was removed"))
            }
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

    /// The number of a metric's name. None for one too many: a check that makes
    /// up names must not fill memory and disk with them.
    pub(super) fn metric_id(
        &mut self,
        check: &Arc<str>,
        name: &Arc<str>,
        changes: &mut Changes,
    ) -> Option<u32> {
        if let Some(id) = self.metrics.get(name) {
            return Some(*id);
        }
        let full = self.metrics.len() >= MAX_NAMES;
        let made = self.names_made.entry(check.clone()).or_default();
        if full || *made >= MAX_NAMES_OF_CHECK {
            // Told once.
            if *made < u32::MAX {
                *made = u32::MAX;
                changes.effects.push(Effect::TooManyMetrics {
                    check: check.clone(),
                });
            }
            return None;
        }
        *made += 1;
        let id = self.next.metric;
        self.next.metric += 1;
        self.metrics.insert(name.clone(), id);
        changes.new_metrics.push((id, name.clone()));
        Some(id)
    }
}

/// Whether a rule about results can be true for a check.
fn policy_reads(policy: &Policy, rule: &str, check: &str) -> bool {
    let index = policy.rules.iter().position(|known| *known.name == *rule);
    let check = policy.checks.get(check);
    index.is_some_and(|index| check.is_some_and(|check| check.rules.contains(&index)))
}
