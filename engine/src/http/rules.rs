//! Rules: when somebody is told.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::alerts::OpenAlerts;
use super::commands::{Commands, Expect};
use super::error::Result;
use super::extract::{Body, Operator, Path, Query, Viewer};
use super::objects::{self, Item, Items, Object, Saved, Summary, WriteQuery};
use super::state::ConfigHandle;
use super::view::AlertView;
use crate::config::spec::RuleSpec;
use crate::pipeline::changes::{Alert, AlertSource};
use crate::store::Store;

objects::write_handlers!(RuleSpec, "/rules", "/rules/{name}", "rule");

/// A rule with its open alerts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RulePage {
    #[serde(flatten)]
    pub item: Item<RuleSpec>,
    /// Open alerts.
    pub alerts: Vec<AlertView>,
}

fn rule_of(alert: &Alert) -> Option<&str> {
    match &alert.source {
        AlertSource::Rule { name } => Some(name),
        _ => None,
    }
}

/// All rules
#[utoipa::path(
    get, path = "/rules", operation_id = "list_rules", tag = "objects",
    responses((status = 200, body = Items<Item<RuleSpec>>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
) -> Result<Json<Items<Item<RuleSpec>>>> {
    let open = OpenAlerts::read(&store).await?;
    let config = config.get();
    let alerts = open.count_by(rule_of);
    let items = config.spec.rules.iter().map(|rule| {
        let (pending, firing) = alerts.get(rule.name.as_str()).copied().unwrap_or_default();
        let summary = Summary {
            pending: Some(pending),
            firing: Some(firing),
            ..Summary::default()
        };
        objects::item(&config, rule, summary)
    });
    Ok(Json(Items::all(items.collect())))
}

/// One rule
#[utoipa::path(
    get, path = "/rules/{name}", operation_id = "get_rule", tag = "objects",
    params(("name" = String, Path)),
    responses((status = 200, body = RulePage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    Path(name): Path<String>,
) -> Result<Json<RulePage>> {
    let config = config.get();
    let rule = objects::find::<RuleSpec>(&config, &name)?;
    let open = OpenAlerts::read(&store).await?;
    let open = open.only(|alert| rule_of(alert) == Some(&name));
    let summary = Summary {
        series: None,
        ..open.summary(Default::default())
    };
    Ok(Json(RulePage {
        item: objects::item(&config, rule, summary),
        alerts: open.views(),
    }))
}
