use std::os::unix::fs::PermissionsExt;

use sqlx::Connection;

use super::*;
use crate::store::StoreError;
use crate::store::backup::restore;
use crate::store::testkit::{count, fixture, result, results, with_series};

#[tokio::test]
async fn opens_migrates_and_reopens() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(3)).await.expect("commit");
    let mode = std::fs::metadata(f.folder.path())
        .expect("folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(f.store.size() > 0);
    f.store.close().await;
    f.writer.close().await.expect("close");
    drop(f.store);
    let wal = f.folder.path().join("bellwether.db-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).is_ok_and(|m| m.len() == 0));
    let (store, _writer) = Store::open(f.folder.path()).await.expect("second open");
    assert_eq!(count(&store, "series").await, 3);
    assert_eq!(
        store.integrity_check().await.expect("check"),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_second_engine_is_refused_with_the_first_ones_process() {
    let f = fixture().await;
    let error = Store::open(f.folder.path()).await.expect_err("locked");
    assert!(
        matches!(&error, OpenError::Locked { pid, .. } if *pid == std::process::id().to_string())
    );
    assert!(error.to_string().contains("in use by another bellwether"));
    drop((f.store, f.writer));
    Store::open(f.folder.path()).await.expect("free again");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let f = fixture().await;
    let mut writer = f.writer;
    let conn = writer.connection().await.expect("connection");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9000, 'later', TRUE, x'00', 0)",
    )
    .execute(conn)
    .await
    .expect("insert");
    drop((f.store, writer));
    let error = Store::open(f.folder.path()).await.expect_err("newer");
    assert!(matches!(error, OpenError::NewerSchema { found: 9000, .. }));
    assert!(error.to_string().contains("install the newer bellwether"));
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_taken_over_with_what_it_holds() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join(DATABASE);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("mode");
    let first = MIGRATIONS.iter().filter(|m| m.version == 1).cloned();
    let first = Migrator::with_migrations(first.collect::<Vec<_>>());
    let mut conn = writer_options(&path).connect().await.expect("connection");
    migrate(&mut conn, &first, &path, folder.path())
        .await
        .expect("the first schema");
    sqlx::query(
        "INSERT INTO plugins (digest, name, version, kind, origin, manifest, size, active, \
         uploaded_at, uploaded_by) VALUES ('aa', 'mine', '1.0.0', 'probe', 'upload', '{}', 3, 1, 7, 'ann')",
    )
    .execute(&mut conn)
    .await
    .expect("a plugin");
    conn.close().await.expect("close");
    let (store, _writer) = Store::open(folder.path()).await.expect("open");
    let mut reader = store.reader().await.expect("reader");
    let kept = crate::store::plugins::list(&mut reader)
        .await
        .expect("list");
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (&*kept[0].name, kept[0].signature.as_deref()),
        ("mine", None)
    );
}

#[tokio::test]
async fn a_backup_is_made_before_a_migration_of_a_filled_database() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(2)).await.expect("commit");
    let path = f.folder.path().join(DATABASE);
    let mut all = MIGRATIONS.iter().cloned().collect::<Vec<_>>();
    all.push(sqlx::migrate::Migration::new(
        9000,
        "later".into(),
        sqlx::migrate::MigrationType::Simple,
        sqlx::SqlStr::from_static("DELETE FROM series; CREATE TABLE later (x INTEGER) STRICT;"),
        false,
    ));
    let later = Migrator::with_migrations(all);
    // One that an earlier attempt left behind.
    let backups = f.folder.path().join(BACKUPS);
    let from = MIGRATIONS.iter().map(|m| m.version).max().expect("schema");
    let old = backups.join(format!("before-schema-9000-from-{from}.db"));
    std::fs::create_dir(&backups).expect("folder");
    std::fs::write(&old, "old").expect("write");
    let conn = f.writer.connection().await.expect("connection");
    migrate(conn, &later, &path, f.folder.path())
        .await
        .expect("migrate");
    assert_eq!(count(&f.store, "series").await, 0);
    assert_eq!(count(&f.store, "later").await, 0);
    let backups: Vec<_> = std::fs::read_dir(backups)
        .expect("backups")
        .map(|entry| entry.expect("entry").path())
        .collect();
    assert_eq!(backups, [old]);
    let mode = std::fs::metadata(&backups[0])
        .expect("meta")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // The copy is from before the migration and opens by itself.
    let other = tempfile::tempdir().expect("folder");
    restore(&backups[0], other.path()).await.expect("restore");
    let (store, _writer) = Store::open(other.path()).await.expect("open");
    assert_eq!(count(&store, "series").await, 2);
}

