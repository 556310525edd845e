//! Everything that lives in SQLite. No other part of the engine names `sqlx`.
//!
//! One connection writes (the recorder owns it, see [`Writer`]); a small
//! read-only pool serves everybody else (see [`Store::reader`]). There is one
//! file per aggregate; their functions take a [`Conn`], so that the same code
//! runs on a reader, on the writer and inside a transaction.

pub mod action_runs;
pub mod alerts;
pub mod audit;
pub mod backup;
mod batch;
pub mod checkpoints;
mod chunk;
pub mod compact;
pub mod crashes;
pub mod credentials;
pub mod load;
pub mod logs;
pub mod meta;
pub mod objects;
pub mod open;
pub mod outbox;
pub mod past;
pub mod plugins;
pub mod quarantines;
pub mod results;
pub mod retention;
pub mod rollups;
pub mod series;
pub mod timeline;
pub mod users;
pub mod write;
pub mod writer;

#[cfg(test)]
pub(crate) mod testkit;

pub use open::{OpenError, Reader, Store};
pub use writer::Writer;

/// A connection; readers and transactions dereference to it.
pub type Conn = sqlx::SqliteConnection;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody changed the object in between.
    #[error(
        "expected version {expected} of {what}, found {found}: it was changed in between, load it again"
    )]
    Conflict {
        /// Kind and name.
        what: String,
        /// The version the caller knew; 0 for "not there yet".
        expected: i64,
        /// The version that is stored; 0 for none.
        found: i64,
    },
    /// The row is not there.
    #[error("{0} was not found")]
    NotFound(String),
    /// The request itself cannot be met.
    #[error("{0}")]
    Invalid(String),
    /// A stored value cannot be read back.
    #[error("stored {what} cannot be read: {why}")]
    Corrupt {
        /// Table and row.
        what: String,
        /// What the decoder said.
        why: String,
    },
    /// The recorder has stopped; nothing is written any more.
    #[error("the engine is shutting down and writes nothing any more")]
    Stopped,
    /// SQLite said no.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// A stored value that does not decode.
    pub(crate) fn corrupt(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        StoreError::Corrupt {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// Result of a store function.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Reads a JSON column.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| StoreError::corrupt(what, e))
}

/// Writes a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::corrupt(what, e))
}

/// Greatest number of rows of a page.
pub const MAX_PAGE: u32 = 1_000;

/// The rows asked for, within the bounds of a page.
pub(crate) fn page(limit: u32) -> i64 {
    i64::from(limit.clamp(1, MAX_PAGE))
}
