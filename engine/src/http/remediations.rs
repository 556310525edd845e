//! Remediations: what is tried.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::commands::{Commands, Expect};
use super::error::Result;
use super::extract::{Body, Operator, Path, Query, Viewer};
use super::objects::{self, Item, Items, Object, Saved, Summary, WriteQuery};
use super::state::ConfigHandle;
use crate::config::spec::RemediationSpec;

objects::write_handlers!(
    RemediationSpec,
    "/remediations",
    "/remediations/{name}",
    "remediation"
);

/// All of them
#[utoipa::path(
    get, path = "/remediations", operation_id = "list_remediations", tag = "objects",
    responses((status = 200, body = Items<Item<RemediationSpec>>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
) -> Result<Json<Items<Item<RemediationSpec>>>> {
    let config = config.get();
    let objects = RemediationSpec::all(&config.spec).iter();
    let items = objects
        .map(|object| objects::item(&config, object, Summary::default()))
        .collect();
    Ok(Json(Items::all(items)))
}

/// One of them
#[utoipa::path(
    get, path = "/remediations/{name}", operation_id = "get_remediation", tag = "objects",
    params(("name" = String, Path)),
    responses((status = 200, body = Item<RemediationSpec>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    Path(name): Path<String>,
) -> Result<Json<Item<RemediationSpec>>> {
    let config = config.get();
    let object = objects::find::<RemediationSpec>(&config, &name)?;
    Ok(Json(objects::item(&config, object, Summary::default())))
}
