//! Nodes: what is watched.

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
use super::view::{self, AlertView, Series};
use crate::config::spec::NodeSpec;
use crate::live::LiveView;
use crate::store::Store;

objects::write_handlers!(NodeSpec, "/nodes", "/nodes/{name}", "node");

/// A node with all that is known of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodePage {
    #[serde(flatten)]
    pub item: Item<NodeSpec>,
    /// Worst first, at most 1,000.
    pub series: Vec<Series>,
    /// Open alerts.
    pub alerts: Vec<AlertView>,
}

/// All nodes
#[utoipa::path(
    get, path = "/nodes", operation_id = "list_nodes", tag = "objects",
    responses((status = 200, body = Items<Item<NodeSpec>>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    State(store): State<Store>,
) -> Result<Json<Items<Item<NodeSpec>>>> {
    let open = OpenAlerts::read(&store).await?;
    let config = config.get();
    let counts = view::count_by(config.series(), &live, |one| &*one.node);
    let alerts = open.count_by(|alert| alert.node.as_deref());
    let items = config.spec.nodes.iter().map(|node| {
        let (pending, firing) = alerts.get(node.name.as_str()).copied().unwrap_or_default();
        let summary = Summary {
            series: Some(counts.get(node.name.as_str()).copied().unwrap_or_default()),
            pending: Some(pending),
            firing: Some(firing),
            ..Summary::default()
        };
        objects::item(&config, node, summary)
    });
    Ok(Json(Items::all(items.collect())))
}

/// One node
#[utoipa::path(
    get, path = "/nodes/{name}", operation_id = "get_node", tag = "objects",
    params(("name" = String, Path)),
    responses((status = 200, body = NodePage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    State(store): State<Store>,
    Path(name): Path<String>,
) -> Result<Json<NodePage>> {
    let config = config.get();
    let node = objects::find::<NodeSpec>(&config, &name)?;
    let open = OpenAlerts::read(&store).await?;
    let open = open.only(|alert| alert.node.as_deref() == Some(&name));
    let (series, counts) =
        view::worst_first(config.series_of_node(&name), &live, objects::SERIES_SHOWN);
    let summary = open.summary(counts);
    Ok(Json(NodePage {
        item: objects::item(&config, node, summary),
        series,
        alerts: open.views(),
    }))
}
