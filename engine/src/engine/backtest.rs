//! Trying a rule on stored results and log records, in bounded time and memory:
//! for a running engine and for a data folder.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::{Core, configuration, start};
use crate::alert::expr::{NodeExpr, QuerySet};
use crate::alert::rules::RuleDef;
use crate::check::outcome::{Digest, NodeInfo, SeriesId};
use crate::clock::Timestamp;
use crate::config::spec::{RuleSpec, Severity, Spec};
use crate::config::{self, Problem, UiObjects};
use crate::http::backtest::{BacktestAsk, BacktestReport};
use crate::http::commands::CommandError;
use crate::http::error::FieldError;
use crate::pipeline::backtest::{Backtest, Past};
use crate::pipeline::policy::{CheckPolicy, RulePolicy};
use crate::store::logs::Row;
use crate::store::{Conn, StoreError, past, series};

/// What a backtest may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub results: u64,
    pub log_records: u64,
    pub time: Duration,
}

impl Bounds {
    /// For a request to a running engine.
    pub const REQUEST: Self = Self {
        results: 5_000_000,
        log_records: 2_000_000,
        time: Duration::from_secs(30),
    };
    /// For a command of its own.
    pub const COMMAND: Self = Self {
        results: 100_000_000,
        log_records: 20_000_000,
        time: Duration::from_secs(600),
    };
}

/// Longest range.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// Range where none is asked for.
const USUAL: Duration = Duration::from_secs(86_400);
/// States of series are followed for at least this long before the range.
const STATES: Duration = Duration::from_secs(3_600);
/// Results, and log records, in memory at the same time.
const STRETCH: usize = 100_000;
/// Stretches of time that are read at once.
const LONGEST_STRETCH: Duration = Duration::from_secs(3_600);
const SHORTEST_STRETCH: Duration = Duration::from_secs(1);

impl Core {
    /// What a rule would have fired.
    ///
    /// # Errors
    /// Another backtest runs, or the store cannot be read.
    pub(super) async fn backtest(&self, ask: &BacktestAsk) -> Result<BacktestReport, CommandError> {
        let Ok(_only_one) = self.backtests.try_acquire() else {
            return Err(CommandError::Unavailable(
                "another backtest runs; try again when it has ended".into(),
            ));
        };
        let view = self.view.borrow().clone();
        let mut reader = self.store.reader().await.map_err(internal)?;
        run(
            &mut reader,
            &view.spec,
            ask,
            self.clock.now(),
            Bounds::REQUEST,
        )
        .await
        .map_err(internal)
    }
}

fn internal(error: StoreError) -> CommandError {
    CommandError::Internal(error.into())
}

/// The configuration that an engine on the data folder would run on, as far as
/// rules read it.
///
/// # Errors
/// The file or a stored object is wrong.
pub async fn spec_of(conn: &mut Conn, path: Option<&Path>) -> anyhow::Result<Spec> {
    let wrong = |problems: Vec<Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("the configuration is not valid:\n{}", lines.join("\n"))
    };
    let file = match path {
        Some(path) => config::load(path).map_err(wrong)?.spec,
        None => Spec::default(),
    };
    let mut ui = UiObjects::default();
    for ((kind, _), (spec, _)) in start::stored_objects(conn).await? {
        configuration::add_object(&mut ui, kind, &spec).map_err(|one| wrong(vec![one]))?;
    }
    Ok(config::merge(file, ui).map_err(wrong)?.spec)
}

