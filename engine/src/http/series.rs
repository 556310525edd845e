//! Series: a check on a node, now and over time.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::alerts::TimelineView;
use super::error::{Error, Result};
use super::extract::{Page, Path, Query, Viewer};
use super::history;
use super::objects::Items;
use super::plugins;
use super::state::{ConfigHandle, ConfigView, SeriesRef};
use super::view::{self, AlertView, ResultView, Series};
use crate::check::outcome::{SeriesId, State as CheckState};
use crate::live::{Live, LiveView};
use crate::store::{Store, alerts, meta, series as stored, timeline};

/// Which series.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// `ok`, `warning`, `critical`, `unknown`, `pending`, `stale`, `paused`, or
    /// `problem` for what the overview lists.
    pub state: Option<String>,
    pub check: Option<String>,
    pub node: Option<String>,
    /// Part of the check's or node's name.
    pub q: Option<String>,
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// A state to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    State(CheckState),
    Pending,
    Stale,
    Paused,
    Problem,
}

impl std::str::FromStr for Wanted {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "ok" => Wanted::State(CheckState::Ok),
            "warning" => Wanted::State(CheckState::Warning),
            "critical" => Wanted::State(CheckState::Critical),
            "unknown" => Wanted::State(CheckState::Unknown),
            "pending" => Wanted::Pending,
            "stale" => Wanted::Stale,
            "paused" => Wanted::Paused,
            "problem" => Wanted::Problem,
            other => {
                return Err(Error::field(
                    "state",
                    format!(
                        "expected ok, warning, critical, unknown, pending, stale, paused or \
                         problem, found {other:?}"
                    ),
                ));
            }
        })
    }
}

impl Wanted {
    fn matches(self, one: &SeriesRef, live: Option<&Live>) -> bool {
        let state = live.and_then(|live| live.state.as_deref());
        let hard = state.and_then(|state| state.hard);
        match self {
            Wanted::State(wanted) => hard == Some(wanted),
            Wanted::Pending => hard.is_none(),
            Wanted::Stale => state.is_some_and(|state| state.is_stale()),
            Wanted::Paused => one.paused,
            Wanted::Problem => view::urgency(live) > 1,
        }
    }
}

/// Series, in order of check, then node
#[utoipa::path(
    get, path = "/series", operation_id = "list_series", tag = "series", params(SeriesQuery),
    responses((status = 200, body = Items<Series>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<Items<Series>>> {
    let page = Page::new(query.limit, query.cursor);
    let wanted: Option<Wanted> = query.state.as_deref().map(str::parse).transpose()?;
    let text = query.q.as_deref().unwrap_or("").trim().to_lowercase();
    // Names have no line breaks, so one can part them.
    let after: Option<String> = page.cursor()?;
    let after = match after.as_deref().map(|cursor| cursor.split_once('\n')) {
        None => None,
        Some(Some(names)) => Some(names),
        Some(None) => return Err(Error::field("cursor", "expected `next` of an answer")),
    };
    let config = config.get();
    let all = config.series();
    let start = after.map_or(0, |after| {
        all.partition_point(|one| (&*one.check, &*one.node) <= after)
    });
    let is = |filter: &Option<String>, name: &str| filter.as_ref().is_none_or(|f| f == name);
    let items = live.read(|states| {
        let found = all[start..].iter().filter(|one| {
            is(&query.check, &one.check)
                && is(&query.node, &one.node)
                && (text.is_empty()
                    || one.check.to_lowercase().contains(&text)
                    || one.node.to_lowercase().contains(&text))
                && wanted.is_none_or(|wanted| wanted.matches(one, states.get(&one.id)))
        });
        let shown = found.take(page.ask() as usize);
        shown
            .map(|one| view::series(one, states.get(&one.id)))
            .collect()
    });
    Ok(Json(page.finish(items, |last: &Series| {
        format!("{}\n{}", last.check, last.node)
    })))
}

/// A series by name: of the configuration, or what is left of an earlier one.
pub(super) async fn find(
    config: &ConfigView,
    store: &Store,
    check: &str,
    node: &str,
) -> Result<SeriesRef> {
    if let Some(one) = config.find_series(check, node) {
        return Ok(one.clone());
    }
    let row = stored::by_name(&mut *store.reader().await?, check, node).await?;
    let row = row.ok_or_else(|| Error::not_found("series", &format!("{check}/{node}")))?;
    Ok(SeriesRef {
        id: row.id,
        check: row.check,
        node: row.node,
        paused: true,
    })
}

/// A series with what happened lately.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeriesPage {
    #[serde(flatten)]
    pub series: Series,
    /// False: the configuration no longer has it, only its history is left.
    pub configured: bool,
    /// The last 50, newest first.
    pub results: Vec<ResultView>,
    /// The last 20, newest first.
    pub alerts: Vec<AlertView>,
    /// What there are charts of.
    pub metrics: Vec<MetricName>,
    /// Present where the check waits for reports of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<Reports>,
}

/// Reports of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reports {
    /// The job has a URL that works.
    pub has_url: bool,
}

