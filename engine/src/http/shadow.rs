//! Shadow runs: another version of a plugin beside the one in use.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::{Error, Result};
use super::extract::{Body, Operator, Path, Viewer};
use crate::check::outcome::{Digest, Fault, Metric, State as CheckState};

/// The version to run beside the one in use: one of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowWanted {
    #[serde(default)]
    pub digest: Option<Digest>,
    #[serde(default)]
    pub version: Option<String>,
}

/// What a plugin's page shows of its shadow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ShadowPage {
    /// Absent where none runs.
    pub shadow: Option<ShadowView>,
}

/// A version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShadowVersion {
    pub digest: Digest,
    pub version: String,
}

/// How two versions compare since the shadow was started.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowView {
    /// The version in use.
    pub current: ShadowVersion,
    /// The version that runs beside it.
    pub shadow: ShadowVersion,
    pub since: i64,
    pub started_by: String,
    /// Runs whose state, or kind of fault, was the same.
    pub agreements: u64,
    pub disagreements: u64,
    /// Runs without a shadow, because others were in flight.
    pub skipped: u64,
    /// Series with disagreements first, then by check and node; bounded.
    pub series: Vec<ShadowSeries>,
}

/// The newest runs of a check on a node.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowSeries {
    pub check: String,
    pub node: String,
    pub agreements: u64,
    pub disagreements: u64,
    /// Newest first; bounded.
    pub runs: Vec<ShadowRun>,
}

/// Two runs of the same slot.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowRun {
    pub at: i64,
    pub agrees: bool,
    pub current: ShadowSide,
    pub shadow: ShadowSide,
}

/// What one version made of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowSide {
    /// Absent for a fault.
    pub state: Option<CheckState>,
    /// Cut where it is long.
    pub summary: String,
    /// The first ones.
    pub metrics: Vec<Metric>,
    pub fault: Option<Fault>,
    pub duration_us: u64,
}

/// Run another version beside the one in use
///
/// From now on each scheduled run of a check that uses the plugin is followed by
/// a run of that version with the same request and grants. It is compared and
/// forgotten: nothing is recorded, alerted or repaired. Another shadow of the
/// plugin ends.
#[utoipa::path(
    post, path = "/plugins/{name}/shadow", operation_id = "start_shadow", tag = "plugins",
    params(("name" = String, Path)), request_body = ShadowWanted,
    responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn start(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
    Body(wanted): Body<ShadowWanted>,
) -> Result<StatusCode> {
    if wanted.digest.is_some() == wanted.version.is_some() {
        return Err(Error::field(
            "version",
            "expected one of version and digest",
        ));
    }
    let actor = caller.actor();
    commands
        .ask(|reply| Command::StartShadow {
            plugin,
            wanted,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a shadow
#[utoipa::path(
    delete, path = "/plugins/{name}/shadow", operation_id = "end_shadow", tag = "plugins",
    params(("name" = String, Path)), responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn end(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
) -> Result<StatusCode> {
    let actor = caller.actor();
    commands
        .ask(|reply| Command::EndShadow {
            plugin,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a shadow compares
#[utoipa::path(
    get, path = "/plugins/{name}/shadow", operation_id = "get_shadow", tag = "plugins",
    params(("name" = String, Path)), responses((status = 200, body = ShadowPage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
) -> Result<Json<ShadowPage>> {
    let shadow = commands
        .ask(|reply| Command::Shadow { plugin, reply })
        .await?;
    Ok(Json(ShadowPage {
        shadow: shadow.map(|shadow| *shadow),
    }))
}
