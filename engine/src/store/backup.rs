//! Copies of a data folder in one file: while it runs, and back.
//!
//! The file is a database: the copy of the folder's, and in a table beside it the
//! bytes of the plugins that were uploaded. Compiled code is never part of it, nor
//! taken from it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::folder::prepare_folder;
use super::open::{DATABASE, MIGRATIONS, OpenError, lock_folder, schema_version, writer_options};
use super::{Conn, Result, StoreError, meta, plugins};
use crate::check::outcome::Digest;
use crate::plugin::digest;

/// Where the bytes of plugins are in a data folder.
const PLUGINS: &str = "plugins";

/// The key in `meta` of the installation's name, see
/// [`meta::installation_id`].
const INSTALLATION: &str = "installation";

/// What SQLite may keep beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

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

/// Takes the installation's name out of the copy of the database at `part`: the
/// next start chooses another. Ids go on from the newest of the backup, so under
/// the old name the Message-IDs and idempotency keys of what came after it would
/// be given out a second time, to other mails and other repairs.
async fn forget_installation(part: &Path) -> Result<()> {
    let mut conn = SqliteConnectOptions::new().filename(part).connect().await?;
    meta::delete(&mut conn, INSTALLATION).await?;
    conn.close().await?;
    Ok(())
}

/// Moves the database of a folder aside, as `bellwether.db.replaced`. One that
/// cannot be opened any more moves as it is, with what SQLite keeps beside it.
async fn move_aside(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(DATABASE);
    if !path.exists() {
        return Ok(());
    }
    let folded = match is_database(&path) {
        Ok(true) => fold_in(&path).await.map_err(|error| error.to_string()),
        // SQLite would tidy up beside it all the same.
        Ok(false) => Err("it is no database of SQLite any more".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = folded {
        tracing::warn!(
            path = %path.display(),
            error,
            "the database that is replaced cannot be read: it is kept as it is"
        );
    }
    // What an earlier restore left beside its database does not belong to this one.
    let aside = |suffix: &str| folder.join(format!("{DATABASE}.replaced{suffix}"));
    for suffix in BESIDE {
        remove(&aside(suffix))?;
    }
    // The database goes last: its log must not be found beside another one.
    for suffix in BESIDE.into_iter().chain([""]) {
        let from = folder.join(format!("{DATABASE}{suffix}"));
        if from.exists() {
            std::fs::rename(&from, aside(suffix))?;
        }
    }
    Ok(())
}

/// Whether a file begins as a database does; an empty one is a new one.
fn is_database(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == b"SQLite format 3\0")
}

/// Folds the write-ahead log of a database into it.
async fn fold_in(path: &Path) -> Result<(), sqlx::Error> {
    let mut conn = writer_options(path).connect().await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut conn)
        .await?;
    conn.close().await
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts a backup in the place of the database of a folder that no engine uses.
/// The database that was there is kept beside it as `bellwether.db.replaced`,
/// also where it is damaged. Returns how many uploaded plugins came back.
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
    forget_installation(&part)
        .await
        .map_err(|error| io(std::io::Error::other(error)))?;
    File::open(&part).and_then(|f| f.sync_all()).map_err(io)?;
    move_aside(folder).await.map_err(io)?;
    // A log without its database would be taken for the new one's.
    for suffix in BESIDE {
        remove(&folder.join(format!("{DATABASE}{suffix}"))).map_err(io)?;
    }
    std::fs::rename(&part, &path)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io)?;
    Ok(plugins)
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
