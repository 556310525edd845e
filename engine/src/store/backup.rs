//! Copies of a data folder in one file: while it runs, and back.
//!
//! The file is a database: the copy of the folder's, and in a table beside it the
//! bytes of the plugins that were uploaded. Compiled code is never part of it, nor
//! taken from it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::folder::prepare_folder;
use super::open::{DATABASE, MIGRATIONS, OpenError, lock_folder, schema_version, writer_options};
use super::{Conn, Result, StoreError, plugins};
use crate::check::outcome::Digest;
use crate::plugin::digest;

/// Where the bytes of plugins are in a data folder.
const PLUGINS: &str = "plugins";

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Uploaded plugins.
    pub plugins: usize,
    /// Those whose bytes are gone or damaged, as name and version.
    pub missing: Vec<String>,
}

/// Copies the connection's database into a new file: written beside it,
/// flushed, then renamed.
pub(super) async fn copy_into(conn: &mut Conn, to: &Path) -> Result<()> {
    let part = copy_beside(conn, to).await?;
    put_in_place(&part, to)
}

fn failed(to: &Path) -> impl Fn(std::io::Error) -> StoreError + '_ {
    |error| StoreError::Invalid(format!("writing the backup {}: {error}", to.display()))
}

async fn copy_beside(conn: &mut Conn, to: &Path) -> Result<PathBuf> {
    let part = to.with_extension("part");
    if part.exists() {
        std::fs::remove_file(&part).map_err(failed(to))?;
    }
    // For its owner only from its first byte on.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed(to))?;
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
    Ok(part)
}

fn put_in_place(part: &Path, to: &Path) -> Result<()> {
    File::open(part)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(part, to))
        .map_err(failed(to))?;
    if let Some(parent) = to.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(failed(to))?;
    }
    Ok(())
}

/// Puts the uploaded plugins of a data folder into the copy of its database.
async fn add_plugins(part: &Path, folder: &Path) -> Result<Contents> {
    let mut conn = SqliteConnectOptions::new().filename(part).connect().await?;
    sqlx::query("CREATE TABLE backup_plugins (digest TEXT NOT NULL PRIMARY KEY, bytes BLOB NOT NULL) STRICT")
        .execute(&mut conn)
        .await?;
    let mut contents = Contents::default();
    let listed = plugins::list(&mut conn).await?.into_iter();
    for plugin in listed.filter(|row| row.origin == plugins::Origin::Upload) {
        let path = folder
            .join(PLUGINS)
            .join(format!("{}.wasm", plugin.digest.0));
        match std::fs::read(&path) {
            Ok(bytes) if digest::of(&bytes) == plugin.digest => {
                sqlx::query("INSERT OR IGNORE INTO backup_plugins (digest, bytes) VALUES (?, ?)")
                    .bind(&*plugin.digest.0)
                    .bind(bytes)
                    .execute(&mut conn)
                    .await?;
                contents.plugins += 1;
            }
            _ => contents
                .missing
                .push(format!("{} {}", plugin.name, plugin.version)),
        }
    }
    conn.close().await?;
    Ok(contents)
}

/// Writes the plugins of a backup into the data folder and takes them out of the
/// copy of the database at `part`. Bytes that do not fit their digest are
/// refused: so is everything that is no plugin.
async fn take_plugins(part: &Path, folder: &Path) -> Result<usize, OpenError> {
    let database = |source| OpenError::Database {
        path: part.to_owned(),
        source,
    };
    let mut conn = SqliteConnectOptions::new()
        .filename(part)
        .connect()
        .await
        .map_err(database)?;
    let there: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'backup_plugins'")
            .fetch_one(&mut conn)
            .await
            .map_err(database)?;
    let mut taken = 0;
    if there > 0 {
        let digests: Vec<String> = sqlx::query_scalar("SELECT digest FROM backup_plugins")
            .fetch_all(&mut conn)
            .await
            .map_err(database)?;
        for text in digests {
            let bytes: Vec<u8> =
                sqlx::query_scalar("SELECT bytes FROM backup_plugins WHERE digest = ?")
                    .bind(&text)
                    .fetch_one(&mut conn)
                    .await
                    .map_err(database)?;
            let digest = Digest(text.as_str().into());
            if !digest::is_valid(&digest) || digest::of(&bytes) != digest {
                return Err(OpenError::Io {
                    what: "reading the backup",
                    path: part.to_owned(),
                    source: std::io::Error::other(format!(
                        "the plugin {text:?} in it has other content than its digest says"
                    )),
                });
            }
            keep_plugin(folder, &digest, &bytes)?;
            taken += 1;
        }
        for statement in ["DROP TABLE backup_plugins", "VACUUM"] {
            sqlx::query(statement)
                .execute(&mut conn)
                .await
                .map_err(database)?;
        }
    }
    conn.close().await.map_err(database)?;
    Ok(taken)
}

fn keep_plugin(folder: &Path, digest: &Digest, bytes: &[u8]) -> Result<(), OpenError> {
    let plugins = folder.join(PLUGINS);
    let path = plugins.join(format!("{}.wasm", digest.0));
    let part = plugins.join(format!("{}.part", digest.0));
    let write = || {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&plugins)?;
        if part.exists() {
            std::fs::remove_file(&part)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        File::open(&plugins)?.sync_all()
    };
    write().map_err(|source| OpenError::Io {
        what: "restoring the plugin",
        path: path.clone(),
        source,
    })
}

/// Copies the database and the uploaded plugins of a data folder into the new
/// file `to`. The engine may run meanwhile: the copy is one moment of it.
///
/// # Errors
/// There is no database, it cannot be read, or `to` exists.
pub async fn backup_of(folder: &Path, to: &Path) -> Result<Contents> {
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
    let part = copy_beside(&mut conn, to).await?;
    conn.close().await?;
    let contents = add_plugins(&part, folder).await?;
    put_in_place(&part, to)?;
    Ok(contents)
}

/// Puts a backup in the place of the database of a folder that no engine uses.
/// The database that was there is kept beside it as `bellwether.db.replaced`.
/// Returns how many uploaded plugins came back.
///
/// # Errors
/// The backup is none, is damaged, or is of a newer release; the folder cannot be
/// used. Nothing is replaced then.
pub async fn restore(backup: &Path, folder: &Path) -> Result<usize, OpenError> {
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
    std::fs::copy(backup, &part)
        .and_then(|_| std::fs::set_permissions(&part, Permissions::from_mode(0o600)))
        .map_err(io)?;
    let plugins = take_plugins(&part, folder).await?;
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
    std::fs::rename(&part, &path).map_err(io)?;
    Ok(plugins)
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
