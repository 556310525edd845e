//! Alerts: what is wrong by the rules, and all that was done about it.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::commands::{Command, Commands};
use super::error::{Error, Result};
use super::extract::{Body, Operator, Page, Path, Query, Viewer};
use super::history;
use super::objects::{Items, Summary};
use super::outbox::DeliveryView;
use super::state::ConfigHandle;
use super::view::{AlertView, ResultView, StateCounts};
use crate::check::outcome;
use crate::config::spec::Severity;
use crate::pipeline::changes::{
    ActionRun, Alert, AlertSource, Phase, RunStatus, TimelineEvent, VerifyStatus,
};
use crate::store::{Store, action_runs, alerts, outbox, timeline};

/// Lines of an alert's timeline in one answer.
const TIMELINE: u32 = 1000;

/// Pending and firing alerts, read once for a page.
pub struct OpenAlerts(Vec<Alert>);

impl OpenAlerts {
    /// Reads them.
    ///
    /// # Errors
    /// The store.
    pub async fn read(store: &Store) -> Result<Self> {
        let mut reader = store.reader().await?;
        Ok(Self(alerts::open(&mut reader).await?))
    }

    /// Pending and firing by whatever `key` says.
    pub fn count_by<'a>(
        &'a self,
        key: impl Fn(&'a Alert) -> Option<&'a str>,
    ) -> HashMap<&'a str, (u64, u64)> {
        let mut counts: HashMap<&str, (u64, u64)> = HashMap::new();
        for alert in &self.0 {
            if let Some(key) = key(alert) {
                let (pending, firing) = counts.entry(key).or_default();
                *pending += u64::from(alert.phase == Phase::Pending);
                *firing += u64::from(alert.phase == Phase::Firing);
            }
        }
        counts
    }

    /// Those that `keep` wants.
    pub fn only(mut self, keep: impl Fn(&Alert) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// Counts for a list.
    pub fn summary(&self, series: StateCounts) -> Summary {
        let count = |phase| self.0.iter().filter(|alert| alert.phase == phase).count() as u64;
        Summary {
            series: Some(series),
            pending: Some(count(Phase::Pending)),
            firing: Some(count(Phase::Firing)),
            fault: None,
            used_by: Vec::new(),
        }
    }

    /// Firing first, then newest first.
    pub fn views(mut self) -> Vec<AlertView> {
        self.0
            .sort_by_key(|alert| (alert.phase != Phase::Firing, std::cmp::Reverse(alert.id)));
        self.0.into_iter().map(AlertView::from).collect()
    }
}

/// Which alerts.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// `open`, or phases separated by commas; all where absent.
    pub phase: Option<String>,
    /// Only of this rule.
    pub rule: Option<String>,
    pub check: Option<String>,
    pub node: Option<String>,
    pub severity: Option<Severity>,
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

fn phases(text: &str) -> Result<Vec<Phase>> {
    let mut phases = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match word {
            "open" => phases.extend([Phase::Pending, Phase::Firing]),
            "pending" => phases.push(Phase::Pending),
            "firing" => phases.push(Phase::Firing),
            "resolved" => phases.push(Phase::Resolved),
            "removed" => phases.push(Phase::Removed),
            "cancelled" => phases.push(Phase::Cancelled),
            other => {
                return Err(Error::field(
                    "phase",
                    format!(
                        "expected open, pending, firing, resolved, removed or cancelled, found \
                         {other:?}"
                    ),
                ));
            }
        }
    }
    Ok(phases)
}

/// Alerts, newest first
#[utoipa::path(
    get, path = "/alerts", operation_id = "list_alerts", tag = "alerts", params(AlertQuery),
    responses((status = 200, body = Items<AlertView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(store): State<Store>,
    Query(query): Query<AlertQuery>,
) -> Result<Json<Items<AlertView>>> {
    let page = Page::new(query.limit, query.cursor);
    let filter = alerts::Filter {
        phases: query
            .phase
            .as_deref()
            .map(phases)
            .transpose()?
            .unwrap_or_default(),
        name: query.rule,
        check: query.check,
        node: query.node,
        severity: query.severity,
        ..alerts::Filter::default()
    };
    let before = page.cursor()?;
    let mut reader = store.reader().await?;
    let found = alerts::list(&mut reader, &filter, before, page.ask()).await?;
    let views = found.into_iter().map(AlertView::from).collect();
    Ok(Json(page.finish(views, |last: &AlertView| last.id)))
}

/// An alert with its history.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertPage {
    #[serde(flatten)]
    pub alert: AlertView,
    /// The rule's expression now; absent for faults and removed rules.
    pub expression: Option<String>,
    /// Oldest first.
    pub timeline: Vec<TimelineView>,
    /// Mails, newest first.
    pub outbox: Vec<DeliveryView>,
    /// Repairs, oldest first.
    pub action_runs: Vec<ActionRunView>,
    /// The last 20 results of its series, newest first.
    pub results: Vec<ResultView>,
}

/// One line of "why was I (not) alerted?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineView {
    pub id: i64,
    pub ts: i64,
    pub alert: Option<i64>,
    #[serde(flatten)]
    pub event: TimelineEvent,
}

