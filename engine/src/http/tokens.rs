//! API tokens: for programs that read or change things here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::Entry;
use super::error::{Error, Result};
use super::extract::{Admin, Body, Path};
use super::objects::Items;
use super::sessions::{Sessions, new_secret};
use super::state::Recorder;
use crate::auth::{self, Role, TOKEN_PREFIX};
use crate::clock::SharedClock;
use crate::config::units::Span;
use crate::store::Store;
use crate::store::credentials::{self, Credential, Kind};

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub created_at: i64,
    pub expires_at: Option<i64>,
}

impl From<&Credential> for TokenView {
    fn from(token: &Credential) -> Self {
        Self {
            id: token.id(),
            name: token.name.clone(),
            role: token.role,
            created_at: token.created_at.micros(),
            expires_at: token.expires_at.map(|at| at.micros()),
        }
    }
}

/// A new token, the only time its secret is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    #[serde(flatten)]
    pub view: TokenView,
    pub token: String,
}

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    pub role: Role,
    /// How long it is good for, such as `90d`; for ever where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expires_in: Option<Span>,
}

/// All tokens
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_tokens", tag = "accounts",
    responses((status = 200, body = Items<TokenView>)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn list(_: Admin, State(store): State<Store>) -> Result<Json<Items<TokenView>>> {
    let tokens = credentials::list(&mut *store.reader().await?, Kind::Token, None).await?;
    Ok(Json(Items::all(
        tokens.iter().map(TokenView::from).collect(),
    )))
}

/// Make a token
#[utoipa::path(
    post, path = "/tokens", operation_id = "create_token", tag = "accounts",
    request_body = CreateToken, responses((status = 201, body = TokenCreated)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn create(
    Admin(caller): Admin,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Body(wanted): Body<CreateToken>,
) -> Result<(StatusCode, Json<TokenCreated>)> {
    auth::check_account_name(&wanted.name).map_err(|error| Error::field("name", error))?;
    let secret = new_secret(TOKEN_PREFIX)?;
    let now = clock.now();
    let token = Credential {
        hash: secret.hash,
        kind: Kind::Token,
        user: None,
        name: wanted.name,
        role: wanted.role,
        purpose: String::new(),
        created_at: now,
        expires_at: wanted.expires_in.map(|span| now + span.0),
        used_at: None,
    };
    let view = TokenView::from(&token);
    let entry = Entry {
        ts: now,
        actor: caller.actor().name.to_string(),
        action: "create",
        subject: format!("token/{}", token.name),
        detail: serde_json::json!({ "id": view.id, "role": token.role, "expires_at": view.expires_at }),
    };
    recorder
        .write(move |conn| {
            let (token, entry) = (token.clone(), entry.clone());
            Box::pin(async move {
                credentials::insert(conn, &token).await?;
                entry.append(conn).await
            })
        })
        .await?;
    let created = TokenCreated {
        view,
        token: secret.text,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Withdraw a token
#[utoipa::path(
    delete, path = "/tokens/{id}", operation_id = "delete_token", tag = "accounts",
    params(("id" = String, Path)), responses((status = 204)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn remove(
    Admin(caller): Admin,
    State(store): State<Store>,
    State(sessions): State<Sessions>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let tokens = credentials::list(&mut *store.reader().await?, Kind::Token, None).await?;
    let token = tokens
        .into_iter()
        .find(|token| token.id() == id)
        .ok_or_else(|| Error::not_found("token", &id))?;
    let entry = Entry {
        ts: clock.now(),
        actor: caller.actor().name.to_string(),
        action: "delete",
        subject: format!("token/{}", token.name),
        detail: serde_json::json!({ "id": id }),
    };
    let hash = token.hash;
    recorder
        .write(move |conn| {
            let entry = entry.clone();
            Box::pin(async move {
                credentials::delete(conn, &hash).await?;
                entry.append(conn).await
            })
        })
        .await?;
    sessions.forget_all();
    Ok(StatusCode::NO_CONTENT)
}
