//! Results of series, recent rows and compacted chunks as one.
//!
//! While a window is being compacted its rows are in both tables: whoever reads
//! both takes each time of a series once.

use std::collections::{BTreeMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::Connection;

use super::rollups::{self, Counts, DURATION};
use super::write::FAULT;
use super::{Conn, Result, StoreError, chunk};
use crate::check::outcome::{Fault, FaultKind, SeriesId, State};
use crate::clock::Timestamp;
use crate::pipeline::changes::ResultRow;

/// A row of `results`.
pub(super) type Columns = (
    i64,
    i64,
    i64,
    i64,
    i64,
    String,
    Option<String>,
    Option<Vec<u8>>,
);

/// The verdict behind a stored number; for a fault the summary is its text.
pub(super) fn verdict_of(code: i64, summary: &str) -> Result<Result<State, Fault>> {
    if let Some(state) = State::from_code(code) {
        return Ok(Ok(state));
    }
    match FaultKind::from_code(code - FAULT) {
        Some(kind) => Ok(Err(Fault::new(kind, summary))),
        None => Err(StoreError::corrupt("results.state", code)),
    }
}

/// Decodes a row; metrics come by id.
pub(super) fn row(c: Columns) -> Result<ResultRow> {
    let (ts, series, code, duration, lateness, summary, details, blob) = c;
    let blob = blob.unwrap_or_default();
    let (pairs, rest) = blob.as_chunks::<12>();
    if !rest.is_empty() {
        return Err(StoreError::corrupt(
            "results.metrics",
            "expected pairs of 12 bytes",
        ));
    }
    let metrics: Vec<(u32, f64)> = pairs
        .iter()
        .map(|[a, b, c, d, value @ ..]| {
            (
                u32::from_le_bytes([*a, *b, *c, *d]),
                f64::from_le_bytes(*value),
            )
        })
        .collect();
    Ok(ResultRow {
        ts: Timestamp(ts),
        series: SeriesId(series),
        verdict: verdict_of(code, &summary)?,
        duration_us: u32::try_from(duration).unwrap_or(u32::MAX),
        lateness_us: u32::try_from(lateness).unwrap_or(u32::MAX),
        summary,
        details,
        metrics: chunk::by_id(&metrics).collect(),
    })
}

/// Rows that were not compacted yet, oldest first.
async fn raw(
    conn: &mut Conn,
    series: SeriesId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ResultRow>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT ts, series_id, state, duration_us, lateness_us, summary, details, metrics \
         FROM results WHERE ts >= ? AND ts < ? AND series_id = ? ORDER BY ts",
    )
    .bind(from.0)
    .bind(to.0)
    .bind(series.0)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(row).collect()
}

/// Results of a chunk; none of one that is damaged, which must not keep the
/// engine from its start and pages from the rest.
fn readable(series: SeriesId, data: &[u8]) -> Vec<ResultRow> {
    chunk::decode(series, data).unwrap_or_else(|error| {
        tracing::error!(series = series.0, %error, "stored results of a series cannot be read and are left out");
        Vec::new()
    })
}

/// Compacted results, oldest first.
async fn compacted(
    conn: &mut Conn,
    series: SeriesId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ResultRow>> {
    // Chunks of a series never overlap, so only the last one that begins before
    // the range can reach into it.
    let mut chunks = sqlx::query_scalar::<_, Vec<u8>>(
        "SELECT data FROM result_chunks WHERE series_id = ?1 AND from_ts < ?3 \
         AND from_ts >= coalesce((SELECT max(from_ts) FROM result_chunks \
             WHERE series_id = ?1 AND from_ts <= ?2), ?2) ORDER BY from_ts",
    )
    .bind(series.0)
    .bind(from.0)
    .bind(to.0)
    .fetch(conn);
    let mut rows = Vec::new();
    while let Some(data) = chunks.try_next().await? {
        rows.extend(
            readable(series, &data)
                .into_iter()
                .filter(|row| row.ts >= from && row.ts < to),
        );
    }
    Ok(rows)
}

/// Every result of a series in `[from, to)`, oldest first.
pub async fn range(
    conn: &mut Conn,
    series: SeriesId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ResultRow>> {
    let mut tx = conn.begin().await?;
    let mut rows = compacted(&mut tx, series, from, to).await?;
    let recent = raw(&mut tx, series, from, to).await?;
    tx.commit().await?;
    if recent.is_empty() {
        return Ok(rows);
    }
    rows.extend(recent);
    // A stable sort keeps the chunk's copy of a row that is in both.
    rows.sort_by_key(|row| row.ts);
    rows.dedup_by_key(|row| row.ts);
    Ok(rows)
}

/// The newest results of a series before a moment, newest first.
pub async fn recent(
    conn: &mut Conn,
    series: SeriesId,
    before: Option<Timestamp>,
    limit: u32,
) -> Result<Vec<ResultRow>> {
    let before = before.map_or(i64::MAX, |t| t.0);
    let limit = super::page(limit) as usize;
    let mut tx = conn.begin().await?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT ts, series_id, state, duration_us, lateness_us, summary, details, metrics \
         FROM results WHERE ts < ? AND series_id = ? ORDER BY ts DESC LIMIT ?",
    )
    .bind(before)
    .bind(series.0)
    .bind(limit as i64)
    .fetch_all(&mut *tx)
    .await?;
    let mut found = BTreeMap::new();
    for columns in rows {
        found.insert(columns.0, row(columns)?);
    }
    let mut below = before;
    // Older chunks lie wholly before the start of the one looked at.
    while found.len() < limit
        || found
            .keys()
            .rev()
            .nth(limit - 1)
            .is_some_and(|t| *t < below)
    {
        let next: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT from_ts, data FROM result_chunks WHERE series_id = ? AND from_ts < ? \
             ORDER BY from_ts DESC LIMIT 1",
        )
        .bind(series.0)
        .bind(below)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((from, data)) = next else { break };
        for row in readable(series, &data) {
            if row.ts.0 < before {
                found.entry(row.ts.0).or_insert(row);
            }
        }
        below = from;
    }
    tx.commit().await?;
    Ok(found.into_values().rev().take(limit).collect())
}

