//! The first administrator, and tokens made on the command line.

use anyhow::Context;

use super::audit::Entry;
use super::state::Recorder;
use crate::auth::{self, FIRST_LINK_LIFETIME, NewSecret, Role, TOKEN_PREFIX};
use crate::clock::{SharedClock, Timestamp};
use crate::store::credentials::{self, Credential, Kind};
use crate::store::{Conn, StoreError, users};

/// What a link must be for to log somebody in.
pub(super) const LOGIN_PURPOSE: &str = "{\"login\":true}";
/// Name of the first administrator.
pub const FIRST_ADMIN: &str = "admin";

/// How people get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstLogin {
    /// There is an administrator with a password.
    Nothing,
    /// The first administrator got the given password.
    PasswordSet,
    /// Nobody has a password: this link, good once and for a day, logs the
    /// first administrator in. Print `<public_url>login#token=<token>`.
    Link { token: String },
}

/// Makes sure that somebody can log in. Call it at every start: a link that
/// was not used in time is replaced.
///
/// # Errors
/// The password is too short or long, no randomness, or the store.
pub async fn first_login(
    recorder: &Recorder,
    clock: &SharedClock,
    password: Option<&str>,
) -> anyhow::Result<FirstLogin> {
    let hash = match password {
        Some(password) => {
            auth::check_password(password)
                .map_err(anyhow::Error::msg)
                .context("the first administrator's password")?;
            let hash = auth::hash_password(password);
            Some(hash.map_err(|error| anyhow::anyhow!("hashing the password: {error}"))?)
        }
        None => None,
    };
    let secret = NewSecret::generate("")
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    let (now, link) = (clock.now(), secret.hash);
    let outcome = recorder
        .write(move |conn| {
            let hash = hash.clone();
            Box::pin(async move { ensure_admin(conn, hash.as_deref(), link, now).await })
        })
        .await?;
    Ok(match outcome {
        Outcome::Nothing => FirstLogin::Nothing,
        Outcome::PasswordSet => FirstLogin::PasswordSet,
        Outcome::Link => FirstLogin::Link { token: secret.text },
    })
}

enum Outcome {
    Nothing,
    PasswordSet,
    Link,
}

async fn ensure_admin(
    conn: &mut Conn,
    hash: Option<&str>,
    link: auth::SecretHash,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    let all = users::list(conn).await?;
    let mut admins = all
        .iter()
        .filter(|user| user.role == Role::Admin && !user.disabled);
    if admins.clone().any(|user| user.password_hash.is_some()) {
        return Ok(Outcome::Nothing);
    }
    let (id, name) = match admins.next() {
        Some(user) => (user.id, user.name.clone()),
        None => {
            let id = users::create(conn, FIRST_ADMIN, None, Role::Admin, now).await?;
            (id, FIRST_ADMIN.to_owned())
        }
    };
    let mut entry = Entry {
        ts: now,
        actor: "engine".into(),
        action: "password",
        subject: format!("user/{name}"),
        detail: serde_json::json!({ "from": "BELLWETHER_ADMIN_PASSWORD" }),
    };
    for old in credentials::list(conn, Kind::Link, Some(id)).await? {
        if old.purpose == LOGIN_PURPOSE {
            credentials::delete(conn, &old.hash).await?;
        }
    }
    if let Some(hash) = hash {
        users::set_password(conn, id, hash).await?;
        entry.append(conn).await?;
        return Ok(Outcome::PasswordSet);
    }
    let credential = Credential {
        hash: link,
        kind: Kind::Link,
        user: Some(id),
        name,
        role: Role::Admin,
        purpose: LOGIN_PURPOSE.into(),
        created_at: now,
        expires_at: Some(now + FIRST_LINK_LIFETIME),
        used_at: None,
    };
    credentials::insert(conn, &credential).await?;
    entry.action = "link";
    entry.detail = serde_json::json!({ "expires_at": (now + FIRST_LINK_LIFETIME).micros() });
    entry.append(conn).await?;
    Ok(Outcome::Link)
}

/// Makes an API token and returns its text: `bellwether token create`.
///
/// # Errors
/// A name that cannot be, no randomness, or the store.
pub async fn create_token(
    conn: &mut Conn,
    name: &str,
    role: Role,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> anyhow::Result<String> {
    auth::check_account_name(name)
        .map_err(anyhow::Error::msg)
        .context("the token's name")?;
    let secret = NewSecret::generate(TOKEN_PREFIX)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    let credential = Credential {
        hash: secret.hash,
        kind: Kind::Token,
        user: None,
        name: name.to_owned(),
        role,
        purpose: String::new(),
        created_at: now,
        expires_at,
        used_at: None,
    };
    credentials::insert(conn, &credential).await?;
    let entry = Entry {
        ts: now,
        actor: "command line".into(),
        action: "create",
        subject: format!("token/{name}"),
        detail: serde_json::json!({ "id": credential.id(), "role": role }),
    };
    entry.append(conn).await?;
    Ok(secret.text)
}
