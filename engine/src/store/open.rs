//! The data folder: lock, connections, migrations, backups.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};

use super::{Conn, Result, StoreError};
use crate::pipeline::changes::Changes;

/// Name of the database inside the data folder.
pub const DATABASE: &str = "bellwether.db";
const LOCK: &str = "lock";
const BACKUPS: &str = "backups";
const READERS: u32 = 4;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

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
    /// Others can reach into the folder.
    #[error(
        "expected the data folder {path} to be accessible by its owner only, found mode {mode:o} and files that are not the engine's: choose an empty folder or run chmod 700 on it",
        path = path.display()
    )]
    Exposed {
        /// The data folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
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
struct FolderLock {
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

fn writer_options(path: &Path) -> SqliteConnectOptions {
    common_options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        // A checkpoint every 16 MiB of log instead of 4: fewer pauses.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-65536")
        .thread_name(|n| format!("sqlite-writer-{n}"))
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    common_options(path)
        .read_only(true)
        .pragma("cache_size", "-16384")
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

/// Creates the folder for its owner only, or narrows an empty or own one.
fn prepare_folder(folder: &Path) -> Result<(), OpenError> {
    let io = |what| {
        move |source| OpenError::Io {
            what,
            path: folder.to_owned(),
            source,
        }
    };
    if !folder.exists() {
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io("creating the data folder"));
    }
    let meta = std::fs::metadata(folder).map_err(io("reading the data folder"))?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let own = folder.join(DATABASE).exists()
        || std::fs::read_dir(folder)
            .map_err(io("reading the data folder"))?
            .next()
            .is_none();
    let narrowed =
        own && std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).is_ok();
    // A folder that others can read but not write holds no foreign code; one
    // that is somebody's home of other files is left alone.
    if narrowed || mode & 0o022 == 0 {
        return Ok(());
    }
    Err(OpenError::Exposed {
        path: folder.to_owned(),
        mode,
    })
}

fn lock_folder(folder: &Path) -> Result<FolderLock, OpenError> {
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
        let to = backups.join(format!("before-schema-{known}-from-{found}.db"));
        if !to.exists() {
            copy_into(conn, &to)
                .await
                .map_err(|e| io(std::io::Error::other(e)))?;
        }
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
async fn schema_version(conn: &mut Conn) -> Result<i64, sqlx::Error> {
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

/// Copies the connection's database into a new file: written beside it,
/// flushed, then renamed.
async fn copy_into(conn: &mut Conn, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    let failed = |e: std::io::Error| {
        StoreError::Invalid(format!("writing the backup {}: {e}", to.display()))
    };
    if part.exists() {
        std::fs::remove_file(&part).map_err(failed)?;
    }
    let name = part.to_str().ok_or_else(|| {
        StoreError::Invalid(format!(
            "expected a backup path in UTF-8, found {}",
            to.display()
        ))
    })?;
    sqlx::query("VACUUM INTO ?")
        .bind(name)
        .execute(&mut *conn)
        .await?;
    let file = File::open(&part).map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&part, to))
        .map_err(failed)?;
    if let Some(parent) = to.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
    }
    Ok(())
}

/// Copies the database of a data folder into the new file `to`. The engine may
/// run meanwhile: the copy is one moment of it.
///
/// # Errors
/// There is no database, it cannot be read, or `to` exists.
pub async fn backup_of(folder: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Err(StoreError::Invalid(format!(
            "expected a new file for the backup, found {}: choose another name",
            to.display()
        )));
    }
    let mut conn = SqliteConnectOptions::new()
        .filename(folder.join(DATABASE))
        .read_only(true)
        .connect()
        .await?;
    copy_into(&mut conn, to).await?;
    Ok(conn.close().await?)
}

/// Puts a backup in the place of the database of a folder that no engine uses.
/// The database that was there is kept beside it as `bellwether.db.replaced`.
pub async fn restore(backup: &Path, folder: &Path) -> Result<(), OpenError> {
    prepare_folder(folder)?;
    let _lock = lock_folder(folder)?;
    let database = |source| OpenError::Database {
        path: backup.to_owned(),
        source,
    };
    let mut conn = SqliteConnectOptions::new()
        .filename(backup)
        .read_only(true)
        .connect()
        .await
        .map_err(database)?;
    let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
    let found = schema_version(&mut conn).await.map_err(database)?;
    if found > known {
        return Err(OpenError::NewerSchema {
            path: backup.to_owned(),
            found,
            known,
        });
    }
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut conn)
        .await
        .map_err(database)?;
    conn.close().await.map_err(database)?;
    if found == 0 || verdict != "ok" {
        return Err(OpenError::Io {
            what: "reading the backup",
            path: backup.to_owned(),
            source: std::io::Error::other(if found == 0 {
                "expected a backup made by bellwether, found another database".to_owned()
            } else {
                verdict
            }),
        });
    }
    let path = folder.join(DATABASE);
    let io = |source| OpenError::Io {
        what: "restoring into",
        path: path.clone(),
        source,
    };
    let part = folder.join(format!("{DATABASE}.part"));
    std::fs::copy(backup, &part).map_err(io)?;
    File::open(&part).and_then(|f| f.sync_all()).map_err(io)?;
    if path.exists() {
        // The log belongs to the old database: fold it in before that moves.
        let mut old = writer_options(&path).connect().await.map_err(database)?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut old)
            .await
            .map_err(database)?;
        old.close().await.map_err(database)?;
        std::fs::rename(&path, folder.join(format!("{DATABASE}.replaced"))).map_err(io)?;
    }
    for suffix in ["-wal", "-shm"] {
        let extra = folder.join(format!("{DATABASE}{suffix}"));
        if extra.exists() {
            std::fs::remove_file(extra).map_err(io)?;
        }
    }
    std::fs::rename(&part, &path).map_err(io)
}

/// The only connection that writes. After an error it is opened afresh, because
/// SQLite may have ended the transaction by itself.
#[derive(Debug)]
pub struct Writer {
    conn: Option<Conn>,
    options: SqliteConnectOptions,
    full: bool,
    _lock: Arc<FolderLock>,
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

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
