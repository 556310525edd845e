//! Extractors: who asks, with which role; bodies and pages with errors that
//! name the field.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::commands::Actor;
use super::error::{Error, FieldError, Result};
use super::objects::Items;
use crate::auth::{Role, SecretHash};

/// Greatest body of a JSON request in bytes.
pub const MAX_JSON: usize = 1 << 20;
/// A body, or the next piece of an upload, that takes longer is given up.
pub const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// Who asks, as found by [`sessions::authenticate`](super::sessions::authenticate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: Arc<str>,
    pub role: Role,
    /// The account; a token has none.
    pub user: Option<i64>,
    /// What it came with.
    pub secret: SecretHash,
    /// A browser session, not a token.
    pub session: bool,
}

impl Identity {
    /// The name in the audit.
    pub fn actor(&self) -> Actor {
        Actor {
            name: if self.session {
                self.name.clone()
            } else {
                format!("token:{}", self.name).into()
            },
            role: self.role,
        }
    }
}

/// The caller, where there is one.
pub struct Caller(pub Option<Identity>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Identity>().cloned()))
    }
}

macro_rules! role_extractor {
    ($(#[$doc:meta])* $name:ident, $role:expr) => {
        $(#[$doc])*
        pub struct $name(pub Identity);

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
                require(parts, $role).map(Self)
            }
        }
    };
}

role_extractor!(
    /// Anybody who is logged in.
    Viewer,
    Role::Viewer
);
role_extractor!(
    /// An operator or administrator.
    Operator,
    Role::Operator
);
role_extractor!(
    /// An administrator.
    Admin,
    Role::Admin
);

fn require(parts: &Parts, role: Role) -> Result<Identity> {
    match parts.extensions.get::<Identity>() {
        None => Err(Error::unauthorized("log in first, or send an API token")),
        Some(identity) if identity.role < role => Err(Error::forbidden(format!(
            "expected role {} or above, found {}",
            role.as_str(),
            identity.role.as_str()
        ))),
        Some(identity) => Ok(identity.clone()),
    }
}

/// A JSON body; what is wrong with it is told by field.
pub struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(Error::unsupported("application/json"));
        }
        let bytes = read(ARRIVES_WITHIN, request, state).await?;
        parse(&bytes).map(Self)
    }
}

/// A body of text.
pub struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let bytes = read(ARRIVES_WITHIN, request, state).await?;
        match String::from_utf8(bytes.into()) {
            Ok(text) => Ok(Self(text)),
            Err(error) => Err(Error::bad_request(format!("expected UTF-8 text: {error}"))),
        }
    }
}

/// A whole body.
///
/// # Errors
/// It is too large, broken off, or takes longer than `within`.
pub async fn read<S: Send + Sync>(within: Duration, request: Request, state: &S) -> Result<Bytes> {
    arriving(within, Bytes::from_request(request, state))
        .await?
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Error::too_large(MAX_JSON as u64)
            } else {
                Error::bad_request("the body did not arrive in full")
            }
        })
}

/// Awaits what a client sends.
///
/// # Errors
/// 408 where it takes longer than `within`.
pub async fn arriving<T>(within: Duration, sent: impl Future<Output = T>) -> Result<T> {
    let arrived = tokio::time::timeout(within, sent).await;
    arrived.map_err(|_| Error::too_slow(within))
}

/// Reads JSON with the path of what is wrong.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => field_error(&path, &inner),
            _ => Error::bad_request(format!("expected JSON: {inner}")),
        }
    })?;
    reader
        .end()
        .map_err(|error| Error::bad_request(format!("expected one JSON value: {error}")))?;
    Ok(value)
}

