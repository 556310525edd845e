//! From a cookie or a token to who asks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::CookieJar;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::error::{Error, Result};
use super::extract::Identity;
use super::state::{Recorder, Settings};
use crate::auth::{
    LoginLimiter, NewSecret, SESSION_EXTENDED_EVERY, SESSION_LIFETIME, SecretHash, hash_secret,
};
use crate::clock::{SharedClock, Timestamp};
use crate::store::Store;
use crate::store::credentials::{self, Credential, Kind};
use crate::store::users::{self, User};

/// Name of the session's cookie.
pub const COOKIE: &str = "bw_session";
/// What was read of a credential is believed this long. Whatever withdraws one
/// in this process empties the cache at once.
const CACHED: Duration = Duration::from_secs(10);
/// Credentials remembered.
const CACHE_SIZE: usize = 4096;
/// A request waits this long for its session to be extended, not longer.
const EXTENDED_WITHIN: Duration = Duration::from_secs(1);
/// Passwords that are verified at the same time: each takes 19 MiB.
const VERIFIERS: usize = 2;

/// Sessions and tokens; cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    recorder: Recorder,
    clock: SharedClock,
    cache: Arc<Mutex<HashMap<SecretHash, Known>>>,
    pub(super) limiter: Arc<Mutex<LoginLimiter>>,
    pub(super) verifiers: Arc<tokio::sync::Semaphore>,
    /// Told when something was withdrawn or changed.
    withdrawn: watch::Sender<()>,
}

#[derive(Clone)]
struct Known {
    identity: Identity,
    expires_at: Option<Timestamp>,
    read_at: Timestamp,
}

/// A caller, and whether the browser's cookie is to be renewed.
struct Found {
    identity: Identity,
    renewed: bool,
}

impl Sessions {
    /// Reads from `store`, writes through `recorder`.
    pub fn new(store: Store, recorder: Recorder, clock: SharedClock) -> Self {
        Self {
            store,
            recorder,
            clock,
            cache: Arc::default(),
            limiter: Arc::default(),
            verifiers: Arc::new(tokio::sync::Semaphore::new(VERIFIERS)),
            withdrawn: watch::channel(()).0,
        }
    }

    /// Forgets what was read: something was withdrawn or changed.
    pub fn forget_all(&self) {
        self.cache.lock().clear();
        self.withdrawn.send_replace(());
    }

    /// Completes when what `identity` came with is good no longer.
    pub async fn ended(&self, identity: &Identity) {
        let mut withdrawn = self.withdrawn.subscribe();
        loop {
            // Not from the cache: what it holds may have been read just before.
            match self.read(identity.secret, self.clock.now()).await {
                Ok(Some(known)) if known.identity.session == identity.session => {}
                _ => return,
            }
            // The sender is in `self`.
            let _ = withdrawn.changed().await;
        }
    }

    /// Counts an attempt to guess the password of `name`, before it is verified:
    /// attempts in parallel are attempts. See [`LoginLimiter::succeeded`].
    ///
    /// # Errors
    /// There were too many.
    pub(super) fn count_attempt(&self, address: IpAddr, name: &str, now: Timestamp) -> Result<()> {
        let mut limiter = self.limiter.lock();
        limiter.check(address, name, now).map_err(|wait| {
            let seconds = wait.as_secs().max(1);
            let text = format!("too many failed logins; try again in {seconds} s");
            Error::too_many(text, wait)
        })?;
        limiter.failed(address, name, now);
        Ok(())
    }

    /// Begins a session and returns the `Set-Cookie` header.
    ///
    /// # Errors
    /// No randomness, or the store.
    pub async fn begin(&self, user: &User, settings: &Settings) -> Result<HeaderValue> {
        let secret = new_secret("")?;
        let now = self.clock.now();
        let credential = Credential {
            hash: secret.hash,
            kind: Kind::Session,
            user: Some(user.id),
            name: user.name.clone(),
            role: user.role,
            purpose: String::new(),
            created_at: now,
            expires_at: Some(now + SESSION_LIFETIME),
            used_at: None,
        };
        self.recorder
            .write(move |conn| {
                let credential = credential.clone();
                Box::pin(async move { credentials::insert(conn, &credential).await })
            })
            .await?;
        cookie(&secret.text, settings)
    }

    /// Ends the session or withdraws the token of `identity`.
    ///
    /// # Errors
    /// The store.
    pub async fn end(&self, identity: &Identity) -> Result<()> {
        let hash = identity.secret;
        self.recorder
            .write(move |conn| Box::pin(async move { credentials::delete(conn, &hash).await }))
            .await?;
        self.forget_all();
        Ok(())
    }

    async fn find(&self, headers: &HeaderMap) -> Result<Option<Found>> {
        let bearer = headers.get(header::AUTHORIZATION);
        let (text, kind) = match bearer {
            Some(value) => {
                let text = value.to_str().unwrap_or("");
                let token = text
                    .split_once(' ')
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                    .map(|(_, token)| token.trim().to_owned());
                let Some(token) = token else {
                    return Err(Error::unauthorized("expected Authorization: Bearer TOKEN"));
                };
                (token, Kind::Token)
            }
            None => match CookieJar::from_headers(headers).get(COOKIE) {
                Some(cookie) => (cookie.value().to_owned(), Kind::Session),
                None => return Ok(None),
            },
        };
        let found = self.identify(hash_secret(&text), kind).await?;
        match found {
            None if kind == Kind::Token => Err(Error::unauthorized(
                "the token is not known, has expired or was withdrawn",
            )),
            found => Ok(found),
        }
    }

