//! Logging in and out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::Entry;
use super::error::{Error, Result};
use super::extract::{Body, Caller, Identity, Viewer};
use super::security::Client;
use super::sessions::{self, Sessions};
use super::setup::LOGIN_PURPOSE;
use super::state::{Recorder, Settings};
use crate::auth::{self, Role};
use crate::clock::SharedClock;
use crate::store::credentials::Kind;
use crate::store::users::{self, User};
use crate::store::{Store, StoreError, credentials};

/// Who is logged in, and what the login page must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Absent: nobody.
    pub user: Option<UserName>,
    /// Nobody has a password yet: the link that the first start printed is to
    /// be used.
    pub setup_needed: bool,
    pub demo: bool,
    pub version: String,
    pub public_url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserName {
    pub name: String,
    pub role: Role,
    /// No password is set yet: the page asks for one.
    pub password_needed: bool,
}

/// Name and password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub name: String,
    pub password: String,
}

/// The secret of a one-time link.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkLogin {
    pub token: String,
}

/// A new password for whoever is logged in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password so far, where there is one.
    #[serde(default)]
    pub old: Option<String>,
    pub new: String,
}

/// Who is logged in
#[utoipa::path(
    get, path = "/session", operation_id = "get_session", tag = "session",
    responses((status = 200, body = SessionView)),
    extensions(("x-role" = json!("public"))),
)]
pub async fn get(
    Caller(caller): Caller,
    State(store): State<Store>,
    State(settings): State<Arc<Settings>>,
) -> Result<Json<SessionView>> {
    view(&store, &settings, caller.as_ref()).await.map(Json)
}

async fn view(
    store: &Store,
    settings: &Settings,
    caller: Option<&Identity>,
) -> Result<SessionView> {
    let mut reader = store.reader().await?;
    let mut user = None;
    if let Some(caller) = caller {
        let account = match caller.user {
            Some(id) if caller.session => users::get(&mut reader, id).await?,
            _ => None,
        };
        user = Some(UserName {
            name: caller.name.to_string(),
            role: caller.role,
            password_needed: account.is_some_and(|user| user.password_hash.is_none()),
        });
    }
    Ok(SessionView {
        user,
        setup_needed: !users::list(&mut reader)
            .await?
            .iter()
            .any(|user| user.password_hash.is_some()),
        demo: settings.demo,
        version: settings.version.to_owned(),
        public_url: settings.public_url.to_string(),
    })
}

/// Log in with name and password
#[utoipa::path(
    post, path = "/session", operation_id = "log_in", tag = "session", request_body = Login,
    responses((status = 200, body = SessionView)),
    extensions(("x-role" = json!("public"))),
)]
pub async fn log_in(
    State(store): State<Store>,
    State(sessions): State<Sessions>,
    State(settings): State<Arc<Settings>>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Client(address): Client,
    Body(login): Body<Login>,
) -> Result<Response> {
    let now = clock.now();
    let wrong = || Error::unauthorized("the name or the password is wrong");
    if login.password.len() > auth::MAX_PASSWORD || login.name.len() > 256 {
        return Err(wrong());
    }
    sessions.count_attempt(address, &login.name, now)?;
    let user = {
        let mut reader = store.reader().await?;
        users::find(&mut reader, &login.name).await?
    };
    let stored = user
        .as_ref()
        .filter(|user| !user.disabled)
        .and_then(|user| user.password_hash.clone());
    let permit = sessions.verifiers.acquire().await?;
    let password = login.password;
    let matches =
        tokio::task::spawn_blocking(move || auth::verify_password(&password, stored.as_deref()))
            .await?;
    drop(permit);
    let (Some(user), true) = (user, matches) else {
        tracing::warn!(%address, name = ?login.name, "login failed");
        return Err(wrong());
    };
    sessions.limiter.lock().succeeded(address, &login.name, now);
    let entry = Entry {
        ts: now,
        actor: user.name.clone(),
        action: "login",
        subject: format!("user/{}", user.name),
        detail: serde_json::json!({ "address": address.to_string() }),
    };
    begin(&store, &sessions, &settings, &recorder, &user, entry).await
}

/// Log in with a one-time link
#[utoipa::path(
    post, path = "/session/link", operation_id = "log_in_with_link", tag = "session",
    request_body = LinkLogin, responses((status = 200, body = SessionView)),
    extensions(("x-role" = json!("public"))),
)]
pub async fn log_in_with_link(
    State(store): State<Store>,
    State(sessions): State<Sessions>,
    State(settings): State<Arc<Settings>>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Body(link): Body<LinkLogin>,
) -> Result<Response> {
    // 256 random bits cannot be guessed, so nothing is counted here.
    let hash = auth::hash_secret(&link.token);
    let now = clock.now();
    let user = recorder
        .write(move |conn| {
            Box::pin(async move {
                let Some(link) = credentials::consume_link(conn, &hash, now).await? else {
                    return Ok(None);
                };
                match link.user.filter(|_| link.purpose == LOGIN_PURPOSE) {
                    Some(id) => users::get(conn, id).await,
                    None => Ok(None),
                }
            })
        })
        .await?
        .ok_or_else(|| {
            Error::unauthorized("the link was used before, has expired or is not known")
        })?;
    let entry = Entry {
        ts: now,
        actor: user.name.clone(),
        action: "login",
        subject: format!("user/{}", user.name),
        detail: serde_json::json!({ "with": "one-time link" }),
    };
    begin(&store, &sessions, &settings, &recorder, &user, entry).await
}

