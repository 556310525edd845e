//! Moves old results into chunks per series, with their rollups.
//!
//! Everything is read from the reader pool and packed on a blocking thread; the
//! writer gets finished values in short steps through the recorder's third lane.
//! One task runs this and [`super::retention`].
//!
//! A crash between any two steps is harmless: a window's chunks and rollups are
//! written first, each series in one transaction, and only then its rows are
//! deleted. What is in a chunk already is neither written nor counted again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;

use super::batch::Batched;
use super::results::{self, Columns};
use super::rollups::{self, Pack, STEPS};
use super::{Conn, Result, Store, StoreError, chunk};
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
/// Text in one chunk; more is split.
const CHUNK_TEXT: usize = 4 << 20;

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

/// Finished values of one series, written in one transaction.
#[derive(Debug)]
struct Packed {
    series: SeriesId,
    /// Starts of chunks that were merged into the new ones.
    merged: Vec<i64>,
    chunks: Vec<NewChunk>,
    rollups: Vec<NewPack>,
}

#[derive(Debug)]
struct NewChunk {
    from: i64,
    to: i64,
    count: i64,
    data: Vec<u8>,
}

#[derive(Debug)]
struct NewPack {
    step: i64,
    /// Start in seconds.
    start: i64,
    data: Vec<u8>,
}

/// What is stored of a series around its new rows.
struct Loaded {
    series: SeriesId,
    rows: Vec<ResultRow>,
    /// Start and data of chunks to merge with.
    chunks: Vec<(i64, Vec<u8>)>,
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
    let mut rows: Vec<ResultRow> = Vec::new();
    let (mut bytes, mut full) = (0, false);
    while let Some(columns) = found.try_next().await? {
        let row = results::row(columns)?;
        // A window ends between two times, never amid one.
        if (rows.len() >= settings.window_rows || bytes >= settings.window_bytes)
            && rows.last().is_some_and(|last| last.ts != row.ts)
        {
            full = true;
            break;
        }
        bytes += row.summary.len() + row.details.as_deref().map_or(0, str::len);
        rows.push(row);
    }
    drop(found);
    let times = rows.iter().map(|row| row.ts.0).collect();
    let mut series: BTreeMap<SeriesId, Vec<ResultRow>> = BTreeMap::new();
    for row in rows {
        series.entry(row.series).or_default().push(row);
    }
    Ok(Some(Window {
        series,
        times,
        full,
    }))
}

async fn pack_group(
    store: &Store,
    settings: &Settings,
    group: Vec<(SeriesId, Vec<ResultRow>)>,
) -> Result<Vec<Packed>> {
    let target = settings.target.max(1);
    let mut conn = store.reader().await?;
    let mut loaded = Vec::with_capacity(group.len());
    for (series, rows) in group {
        loaded.push(load(&mut conn, series, rows, target).await?);
    }
    // Decoding and merging decides which rows are new; the rollups they touch
    // are read after that.
    let merged =
        blocking(move || loaded.into_iter().map(merge).collect::<Result<Vec<_>>>()).await?;
    let mut ready = Vec::with_capacity(merged.len());
    for one in merged.into_iter().flatten() {
        let packs = touched_packs(&mut conn, one.series, &one.fresh).await?;
        ready.push((one, packs));
    }
    drop(conn);
    blocking(move || {
        ready
            .into_iter()
            .map(|(one, packs)| pack(one, packs, target))
            .collect()
    })
    .await
}

/// Runs work that computes for long apart from the tasks of the runtime.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| StoreError::Invalid(format!("packing results failed: {e}")))?
}