#[tokio::test]
async fn backup_and_restore_carry_every_row() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(2)).await.expect("commit");
    f.writer
        .commit(&results(
            (0..50).map(|i| result(i * 1_000_000, 1)).collect(),
        ))
        .await
        .expect("commit");
    let backup = f.folder.path().join("b.db");
    f.store.backup(&backup).await.expect("backup");
    assert!(matches!(
        f.store.backup(&backup).await,
        Err(StoreError::Invalid(_))
    ));
    let other = tempfile::tempdir().expect("folder");
    restore(&backup, other.path()).await.expect("restore");
    let (store, _writer) = Store::open(other.path()).await.expect("open");
    assert_eq!(count(&store, "results").await, 50);
    assert_eq!(count(&store, "series").await, 2);
    // Over an existing database: the old one is kept.
    f.writer
        .commit(&results(vec![result(90_000_000, 1)]))
        .await
        .expect("commit");
    assert!(matches!(
        restore(&backup, f.folder.path()).await,
        Err(OpenError::Locked { .. })
    ));
    let folder = f.folder;
    drop((f.store, f.writer));
    restore(&backup, folder.path()).await.expect("restore");
    let (store, _writer) = Store::open(folder.path()).await.expect("open");
    assert_eq!(count(&store, "results").await, 50);
    assert!(folder.path().join("bellwether.db.replaced").exists());
}

#[tokio::test]
async fn readers_cannot_write() {
    let f = fixture().await;
    let mut reader = f.store.reader().await.expect("reader");
    let error = sqlx::query("INSERT INTO meta (key, value) VALUES ('a', 'b')")
        .execute(&mut *reader)
        .await
        .expect_err("read only");
    assert!(error.to_string().contains("readonly"));
}

#[tokio::test]
async fn a_full_database_fails_and_the_writer_recovers() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(1)).await.expect("commit");
    let conn = f.writer.connection().await.expect("connection");
    crate::store::testkit::fill(conn).await;
    let many = results((0..20_000).map(|i| result(i, 1)).collect());
    let error = f.writer.commit(&many).await.expect_err("full");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(count(&f.store, "results").await, 0);
    // The limit went with the connection, as it does when space was freed.
    f.writer.commit(&many).await.expect("commit");
    assert_eq!(count(&f.store, "results").await, 20_000);
}

#[tokio::test]
async fn durability_follows_the_rows() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(1)).await.expect("commit");
    let conn = f.writer.connection().await.expect("connection");
    let level: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *conn)
        .await
        .expect("pragma");
    assert_eq!(level, 2, "series survive power loss");
    f.writer
        .commit(&results(vec![result(1, 1)]))
        .await
        .expect("commit");
    let conn = f.writer.connection().await.expect("connection");
    let level: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *conn)
        .await
        .expect("pragma");
    assert_eq!(level, 1, "plain results survive the process");
}

/// What `kill -9` leaves behind: database and log as they are on disk.
#[tokio::test]
async fn committed_rows_survive_a_kill_and_open_transactions_do_not() {
    let mut f = fixture().await;
    f.writer.commit(&with_series(1)).await.expect("commit");
    f.writer
        .commit(&results((0..500).map(|i| result(i, 1)).collect()))
        .await
        .expect("commit");
    let conn = f.writer.connection().await.expect("connection");
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    crate::store::write::write(
        &mut tx,
        &results((1_000..60_000).map(|i| result(i, 1)).collect()),
    )
    .await
    .expect("write");
    let copy = tempfile::tempdir().expect("folder");
    for name in ["bellwether.db", "bellwether.db-wal"] {
        std::fs::copy(f.folder.path().join(name), copy.path().join(name)).expect("copy");
    }
    drop(tx);
    let (store, _writer) = Store::open(copy.path()).await.expect("open");
    assert_eq!(count(&store, "results").await, 500);
    assert!(store.integrity_check().await.expect("check").is_empty());
}
