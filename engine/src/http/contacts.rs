//! Contacts: who is told.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::commands::{Commands, Expect};
use super::error::Result;
use super::extract::{Body, Operator, Path, Query, Viewer};
use super::objects::{self, Item, Items, Object, Saved, Summary, WriteQuery};
use super::state::ConfigHandle;
use crate::config::spec::ContactSpec;

objects::write_handlers!(ContactSpec, "/contacts", "/contacts/{name}", "contact");

/// All of them
#[utoipa::path(
    get, path = "/contacts", operation_id = "list_contacts", tag = "objects",
    responses((status = 200, body = Items<Item<ContactSpec>>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
) -> Result<Json<Items<Item<ContactSpec>>>> {
    let config = config.get();
    let objects = ContactSpec::all(&config.spec).iter();
    let items = objects
        .map(|object| objects::item(&config, object, Summary::default()))
        .collect();
    Ok(Json(Items::all(items)))
}

/// One of them
#[utoipa::path(
    get, path = "/contacts/{name}", operation_id = "get_contact", tag = "objects",
    params(("name" = String, Path)),
    responses((status = 200, body = Item<ContactSpec>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    Path(name): Path<String>,
) -> Result<Json<Item<ContactSpec>>> {
    let config = config.get();
    let object = objects::find::<ContactSpec>(&config, &name)?;
    Ok(Json(objects::item(&config, object, Summary::default())))
}