/// The newest result of every series that has one at or after `since`.
pub async fn newest(conn: &mut Conn, since: Timestamp) -> Result<Vec<ResultRow>> {
    // With max() SQLite takes the other columns from the row of the maximum.
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT max(ts), series_id, state, duration_us, lateness_us, summary, NULL, NULL \
         FROM results WHERE ts >= ? GROUP BY series_id",
    )
    .bind(since.0)
    .fetch_all(&mut *conn)
    .await?;
    let mut found: BTreeMap<i64, ResultRow> = BTreeMap::new();
    for columns in rows {
        found.insert(columns.1, row(columns)?);
    }
    let tails: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT series_id, max(from_ts) FROM result_chunks WHERE to_ts >= ? GROUP BY series_id",
    )
    .bind(since.0)
    .fetch_all(&mut *conn)
    .await?;
    for (series, from) in tails {
        if found.contains_key(&series) {
            continue;
        }
        let data: Vec<u8> = sqlx::query_scalar(
            "SELECT data FROM result_chunks WHERE series_id = ? AND from_ts = ?",
        )
        .bind(series)
        .bind(from)
        .fetch_one(&mut *conn)
        .await?;
        if let Some(last) = readable(SeriesId(series), &data).pop() {
            found.insert(series, last);
        }
    }
    Ok(found.into_values().collect())
}

/// Hands every result since `from` to `each`, once; results of a series come in
/// order of time. For windows of rules that are rebuilt at the start.
pub async fn each_since(
    conn: &mut Conn,
    from: Timestamp,
    mut each: impl FnMut(ResultRow),
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let first: Option<i64> = sqlx::query_scalar("SELECT min(ts) FROM results")
        .fetch_one(&mut *tx)
        .await?;
    let first = first.unwrap_or(i64::MAX);
    let mut twice = HashSet::new();
    let mut chunks = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "SELECT series_id, data FROM result_chunks INDEXED BY result_chunks_by_end \
         WHERE to_ts >= ? ORDER BY to_ts",
    )
    .bind(from.0)
    .fetch(&mut *tx);
    while let Some((series, data)) = chunks.try_next().await? {
        for row in readable(SeriesId(series), &data) {
            if row.ts < from {
                continue;
            }
            if row.ts.0 >= first {
                twice.insert((row.ts, row.series));
            }
            each(row);
        }
    }
    drop(chunks);
    let mut rows = sqlx::query_as::<_, Columns>(
        "SELECT ts, series_id, state, duration_us, lateness_us, summary, details, metrics \
         FROM results WHERE ts >= ? ORDER BY ts",
    )
    .bind(from.0)
    .fetch(&mut *tx);
    while let Some(columns) = rows.try_next().await? {
        let row = row(columns)?;
        if !twice.contains(&(row.ts, row.series)) {
            each(row);
        }
    }
    drop(rows);
    tx.commit().await?;
    Ok(())
}

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A metric by id.
    Metric(u32),
    /// Duration of the run in milliseconds.
    Duration,
}

/// A point of a chart: the values of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Start of the stretch.
    pub ts: Timestamp,
    pub min: f64,
    pub avg: f64,
    pub max: f64,
    pub count: u32,
}

/// Verdicts of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Start.
    pub ts: Timestamp,
    /// Results that were ok, warning, critical, unknown, a fault.
    pub counts: Counts,
}

/// Width of the stretches that divide a range into at most `max_points`.
pub fn stretch_us(from: Timestamp, to: Timestamp, max_points: u32) -> i64 {
    let width = to.0.saturating_sub(from.0).max(1);
    let points = i64::from(max_points.clamp(1, 5_000));
    (width + points - 1) / points
}