/// Evaluates the rule that is asked for.
///
/// # Errors
/// The store cannot be read. What is wrong with the rule is in the report.
pub async fn run(
    conn: &mut Conn,
    spec: &Spec,
    ask: &BacktestAsk,
    now: Timestamp,
    bounds: Bounds,
) -> Result<BacktestReport, StoreError> {
    let plan = match plan(spec, ask, now) {
        Ok(plan) => plan,
        Err(field) => {
            return Ok(BacktestReport {
                fields: vec![field],
                ..BacktestReport::default()
            });
        }
    };
    let (from, to) = (plan.from, plan.to);
    let mut report = BacktestReport {
        ok: true,
        when: plan.rule.spec.when.clone(),
        hold: plan.rule.spec.hold,
        severity: Some(plan.rule.spec.severity),
        per_series: plan.rule.per_result(),
        from: from.micros(),
        to: to.micros(),
        ..BacktestReport::default()
    };
    let lead = plan.windows().max(STATES);
    let start = from - lead;
    let stored = series::all(conn).await?;
    let concerned: HashSet<SeriesId> = stored
        .iter()
        .filter(|row| {
            let check = plan.checks.get(&row.check);
            check.is_some_and(|check| check.nodes.contains_key(&row.node))
        })
        .map(|row| row.id)
        .collect();
    let counts_logs = !plan.queries.list().is_empty();
    let past = Past {
        rule: rule_policy(&plan.rule),
        queries: plan.queries.clone(),
        checks: plan.checks,
        series: stored,
        metrics: series::metric_names(conn).await?,
    };
    let mut walk = Walk {
        backtest: Backtest::new(past, start),
        began: Instant::now(),
        bounds,
        results: 0,
        log_records: 0,
        cut: None,
    };
    let mut log = match counts_logs {
        true => past::first_log(conn, start).await?,
        false => 0,
    };
    let (mut at, mut stretch) = (start, LONGEST_STRETCH);
    while at < to && walk.cut.is_none() {
        let edge = if at < from { from } else { to };
        if at == from {
            walk.backtest.begin(from);
        }
        let end = (at + stretch).min(edge);
        let results = match concerned.is_empty() {
            true => Some(Vec::new()),
            false => past::results(conn, &concerned, at, end, STRETCH).await?,
        };
        let logs = match (counts_logs, &results) {
            (true, Some(_)) => past::logs(conn, log, end, STRETCH).await?,
            _ => Some(Vec::new()),
        };
        let (Some(results), Some(logs)) = (results, logs) else {
            if stretch <= SHORTEST_STRETCH {
                walk.cut = Some(format!(
                    "more than {STRETCH} results or log records within a second"
                ));
                break;
            }
            stretch = (stretch / 2).max(SHORTEST_STRETCH);
            continue;
        };
        log = logs.last().map_or(log, |row| row.id + 1);
        // Evaluation is plain computing: not on a thread of the runtime.
        walk = tokio::task::spawn_blocking(move || walk.stretch(results, logs, end))
            .await
            .map_err(|error| StoreError::Invalid(format!("the backtest stopped: {error}")))?;
        at = end;
    }
    report.to = at.max(from).micros();
    report.cut = walk.cut;
    report.results = walk.results;
    report.log_records = walk.log_records;
    let verdict = walk.backtest.finish();
    report.fired = verdict.fired;
    report.cancelled = verdict.cancelled;
    report.pending = verdict.pending;
    report.alerts = verdict.alerts.into_iter().map(Into::into).collect();
    Ok(report)
}

/// A backtest under way.
struct Walk {
    backtest: Backtest,
    began: Instant,
    bounds: Bounds,
    results: u64,
    log_records: u64,
    cut: Option<String>,
}

impl Walk {
    fn stretch(
        mut self,
        results: Vec<crate::pipeline::changes::ResultRow>,
        logs: Vec<Row>,
        end: Timestamp,
    ) -> Self {
        self.results += results.len() as u64;
        self.log_records += logs.len() as u64;
        let mut logs = logs.into_iter().peekable();
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        let mut count = |backtest: &mut Backtest, row: Row| {
            let name = names
                .entry(row.source)
                .or_insert_with_key(|name| name.as_str().into());
            backtest.log(name, row.record);
        };
        for row in results {
            let ended = row.ts + Duration::from_micros(u64::from(row.duration_us));
            while let Some(record) = logs.next_if(|one| one.record.received <= ended) {
                count(&mut self.backtest, record);
            }
            self.backtest.result(row);
        }
        for record in logs {
            count(&mut self.backtest, record);
        }
        self.backtest.advance(end);
        let bounds = self.bounds;
        self.cut = if self.results > bounds.results {
            Some(format!("it read more than {} results", bounds.results))
        } else if self.log_records > bounds.log_records {
            Some(format!(
                "it read more than {} log records",
                bounds.log_records
            ))
        } else if self.began.elapsed() > bounds.time {
            Some(format!("it took longer than {} s", bounds.time.as_secs()))
        } else {
            None
        };
        self
    }
}

/// What is to be evaluated.
struct Plan {
    rule: RuleDef,
    queries: Arc<QuerySet>,
    /// Checks that the rule reads.
    checks: HashMap<Arc<str>, CheckPolicy>,
    from: Timestamp,
    to: Timestamp,
}

impl Plan {
    /// The longest window that the rule looks back on.
    fn windows(&self) -> Duration {
        let metrics = self.rule.facts().metrics.iter().map(|need| need.window);
        let queries = self.queries.list().iter().map(|query| query.window);
        metrics.chain(queries).max().unwrap_or_default()
    }
}

