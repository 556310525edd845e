//! Copies of the database: while it runs, of a folder, and back.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::open::{
    DATABASE, MIGRATIONS, OpenError, lock_folder, prepare_folder, schema_version, writer_options,
};
use super::{Conn, Result, StoreError};

/// Copies the connection's database into a new file: written beside it,
/// flushed, then renamed.
pub(super) async fn copy_into(conn: &mut Conn, to: &Path) -> Result<()> {
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
