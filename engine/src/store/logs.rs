//! Search in log records.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::{QueryBuilder, Sqlite};

use super::{Conn, Result, StoreError, from_json};
use crate::check::outcome::{LogLevel, LogRecord};
use crate::clock::Timestamp;

/// Records looked at between two looks at the clock.
const BLOCK: i64 = 20_000;

/// What SQLite can filter; all must match. What it cannot say is left to the
/// caller's own filter, see [`search`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// One of these; empty for all.
    pub sources: Vec<String>,
    /// Exactly this level.
    pub level: Option<LogLevel>,
    /// This level or a worse one.
    pub min_level: Option<LogLevel>,
    /// Texts that the message must (or must not) contain, case-insensitively.
    pub texts: Vec<TextTerm>,
    /// Fields that must (or must not) have a value, case-insensitively.
    pub fields: Vec<FieldTerm>,
}

/// A text in the message.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTerm {
    pub text: String,
    /// Must not be there.
    pub negate: bool,
}

/// A field and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldTerm {
    pub key: String,
    pub value: String,
    /// Must be absent or have another value.
    pub negate: bool,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: i64,
    pub source: String,
    pub record: LogRecord,
}

/// A place in the list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    pub ts: Timestamp,
    pub id: i64,
}

/// A part of what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<Row>,
    /// Where to go on; absent at the end. Set with fewer rows than asked for
    /// where the time for one request was used up.
    pub next: Option<Cursor>,
}

/// Searches newest first from `before`, for at most `limit` records that `keep`
/// wants, and for about `budget` of time.
pub async fn search(
    conn: &mut Conn,
    filter: &Filter,
    before: Option<Cursor>,
    limit: u32,
    budget: Duration,
    mut keep: impl FnMut(&Row) -> bool,
) -> Result<Page> {
    let limit = super::page(limit) as usize;
    let began = Instant::now();
    let mut page = Page::default();
    let from = filter.from.map_or(i64::MIN, |t| t.0);
    let mut start = before.unwrap_or(Cursor {
        ts: filter.to.unwrap_or(Timestamp(i64::MAX)),
        // Nothing has this id: everything at exactly `to` is left out.
        id: i64::MIN,
    });
    loop {
        let end: Option<(i64, i64)> = sqlx::query_as(
            "SELECT ts, id FROM logs WHERE ts >= ?1 AND (ts < ?2 OR (ts = ?2 AND id < ?3)) \
             ORDER BY ts DESC, id DESC LIMIT 1 OFFSET ?4",
        )
        .bind(from)
        .bind(start.ts.0)
        .bind(start.id)
        .bind(BLOCK)
        .fetch_optional(&mut *conn)
        .await?;
        let mut query = block_query(filter, start, end, from);
        let rows: Vec<(i64, i64, i64, String, i64, String, String)> =
            query.build_query_as().fetch_all(&mut *conn).await?;
        for row in rows {
            let row = decode(row)?;
            if !matches_here(filter, &row) || !keep(&row) {
                continue;
            }
            if page.rows.len() == limit {
                page.next = page.rows.last().map(|last| Cursor {
                    ts: last.record.time,
                    id: last.id,
                });
                return Ok(page);
            }
            page.rows.push(row);
        }
        let Some((ts, id)) = end else {
            return Ok(page);
        };
        // The block's end itself belongs to the next block.
        start = Cursor {
            ts: Timestamp(ts),
            id: id.saturating_add(1),
        };
        if began.elapsed() >= budget {
            page.next = Some(start);
            return Ok(page);
        }
    }
}

