//! Moves old results into chunks per series, with their rollups.
//!
//! Everything is read from the reader pool and packed on a blocking thread; the
//! writer gets finished values in short steps through the recorder's third lane.
//! One task runs this and [`super::retention`].
//!
//! A crash between any two steps is harmless: a window's chunks and rollups are
//! written first, each series in one transaction, and only then its rows are
//! deleted. What is in a chunk already is neither written nor counted again.
//!
//! What is stored of a series and cannot be read any more is named and passed
//! over: it stops neither its own series nor the others. A chunk stays where it
//! is, a pack of rollups begins anew.

mod packing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;

use self::packing::{NewChunk, NewPack, Packed, name_unreadable, pack_group};
use super::batch::Batched;
use super::results::{self, Columns};
use super::{Conn, Result, Store, StoreError};
use crate::check::outcome::SeriesId;
use crate::clock::Timestamp;
use crate::pipeline::changes::ResultRow;
use crate::recorder::Handle;

static CHUNKS: Batched = Batched::new(
    "INSERT OR REPLACE INTO result_chunks (series_id, from_ts, to_ts, count, data) VALUES",
    5,
    "",
);
static MERGED: Batched = Batched::new(
    "DELETE FROM result_chunks WHERE (series_id, from_ts) IN (VALUES",
    2,
    ")",
);
static ROLLUPS: Batched = Batched::new(
    "INSERT OR REPLACE INTO rollups (series_id, step_s, ts, data) VALUES",
    4,
    "",
);

/// Bounds of a compaction.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Results stay in the time-ordered table for this long.
    pub keep: Duration,
    /// Results are moved once that many seconds of them have gathered.
    pub gather: Duration,
    /// Results moved at a time; bounds the memory.
    pub window_rows: usize,
    /// Bytes of text moved at a time; bounds the memory.
    pub window_bytes: usize,
    /// Chunks with fewer results are merged with their neighbours.
    pub target: usize,
    /// Writing aimed at in one transaction.
    pub budget: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(10 * 60),
            gather: Duration::from_secs(5 * 60),
            window_rows: 100_000,
            window_bytes: 64 << 20,
            target: 1_000,
            budget: Duration::from_millis(15),
        }
    }
}

/// Series read and packed together.
const GROUP: usize = 256;
/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Rows that left the time-ordered table.
    pub rows: usize,
    /// Chunks that were written.
    pub chunks: usize,
    /// There may be more to move right now.
    pub more: bool,
}

/// Rows of a time window, by series.
struct Window {
    series: BTreeMap<SeriesId, Vec<ResultRow>>,
    /// Times of all rows, ascending.
    times: Vec<i64>,
    full: bool,
}

/// Moves one window of results that are older than [`Settings::keep`].
pub async fn compact_step<I: Send + 'static>(
    store: &Store,
    writer: &Handle<I>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Moved> {
    let Some(window) = read_window(store, settings, now).await? else {
        return Ok(Moved::default());
    };
    let mut moved = Moved {
        more: window.full,
        ..Moved::default()
    };
    let mut pace = Pace::new(64, settings.budget);
    let mut series = window.series.into_iter();
    loop {
        let group: Vec<_> = series.by_ref().take(GROUP).collect();
        if group.is_empty() {
            break;
        }
        let packed = pack_group(store, settings, group).await?;
        moved.chunks += packed.iter().map(|p| p.chunks.len()).sum::<usize>();
        write_packed(writer, packed, &mut pace).await?;
    }
    moved.rows = delete_moved(writer, &window.times, settings).await?;
    Ok(moved)
}

async fn read_window(store: &Store, settings: &Settings, now: Timestamp) -> Result<Option<Window>> {
    let mut conn = store.reader().await?;
    let oldest: Option<i64> = sqlx::query_scalar("SELECT min(ts) FROM results")
        .fetch_one(&mut *conn)
        .await?;
    let until = now - settings.keep;
    match oldest {
        Some(oldest) if Timestamp(oldest) < until - settings.gather => {}
        _ => return Ok(None),
    }
    let mut found = sqlx::query_as::<_, Columns>(
        "SELECT ts, series_id, state, duration_us, lateness_us, summary, details, metrics \
         FROM results WHERE ts < ? ORDER BY ts",
    )
    .bind(until.0)
    .fetch(&mut *conn);
    let mut times: Vec<i64> = Vec::new();
    let mut series: BTreeMap<SeriesId, Vec<ResultRow>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    let (mut bytes, mut full) = (0, false);
    while let Some(columns) = found.try_next().await? {
        let (ts, of) = (columns.0, SeriesId(columns.1));
        // A window ends between two times, never amid one.
        if (times.len() >= settings.window_rows || bytes >= settings.window_bytes)
            && times.last().is_some_and(|last| *last != ts)
        {
            full = true;
            break;
        }
        times.push(ts);
        match results::row(columns) {
            Ok(row) => {
                bytes += row.summary.len() + row.details.as_deref().map_or(0, str::len);
                series.entry(of).or_default().push(row);
            }
            // It goes with its window: nobody can read it.
            Err(error) => unreadable.push((of, error)),
        }
    }
    drop(found);
    name_unreadable(&mut conn, unreadable).await;
    Ok(Some(Window {
        series,
        times,
        full,
    }))
}