/// A metric of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetricName {
    pub name: String,
    /// UCUM-like; empty where the plugin does not say.
    pub unit: String,
}

/// One series
#[utoipa::path(
    get, path = "/series/{check}/{node}", operation_id = "get_series", tag = "series",
    params(("check" = String, Path), ("node" = String, Path)),
    responses((status = 200, body = SeriesPage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(live): State<LiveView>,
    State(store): State<Store>,
    Path((check, node)): Path<(String, String)>,
) -> Result<Json<SeriesPage>> {
    let config = config.get();
    let one = find(&config, &store, &check, &node).await?;
    let mut reader = store.reader().await?;
    let results = history::newest(&mut reader, one.id, 50).await?;
    let filter = alerts::Filter {
        series: Some(one.id),
        ..alerts::Filter::default()
    };
    let found = alerts::list(&mut reader, &filter, None, 20).await?;
    let reports = match super::reports::is_awaited(&config, &check) {
        true => Some(Reports {
            has_url: meta::get(&mut reader, &meta::report_key(&check, &node))
                .await?
                .is_some(),
        }),
        false => None,
    };
    drop(reader);
    Ok(Json(SeriesPage {
        configured: config.find_series(&check, &node).is_some(),
        metrics: metrics(&config, &store, &check, &results).await?,
        series: view::series(&one, live.get(one.id).as_ref()),
        results,
        alerts: found.into_iter().map(AlertView::from).collect(),
        reports,
    }))
}

/// `duration_ms`, then what the last results carried, with the plugin's units.
async fn metrics(
    config: &ConfigView,
    store: &Store,
    check: &str,
    results: &[ResultView],
) -> Result<Vec<MetricName>> {
    let known = units(config, store, check).await?;
    let mut names = vec![MetricName {
        name: history::DURATION.into(),
        unit: "ms".into(),
    }];
    let mut carried: Vec<&String> = results.iter().flat_map(|one| one.metrics.keys()).collect();
    carried.sort_unstable();
    carried.dedup();
    for name in carried {
        let unit = known.iter().find(|metric| metric.name == *name);
        names.push(MetricName {
            name: name.clone(),
            unit: unit.map_or(String::new(), |metric| metric.unit.clone()),
        });
    }
    Ok(names)
}

async fn units(
    config: &ConfigView,
    store: &Store,
    check: &str,
) -> Result<Vec<plugins::MetricView>> {
    let Some(check) = config.spec.checks.iter().find(|one| one.name == check) else {
        return Ok(Vec::new());
    };
    let facts = plugins::facts(store, &check.plugin).await?;
    Ok(facts.map_or_else(Vec::new, |facts| facts.metrics))
}

/// The unit of a metric of a check's plugin; empty where it does not say.
pub(super) async fn unit(
    config: &ConfigView,
    store: &Store,
    check: &str,
    metric: &str,
) -> Result<String> {
    if metric == history::DURATION {
        return Ok("ms".into());
    }
    let known = units(config, store, check).await?;
    Ok(known
        .into_iter()
        .find(|one| one.name == metric)
        .map_or_else(String::new, |one| one.unit))
}

/// Which lines.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// Why somebody was (not) alerted, newest first
#[utoipa::path(
    get, path = "/series/{check}/{node}/timeline", operation_id = "get_series_timeline",
    tag = "series", params(("check" = String, Path), ("node" = String, Path), TimelineQuery),
    responses((status = 200, body = Items<TimelineView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn timeline(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    Path((check, node)): Path<(String, String)>,
    Query(query): Query<TimelineQuery>,
) -> Result<Json<Items<TimelineView>>> {
    let page = Page::new(query.limit, query.cursor);
    let before = page.cursor()?;
    let id: SeriesId = find(&config.get(), &store, &check, &node).await?.id;
    let mut reader = store.reader().await?;
    let lines = timeline::of_series(&mut reader, id, before, page.ask()).await?;
    let views = lines.into_iter().map(TimelineView::from).collect();
    Ok(Json(page.finish(views, |last: &TimelineView| last.id)))
}