async fn begin(
    store: &Store,
    sessions: &Sessions,
    settings: &Settings,
    recorder: &Recorder,
    user: &User,
    entry: Entry,
) -> Result<Response> {
    let cookie = sessions.begin(user, settings).await?;
    record(recorder, entry).await?;
    let identity = Identity {
        name: user.name.as_str().into(),
        role: user.role,
        user: Some(user.id),
        secret: [0; 32],
        session: true,
    };
    let view = view(store, settings, Some(&identity)).await?;
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Json(view)).into_response())
}

/// Writes an audit row of its own.
pub(super) async fn record(recorder: &Recorder, entry: Entry) -> Result<(), StoreError> {
    recorder
        .write(move |conn| {
            let entry = entry.clone();
            Box::pin(async move { entry.append(conn).await })
        })
        .await
}

/// Log out
#[utoipa::path(
    delete, path = "/session", operation_id = "log_out", tag = "session",
    responses((status = 204)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn log_out(
    Viewer(caller): Viewer,
    State(sessions): State<Sessions>,
    State(settings): State<Arc<Settings>>,
) -> Result<Response> {
    if !caller.session {
        return Err(Error::bad_request(
            "this is a token; withdraw it under /tokens",
        ));
    }
    sessions.end(&caller).await?;
    let cookie = sessions::removal(&settings)?;
    Ok((
        StatusCode::NO_CONTENT,
        AppendHeaders([(header::SET_COOKIE, cookie)]),
    )
        .into_response())
}

/// Set one's own password
///
/// Ends every other session of the person.
#[utoipa::path(
    post, path = "/me/password", operation_id = "set_own_password", tag = "session",
    request_body = NewPassword, responses((status = 204)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn set_password(
    Viewer(caller): Viewer,
    State(store): State<Store>,
    State(sessions): State<Sessions>,
    State(clock): State<SharedClock>,
    State(recorder): State<Recorder>,
    Client(address): Client,
    Body(wanted): Body<NewPassword>,
) -> Result<StatusCode> {
    let Some(id) = caller.user.filter(|_| caller.session) else {
        return Err(Error::forbidden("a token has no password; log in"));
    };
    auth::check_password(&wanted.new).map_err(|error| Error::field("new", error))?;
    let user = {
        let mut reader = store.reader().await?;
        users::get(&mut reader, id).await?
    };
    let user = user.ok_or_else(|| Error::unauthorized("the account is gone"))?;
    let now = clock.now();
    if user.password_hash.is_some() {
        sessions.count_attempt(address, &user.name, now)?;
    }
    let permit = sessions.verifiers.acquire().await?;
    let (old, stored, new) = (
        wanted.old.unwrap_or_default(),
        user.password_hash.clone(),
        wanted.new,
    );
    let hash = tokio::task::spawn_blocking(move || {
        // With a session from the first link there is no password to know.
        let knows_old = stored.is_none()
            || (old.len() <= auth::MAX_PASSWORD && auth::verify_password(&old, stored.as_deref()));
        knows_old.then(|| auth::hash_password(&new))
    })
    .await?;
    drop(permit);
    let Some(hash) = hash else {
        tracing::warn!(%address, name = ?user.name, "the password so far was not known");
        return Err(Error::field("old", "this is not the password so far"));
    };
    sessions.limiter.lock().succeeded(address, &user.name, now);
    let hash = hash.map_err(|error| Error::internal(anyhow::anyhow!("hashing: {error}")))?;
    let keep = caller.secret;
    let entry = Entry {
        ts: now,
        actor: user.name.clone(),
        action: "password",
        subject: format!("user/{}", user.name),
        detail: serde_json::json!({}),
    };
    recorder
        .write(move |conn| {
            let (hash, entry) = (hash.clone(), entry.clone());
            Box::pin(async move {
                users::set_password(conn, id, &hash).await?;
                for other in credentials::list(conn, Kind::Session, Some(id)).await? {
                    if other.hash != keep {
                        credentials::delete(conn, &other.hash).await?;
                    }
                }
                entry.append(conn).await
            })
        })
        .await?;
    sessions.forget_all();
    Ok(StatusCode::NO_CONTENT)
}
