//! Results of a series over time: as a list, a chart, a strip of states.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Error, Result};
use super::extract::{Page, Path, Query, Viewer};
use super::objects::Items;
use super::schedule;
use super::series::{find, unit};
use super::state::{ConfigHandle, ConfigView};
use super::view::ResultView;
use crate::check::outcome::SeriesId;
use crate::clock::{SharedClock, Timestamp};
use crate::pipeline::changes::ResultRow;
use crate::store::results::{self, Measure, Point, Stretch};
use crate::store::{Conn, Store, StoreError, series};

/// Name under which the duration of runs is charted, in milliseconds.
pub const DURATION: &str = "duration_ms";
/// Longest range of a request in µs: 800 days.
const LONGEST: i64 = 800 * 86_400_000_000;
/// Stretches of a strip.
const STRETCHES: u32 = 720;

/// A range of time.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Range {
    /// In µs; a day before `to` where absent.
    pub from: Option<i64>,
    /// In µs; now where absent.
    pub to: Option<i64>,
}

impl Range {
    fn check(self, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
        let to = self.to.unwrap_or(now.micros());
        let from = self.from.unwrap_or(to.saturating_sub(86_400_000_000));
        match to.checked_sub(from) {
            Some(length) if (1..=LONGEST).contains(&length) => Ok((Timestamp(from), Timestamp(to))),
            _ => Err(Error::field(
                "from",
                format!("expected a time before `to`, at most 800 days, found {from} and {to}"),
            )),
        }
    }
}

/// Results as shown, metrics by name.
async fn views(conn: &mut Conn, rows: Vec<ResultRow>) -> Result<Vec<ResultView>, StoreError> {
    let names: HashMap<u32, Arc<str>> = if rows.iter().any(|row| !row.metrics.is_empty()) {
        series::metric_names(conn).await?.into_iter().collect()
    } else {
        HashMap::new()
    };
    let view = |row: ResultRow| ResultView {
        ts: row.ts.micros(),
        state: row.verdict.as_ref().ok().copied(),
        fault: row.verdict.as_ref().err().map(|fault| fault.kind),
        duration_us: row.duration_us,
        lateness_us: row.lateness_us,
        summary: row.summary,
        details: row.details,
        metrics: row
            .metrics
            .into_iter()
            .filter_map(|(id, value)| Some((names.get(&id)?.to_string(), value)))
            .collect(),
    };
    Ok(rows.into_iter().map(view).collect())
}

/// The newest results of a series, newest first.
///
/// # Errors
/// The store.
pub async fn newest(conn: &mut Conn, id: SeriesId, limit: u32) -> Result<Vec<ResultView>> {
    let rows = results::recent(conn, id, None, limit).await?;
    Ok(views(conn, rows).await?)
}

/// Which results.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ResultsQuery {
    /// At or after, in µs.
    pub from: Option<i64>,
    /// Before, in µs.
    pub to: Option<i64>,
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// Results of a series, newest first
#[utoipa::path(
    get, path = "/series/{check}/{node}/results", operation_id = "list_results", tag = "series",
    params(("check" = String, Path), ("node" = String, Path), ResultsQuery),
    responses((status = 200, body = Items<ResultView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    Path((check, node)): Path<(String, String)>,
    Query(query): Query<ResultsQuery>,
) -> Result<Json<Items<ResultView>>> {
    let page = Page::new(query.limit, query.cursor);
    let before = page.cursor::<i64>()?.or(query.to).map(Timestamp);
    let one = find(&config.get(), &store, &check, &node).await?;
    let mut reader = store.reader().await?;
    let mut rows = results::recent(&mut reader, one.id, before, page.ask()).await?;
    if let Some(from) = query.from {
        rows.retain(|row| row.ts.micros() >= from);
    }
    let views = views(&mut reader, rows).await?;
    Ok(Json(page.finish(views, |last: &ResultView| last.ts)))
}

/// What to draw.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ChartQuery {
    /// `duration_ms` or a metric's name; `duration_ms` where absent.
    pub metric: Option<String>,
    /// In µs; a day before `to` where absent.
    pub from: Option<i64>,
    /// In µs; now where absent.
    pub to: Option<i64>,
    /// At most 2,000; 600 where absent.
    pub points: Option<u32>,
}

