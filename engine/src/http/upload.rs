//! Receiving plugins.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::{Error, Result};
use super::extract::{ARRIVES_WITHIN, Operator, Path, arriving};
use super::state::Settings;
use super::uploads::{Upload, UploadPhase, Uploads};

/// An upload that takes longer is given up, so that it frees its place; so is
/// one of which nothing arrives for half a minute.
const RECEIVE_WITHIN: Duration = Duration::from_secs(300);
/// An upload waits this long for those before it.
const PLACE_WITHIN: Duration = Duration::from_secs(60);
/// When to send again what found no place.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// A plugin sent as a form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form for the OpenAPI document")]
pub struct UploadForm {
    /// WebAssembly component or module.
    #[schema(format = Binary, content_media_type = "application/wasm")]
    file: String,
    /// Name to give it; its own where absent.
    name: Option<String>,
    /// What `bellwether plugin sign` wrote.
    signature: Option<String>,
}

/// Where to ask for progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadAccepted {
    pub upload_id: String,
}

/// Upload a plugin
///
/// It is compiled and asked what it is; progress comes as `upload` events.
#[utoipa::path(
    post, path = "/plugins", operation_id = "upload_plugin", tag = "plugins",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 202, body = UploadAccepted)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn receive_plugin(
    Operator(caller): Operator,
    State(settings): State<Arc<Settings>>,
    State(commands): State<Commands>,
    State(uploads): State<Uploads>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<(StatusCode, Json<UploadAccepted>)> {
    let form = form.map_err(|_| Error::unsupported("multipart/form-data"))?;
    // Before anything of it is read.
    let place = uploads.place_within(PLACE_WITHIN).await.ok_or_else(|| {
        let text = "other plugins are being installed; send it again in a moment";
        Error::busy(text, TRY_AGAIN)
    })?;
    let parts = tokio::time::timeout(RECEIVE_WITHIN, parts(form, settings.max_plugin_size)).await;
    let Parts {
        file,
        name,
        file_name,
        signature,
    } = parts.map_err(|_| Error::too_slow(RECEIVE_WITHIN))??;
    let Some(bytes) = file.filter(|bytes| !bytes.is_empty()) else {
        return Err(Error::field(
            "file",
            "expected a WebAssembly file, found none",
        ));
    };
    if let Some(name) = &name {
        check_plugin_name(name)?;
    }
    let id = fresh_id()?;
    uploads.phase(
        &id,
        UploadPhase::Received,
        format!("received {} bytes", bytes.len()),
    );
    let sent = commands.send(Command::Install {
        upload: id.clone(),
        name,
        file_name,
        bytes,
        signature,
        place,
        actor: caller.actor(),
    });
    if let Err(error) = sent {
        uploads.phase(
            &id,
            UploadPhase::Failed,
            "the engine is busy; send it again",
        );
        return Err(error);
    }
    Ok((StatusCode::ACCEPTED, Json(UploadAccepted { upload_id: id })))
}

/// A name for an upload that nobody guesses.
pub(super) fn fresh_id() -> Result<String> {
    let mut random = [0u8; 12];
    getrandom::fill(&mut random)
        .map_err(|error| Error::internal(anyhow::anyhow!("randomness: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

#[derive(Default)]
struct Parts {
    file: Option<Bytes>,
    name: Option<String>,
    file_name: Option<String>,
    signature: Option<String>,
}

async fn parts(mut form: Multipart, max_size: u64) -> Result<Parts> {
    let mut parts = Parts::default();
    while let Some(field) = arriving(ARRIVES_WITHIN, form.next_field())
        .await?
        .map_err(broken)?
    {
        match field.name() {
            Some("file") => {
                parts.file_name = field.file_name().map(str::to_owned);
                parts.file = Some(receive(field, max_size).await?);
            }
            Some("name") => {
                let bytes = receive(field, 256).await?;
                let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                parts.name = Some(text).filter(|text| !text.is_empty());
            }
            Some("signature") => {
                let bytes = receive(field, 1_024).await?;
                let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                parts.signature = Some(text).filter(|text| !text.is_empty());
            }
            other => {
                return Err(Error::field(
                    other.unwrap_or(""),
                    "expected the fields file, name and signature only",
                ));
            }
        }
    }
    Ok(parts)
}

pub(super) fn check_plugin_name(name: &str) -> Result<()> {
    let fits = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(Error::field(
            "name",
            format!("expected 1 to 64 lower-case letters, digits and hyphens, found {name:?}"),
        ))
    }
}

fn broken(error: MultipartError) -> Error {
    Error::bad_request(format!("the form did not arrive in full: {error}"))
}

async fn receive(mut field: Field<'_>, limit: u64) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = arriving(ARRIVES_WITHIN, field.chunk())
        .await?
        .map_err(broken)?
    {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(Error::too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// How an upload goes
#[utoipa::path(
    get, path = "/plugins/uploads/{id}", operation_id = "get_upload", tag = "plugins",
    params(("id" = String, Path)), responses((status = 200, body = Upload)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn status(
    _: Operator,
    State(uploads): State<Uploads>,
    Path(id): Path<String>,
) -> Result<Json<Upload>> {
    uploads
        .get(&id)
        .map(Json)
        .ok_or_else(|| Error::not_found("upload", &id))
}
