//! Packs rows of series into chunks and rollups, together with what is stored
//! of them already.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use super::Settings;
use crate::check::outcome::SeriesId;
use crate::pipeline::changes::ResultRow;
use crate::store::rollups::{self, Pack, STEPS};
use crate::store::{Conn, Result, Store, StoreError, chunk, series};

/// Text in one chunk; more is split.
const CHUNK_TEXT: usize = 4 << 20;

/// Finished values of one series, written in one transaction.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) series: SeriesId,
    /// Starts of chunks that were merged into the new ones.
    pub(super) merged: Vec<i64>,
    pub(super) chunks: Vec<NewChunk>,
    pub(super) rollups: Vec<NewPack>,
    /// Statistics for which there was no room in the rollups.
    pub(super) left_out: usize,
}

#[derive(Debug)]
pub(super) struct NewChunk {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) count: i64,
    pub(super) data: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct NewPack {
    pub(super) step: i64,
    /// Start in seconds.
    pub(super) start: i64,
    pub(super) data: Vec<u8>,
}

/// What is stored of a series around its new rows.
struct Loaded {
    series: SeriesId,
    rows: Vec<ResultRow>,
    chunks: Vec<Stored>,
}

/// A chunk to merge with.
struct Stored {
    from: i64,
    to: i64,
    data: Vec<u8>,
}

/// Packs the new rows of some series.
pub(super) async fn pack_group(
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
    let (merged, unreadable) = blocking(move || {
        let mut unreadable = Vec::new();
        let merged: Vec<Merged> = loaded
            .into_iter()
            .filter_map(|one| merge(one, &mut unreadable))
            .collect();
        Ok((merged, unreadable))
    })
    .await?;
    name_unreadable(&mut conn, unreadable).await;
    let mut ready = Vec::with_capacity(merged.len());
    for one in merged {
        let packs = touched_packs(&mut conn, one.series, &one.fresh).await?;
        ready.push((one, packs));
    }
    drop(conn);
    let packed: Vec<Packed> = blocking(move || {
        ready
            .into_iter()
            .map(|(one, packs)| pack(one, packs, target))
            .collect()
    })
    .await?;
    for one in packed.iter().filter(|one| one.left_out > 0) {
        let mut conn = store.reader().await?;
        let series = name(&mut conn, one.series).await;
        tracing::warn!(
            series,
            left_out = one.left_out,
            "a check names ever new metrics: there are no rollups of the newest"
        );
    }
    Ok(packed)
}

/// Tells of which series something stored cannot be read.
pub(super) async fn name_unreadable(conn: &mut Conn, unreadable: Vec<(SeriesId, StoreError)>) {
    for (series, error) in unreadable {
        metrics::counter!("bellwether_tidying_errors_total").increment(1);
        let series = name(conn, series).await;
        tracing::error!(series, %error, "what is stored of a series cannot be read: it is left out");
    }
}

/// A series for people to read.
async fn name(conn: &mut Conn, id: SeriesId) -> String {
    match series::get(conn, id).await {
        Ok(Some(row)) => format!("{} on {}", row.check, row.node),
        _ => format!("series {}", id.0),
    }
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
    let mut found = Vec::new();
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
            found.push((from, to));
        }
    }
    let mut chunks = Vec::with_capacity(found.len());
    for (from, to) in found {
        let data: Vec<u8> = sqlx::query_scalar(
            "SELECT data FROM result_chunks WHERE series_id = ? AND from_ts = ?",
        )
        .bind(series.0)
        .bind(from)
        .fetch_one(&mut *conn)
        .await?;
        chunks.push(Stored { from, to, data });
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
    /// Starts of chunks that cannot be read: chunks never overlap, so no new one
    /// may reach over them.
    walls: Vec<i64>,
    /// All rows of the new chunks, oldest first.
    rows: Vec<ResultRow>,
    /// Those that were in no chunk before.
    fresh: Vec<ResultRow>,
}

/// Nothing where every row is in a chunk already. A chunk that cannot be read
/// stays where it is: a row in its stretch counts as being in it, as after a
/// crash between writing and deleting.
fn merge(loaded: Loaded, unreadable: &mut Vec<(SeriesId, StoreError)>) -> Option<Merged> {
    let mut all: BTreeMap<i64, ResultRow> = BTreeMap::new();
    let mut starts = Vec::with_capacity(loaded.chunks.len());
    let mut walls = Vec::new();
    for stored in loaded.chunks {
        match chunk::decode(loaded.series, &stored.data) {
            Ok(rows) => {
                starts.push(stored.from);
                all.extend(rows.into_iter().map(|row| (row.ts.0, row)));
            }
            Err(error) => {
                walls.push((stored.from, stored.to));
                unreadable.push((loaded.series, error));
            }
        }
    }
    let known = |ts: i64| {
        let behind = walls.iter().any(|(from, to)| (*from..=*to).contains(&ts));
        behind || all.contains_key(&ts)
    };
    let rows = loaded.rows.into_iter();
    let fresh: Vec<ResultRow> = rows.filter(|row| !known(row.ts.0)).collect();
    if fresh.is_empty() {
        return None;
    }
    all.extend(fresh.iter().map(|row| (row.ts.0, row.clone())));
    Some(Merged {
        series: loaded.series,
        starts,
        walls: walls.into_iter().map(|(from, _)| from).collect(),
        rows: all.into_values().collect(),
        fresh,
    })
}

type Packs = BTreeMap<(i64, i64), Pack>;

async fn touched_packs(conn: &mut Conn, series: SeriesId, fresh: &[ResultRow]) -> Result<Packs> {
    let mut packs = Packs::new();
    for step in STEPS {
        for row in fresh {
            let start = rollups::pack_start(step, row.ts);
            if let std::collections::btree_map::Entry::Vacant(slot) = packs.entry((step, start)) {
                let stored = match rollups::pack(conn, series, step, start).await {
                    Err(error @ StoreError::Corrupt { .. }) => {
                        name_unreadable(conn, vec![(series, error)]).await;
                        None
                    }
                    other => other?,
                };
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
        let begins = rest[0].ts.0;
        let fits = rest
            .iter()
            .take_while(|row| {
                let over = |wall: &i64| (begins..row.ts.0).contains(wall);
                let fits = bytes < CHUNK_TEXT && !one.walls.iter().any(over);
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
        left_out: packs.values().map(Pack::left_out).sum(),
        rollups: packs
            .into_iter()
            .map(|((step, start), pack)| {
                let data = pack.encode()?;
                Ok(NewPack { step, start, data })
            })
            .collect::<Result<_>>()?,
    })
}