/// A metric over time, in columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Chart {
    pub metric: String,
    /// UCUM-like; empty where the plugin does not say.
    pub unit: String,
    pub from: i64,
    pub to: i64,
    /// Width of a point in seconds.
    pub step_s: f64,
    /// Starts of the points in µs.
    pub ts: Vec<i64>,
    /// Absent values are gaps: the check did not report.
    pub avg: Vec<Option<f64>>,
    pub min: Vec<Option<f64>>,
    pub max: Vec<Option<f64>>,
}

/// A metric of a series over time
#[utoipa::path(
    get, path = "/series/{check}/{node}/chart", operation_id = "get_chart", tag = "series",
    params(("check" = String, Path), ("node" = String, Path), ChartQuery),
    responses((status = 200, body = Chart)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn chart(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    State(clock): State<SharedClock>,
    Path((check, node)): Path<(String, String)>,
    Query(query): Query<ChartQuery>,
) -> Result<Json<Chart>> {
    let now = clock.now();
    let range = Range {
        from: query.from,
        to: query.to,
    };
    let (from, to) = range.check(now)?;
    let count = query.points.unwrap_or(600).clamp(1, 2000);
    let metric = query.metric.unwrap_or_else(|| DURATION.to_owned());
    let config = config.get();
    let one = find(&config, &store, &check, &node).await?;
    let mut reader = store.reader().await?;
    let measure = if metric == DURATION {
        Some(Measure::Duration)
    } else {
        series::metric_id(&mut reader, &metric)
            .await?
            .map(Measure::Metric)
    };
    // A name that was never reported has no values; that is no mistake.
    let points = match measure {
        Some(measure) => results::points(&mut reader, one.id, measure, from, to, count).await?,
        None => Vec::new(),
    };
    drop(reader);
    let width = results::stretch_us(from, to, count);
    let mut chart = Chart {
        unit: unit(&config, &store, &check, &metric).await?,
        metric,
        from: from.micros(),
        to: to.micros(),
        step_s: width as f64 / 1e6,
        ts: Vec::new(),
        avg: Vec::new(),
        min: Vec::new(),
        max: Vec::new(),
    };
    fill(&mut chart, &points, width, silence(&config, &check, now));
    Ok(Json(chart))
}

/// Fills in the columns, with one empty point in each gap.
fn fill(chart: &mut Chart, points: &[Point], width: i64, silence: i64) {
    let mut last: Option<i64> = None;
    for point in points {
        let ts = point.ts.micros();
        if let Some(last) = last
            && ts - last > silence.max(width * 2)
        {
            chart.ts.push(last + width);
            chart.avg.push(None);
            chart.min.push(None);
            chart.max.push(None);
        }
        chart.ts.push(ts);
        chart.avg.push(Some(point.avg));
        chart.min.push(Some(point.min));
        chart.max.push(Some(point.max));
        last = Some(ts);
    }
}

/// A check that was silent for longer than this (µs) did not run: three of its
/// intervals.
fn silence(config: &ConfigView, check: &str, now: Timestamp) -> i64 {
    let spec = config.spec.checks.iter().find(|one| one.name == check);
    let interval = spec.and_then(|spec| match spec.every {
        Some(every) => Some(every.0),
        None => {
            let times = schedule::next(&schedule::of_check(spec).ok()?, now);
            // Cron tables are uneven: the longest of the next intervals counts.
            let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max()?;
            Some(Duration::from_micros(longest.max(0) as u64))
        }
    });
    let interval = interval.unwrap_or(Duration::from_secs(300));
    (interval.as_micros() as i64).saturating_mul(3)
}

/// States over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Strip {
    /// Without gaps, from `from` to `to`.
    pub segments: Vec<Segment>,
}

/// A stretch of time in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Segment {
    pub from: i64,
    pub to: i64,
    pub state: StripState,
}

/// What a strip shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StripState {
    Ok,
    Warning,
    Critical,
    Unknown,
    /// Only faults.
    Stale,
    /// No results.
    None,
}

