//! Help while editing: what a selector selects, what a rule says, when a
//! schedule runs.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands, RuleTestReport};
use super::error::{Error, FieldError, Result};
use super::extract::{Body, Viewer};
use super::schedule;
use super::state::ConfigHandle;
use crate::alert::expr::NodeExpr;
use crate::check::outcome::NodeInfo;
use crate::clock::SharedClock;
use crate::config::spec::NodeSpec;

/// An expression over nodes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// CEL over `name`, `address`, `labels`; empty selects every node.
    pub expr: String,
}

/// What it selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Selected {
    /// Names, at most 20.
    pub nodes: Vec<String>,
    pub total: u64,
}

/// Nodes that a selector selects
#[utoipa::path(
    post, path = "/nodes/select", tag = "tools", request_body = Selector,
    responses((status = 200, body = Selected)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn select_nodes(
    _: Viewer,
    State(config): State<ConfigHandle>,
    Body(selector): Body<Selector>,
) -> Result<Json<Selected>> {
    let config = config.get();
    let selected = select(&selector.expr, &config.spec.nodes)?;
    Ok(Json(Selected {
        total: selected.len() as u64,
        nodes: selected.into_iter().take(20).map(str::to_owned).collect(),
    }))
}

fn select<'a>(expr: &str, nodes: &'a [NodeSpec]) -> Result<Vec<&'a str>> {
    if expr.trim().is_empty() {
        return Ok(nodes.iter().map(|node| node.name.as_str()).collect());
    }
    let expr = NodeExpr::compile(expr).map_err(|error| {
        let mut field = FieldError::new("expr", error.to_string());
        field.suggestion = error.suggestion;
        Error::validation(vec![field])
    })?;
    let selected = nodes.iter().filter(|node| {
        expr.matches(&NodeInfo {
            name: node.name.clone(),
            address: node.address.clone(),
            labels: node.labels.clone(),
        })
    });
    Ok(selected.map(|node| node.name.as_str()).collect())
}

/// A rule to be tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleTest {
    pub when: String,
    /// Only series of this check.
    #[serde(default)]
    pub check: Option<String>,
    /// Only series of this node.
    #[serde(default)]
    pub node: Option<String>,
}

/// What a rule would say now
#[utoipa::path(
    post, path = "/rules/test", tag = "tools", request_body = RuleTest,
    responses((status = 200, body = RuleTestReport)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn test_rule(
    _: Viewer,
    State(commands): State<Commands>,
    Body(test): Body<RuleTest>,
) -> Result<Json<RuleTestReport>> {
    commands
        .ask(|reply| Command::TestRule {
            when: test.when,
            check: test.check,
            node: test.node,
            reply,
        })
        .await
        .map(Json)
}

/// A schedule to be shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    pub every: Option<String>,
    pub cron: Option<String>,
    /// IANA time zone of `cron`; UTC where absent.
    pub tz: Option<String>,
}

/// When it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchedulePreview {
    /// In words.
    pub text: String,
    /// The next five, in µs.
    pub next_runs: Vec<i64>,
}

/// The next five times of a schedule
#[utoipa::path(
    post, path = "/schedule/preview", tag = "tools", request_body = Schedule,
    responses((status = 200, body = SchedulePreview)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn preview_schedule(
    _: Viewer,
    State(clock): State<SharedClock>,
    Body(wanted): Body<Schedule>,
) -> Result<Json<SchedulePreview>> {
    schedule::preview(&wanted, clock.now()).map(Json)
}