/// How much goes into one transaction, learnt from how long the last ones took.
struct Pace {
    size: usize,
    budget: Duration,
}

impl Pace {
    fn new(size: usize, budget: Duration) -> Self {
        Self { size, budget }
    }

    fn learn(&mut self, took: Duration) {
        let ratio = self.budget.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.size = ((self.size as f64 * ratio.clamp(0.25, 1.5)) as usize).clamp(1, 20_000);
    }
}

async fn write_packed<I: Send + 'static>(
    writer: &Handle<I>,
    packed: Vec<Packed>,
    pace: &mut Pace,
) -> Result<()> {
    let packed = Arc::new(packed);
    let mut at = 0;
    while at < packed.len() {
        let end = packed.len().min(at + pace.size);
        let part = Arc::clone(&packed);
        let took = writer
            .background(move |conn| {
                let part = Arc::clone(&part);
                Box::pin(async move {
                    let began = Instant::now();
                    write(conn, &part[at..end]).await?;
                    Ok(began.elapsed())
                })
            })
            .await?;
        pace.learn(took);
        at = end;
    }
    Ok(())
}

async fn write(conn: &mut Conn, packed: &[Packed]) -> Result<()> {
    let merged: Vec<(i64, i64)> = packed
        .iter()
        .flat_map(|p| p.merged.iter().map(|from| (p.series.0, *from)))
        .collect();
    MERGED
        .run(conn, &merged, |(series, from), to| {
            to.add(*series)?;
            to.add(*from)
        })
        .await?;
    let chunks: Vec<(i64, &NewChunk)> = packed
        .iter()
        .flat_map(|p| p.chunks.iter().map(|c| (p.series.0, c)))
        .collect();
    CHUNKS
        .run(conn, &chunks, |(series, chunk), to| {
            to.add(*series)?;
            to.add(chunk.from)?;
            to.add(chunk.to)?;
            to.add(chunk.count)?;
            to.add(chunk.data.as_slice())
        })
        .await?;
    let packs: Vec<(i64, &NewPack)> = packed
        .iter()
        .flat_map(|p| p.rollups.iter().map(|r| (p.series.0, r)))
        .collect();
    ROLLUPS
        .run(conn, &packs, |(series, pack), to| {
            to.add(*series)?;
            to.add(pack.step)?;
            to.add(pack.start * 1_000_000)?;
            to.add(pack.data.as_slice())
        })
        .await
}

/// Deletes the window's rows in short steps. A row that came late into the
/// window is not in a chunk: the step that would delete it is undone, and the
/// next compaction moves that stretch again.
async fn delete_moved<I: Send + 'static>(
    writer: &Handle<I>,
    times: &[i64],
    settings: &Settings,
) -> Result<usize> {
    let mut pace = Pace::new(5_000, settings.budget);
    let mut at = 0;
    while at < times.len() {
        let mut end = times.len().min(at + pace.size);
        // Rows of one time go together.
        while end < times.len() && times[end] == times[end - 1] {
            end += 1;
        }
        let (from, to) = (times[at], times[end - 1]);
        let expected = (end - at) as u64;
        let done = writer
            .background(move |conn| {
                Box::pin(async move {
                    let began = Instant::now();
                    let done = sqlx::query("DELETE FROM results WHERE ts >= ? AND ts <= ?")
                        .bind(from)
                        .bind(to)
                        .execute(conn)
                        .await?;
                    if done.rows_affected() != expected {
                        return Err(StoreError::Conflict {
                            what: "a compacted window of results".into(),
                            expected: expected as i64,
                            found: done.rows_affected() as i64,
                        });
                    }
                    Ok(began.elapsed())
                })
            })
            .await;
        match done {
            Ok(took) => pace.learn(took),
            Err(StoreError::Conflict { .. }) => {
                tracing::debug!("results came late into a compacted window; it is compacted again");
                return Ok(at);
            }
            Err(other) => return Err(other),
        }
        at = end;
    }
    Ok(at)
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