fn block_query(
    filter: &Filter,
    start: Cursor,
    end: Option<(i64, i64)>,
    from: i64,
) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT id, ts, received, source, level, message, fields FROM logs WHERE (ts < ",
    );
    query
        .push_bind(start.ts.0)
        .push(" OR (ts = ")
        .push_bind(start.ts.0)
        .push(" AND id < ")
        .push_bind(start.id)
        .push("))");
    match end {
        Some((ts, id)) => {
            query
                .push(" AND ts >= ")
                .push_bind(ts)
                .push(" AND (ts > ")
                .push_bind(ts)
                .push(" OR id > ")
                .push_bind(id)
                .push(")");
        }
        None => {
            query.push(" AND ts >= ").push_bind(from);
        }
    }
    if !filter.sources.is_empty() {
        query.push(" AND source IN (");
        let mut list = query.separated(", ");
        for source in &filter.sources {
            list.push_bind(source.as_str());
        }
        query.push(")");
    }
    if let Some(level) = filter.level {
        query.push(" AND level = ").push_bind(level as i64);
    }
    if let Some(level) = filter.min_level {
        query.push(" AND level >= ").push_bind(level as i64);
    }
    for term in filter.texts.iter().filter(|t| in_sql(&t.text)) {
        query
            .push(if term.negate {
                " AND message NOT LIKE "
            } else {
                " AND message LIKE "
            })
            .push_bind(like(&term.text))
            .push(" ESCAPE '\\'");
    }
    for term in filter.fields.iter().filter(|t| plain(t)) {
        query.push(if term.negate {
            " AND coalesce(fields ->> "
        } else {
            " AND (fields ->> "
        });
        query.push_bind(term.key.as_str());
        // An absent field is NULL: it never equals, and it satisfies a negation.
        query.push(if term.negate {
            ", '\u{1}') <> "
        } else {
            ") = "
        });
        query.push_bind(term.value.as_str()).push(" COLLATE NOCASE");
    }
    query.push(" ORDER BY ts DESC, id DESC");
    query
}

/// SQLite's LIKE and NOCASE fold ASCII only; other texts are compared here.
fn in_sql(text: &str) -> bool {
    text.is_ascii()
}

/// A key that `->>` takes for a member's name.
fn plain(term: &FieldTerm) -> bool {
    in_sql(&term.value)
        && !term.key.is_empty()
        && term
            .key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !term.key.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// The terms that SQLite was not asked for.
fn matches_here(filter: &Filter, row: &Row) -> bool {
    filter
        .texts
        .iter()
        .filter(|t| !in_sql(&t.text))
        .all(|term| {
            let message = row.record.message.to_lowercase();
            message.contains(&term.text.to_lowercase()) != term.negate
        })
        && filter.fields.iter().filter(|t| !plain(t)).all(|term| {
            let value = term.value.to_lowercase();
            let equal = row
                .record
                .fields
                .iter()
                .any(|(key, v)| **key == *term.key && v.to_lowercase() == value);
            equal != term.negate
        })
}

pub(super) fn decode(
    (id, ts, received, source, level, message, fields): (
        i64,
        i64,
        i64,
        String,
        i64,
        String,
        String,
    ),
) -> Result<Row> {
    let fields: serde_json::Map<String, serde_json::Value> = from_json("log fields", &fields)?;
    Ok(Row {
        id,
        source,
        record: LogRecord {
            time: Timestamp(ts),
            received: Timestamp(received),
            level: level_of(level)?,
            message,
            fields: fields
                .into_iter()
                .map(|(key, value)| {
                    let value = match value {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    (key.into(), value)
                })
                .collect(),
        },
    })
}

fn level_of(code: i64) -> Result<LogLevel> {
    use LogLevel::*;
    [Unset, Trace, Debug, Info, Notice, Warning, Error, Critical]
        .into_iter()
        .find(|level| *level as i64 == code)
        .ok_or_else(|| StoreError::corrupt("logs.level", code))
}

/// Hands every record since `from` to `each`, newest first, for windows of rules
/// that are rebuilt at the start. At most `limit`.
pub async fn each_since(
    conn: &mut Conn,
    from: Timestamp,
    limit: u32,
    mut each: impl FnMut(Row),
) -> Result<()> {
    let mut rows = sqlx::query_as::<_, (i64, i64, i64, String, i64, String, String)>(
        "SELECT id, ts, received, source, level, message, fields FROM logs WHERE ts >= ? \
         ORDER BY ts DESC, id DESC LIMIT ?",
    )
    .bind(from.0)
    .bind(i64::from(limit))
    .fetch(conn);
    while let Some(row) = rows.try_next().await? {
        each(decode(row)?);
    }
    Ok(())
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
