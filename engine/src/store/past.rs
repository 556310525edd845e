//! Stored results and log records in order of time, a stretch at a time: for
//! rules that are tried on the past.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::logs::{self, Row};
use super::results::{self, Columns};
use super::{Conn, Result, chunk};
use crate::check::outcome::SeriesId;
use crate::clock::Timestamp;
use crate::pipeline::changes::ResultRow;

/// A connection that reads the database of a data folder; an engine may run on
/// it.
///
/// # Errors
/// There is no database, or it cannot be read.
pub async fn open(folder: &std::path::Path) -> Result<Conn> {
    Ok(SqliteConnectOptions::new()
        .filename(folder.join(super::open::DATABASE))
        .read_only(true)
        .connect()
        .await?)
}

/// Results of `series` that began in `[from, to)`, in the order in which they
/// ended. `None` where there are more than `limit`.
pub async fn results(
    conn: &mut Conn,
    series: &HashSet<SeriesId>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Option<Vec<ResultRow>>> {
    let mut tx = conn.begin().await?;
    let chunks: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT series_id, from_ts FROM result_chunks INDEXED BY result_chunks_by_end \
         WHERE to_ts >= ? AND from_ts < ?",
    )
    .bind(from.0)
    .bind(to.0)
    .fetch_all(&mut *tx)
    .await?;
    let mut found = Vec::new();
    for (id, start) in chunks {
        let id = SeriesId(id);
        if !series.contains(&id) {
            continue;
        }
        let data: Vec<u8> = sqlx::query_scalar(
            "SELECT data FROM result_chunks WHERE series_id = ? AND from_ts = ?",
        )
        .bind(id.0)
        .bind(start)
        .fetch_one(&mut *tx)
        .await?;
        let inside = |row: &ResultRow| row.ts >= from && row.ts < to;
        found.extend(chunk::decode(id, &data)?.into_iter().filter(inside));
        if found.len() > limit {
            return Ok(None);
        }
    }
    let mut rows = sqlx::query_as::<_, Columns>(
        "SELECT ts, series_id, state, duration_us, lateness_us, summary, NULL, metrics \
         FROM results WHERE ts >= ? AND ts < ? ORDER BY ts",
    )
    .bind(from.0)
    .bind(to.0)
    .fetch(&mut *tx);
    while let Some(columns) = rows.try_next().await? {
        if series.contains(&SeriesId(columns.1)) {
            found.push(results::row(columns)?);
        }
        if found.len() > limit {
            return Ok(None);
        }
    }
    drop(rows);
    tx.commit().await?;
    // While a window is being compacted its rows are in both tables.
    found.sort_by_key(|row| (row.ts, row.series));
    found.dedup_by_key(|row| (row.ts, row.series));
    found.sort_by_key(|row| row.ts.0.saturating_add(i64::from(row.duration_us)));
    Ok(Some(found))
}

/// The first log record that was received at or after `from`, by its id. Ids
/// grow with the time of arrival.
pub async fn first_log(conn: &mut Conn, from: Timestamp) -> Result<i64> {
    let (least, most): (Option<i64>, Option<i64>) =
        sqlx::query_as("SELECT min(id), max(id) FROM logs")
            .fetch_one(&mut *conn)
            .await?;
    let (Some(mut low), Some(most)) = (least, most) else {
        return Ok(0);
    };
    let mut high = most + 1;
    while low < high {
        let middle = low + (high - low) / 2;
        let next: Option<(i64, i64)> =
            sqlx::query_as("SELECT id, received FROM logs WHERE id >= ? ORDER BY id LIMIT 1")
                .bind(middle)
                .fetch_optional(&mut *conn)
                .await?;
        match next {
            Some((id, received)) if received < from.0 => low = id + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Log records from id `first` on, in the order of their arrival, up to the
/// first that was received at or after `to`. `None` where there are more than
/// `limit`.
pub async fn logs(
    conn: &mut Conn,
    first: i64,
    to: Timestamp,
    limit: usize,
) -> Result<Option<Vec<Row>>> {
    let mut rows = sqlx::query_as::<_, (i64, i64, i64, String, i64, String, String)>(
        "SELECT id, ts, received, source, level, message, fields FROM logs WHERE id >= ? \
         ORDER BY id",
    )
    .bind(first)
    .fetch(conn);
    let mut found = Vec::new();
    while let Some(columns) = rows.try_next().await? {
        let row = logs::decode(columns)?;
        if row.record.received >= to {
            break;
        }
        if found.len() == limit {
            return Ok(None);
        }
        found.push(row);
    }
    Ok(Some(found))
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
