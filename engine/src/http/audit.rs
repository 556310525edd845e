//! Who changed what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::Result;
use super::extract::{Admin, Page, Query};
use super::objects::Items;
use crate::clock::Timestamp;
use crate::store::{Conn, Store, StoreError, audit};

/// A row to be written in the transaction of the change it tells of.
#[derive(Clone, Debug)]
pub struct Entry {
    pub ts: Timestamp,
    pub actor: String,
    pub action: &'static str,
    /// `kind/name`.
    pub subject: String,
    /// Without secrets.
    pub detail: serde_json::Value,
}

impl Entry {
    /// Writes the row.
    ///
    /// # Errors
    /// The store.
    pub async fn append(&self, conn: &mut Conn) -> Result<(), StoreError> {
        audit::append(
            conn,
            self.ts,
            &self.actor,
            self.action,
            &self.subject,
            &self.detail,
        )
        .await
    }
}

/// A change by a person or token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    pub id: i64,
    pub ts: i64,
    /// User, or `token:` and the token's name.
    pub actor: String,
    /// `create`, `update`, `delete`, `login`, …
    pub action: String,
    /// `kind/name`.
    pub subject: String,
    /// What changed, without secrets; null where nothing is left of it.
    #[schema(value_type = Option<Object>)]
    pub detail: serde_json::Value,
}

/// Which rows.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only of this `kind/name`.
    pub subject: Option<String>,
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// Who changed what, newest first
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "accounts", params(AuditQuery),
    responses((status = 200, body = Items<AuditView>)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn list(
    _: Admin,
    State(store): State<Store>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Items<AuditView>>> {
    let page = Page::new(query.limit, query.cursor);
    let before = page.cursor()?;
    let mut reader = store.reader().await?;
    let rows = audit::list(&mut reader, query.subject.as_deref(), before, page.ask()).await?;
    let items = rows.into_iter().map(|row| AuditView {
        id: row.id,
        ts: row.ts.micros(),
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        detail: row.detail,
    });
    Ok(Json(
        page.finish(items.collect(), |last: &AuditView| last.id),
    ))
}
