//! The data folder: lock, connections, migrations, backups.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite};

use super::backup::copy_into;
use super::folder::{create_database, prepare_folder};
use super::writer::Writer;
use super::{Conn, Result, StoreError};

/// Name of the database inside the data folder.
pub const DATABASE: &str = "bellwether.db";
pub(super) const LOCK: &str = "lock";
pub(super) const BACKUPS: &str = "backups";
const READERS: u32 = 4;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// A pooled read-only connection; dereferences to [`Conn`].
pub type Reader = PoolConnection<Sqlite>;

/// Why the data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder, the lock or a backup file.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        source: std::io::Error,
    },
    /// The folder is not fit to hold the engine's state.
    #[error("expected a data folder of the engine's own at {path}, found {found}", path = path.display())]
    Unfit {
        /// The data folder.
        path: PathBuf,
        /// What is there, and what to do.
        found: String,
    },
    /// A second engine.
    #[error(
        "the data folder {path} is in use by another bellwether (process {pid}): stop it or choose another --data-dir",
        path = path.display()
    )]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// What the lock file says, or `unknown`.
        pid: String,
    },
    /// Written by a later release.
    #[error(
        "the database {path} has schema {found}, this bellwether knows up to {known}: install the newer bellwether again or restore a backup made by this one",
        path = path.display()
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this binary.
        known: i64,
    },
    /// A migration failed; the database is as it was before it.
    #[error("migrating {path}: {source}", path = path.display())]
    Migrate {
        /// The database file.
        path: PathBuf,
        source: sqlx::migrate::MigrateError,
    },
    /// SQLite said no.
    #[error("opening {path}: {source}", path = path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        source: sqlx::Error,
    },
}

/// Held while an engine uses the folder; the kernel lets go of it with the
/// process.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

/// Shared handle of the database: readers, checks and backups.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    path: PathBuf,
    folder: PathBuf,
    _lock: Arc<FolderLock>,
}

impl Store {
    /// Opens (and creates, migrates, where needed) the database of a data
    /// folder and locks the folder. The writer is handed out once.
    pub async fn open(folder: &Path) -> Result<(Store, Writer), OpenError> {
        prepare_folder(folder)?;
        let lock = Arc::new(lock_folder(folder)?);
        let path = folder.join(DATABASE);
        create_database(folder)?;
        let database = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        let options = writer_options(&path);
        let mut conn = options.connect().await.map_err(database)?;
        migrate(&mut conn, &MIGRATIONS, &path, folder).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(reader_options(&path))
            .await
            .map_err(database)?;
        let store = Store {
            readers,
            path: path.clone(),
            folder: folder.to_owned(),
            _lock: Arc::clone(&lock),
        };
        let writer = Writer {
            conn: Some(conn),
            options,
            full: false,
            _lock: lock,
        };
        Ok((store, writer))
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A read-only connection; waits while all are busy.
    pub async fn reader(&self) -> Result<Reader> {
        Ok(self.readers.acquire().await?)
    }

    /// What SQLite finds wrong; empty for a sound database. Reads everything.
    pub async fn integrity_check(&self) -> Result<Vec<String>> {
        let mut conn = self.reader().await?;
        let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&mut *conn)
            .await?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Writes a consistent copy of the database to a path that does not exist
    /// yet, while the engine goes on. The copy appears whole or not at all.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        if to.exists() {
            return Err(StoreError::Invalid(format!(
                "expected a new file for the backup, found {}: choose another name",
                to.display()
            )));
        }
        let mut conn = self.reader().await?;
        copy_into(&mut conn, to).await
    }

    /// Bytes of the database and its write-ahead log.
    pub fn size(&self) -> u64 {
        let wal = self.folder.join(format!("{DATABASE}-wal"));
        [&self.path, &wal]
            .into_iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// Ends the readers; waits until they were given back.
    pub async fn close(&self) {
        self.readers.close().await;
    }
}

pub(super) fn writer_options(path: &Path) -> SqliteConnectOptions {
    common_options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        // A checkpoint every 16 MiB of log instead of 4: fewer pauses.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        // The hot path appends: it touches few pages, and a larger cache would
        // fill with pages that are not looked at again.
        .pragma("cache_size", "-16384")
        .thread_name(|n| format!("sqlite-writer-{n}"))
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    common_options(path)
        .read_only(true)
        .pragma("cache_size", "-8192")
        .row_buffer_size(1024)
        .thread_name(|n| format!("sqlite-reader-{n}"))
}

fn common_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .pragma("temp_store", "memory")
        .statement_cache_capacity(128)
        .disable_statement_logging()
}

pub(super) fn lock_folder(folder: &Path) -> Result<FolderLock, OpenError> {
    let path = folder.join(LOCK);
    let io = |source| OpenError::Io {
        what: "locking the data folder with",
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && u32::from_str(pid.trim()).is_ok();
            return Err(OpenError::Locked {
                path: folder.to_owned(),
                pid: if known {
                    pid.trim().to_owned()
                } else {
                    "unknown".to_owned()
                },
            });
        }
        Err(e) => return Err(io(e.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(io)?;
    Ok(FolderLock { _file: file })
}

async fn migrate(
    conn: &mut Conn,
    migrations: &Migrator,
    path: &Path,
    folder: &Path,
) -> Result<(), OpenError> {
    let database = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let known = migrations.iter().map(|m| m.version).max().unwrap_or(0);
    let found = schema_version(conn).await.map_err(database)?;
    if found > known {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found > 0 && found < known {
        let backups = folder.join(BACKUPS);
        let io = |source| OpenError::Io {
            what: "making a backup before the migration in",
            path: backups.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&backups)
            .map_err(io)?;
        // One of that name is from an earlier attempt or an earlier upgrade, and
        // does not hold what came since. It stays until the new one is whole.
        let to = backups.join(format!("before-schema-{known}-from-{found}.db"));
        copy_into(conn, &to)
            .await
            .map_err(|e| io(std::io::Error::other(e)))?;
    }
    migrations
        .run(conn)
        .await
        .map_err(|source| OpenError::Migrate {
            path: path.to_owned(),
            source,
        })
}

/// The newest migration that was applied; 0 for an empty database.
pub(super) async fn schema_version(conn: &mut Conn) -> Result<i64, sqlx::Error> {
    let known: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *conn)
    .await?;
    if known == 0 {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *conn)
        .await
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
