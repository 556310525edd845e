//! Mails: to be delivered, delivered, given up.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::commands::{Command, Commands};
use super::error::Result;
use super::extract::{Operator, Page, Path, Query, Viewer};
use super::objects::Items;
use crate::pipeline::changes::NotificationKind;
use crate::store::outbox::{Delivery, Status};
use crate::store::{Store, outbox};

/// A mail to one recipient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    pub id: i64,
    pub alert: i64,
    pub kind: NotificationKind,
    /// Rule, or check for faults.
    pub name: String,
    pub node: Option<String>,
    pub contact: String,
    pub recipient: String,
    pub message_id: String,
    pub status: Status,
    pub attempts: u32,
    pub created_at: i64,
    /// When it is tried (again), while queued.
    pub next_at: i64,
    /// When it was sent or given up.
    pub done_at: Option<i64>,
    /// Last answer of the mail server.
    pub reply: Option<String>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let row = delivery.row;
        Self {
            id: row.id,
            alert: row.alert,
            kind: row.payload.kind,
            name: row.payload.name.clone(),
            node: row.payload.node.as_ref().map(|node| node.name.clone()),
            contact: row.contact,
            recipient: row.recipient,
            message_id: row.message_id,
            status: delivery.status,
            attempts: row.attempts,
            created_at: row.created_at.micros(),
            next_at: row.next_at.micros(),
            done_at: delivery.done_at.map(|at| at.micros()),
            reply: delivery.reply,
        }
    }
}

/// Which mails.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct OutboxQuery {
    pub status: Option<Status>,
    /// Only of this alert.
    pub alert: Option<i64>,
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// Mails, newest first
#[utoipa::path(
    get, path = "/outbox", operation_id = "list_outbox", tag = "outbox", params(OutboxQuery),
    responses((status = 200, body = Items<DeliveryView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(store): State<Store>,
    Query(query): Query<OutboxQuery>,
) -> Result<Json<Items<DeliveryView>>> {
    let page = Page::new(query.limit, query.cursor);
    let before = page.cursor()?;
    let mut reader = store.reader().await?;
    let found = outbox::list(&mut reader, query.status, query.alert, before, page.ask()).await?;
    let views = found.into_iter().map(DeliveryView::from).collect();
    Ok(Json(page.finish(views, |last: &DeliveryView| last.id)))
}

/// Try a mail again now
#[utoipa::path(
    post, path = "/outbox/{id}/retry", operation_id = "retry_delivery", tag = "outbox",
    params(("id" = i64, Path)), responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn retry(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path(id): Path<i64>,
) -> Result<StatusCode> {
    let actor = caller.actor();
    commands
        .ask(|reply| Command::RetryDelivery {
            outbox: id,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
