//! Plugins that crash: why one is held back, and letting it run again.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::Result;
use super::extract::{Body, Operator, Path};
use crate::check::outcome::Digest;
use crate::pipeline::quarantine::{Quarantine, QuarantineCause};

/// Why a version is not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuarantineView {
    pub cause: QuarantineCause,
    pub reason: String,
    pub since: i64,
    /// Trial runs that crashed.
    pub trials: u32,
    /// When the next trial run is made; absent for none.
    pub trial_at: Option<i64>,
}

impl From<&Quarantine> for QuarantineView {
    fn from(held: &Quarantine) -> Self {
        Self {
            cause: held.cause,
            reason: held.reason.clone(),
            since: held.since.micros(),
            trials: held.trials,
            trial_at: held.trial_at.map(|at| at.micros()),
        }
    }
}

/// The version to let run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub digest: Digest,
}

/// Let a quarantined version run again
#[utoipa::path(
    post, path = "/plugins/{name}/release", operation_id = "release_plugin", tag = "plugins",
    params(("name" = String, Path)), request_body = Release,
    responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn release(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
    Body(wanted): Body<Release>,
) -> Result<StatusCode> {
    let actor = caller.actor();
    commands
        .ask(|reply| Command::ReleasePlugin {
            plugin,
            digest: wanted.digest,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
