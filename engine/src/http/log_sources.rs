//! Log sources: what is read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::commands::{Commands, Expect};
use super::error::Result;
use super::extract::{Body, Operator, Path, Query, Viewer};
use super::objects::{self, Item, Items, Object, Saved, Summary, WriteQuery};
use super::state::ConfigHandle;
use crate::config::spec::LogSourceSpec;
use crate::live::LiveView;

objects::write_handlers!(
    LogSourceSpec,
    "/log_sources",
    "/log_sources/{name}",
    "log_source"
);

/// All of them
#[utoipa::path(
    get, path = "/log_sources", operation_id = "list_log_sources", tag = "objects",
    responses((status = 200, body = Items<Item<LogSourceSpec>>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
) -> Result<Json<Items<Item<LogSourceSpec>>>> {
    let config = config.get();
    let objects = LogSourceSpec::all(&config.spec).iter();
    let items = objects
        .map(|object| objects::item(&config, object, summary(&live, object)))
        .collect();
    Ok(Json(Items::all(items)))
}

/// One of them
#[utoipa::path(
    get, path = "/log_sources/{name}", operation_id = "get_log_source", tag = "objects",
    params(("name" = String, Path)),
    responses((status = 200, body = Item<LogSourceSpec>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    Path(name): Path<String>,
) -> Result<Json<Item<LogSourceSpec>>> {
    let config = config.get();
    let object = objects::find::<LogSourceSpec>(&config, &name)?;
    let summary = summary(&live, object);
    Ok(Json(objects::item(&config, object, summary)))
}

fn summary(live: &LiveView, source: &LogSourceSpec) -> Summary {
    Summary {
        fault: live.source_fault(&source.name),
        ..Summary::default()
    }
}