/// Finds the chunks that new rows are merged with: those they reach into, and
/// smaller ones just before, as long as they are not much larger than what is
/// added. So every result is packed again only a few times, whatever the rate.
async fn load(
    conn: &mut Conn,
    series: SeriesId,
    rows: Vec<ResultRow>,
    target: usize,
) -> Result<Loaded> {
    let (first, last) = match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => (first.ts.0, last.ts.0),
        _ => (0, 0),
    };
    let mut starts = Vec::new();
    {
        let mut stored = sqlx::query_as::<_, (i64, i64, i64)>(
            "SELECT from_ts, to_ts, count FROM result_chunks \
             WHERE series_id = ? AND from_ts <= ? ORDER BY from_ts DESC",
        )
        .bind(series.0)
        .bind(last)
        .fetch(&mut *conn);
        let mut gathered = rows.len();
        while let Some((from, to, count)) = stored.try_next().await? {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let reaches = to >= first;
            let small = count < target && count <= gathered.saturating_mul(2);
            if !reaches && !small {
                break;
            }
            gathered = gathered.saturating_add(count);
            starts.push(from);
        }
    }
    let mut chunks = Vec::with_capacity(starts.len());
    for from in starts {
        let data: Vec<u8> = sqlx::query_scalar(
            "SELECT data FROM result_chunks WHERE series_id = ? AND from_ts = ?",
        )
        .bind(series.0)
        .bind(from)
        .fetch_one(&mut *conn)
        .await?;
        chunks.push((from, data));
    }
    Ok(Loaded {
        series,
        rows,
        chunks,
    })
}

struct Merged {
    series: SeriesId,
    starts: Vec<i64>,
    /// All rows of the new chunks, oldest first.
    rows: Vec<ResultRow>,
    /// Those that were in no chunk before.
    fresh: Vec<ResultRow>,
}

/// Nothing where every row is in a chunk already.
fn merge(loaded: Loaded) -> Result<Option<Merged>> {
    let mut all: BTreeMap<i64, ResultRow> = BTreeMap::new();
    let mut starts = Vec::with_capacity(loaded.chunks.len());
    for (from, data) in loaded.chunks {
        starts.push(from);
        for row in chunk::decode(loaded.series, &data)? {
            all.insert(row.ts.0, row);
        }
    }
    let fresh: Vec<ResultRow> = loaded
        .rows
        .into_iter()
        .filter(|row| !all.contains_key(&row.ts.0))
        .collect();
    if fresh.is_empty() {
        return Ok(None);
    }
    all.extend(fresh.iter().map(|row| (row.ts.0, row.clone())));
    Ok(Some(Merged {
        series: loaded.series,
        starts,
        rows: all.into_values().collect(),
        fresh,
    }))
}

type Packs = BTreeMap<(i64, i64), Pack>;

async fn touched_packs(conn: &mut Conn, series: SeriesId, fresh: &[ResultRow]) -> Result<Packs> {
    let mut packs = Packs::new();
    for step in STEPS {
        for row in fresh {
            let start = rollups::pack_start(step, row.ts);
            if let std::collections::btree_map::Entry::Vacant(slot) = packs.entry((step, start)) {
                let stored = rollups::pack(conn, series, step, start).await?;
                slot.insert(stored.unwrap_or_default());
            }
        }
    }
    Ok(packs)
}

fn pack(one: Merged, mut packs: Packs, target: usize) -> Result<Packed> {
    for ((step, start), pack) in &mut packs {
        for row in &one.fresh {
            if rollups::pack_start(*step, row.ts) == *start {
                pack.add(*step, row);
            }
        }
    }
    let mut chunks = Vec::new();
    let mut rest = one.rows.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest
            .iter()
            .take_while(|row| {
                let fits = bytes < CHUNK_TEXT;
                bytes += row.summary.len() + row.details.as_deref().map_or(0, str::len);
                fits
            })
            .count();
        // Up to twice the target stays together rather than leaving a crumb.
        let size = if rest.len() <= target * 2 {
            rest.len()
        } else {
            target
        };
        let (now, later) = rest.split_at(size.min(fits).max(1));
        rest = later;
        if let (Some(first), Some(last)) = (now.first(), now.last()) {
            chunks.push(NewChunk {
                from: first.ts.0,
                to: last.ts.0,
                count: now.len() as i64,
                data: chunk::encode(now)?,
            });
        }
    }
    Ok(Packed {
        series: one.series,
        merged: one.starts,
        chunks,
        rollups: packs
            .into_iter()
            .map(|((step, start), pack)| {
                let data = pack.encode()?;
                Ok(NewPack { step, start, data })
            })
            .collect::<Result<_>>()?,
    })
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