/// Where the data of a long range comes from.
enum Origin {
    Results(Vec<ResultRow>),
    /// Buckets and results that are not in them yet.
    Rollups(BTreeMap<i64, rollups::Bucket>, Vec<ResultRow>),
}

async fn source(
    conn: &mut Conn,
    series: SeriesId,
    from: Timestamp,
    to: Timestamp,
    width_us: i64,
) -> Result<Origin> {
    let mut step = match width_us / 1_000_000 {
        s if s >= 3_600 => 3_600,
        s if s >= 300 => 300,
        _ => 0,
    };
    if step < 3_600 {
        // Finer data is kept for a shorter time: does it reach far enough?
        let coarse = rollups::oldest(conn, series, 3_600).await?;
        let fine = rollups::oldest(conn, series, 300).await?;
        let day = 86_400_000_000;
        if let Some(coarse) = coarse
            && fine.is_none_or(|fine| fine > from && fine.0 - coarse.0 > day)
        {
            step = 3_600;
        }
    }
    if step == 0 {
        return Ok(Origin::Results(range(conn, series, from, to).await?));
    }
    let mut tx = conn.begin().await?;
    let buckets = rollups::range(&mut tx, series, step, from, to).await?;
    let mut fresh = raw(&mut tx, series, from, to).await?;
    if let (Some(first), Some(last)) = (fresh.first(), fresh.last()) {
        let (first, end) = (first.ts, Timestamp(last.ts.0 + 1));
        let known: HashSet<Timestamp> = compacted(&mut tx, series, first, end)
            .await?
            .into_iter()
            .map(|row| row.ts)
            .collect();
        fresh.retain(|row| !known.contains(&row.ts));
    }
    tx.commit().await?;
    Ok(Origin::Rollups(buckets, fresh))
}

/// Values of a measure in `[from, to)` as at most `max_points` points; from
/// results, or for long ranges from rollups. Stretches without a value are left
/// out.
pub async fn points(
    conn: &mut Conn,
    series: SeriesId,
    measure: Measure,
    from: Timestamp,
    to: Timestamp,
    max_points: u32,
) -> Result<Vec<Point>> {
    let wanted = match measure {
        Measure::Metric(id) => id,
        Measure::Duration => DURATION,
    };
    let width = stretch_us(from, to, max_points);
    let mut stats: BTreeMap<i64, rollups::Stat> = BTreeMap::new();
    let mut add = |ts: i64, stat: rollups::Stat| {
        // A bucket may begin before the range that it reaches into.
        let at = (ts.max(from.0) - from.0) / width;
        stats
            .entry(at)
            .and_modify(|s| s.merge(&stat))
            .or_insert(stat);
    };
    let (buckets, rows) = match source(conn, series, from, to, width).await? {
        Origin::Results(rows) => (BTreeMap::new(), rows),
        Origin::Rollups(buckets, rows) => (buckets, rows),
    };
    for (start, bucket) in buckets {
        if let Some(stat) = bucket.metrics.get(&wanted) {
            add(start * 1_000_000, *stat);
        }
    }
    for row in &rows {
        if let Some((_, value)) = rollups::values(row).find(|(id, _)| *id == wanted) {
            add(row.ts.0, rollups::Stat::of(row.ts, value));
        }
    }
    Ok(stats
        .into_iter()
        .map(|(at, stat)| Point {
            ts: Timestamp(from.0 + at * width),
            min: stat.min,
            avg: stat.sum / f64::from(stat.count.max(1)),
            max: stat.max,
            count: stat.count,
        })
        .collect())
}

/// Verdicts in `[from, to)` as at most `max_stretches` stretches, for a strip
/// of states and for shares of time. Stretches without a result are left out.
pub async fn state_strip(
    conn: &mut Conn,
    series: SeriesId,
    from: Timestamp,
    to: Timestamp,
    max_stretches: u32,
) -> Result<Vec<Stretch>> {
    let width = stretch_us(from, to, max_stretches);
    let mut strip: BTreeMap<i64, Counts> = BTreeMap::new();
    let (buckets, rows) = match source(conn, series, from, to, width).await? {
        Origin::Results(rows) => (BTreeMap::new(), rows),
        Origin::Rollups(buckets, rows) => (buckets, rows),
    };
    for (start, bucket) in buckets {
        let at = ((start * 1_000_000).max(from.0) - from.0) / width;
        let counts = strip.entry(at).or_default();
        for (sum, count) in counts.iter_mut().zip(bucket.counts) {
            *sum = sum.saturating_add(count);
        }
    }
    for row in &rows {
        let counts = strip.entry((row.ts.0 - from.0) / width).or_default();
        counts[rollups::place(row)] += 1;
    }
    Ok(strip
        .into_iter()
        .map(|(at, counts)| Stretch {
            ts: Timestamp(from.0 + at * width),
            counts,
        })
        .collect())
}

#[cfg(test)]
#[path = "results_tests.rs"]
mod tests;
