//! Checks: what is asked, how often.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::alerts::OpenAlerts;
use super::commands::{Command, Commands, Expect};
use super::error::Result;
use super::extract::{Body, Operator, Path, Query, Viewer};
use super::objects::{self, Item, Items, Object, Saved, Summary, WriteQuery};
use super::plugins::{self, PluginFactsView};
use super::schedule;
use super::state::ConfigHandle;
use super::view::{self, AlertView, Series};
use crate::clock::SharedClock;
use crate::config::spec::CheckSpec;
use crate::live::LiveView;
use crate::store::Store;

objects::write_handlers!(CheckSpec, "/checks", "/checks/{name}", "check");

/// A check with all that is known of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckPage {
    #[serde(flatten)]
    pub item: Item<CheckSpec>,
    /// The plugin that it runs; absent where there is none of that name.
    pub plugin: Option<PluginFactsView>,
    /// The schedule in words.
    pub schedule: String,
    /// The next five times in µs; none while paused.
    pub next_runs: Vec<i64>,
    /// Worst first, at most 1,000.
    pub series: Vec<Series>,
    /// Open alerts.
    pub alerts: Vec<AlertView>,
}

/// All checks
#[utoipa::path(
    get, path = "/checks", operation_id = "list_checks", tag = "objects",
    responses((status = 200, body = Items<Item<CheckSpec>>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    State(store): State<Store>,
) -> Result<Json<Items<Item<CheckSpec>>>> {
    let open = OpenAlerts::read(&store).await?;
    let config = config.get();
    let counts = view::count_by(config.series(), &live, |one| &*one.check);
    let alerts = open.count_by(|alert| alert.check.as_deref());
    let items = config.spec.checks.iter().map(|check| {
        let (pending, firing) = alerts.get(check.name.as_str()).copied().unwrap_or_default();
        let summary = Summary {
            series: Some(counts.get(check.name.as_str()).copied().unwrap_or_default()),
            pending: Some(pending),
            firing: Some(firing),
            ..Summary::default()
        };
        objects::item(&config, check, summary)
    });
    Ok(Json(Items::all(items.collect())))
}

/// One check
#[utoipa::path(
    get, path = "/checks/{name}", operation_id = "get_check", tag = "objects",
    params(("name" = String, Path)),
    responses((status = 200, body = CheckPage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    State(store): State<Store>,
    State(clock): State<SharedClock>,
    Path(name): Path<String>,
) -> Result<Json<CheckPage>> {
    let config = config.get();
    let check = objects::find::<CheckSpec>(&config, &name)?;
    let open = OpenAlerts::read(&store).await?;
    let open = open.only(|alert| alert.check.as_deref() == Some(&name));
    let refs = config.series_of_check(&name);
    let (series, counts) = view::worst_first(refs.iter(), &live, objects::SERIES_SHOWN);
    let times = schedule::of_check(check);
    let next_runs = match &times {
        Ok(times) if !check.paused => schedule::next(times, clock.now()),
        _ => Vec::new(),
    };
    Ok(Json(CheckPage {
        plugin: plugins::facts(&store, &check.plugin).await?,
        schedule: schedule::text(check),
        next_runs,
        series,
        item: objects::item(&config, check, open.summary(counts)),
        alerts: open.views(),
    }))
}

/// What to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunRequest {
    /// Only on this node; on all it selects where absent.
    pub node: Option<String>,
}

/// What was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStarted {
    /// Series that run now.
    pub series: u32,
}

/// Run a check now
#[utoipa::path(
    post, path = "/checks/{name}/run", operation_id = "run_check", tag = "objects",
    params(("name" = String, Path)), request_body = RunRequest,
    responses((status = 202, body = RunStarted)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn run(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(commands): State<Commands>,
    Path(check): Path<String>,
    Body(request): Body<RunRequest>,
) -> Result<(StatusCode, Json<RunStarted>)> {
    objects::find::<CheckSpec>(&config.get(), &check)?;
    let series = commands
        .ask(|reply| Command::RunNow {
            check,
            node: request.node,
            actor: caller.actor(),
            reply,
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(RunStarted { series })))
}

/// Hold a check's schedule
#[utoipa::path(
    post, path = "/checks/{name}/pause", operation_id = "pause_check", tag = "objects",
    params(("name" = String, Path)), responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn pause(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(commands): State<Commands>,
    Path(check): Path<String>,
) -> Result<StatusCode> {
    objects::find::<CheckSpec>(&config.get(), &check)?;
    let actor = caller.actor();
    commands
        .ask(|reply| Command::Pause {
            check,
            paused: true,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a check's schedule go on
#[utoipa::path(
    post, path = "/checks/{name}/resume", operation_id = "resume_check", tag = "objects",
    params(("name" = String, Path)), responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn resume(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(commands): State<Commands>,
    Path(check): Path<String>,
) -> Result<StatusCode> {
    objects::find::<CheckSpec>(&config.get(), &check)?;
    let actor = caller.actor();
    commands
        .ask(|reply| Command::Pause {
            check,
            paused: false,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