    async fn identify(&self, hash: SecretHash, kind: Kind) -> Result<Option<Found>> {
        let now = self.clock.now();
        let cached = self.cache.lock().get(&hash).cloned();
        let known = match cached {
            Some(known) if now.since(known.read_at) < CACHED && known.read_at <= now => known,
            _ => match self.read(hash, now).await? {
                Some(known) => {
                    let mut cache = self.cache.lock();
                    if cache.len() >= CACHE_SIZE {
                        cache.clear();
                    }
                    cache.insert(hash, known.clone());
                    known
                }
                None => return Ok(None),
            },
        };
        let is_session = kind == Kind::Session;
        let expired = known.expires_at.is_some_and(|at| at <= now);
        if expired || known.identity.session != is_session {
            return Ok(None);
        }
        let mut renewed = false;
        if let Some(expires) = known.expires_at.filter(|_| is_session)
            && now + SESSION_LIFETIME > expires + SESSION_EXTENDED_EVERY
        {
            self.extend(hash, now).await;
            renewed = true;
        }
        Ok(Some(Found {
            identity: known.identity,
            renewed,
        }))
    }

    async fn read(&self, hash: SecretHash, now: Timestamp) -> Result<Option<Known>> {
        let mut reader = self.store.reader().await?;
        let Some(credential) = credentials::find(&mut reader, &hash, now).await? else {
            return Ok(None);
        };
        let session = match credential.kind {
            Kind::Session => true,
            Kind::Token => false,
            Kind::Link => return Ok(None),
        };
        let (mut name, mut role) = (credential.name, credential.role);
        if let Some(id) = credential.user {
            match users::get(&mut reader, id).await? {
                // A session has the role that its person has now.
                Some(user) if !user.disabled && session => (name, role) = (user.name, user.role),
                Some(user) if !user.disabled => role = role.min(user.role),
                _ => return Ok(None),
            }
        }
        Ok(Some(Known {
            identity: Identity {
                name: name.into(),
                role,
                user: credential.user,
                secret: hash,
                session,
            },
            expires_at: credential.expires_at,
            read_at: now,
        }))
    }

    /// Puts off the end of a session in use. That it fails or takes its time is
    /// no reason to keep the person waiting or to send it away.
    async fn extend(&self, hash: SecretHash, now: Timestamp) {
        let expires_at = now + SESSION_LIFETIME;
        if let Some(known) = self.cache.lock().get_mut(&hash) {
            known.expires_at = Some(expires_at);
        }
        let written = self.recorder.write(move |conn| {
            Box::pin(async move { credentials::touch(conn, &hash, now, Some(expires_at)).await })
        });
        match tokio::time::timeout(EXTENDED_WITHIN, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a session could not be extended"),
            Err(_) => tracing::warn!("a session could not be extended in time"),
        }
    }
}

/// A secret behind `prefix`.
pub(super) fn new_secret(prefix: &str) -> Result<NewSecret> {
    NewSecret::generate(prefix).map_err(|error| {
        Error::internal(anyhow::anyhow!("the system gives no randomness: {error}"))
    })
}

/// The header that gives the browser its session. `value` comes from
/// [`NewSecret`] or from a cookie that was found to be one.
fn cookie(value: &str, settings: &Settings) -> Result<HeaderValue> {
    set_cookie(value, SESSION_LIFETIME, settings)
}

/// The header that makes the browser forget its session.
///
/// # Errors
/// Never for this value.
pub fn removal(settings: &Settings) -> Result<HeaderValue> {
    set_cookie("", Duration::ZERO, settings)
}

fn set_cookie(value: &str, lifetime: Duration, settings: &Settings) -> Result<HeaderValue> {
    let secure = if settings.is_https() { "; Secure" } else { "" };
    let text = format!(
        "{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        lifetime.as_secs()
    );
    Ok(HeaderValue::try_from(text)?)
}

/// True where a browser's session comes along.
pub fn has_session_cookie(headers: &HeaderMap) -> bool {
    CookieJar::from_headers(headers).get(COOKIE).is_some()
}

/// Finds out who asks and tells the handlers.
pub async fn authenticate(
    State(sessions): State<Sessions>,
    State(settings): State<Arc<Settings>>,
    mut request: Request,
    next: Next,
) -> Response {
    let found = match sessions.find(request.headers()).await {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    let mut renewed = None;
    if let Some(found) = found {
        if found.renewed {
            let jar = CookieJar::from_headers(request.headers());
            renewed = jar
                .get(COOKIE)
                .and_then(|old| cookie(old.value(), &settings).ok());
        }
        request.extensions_mut().insert(found.identity);
    }
    let mut response = next.run(request).await;
    // A handler that sets the cookie itself knows better.
    if let Some(renewed) = renewed
        && !response.headers().contains_key(header::SET_COOKIE)
    {
        response.headers_mut().append(header::SET_COOKIE, renewed);
    }
    response
}