fn field_error(path: &str, error: &serde_json::Error) -> Error {
    let path = if path == "." { "" } else { path };
    let text = error.to_string();
    // Positions in the request's text mean nothing to who filled in a form.
    let message = match text.rfind(" at line ") {
        Some(at) => &text[..at],
        None => &text,
    };
    // A key that is missing or unknown is itself the field.
    let mut quoted = message.split('`').skip(1).step_by(2);
    let mut field = FieldError::new(path, message);
    let named = quoted.next().map(str::to_owned);
    let unknown = message.starts_with("unknown field");
    if let Some(named) = named.filter(|_| unknown || message.starts_with("missing field")) {
        if unknown {
            field.suggestion = crate::config::problem::closest(&named, quoted).map(str::to_owned);
        }
        // The path may or may not end with the key already.
        if path != named && !path.ends_with(&format!(".{named}")) {
            field.path = if path.is_empty() {
                named
            } else {
                format!("{path}.{named}")
            };
        }
    }
    Error::validation(vec![field])
}

/// Which part of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    limit: usize,
    cursor: Option<String>,
}

impl Page {
    /// Most items in one answer.
    pub const MAX: u32 = 500;

    /// From the query's `limit` and `cursor`.
    pub fn new(limit: Option<u32>, cursor: Option<String>) -> Self {
        Self {
            limit: limit.unwrap_or(100).clamp(1, Self::MAX) as usize,
            cursor,
        }
    }

    /// Items to answer with.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Items to read: one more than shown tells whether there are more.
    pub fn ask(&self) -> u32 {
        self.limit as u32 + 1
    }

    /// The cursor as what it was made from.
    ///
    /// # Errors
    /// It is none.
    pub fn cursor<T: std::str::FromStr>(&self) -> Result<Option<T>> {
        let parse = |cursor: &str| {
            let wrong = || format!("expected `next` of an answer, found {cursor:?}");
            cursor.parse().map_err(|_| Error::field("cursor", wrong()))
        };
        self.cursor.as_deref().map(parse).transpose()
    }

    /// The answer from [`ask`](Self::ask) items.
    pub fn finish<T, K: ToString>(&self, mut items: Vec<T>, key: impl Fn(&T) -> K) -> Items<T> {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| key(last).to_string());
        Items { items, next }
    }
}

/// Query parameters; what is wrong with them is told by name.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|rejection| {
                let text = rejection.body_text();
                let message = text
                    .split_once(": ")
                    .map_or(text.as_str(), |(_, message)| message)
                    .to_owned();
                match message.split_once(": ") {
                    Some((field, message)) if !field.contains(' ') => Error::field(field, message),
                    _ => Error::field("", message),
                }
            })
    }
}

/// Path parameters.
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(_) => Err(Error::not_found("resource", parts.uri.path())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::CheckSpec;

    fn fields(json: &str) -> Vec<FieldError> {
        use axum::response::IntoResponse;
        let Err(error) = parse::<CheckSpec>(json.as_bytes()) else {
            panic!("{json} was accepted");
        };
        let body = error.into_response().into_body();
        let bytes = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(body))
            .unwrap()
            .unwrap()
            .to_bytes();
        serde_json::from_slice::<super::super::error::ErrorBody>(&bytes)
            .unwrap()
            .error
            .fields
    }

    #[test]
    fn errors_name_the_field() {
        let of = |json: &str| fields(json).remove(0);
        let found = of(r#"{"name":"a","plugin":"http","evry":"10s"}"#);
        assert_eq!(
            (found.path.as_str(), found.suggestion.as_deref()),
            ("evry", Some("every"))
        );
        let found = of(r#"{"name":"a","plugin":"http","every":"10 s"}"#);
        assert_eq!(found.path, "every");
        assert!(
            found.message.starts_with("expected a duration"),
            "{found:?}"
        );
        let found = of(r#"{"name":"a","plugin":"http","limits":{"memry":"1MiB"}}"#);
        assert_eq!(found.path, "limits.memry");
        let found = of(r#"{"plugin":"http"}"#);
        assert_eq!(found.path, "name");
        assert!(fields("{").is_empty());
    }
}