impl StripState {
    /// The worst of a stretch; faults count where there is nothing else.
    fn of([ok, warning, critical, unknown, faults]: [u32; 5]) -> Self {
        match (critical, unknown, warning, ok, faults) {
            (1.., ..) => StripState::Critical,
            (_, 1.., ..) => StripState::Unknown,
            (_, _, 1.., ..) => StripState::Warning,
            (_, _, _, 1.., _) => StripState::Ok,
            (_, _, _, _, 1..) => StripState::Stale,
            _ => StripState::None,
        }
    }
}

/// States of a series over time
#[utoipa::path(
    get, path = "/series/{check}/{node}/strip", operation_id = "get_strip", tag = "series",
    params(("check" = String, Path), ("node" = String, Path), Range),
    responses((status = 200, body = Strip)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn strip(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    State(clock): State<SharedClock>,
    Path((check, node)): Path<(String, String)>,
    Query(range): Query<Range>,
) -> Result<Json<Strip>> {
    let now = clock.now();
    let (from, to) = range.check(now)?;
    let config = config.get();
    let one = find(&config, &store, &check, &node).await?;
    let mut reader = store.reader().await?;
    let stretches = results::state_strip(&mut reader, one.id, from, to, STRETCHES).await?;
    let width = results::stretch_us(from, to, STRETCHES);
    let silence = silence(&config, &check, now).max(width);
    Ok(Json(Strip {
        segments: segments(
            &stretches,
            from.micros(),
            to.micros().min(now.micros()),
            silence,
        ),
    }))
}

/// Joins stretches: a state holds until the next result, but not longer than
/// `silence`.
fn segments(stretches: &[Stretch], from: i64, to: i64, silence: i64) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut push = |from: i64, to: i64, state: StripState| {
        if to <= from {
            return;
        }
        match segments.last_mut() {
            Some(last) if last.state == state => last.to = to,
            _ => segments.push(Segment { from, to, state }),
        }
    };
    let mut at = from;
    for (index, stretch) in stretches.iter().enumerate() {
        let start = stretch.ts.micros();
        let next = stretches
            .get(index + 1)
            .map_or(to, |next| next.ts.micros().min(to));
        push(at, start.min(to), StripState::None);
        let holds = next.min(start.saturating_add(silence));
        push(start, holds, StripState::of(stretch.counts));
        at = holds.max(at);
    }
    push(at, to, StripState::None);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(ts: i64, counts: [u32; 5]) -> Stretch {
        Stretch {
            ts: Timestamp(ts),
            counts,
        }
    }

    #[test]
    fn states_hold_until_the_next_result_or_silence() {
        let found = segments(
            &[
                stretch(10, [1, 0, 0, 0, 0]),
                stretch(20, [1, 0, 0, 0, 0]),
                stretch(30, [1, 0, 1, 0, 0]),
                stretch(80, [0, 0, 0, 0, 2]),
            ],
            0,
            100,
            30,
        );
        let parts: Vec<_> = found.iter().map(|s| (s.from, s.to, s.state)).collect();
        assert_eq!(
            parts,
            [
                (0, 10, StripState::None),
                (10, 30, StripState::Ok),
                (30, 60, StripState::Critical),
                (60, 80, StripState::None),
                (80, 100, StripState::Stale),
            ]
        );
        assert_eq!(segments(&[], 0, 5, 1).len(), 1);
    }

    #[test]
    fn gaps_of_a_chart_have_one_empty_point() {
        let mut chart = Chart {
            metric: String::new(),
            unit: String::new(),
            from: 0,
            to: 100,
            step_s: 1.0,
            ts: Vec::new(),
            avg: Vec::new(),
            min: Vec::new(),
            max: Vec::new(),
        };
        let point = |ts: i64| Point {
            ts: Timestamp(ts),
            min: 1.0,
            avg: 2.0,
            max: 3.0,
            count: 1,
        };
        fill(&mut chart, &[point(0), point(10), point(60)], 5, 30);
        assert_eq!(chart.ts, [0, 10, 15, 60]);
        assert_eq!(chart.avg, [Some(2.0), Some(2.0), None, Some(2.0)]);
    }

    #[test]
    fn ranges_are_checked() {
        let now = Timestamp(10 * 86_400_000_000);
        let range = |from, to| Range { from, to }.check(now);
        assert!(range(None, None).is_ok());
        assert!(range(Some(5), Some(5)).is_err());
        assert!(range(Some(i64::MIN), Some(i64::MAX)).is_err());
    }
}
