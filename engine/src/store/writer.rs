//! The one connection that writes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::open::FolderLock;
use super::{Conn, Result, StoreError};
use crate::pipeline::changes::Changes;

/// The only connection that writes. After an error it is opened afresh, because
/// SQLite may have ended the transaction by itself.
#[derive(Debug)]
pub struct Writer {
    pub(super) conn: Option<Conn>,
    pub(super) options: SqliteConnectOptions,
    pub(super) full: bool,
    pub(super) _lock: Arc<FolderLock>,
}

/// How much a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `kill -9`.
    Process,
    /// Power loss.
    Power,
}

impl Writer {
    /// Commits the rows of a batch in one transaction.
    pub async fn commit(&mut self, changes: &Changes) -> Result<()> {
        self.transaction(Durability::of(changes), changes, |conn, changes| {
            Box::pin(super::write::write(conn, changes))
        })
        .await
    }

    /// Runs `work` in a transaction of its own and commits it; rolls back where
    /// it fails. `arg` is handed through, so that the future may borrow it.
    pub async fn transaction<A, R>(
        &mut self,
        durability: Durability,
        mut arg: A,
        work: impl for<'c> FnOnce(&'c mut Conn, &'c mut A) -> BoxFuture<'c, Result<R>>,
    ) -> Result<R> {
        let full = durability == Durability::Power;
        self.connection().await?;
        let was_full = self.full;
        let conn = self.connection().await?;
        let done = async {
            if full != was_full {
                let pragma = if full {
                    "PRAGMA synchronous = FULL"
                } else {
                    "PRAGMA synchronous = NORMAL"
                };
                sqlx::query(pragma).execute(&mut *conn).await?;
            }
            let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
            match work(&mut tx, &mut arg).await {
                Ok(value) => tx.commit().await.map(|()| Ok(value)),
                Err(StoreError::Database(e)) => Err(e),
                Err(other) => tx.rollback().await.map(|()| Err(other)),
            }
        }
        .await;
        match done {
            Ok(result) => {
                self.full = full;
                result
            }
            Err(e) => {
                // Dropping it rolls back whatever is left of the transaction.
                self.conn = None;
                Err(e.into())
            }
        }
    }

    /// The connection, outside of any transaction.
    pub async fn connection(&mut self) -> Result<&mut Conn> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                self.full = false;
                self.options.connect().await?
            }
        };
        Ok(self.conn.insert(conn))
    }

    /// Folds the write-ahead log into the database and closes it.
    pub async fn close(mut self) -> Result<()> {
        let conn = self.connection().await?;
        sqlx::query("PRAGMA optimize").execute(&mut *conn).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut *conn)
            .await?;
        if let Some(conn) = self.conn.take() {
            conn.close().await?;
        }
        Ok(())
    }
}

impl Durability {
    /// What the rows of a batch must survive.
    pub fn of(changes: &Changes) -> Self {
        if changes.must_survive_power_loss() {
            Durability::Power
        } else {
            Durability::Process
        }
    }
}
