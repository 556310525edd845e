//! Plugins that crash: why one is held back, and letting it run again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands, DryRunReport};
use super::error::{Error, Result};
use super::extract::{Body, Operator, Path};
use super::objects::Items;
use crate::check::outcome::Digest;
use crate::pipeline::quarantine::{Quarantine, QuarantineCause};
use crate::plugin::CrashRequest;
use crate::store::crashes as stored;
use crate::store::{Store, plugins};

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

/// A run that crashed its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CrashView {
    pub id: i64,
    /// For `bellwether plugin run FILE --replay`.
    pub request: CrashRequest,
}

/// Requests that crashed a plugin
///
/// The newest few of each version, newest first, without secrets.
#[utoipa::path(
    get, path = "/plugins/{name}/crashes", operation_id = "list_crashes", tag = "plugins",
    params(("name" = String, Path)), responses((status = 200, body = Items<CrashView>)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn crashes(
    _: Operator,
    State(store): State<Store>,
    Path(name): Path<String>,
) -> Result<Json<Items<CrashView>>> {
    let mut reader = store.reader().await?;
    let rows = plugins::list(&mut reader).await?;
    let versions: Vec<_> = rows.iter().filter(|row| row.name == name).collect();
    if versions.is_empty() {
        return Err(Error::not_found("plugin", &name));
    }
    let mut all = Vec::new();
    for version in versions {
        let of = stored::of(&mut reader, &version.digest).await?;
        all.extend(
            of.into_iter()
                .map(|(id, request)| CrashView { id, request }),
        );
    }
    all.sort_by_key(|crash| std::cmp::Reverse(crash.id));
    Ok(Json(Items::all(all)))
}

/// The version to run a crash with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayCrash {
    /// The one that crashed where absent.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// Run a crash again
///
/// As it was, by the version that crashed or by another one of the plugin, and
/// recording nothing. It has no commands, and of its secrets those that the
/// plugin is granted now. What the target answers is what it answers now.
#[utoipa::path(
    post, path = "/plugins/{name}/crashes/{id}/replay", operation_id = "replay_crash", tag = "plugins",
    params(("name" = String, Path), ("id" = i64, Path)), request_body = ReplayCrash,
    responses((status = 200, body = DryRunReport)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn replay(
    _: Operator,
    State(commands): State<Commands>,
    Path((plugin, id)): Path<(String, i64)>,
    Body(wanted): Body<ReplayCrash>,
) -> Result<Json<DryRunReport>> {
    commands
        .ask(|reply| Command::ReplayCrash {
            plugin,
            id,
            digest: wanted.digest,
            reply,
        })
        .await
        .map(Json)
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
