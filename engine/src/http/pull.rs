//! Plugins from registries.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::{Error, Result};
use super::extract::{Body, Operator};
use super::upload::{UploadAccepted, check_plugin_name, fresh_id};
use super::uploads::{UploadPhase, Uploads};
use crate::plugin::oci::Reference;

/// What to pull.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// `registry/repository:tag` or `registry/repository@sha256:…`.
    pub reference: String,
    /// Name to give it; its own where absent.
    #[serde(default)]
    pub name: Option<String>,
    /// What `bellwether plugin sign` wrote; the annotation
    /// `bellwether.signature` of the manifest where absent.
    #[serde(default)]
    pub signature: Option<String>,
}

/// Pull a plugin from a registry
///
/// From one that the configuration file lists, and then as an upload: progress
/// comes as `upload` events and under the upload's id.
#[utoipa::path(
    post, path = "/plugins/pull", operation_id = "pull_plugin", tag = "plugins",
    request_body = Pull, responses((status = 202, body = UploadAccepted)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn pull(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    State(uploads): State<Uploads>,
    Body(wanted): Body<Pull>,
) -> Result<(StatusCode, Json<UploadAccepted>)> {
    Reference::parse(&wanted.reference).map_err(|text| Error::field("reference", text))?;
    if let Some(name) = &wanted.name {
        check_plugin_name(name)?;
    }
    let id = fresh_id()?;
    uploads.phase(&id, UploadPhase::Received, "waiting for its turn");
    let sent = commands.send(Command::Pull {
        upload: id.clone(),
        name: wanted.name,
        reference: wanted.reference,
        signature: wanted.signature,
        actor: caller.actor(),
    });
    if let Err(error) = sent {
        uploads.phase(
            &id,
            UploadPhase::Failed,
            "the engine is busy; pull it again",
        );
        return Err(error);
    }
    Ok((StatusCode::ACCEPTED, Json(UploadAccepted { upload_id: id })))
}