impl From<timeline::Line> for TimelineView {
    fn from(line: timeline::Line) -> Self {
        Self {
            id: line.id,
            ts: line.entry.ts.micros(),
            alert: line.entry.alert,
            event: line.entry.event,
        }
    }
}

/// A run of a remediation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionRunView {
    pub id: i64,
    pub alert: i64,
    pub remediation: String,
    pub node: Option<String>,
    pub attempt: u32,
    pub status: RunStatus,
    pub verify: VerifyStatus,
    pub created_at: i64,
    pub finished_at: Option<i64>,
    pub summary: String,
    pub output: String,
}

impl From<ActionRun> for ActionRunView {
    fn from(run: ActionRun) -> Self {
        Self {
            id: run.id,
            alert: run.alert,
            remediation: run.remediation,
            node: run.node,
            attempt: run.attempt,
            status: run.status,
            verify: run.verify,
            created_at: run.created_at.micros(),
            finished_at: run.finished_at.map(|at| at.micros()),
            summary: run.summary,
            output: run.output,
        }
    }
}

/// The lines about results that led to an alert whose first own line is `first`:
/// from the last recovery before it on. `found` is the series' timeline, newest
/// first.
fn results_of(found: Vec<timeline::Line>, first: i64) -> Vec<timeline::Line> {
    let mut lines = Vec::new();
    for line in found {
        if line.entry.alert.is_some() {
            continue;
        }
        let recovered = matches!(
            line.entry.event,
            TimelineEvent::StateChanged {
                to: outcome::State::Ok,
                ..
            }
        );
        if line.id < first && recovered {
            break;
        }
        lines.push(line);
    }
    lines
}

/// One alert with its history
#[utoipa::path(
    get, path = "/alerts/{id}", operation_id = "get_alert", tag = "alerts",
    params(("id" = i64, Path)), responses((status = 200, body = AlertPage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    Path(id): Path<i64>,
) -> Result<Json<AlertPage>> {
    let mut reader = store.reader().await?;
    let alert = alerts::get(&mut reader, id)
        .await?
        .ok_or_else(|| Error::not_found("alert", &id.to_string()))?;
    let config = config.get();
    let expression = match &alert.source {
        AlertSource::Rule { name } => {
            let rule = config.spec.rules.iter().find(|rule| rule.name == *name);
            rule.map(|rule| rule.when.clone())
        }
        _ => None,
    };
    let mut lines = timeline::of_alert(&mut reader, id, 0, TIMELINE).await?;
    if let (Some(series), Some(first)) = (alert.series, lines.first().map(|line| line.id)) {
        // Its mails may go on after it, and so may the series.
        let end = lines.iter().find(|line| {
            matches!(
                line.entry.event,
                TimelineEvent::AlertResolved { .. }
                    | TimelineEvent::AlertCancelled
                    | TimelineEvent::AlertRemoved { .. }
            )
        });
        let before = alert
            .ended_at
            .and(end.or(lines.last()).map(|line| line.id + 1));
        let found = timeline::of_series(&mut reader, series, before, TIMELINE).await?;
        lines.extend(results_of(found, first));
        lines.sort_by_key(|line| line.id);
    }
    let mails = outbox::list(&mut reader, None, Some(id), None, 500).await?;
    let runs = action_runs::of_alert(&mut reader, id).await?;
    let results = match alert.series {
        Some(series) => history::newest(&mut reader, series, 20).await?,
        None => Vec::new(),
    };
    Ok(Json(AlertPage {
        alert: alert.into(),
        expression,
        timeline: lines.into_iter().map(TimelineView::from).collect(),
        outbox: mails.into_iter().map(DeliveryView::from).collect(),
        action_runs: runs.into_iter().map(ActionRunView::from).collect(),
        results,
    }))
}

/// A person's word on a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// False refuses it.
    pub approve: bool,
}

/// Approve or refuse a repair that waits for a person
#[utoipa::path(
    post, path = "/action_runs/{id}/decide", operation_id = "decide_repair", tag = "alerts",
    params(("id" = i64, Path)), request_body = Decision, responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn decide(
    Operator(caller): Operator,
    State(store): State<Store>,
    State(commands): State<Commands>,
    Path(id): Path<i64>,
    Body(decision): Body<Decision>,
) -> Result<StatusCode> {
    let run = action_runs::get(&mut *store.reader().await?, id)
        .await?
        .ok_or_else(|| Error::not_found("action run", &id.to_string()))?;
    if run.status != RunStatus::AwaitingApproval {
        return Err(Error::conflict(
            "not_waiting",
            format!(
                "the repair does not wait for approval, it is {}",
                run.status.as_str()
            ),
        ));
    }
    let actor = caller.actor();
    commands
        .ask(|reply| Command::DecideRepair {
            run: id,
            approve: decision.approve,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_words() {
        assert_eq!(phases("open").unwrap(), [Phase::Pending, Phase::Firing]);
        assert_eq!(
            phases("resolved, removed").unwrap(),
            [Phase::Resolved, Phase::Removed]
        );
        assert!(phases("closed").is_err());
    }
}
