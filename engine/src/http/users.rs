//! Accounts of people.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::Entry;
use super::error::{Error, Result};
use super::extract::{Admin, Body, Path};
use super::objects::Items;
use super::sessions::Sessions;
use super::state::Recorder;
use crate::auth::{self, Role};
use crate::clock::SharedClock;
use crate::store::users::{self, User};
use crate::store::{Store, StoreError, credentials};

/// A person who can log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    pub name: String,
    pub role: Role,
    pub disabled: bool,
    /// False until a password is set.
    pub has_password: bool,
    pub created_at: i64,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            role: user.role,
            disabled: user.disabled,
            has_password: user.password_hash.is_some(),
            created_at: user.created_at.micros(),
        }
    }
}

/// A new account.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    pub name: String,
    pub role: Role,
    pub password: String,
}

/// What to change of an account.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeUser {
    pub role: Option<Role>,
    pub disabled: Option<bool>,
    pub password: Option<String>,
}

/// All accounts
#[utoipa::path(
    get, path = "/users", operation_id = "list_users", tag = "accounts",
    responses((status = 200, body = Items<UserView>)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn list(_: Admin, State(store): State<Store>) -> Result<Json<Items<UserView>>> {
    let users = users::list(&mut *store.reader().await?).await?;
    Ok(Json(Items::all(
        users.into_iter().map(UserView::from).collect(),
    )))
}

/// Create an account
#[utoipa::path(
    post, path = "/users", operation_id = "create_user", tag = "accounts",
    request_body = CreateUser, responses((status = 201, body = UserView)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn create(
    Admin(caller): Admin,
    State(sessions): State<Sessions>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Body(wanted): Body<CreateUser>,
) -> Result<(StatusCode, Json<UserView>)> {
    auth::check_account_name(&wanted.name).map_err(|error| Error::field("name", error))?;
    auth::check_password(&wanted.password).map_err(|error| Error::field("password", error))?;
    let hash = hash(&sessions, wanted.password).await?;
    let now = clock.now();
    let entry = Entry {
        ts: now,
        actor: caller.actor().name.to_string(),
        action: "create",
        subject: format!("user/{}", wanted.name),
        detail: serde_json::json!({ "role": wanted.role }),
    };
    let (name, role) = (wanted.name, wanted.role);
    let user = recorder
        .write(move |conn| {
            let (name, hash, entry) = (name.clone(), hash.clone(), entry.clone());
            Box::pin(async move {
                if users::find(conn, &name).await?.is_some() {
                    return Ok(Err(name));
                }
                let id = users::create(conn, &name, Some(&hash), role, now).await?;
                entry.append(conn).await?;
                must_exist(users::get(conn, id).await?).map(Ok)
            })
        })
        .await?;
    match user {
        Ok(user) => Ok((StatusCode::CREATED, Json(user.into()))),
        Err(name) => Err(Error::conflict(
            "exists",
            format!("there is a user {name:?} already"),
        )),
    }
}

fn must_exist(user: Option<User>) -> Result<User, StoreError> {
    user.ok_or_else(|| StoreError::NotFound("the user".into()))
}

/// Change role, password or access of an account
#[utoipa::path(
    patch, path = "/users/{name}", operation_id = "change_user", tag = "accounts",
    params(("name" = String, Path)), request_body = ChangeUser,
    responses((status = 200, body = UserView)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn change(
    Admin(caller): Admin,
    State(sessions): State<Sessions>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Path(name): Path<String>,
    Body(wanted): Body<ChangeUser>,
) -> Result<Json<UserView>> {
    let password = match &wanted.password {
        Some(password) => {
            auth::check_password(password).map_err(|error| Error::field("password", error))?;
            Some(hash(&sessions, password.clone()).await?)
        }
        None => None,
    };
    let entry = Entry {
        ts: clock.now(),
        actor: caller.actor().name.to_string(),
        action: "update",
        subject: format!("user/{name}"),
        detail: serde_json::json!({
            "role": wanted.role,
            "disabled": wanted.disabled,
            "password": wanted.password.is_some(),
        }),
    };
    let changed = recorder
        .write(move |conn| {
            let (name, entry, password) = (name.clone(), entry.clone(), password.clone());
            let (role, disabled) = (wanted.role, wanted.disabled);
            Box::pin(async move {
                let user = users::find(conn, &name).await?;
                let user = user.ok_or_else(|| StoreError::NotFound(format!("user {name:?}")))?;
                let role = role.unwrap_or(user.role);
                let disabled = disabled.unwrap_or(user.disabled);
                users::set_access(conn, user.id, role, disabled).await?;
                if let Some(password) = password {
                    users::set_password(conn, user.id, &password).await?;
                }
                // Whoever knew the old password, or had more rights, is out.
                credentials::delete_sessions(conn, user.id).await?;
                entry.append(conn).await?;
                must_exist(users::get(conn, user.id).await?)
            })
        })
        .await?;
    sessions.forget_all();
    Ok(Json(changed.into()))
}

/// Delete an account with its sessions and tokens
#[utoipa::path(
    delete, path = "/users/{name}", operation_id = "delete_user", tag = "accounts",
    params(("name" = String, Path)), responses((status = 204)),
    extensions(("x-role" = json!("admin"))),
)]
pub async fn remove(
    Admin(caller): Admin,
    State(sessions): State<Sessions>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let entry = Entry {
        ts: clock.now(),
        actor: caller.actor().name.to_string(),
        action: "delete",
        subject: format!("user/{name}"),
        detail: serde_json::json!({}),
    };
    recorder
        .write(move |conn| {
            let (name, entry) = (name.clone(), entry.clone());
            Box::pin(async move {
                let user = users::find(conn, &name).await?;
                let user = user.ok_or_else(|| StoreError::NotFound(format!("user {name:?}")))?;
                users::delete(conn, user.id).await?;
                entry.append(conn).await
            })
        })
        .await?;
    sessions.forget_all();
    Ok(StatusCode::NO_CONTENT)
}

async fn hash(sessions: &Sessions, password: String) -> Result<String> {
    let permit = sessions.verifiers.acquire().await?;
    let hash = tokio::task::spawn_blocking(move || auth::hash_password(&password)).await?;
    drop(permit);
    hash.map_err(|error| Error::internal(anyhow::anyhow!("hashing: {error}")))
}