fn plan(spec: &Spec, ask: &BacktestAsk, now: Timestamp) -> Result<Plan, FieldError> {
    let rule = rule_of(spec, ask)?;
    let to = ask.to.map_or(now, Timestamp).min(now);
    let from = ask.from.map_or(to - USUAL, Timestamp);
    if from >= to {
        let message = format!(
            "expected a time before the end {}, found {}",
            to.to_rfc3339(),
            from.to_rfc3339()
        );
        return Err(FieldError::new("from", message));
    }
    if to.since(from) > LONGEST {
        let message = "expected a range of at most 31d; ask for parts of it";
        return Err(FieldError::new("from", message));
    }
    let mut queries = QuerySet::default();
    let rule = RuleDef::compile(Arc::new(rule), &mut queries).map_err(|error| {
        let mut field = FieldError::new("when", error.to_string());
        field.suggestion = error.suggestion;
        field
    })?;
    let checks = checks_of(spec, &rule)?;
    Ok(Plan {
        rule,
        queries: Arc::new(queries),
        checks,
        from,
        to,
    })
}

fn rule_of(spec: &Spec, ask: &BacktestAsk) -> Result<RuleSpec, FieldError> {
    let mut rule = match (&ask.rule, &ask.when) {
        (Some(name), _) => {
            let known = spec.rules.iter().find(|rule| rule.name == *name);
            known.cloned().ok_or_else(|| {
                let names = spec.rules.iter().map(|rule| rule.name.as_str());
                let mut field = FieldError::new(
                    "rule",
                    format!("expected the name of a rule, found {name:?}"),
                );
                field.suggestion = config::closest(name, names).map(str::to_owned);
                field
            })?
        }
        (None, Some(_)) => RuleSpec {
            name: "backtest".into(),
            when: String::new(),
            hold: None,
            severity: Severity::Warning,
            labels: Default::default(),
            notify: Vec::new(),
            remediate: Vec::new(),
        },
        (None, None) => {
            return Err(FieldError::new(
                "rule",
                "expected the name of a rule or an expression in when, found neither",
            ));
        }
    };
    if let Some(when) = &ask.when {
        rule.when.clone_from(when);
    }
    rule.hold = ask.hold.or(rule.hold);
    rule.severity = ask.severity.unwrap_or(rule.severity);
    Ok(rule)
}

/// The checks whose results the rule reads, with the nodes they select now.
fn checks_of(spec: &Spec, rule: &RuleDef) -> Result<HashMap<Arc<str>, CheckPolicy>, FieldError> {
    let nodes: Vec<Arc<NodeInfo>> = spec
        .nodes
        .iter()
        .map(|node| {
            Arc::new(NodeInfo {
                name: node.name.clone(),
                address: node.address.clone(),
                labels: node.labels.clone(),
            })
        })
        .collect();
    let facts = rule.facts();
    let named = |check: &str| {
        let mut named = facts
            .metrics
            .iter()
            .filter_map(|need| need.check.as_deref());
        named.any(|name| name == check)
    };
    let read = |check: &str| {
        let judged = facts.per_result && rule.check_filter().is_none_or(|one| one == check);
        judged || named(check)
    };
    let mut checks = HashMap::new();
    for check in spec.checks.iter().filter(|check| read(&check.name)) {
        let selector = check.nodes.as_deref().map(NodeExpr::compile).transpose();
        let selector = selector.map_err(|error| {
            let message = format!("check {}: its nodes are wrong {error}", check.name);
            FieldError::new("rule", message)
        })?;
        let selected = nodes
            .iter()
            .filter(|node| selector.as_ref().is_none_or(|one| one.matches(node)));
        let policy = CheckPolicy {
            attempts: check.attempts,
            nodes: selected
                .map(|node| (node.name.as_str().into(), node.clone()))
                .collect(),
            rules: Vec::new(),
            plugin: Digest("".into()),
            paused: false,
        };
        checks.insert(check.name.as_str().into(), policy);
    }
    Ok(checks)
}

/// The rule with nobody to tell and nothing to repair.
fn rule_policy(rule: &RuleDef) -> RulePolicy {
    RulePolicy {
        name: rule.spec.name.as_str().into(),
        expression: rule.spec.when.as_str().into(),
        per_series: rule.per_result(),
        def: Arc::new(rule.clone()),
        hold: rule.spec.hold.map_or(Duration::ZERO, |span| span.0),
        severity: rule.spec.severity,
        labels: rule.spec.labels.clone(),
        recipients: Vec::new(),
        remediate: Vec::new(),
    }
}
