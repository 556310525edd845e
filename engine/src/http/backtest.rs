//! Trying a rule on the past.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::{FieldError, Result};
use super::extract::{Body, Operator};
use crate::config::spec::Severity;
use crate::config::units::Span;
use crate::pipeline::backtest::Episode;

/// A rule and a range of time. `rule` names one of the configuration; `when`,
/// `for` and `severity` stand in the place of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BacktestAsk {
    pub rule: Option<String>,
    pub when: Option<String>,
    #[serde(rename = "for")]
    #[schema(value_type = Option<String>)]
    pub hold: Option<Span>,
    pub severity: Option<Severity>,
    /// Begin in µs; a day before `to` where absent.
    pub from: Option<i64>,
    /// End in µs; now where absent.
    pub to: Option<i64>,
}

/// What the rule would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BacktestReport {
    /// The rule is valid.
    pub ok: bool,
    /// What is wrong with it or with the range.
    pub fields: Vec<FieldError>,
    /// The expression.
    pub when: String,
    /// How long it had to stay true; absent: not at all.
    #[serde(rename = "for")]
    #[schema(value_type = Option<String>)]
    pub hold: Option<Span>,
    pub severity: Option<Severity>,
    /// One alert per series, or one per rule.
    pub per_series: bool,
    /// Begin of the range in µs.
    pub from: i64,
    /// How far it came in µs.
    pub to: i64,
    /// Why it did not come to the end that was asked for.
    pub cut: Option<String>,
    /// Results and log records that were read.
    pub results: u64,
    pub log_records: u64,
    /// Alerts that fired.
    pub fired: u64,
    /// True for less than `for`.
    pub cancelled: u64,
    /// Pending at the end.
    pub pending: u64,
    /// Those that fired, oldest first; at most 1,000.
    pub alerts: Vec<BacktestAlert>,
}

/// An alert that would have fired. Times in µs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BacktestAlert {
    pub check: Option<String>,
    pub node: Option<String>,
    /// When the expression became true.
    pub pending_at: i64,
    pub fired_at: i64,
    /// Absent where it still fires at the end.
    pub ended_at: Option<i64>,
    pub summary: String,
}

impl From<Episode> for BacktestAlert {
    fn from(one: Episode) -> Self {
        Self {
            check: one.check,
            node: one.node,
            pending_at: one.pending_at.micros(),
            fired_at: one.fired_at.micros(),
            ended_at: one.ended_at.map(|at| at.micros()),
            summary: one.summary,
        }
    }
}

/// What a rule would have fired
///
/// Evaluates it over stored results and log records, as if it had been added at
/// `from` with its windows filled. One runs at a time, for at most 30 s.
#[utoipa::path(
    post, path = "/rules/backtest", tag = "tools", request_body = BacktestAsk,
    responses((status = 200, body = BacktestReport)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn backtest_rule(
    _: Operator,
    State(commands): State<Commands>,
    Body(ask): Body<BacktestAsk>,
) -> Result<Json<BacktestReport>> {
    commands
        .ask(|reply| Command::Backtest { ask, reply })
        .await
        .map(Json)
}
