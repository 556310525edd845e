//! The first page: everything that is not well, from memory.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::alerts::OpenAlerts;
use super::error::Result;
use super::extract::Viewer;
use super::state::{ConfigHandle, Settings, StatusHandle};
use super::view::{self, AlertView, Series, StateCounts};
use crate::clock::{SharedClock, Timestamp};
use crate::live::LiveView;
use crate::pipeline::changes::Phase;
use crate::store::Store;

/// Problems shown.
const PROBLEMS: usize = 200;
/// Alerts shown.
const ALERTS: usize = 50;
/// Answers this old are handed out again, so that any number of open browsers
/// costs four answers a second.
const FRESH: Duration = Duration::from_millis(250);

/// The state of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Generation of the configuration.
    pub generation: u64,
    pub engine: EngineView,
    pub counts: StateCounts,
    /// Open alerts, firing first, then newest first; at most 50.
    pub alerts: Vec<AlertView>,
    /// Alerts that fire, shown or not.
    pub firing_total: u64,
    /// Alerts that wait for their `for`, shown or not.
    pub pending_total: u64,
    /// Series that are not ok, or stale; worst first, at most 200.
    pub problems: Vec<Series>,
    pub problems_total: u64,
    pub nodes_total: u64,
    pub checks_total: u64,
    pub series_total: u64,
    pub rules_total: u64,
    pub contacts_total: u64,
    pub first_steps: FirstSteps,
}

/// The engine itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineView {
    pub ready: bool,
    /// What does not work, for a banner.
    pub degraded: Option<String>,
    pub version: String,
    pub uptime_s: u64,
    pub checks_per_s: f64,
    pub lateness_p99_ms: f64,
    /// Faults since the start.
    pub faults: u64,
}

/// What a new installation has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirstSteps {
    pub node: bool,
    pub check: bool,
    pub rule: bool,
    pub contact: bool,
    /// A plugin that did not come with the engine.
    pub plugin: bool,
}

/// The last answer, as sent.
#[derive(Clone, Debug, Default)]
pub struct OverviewCache(Arc<Mutex<Option<(Timestamp, u64, Bytes)>>>);

/// Everything that is not well
#[utoipa::path(
    get, path = "/overview", tag = "overview",
    responses((status = 200, body = Overview)),
    extensions(("x-role" = json!("viewer"))),
)]
#[expect(
    clippy::too_many_arguments,
    reason = "each is a part that the page shows"
)]
pub async fn overview(
    _: Viewer,
    State(cache): State<OverviewCache>,
    State(clock): State<SharedClock>,
    State(config): State<ConfigHandle>,
    State(status): State<StatusHandle>,
    State(settings): State<Arc<Settings>>,
    State(live): State<LiveView>,
    State(store): State<Store>,
) -> Result<Response> {
    // One computes, the others wait for its answer.
    let mut cached = cache.0.lock().await;
    let now = clock.now();
    let config = config.get();
    let body = match &*cached {
        Some((at, generation, body))
            if *generation == config.generation && now >= *at && now.since(*at) < FRESH =>
        {
            body.clone()
        }
        _ => {
            let mut open = OpenAlerts::read(&store).await?.views();
            let in_phase = |phase| open.iter().filter(|alert| alert.phase == phase).count() as u64;
            let (firing_total, pending_total) = (in_phase(Phase::Firing), in_phase(Phase::Pending));
            open.truncate(ALERTS);
            let (mut problems, counts) = view::worst_first(config.series().iter(), &live, PROBLEMS);
            problems.retain(is_problem);
            let problems_total = live.read(|all| {
                let refs = config.series().iter();
                refs.filter(|one| view::urgency(all.get(&one.id)) > 1)
                    .count() as u64
            });
            let spec = &config.spec;
            let status = status.get();
            let overview = Overview {
                generation: config.generation,
                engine: EngineView {
                    ready: status.ready,
                    degraded: status.degraded,
                    version: settings.version.to_owned(),
                    uptime_s: now.since(status.started_at).as_secs(),
                    checks_per_s: status.checks_per_s,
                    lateness_p99_ms: status.lateness_p99_ms,
                    faults: status.faults,
                },
                counts,
                alerts: open,
                firing_total,
                pending_total,
                problems,
                problems_total,
                nodes_total: spec.nodes.len() as u64,
                checks_total: spec.checks.len() as u64,
                series_total: config.series().len() as u64,
                rules_total: spec.rules.len() as u64,
                contacts_total: spec.contacts.len() as u64,
                first_steps: FirstSteps {
                    node: !spec.nodes.is_empty(),
                    check: !spec.checks.is_empty(),
                    rule: !spec.rules.is_empty(),
                    contact: !spec.contacts.is_empty(),
                    plugin: !spec.plugins.is_empty(),
                },
            };
            let body = Bytes::from(serde_json::to_vec(&overview)?);
            *cached = Some((now, config.generation, body.clone()));
            body
        }
    };
    drop(cached);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Confirmed trouble, or none known because of faults.
fn is_problem(series: &Series) -> bool {
    use crate::check::outcome::State;
    series.stale || !matches!(series.state, None | Some(State::Ok))
}
