//! Log records and where they come from.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Error, Result};
use super::extract::{Page, Query, Viewer};
use super::objects::Items;
use super::state::ConfigHandle;
use crate::alert::query::{LogQuery, Match};
use crate::check::outcome::LogLevel;
use crate::clock::Timestamp;
use crate::store::logs::{self, Cursor, Filter, TextTerm};
use crate::store::{Store, checkpoints};

/// Time that one answer may search; what is left comes with the next page.
const BUDGET: Duration = Duration::from_millis(500);

/// A log record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogView {
    pub id: i64,
    /// When it happened, in µs.
    pub ts: i64,
    /// When it was received, in µs.
    pub received: i64,
    pub source: String,
    pub level: LogLevel,
    pub message: String,
    pub fields: BTreeMap<String, String>,
}

/// Which records.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// At or after, in µs.
    pub from: Option<i64>,
    /// Before, in µs.
    pub to: Option<i64>,
    pub source: Option<String>,
    /// Exactly this level.
    pub level: Option<LogLevel>,
    /// This level or a worse one.
    pub min_level: Option<LogLevel>,
    /// Query such as `level:error checkout -test "exact words"`.
    pub q: Option<String>,
    /// Items in one answer, at most 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// `ts-id` of the last record shown.
struct Position(Cursor);

impl std::str::FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ts, id) = text.split_once('_').ok_or(())?;
        Ok(Self(Cursor {
            ts: Timestamp(ts.parse().map_err(|_| ())?),
            id: id.parse().map_err(|_| ())?,
        }))
    }
}

/// Log records, newest first
///
/// A page may have fewer records than `limit` and still a `next`: the time for
/// one answer was used up.
#[utoipa::path(
    get, path = "/logs", operation_id = "list_logs", tag = "logs", params(LogParams),
    responses((status = 200, body = Items<LogView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(store): State<Store>,
    Query(params): Query<LogParams>,
) -> Result<Json<Items<LogView>>> {
    let page = Page::new(params.limit, params.cursor);
    let query = LogQuery::parse(params.q.as_deref().unwrap_or(""))
        .map_err(|error| Error::field("q", error.to_string()))?;
    let texts = query.terms.iter().filter_map(|term| match &term.what {
        Match::Message(text) => Some(TextTerm {
            text: text.clone(),
            negate: term.negated,
        }),
        _ => None,
    });
    let filter = Filter {
        from: params.from.map(Timestamp),
        to: params.to.map(Timestamp),
        sources: params.source.into_iter().collect(),
        level: params.level,
        min_level: params.min_level,
        texts: texts.collect(),
        fields: Vec::new(),
    };
    let before = page.cursor::<Position>()?.map(|position| position.0);
    let mut reader = store.reader().await?;
    let found = logs::search(
        &mut reader,
        &filter,
        before,
        page.limit() as u32,
        BUDGET,
        |row| query.matches(&row.record, &row.source),
    )
    .await?;
    let items = found.rows.into_iter().map(|row| LogView {
        id: row.id,
        ts: row.record.time.micros(),
        received: row.record.received.micros(),
        source: row.source,
        level: row.record.level,
        message: row.record.message,
        fields: row
            .record
            .fields
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    });
    Ok(Json(Items {
        items: items.collect(),
        next: found
            .next
            .map(|next| format!("{}_{}", next.ts.micros(), next.id)),
    }))
}

/// A log source and the files it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogSourceView {
    pub name: String,
    /// Path or glob.
    pub file: String,
    pub parser: String,
    pub files: Vec<LogFileView>,
    /// Why nothing can be read, where that is so.
    pub error: Option<String>,
}

/// How far a file was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogFileView {
    pub path: String,
    /// Bytes.
    pub offset: u64,
    /// When the last of it was recorded, in µs.
    pub updated_at: i64,
}

/// Log sources and the files they follow
#[utoipa::path(
    get, path = "/logs/sources", operation_id = "list_followed_files", tag = "logs",
    responses((status = 200, body = Items<LogSourceView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn sources(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
) -> Result<Json<Items<LogSourceView>>> {
    let points = checkpoints::list(&mut *store.reader().await?, None).await?;
    let config = config.get();
    let items = config.spec.log_sources.iter().map(|source| {
        let files: Vec<LogFileView> = points
            .iter()
            .filter(|point| *point.source == *source.name)
            .map(|point| LogFileView {
                path: point.path.clone(),
                offset: point.offset,
                updated_at: point.updated_at.micros(),
            })
            .collect();
        LogSourceView {
            name: source.name.clone(),
            file: source.file.clone(),
            parser: source.parser.clone(),
            error: files
                .is_empty()
                .then(|| format!("no file matching {:?} was read yet", source.file)),
            files,
        }
    });
    Ok(Json(Items::all(items.collect())))
}
