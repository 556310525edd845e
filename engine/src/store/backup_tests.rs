use super::*;
use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::plugins::{Origin, Plugin};
use crate::store::testkit::{Fixture, fixture};

fn plugin(bytes: &[u8], name: &str, origin: Origin) -> Plugin {
    Plugin {
        digest: digest::of(bytes),
        name: name.into(),
        version: "1.0.0".into(),
        kind: "probe".into(),
        manifest: serde_json::json!({}),
        origin,
        active: true,
        size: bytes.len() as u64,
        uploaded_at: Timestamp(1),
        uploaded_by: "ann".into(),
        signature: None,
    }
}

/// A folder with an uploaded plugin, one that came with the engine, one whose
/// bytes are damaged, and compiled code.
async fn filled() -> Fixture {
    let mut f = fixture().await;
    let conn = f.writer.connection().await.expect("connection");
    for row in [
        plugin(b"mine", "mine", Origin::Upload),
        plugin(b"lost", "lost", Origin::Upload),
        plugin(b"http", "http", Origin::Builtin),
    ] {
        plugins::insert(conn, &row).await.expect("insert");
    }
    for (bytes, name) in [(b"mine", b"mine"), (b"harm", b"lost"), (b"http", b"http")] {
        let path = plugin_path(f.folder.path(), name);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(path, bytes).expect("write");
    }
    let cache = f.folder.path().join("cache");
    std::fs::create_dir_all(&cache).expect("folder");
    std::fs::write(cache.join("code.cwasm"), "native").expect("write");
    f
}

fn plugin_path(folder: &Path, bytes: &[u8]) -> PathBuf {
    let name = format!("{}.wasm", digest::of(bytes).0);
    folder.join(PLUGINS).join(name)
}

#[tokio::test]
async fn uploaded_plugins_go_into_the_backup_and_come_back() {
    let f = filled().await;
    let base = tempfile::tempdir().expect("folder");
    let file = base.path().join("b.db");
    let contents = backup_of(f.folder.path(), &file).await.expect("backup");
    assert_eq!(contents.plugins, 1);
    assert_eq!(contents.missing, ["lost 1.0.0"]);
    let meta = std::fs::metadata(&file).expect("backup");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);

    let folder = base.path().join("data");
    assert_eq!(restore(&file, &folder).await.expect("restore"), 1);
    assert_eq!(
        std::fs::read(plugin_path(&folder, b"mine")).expect("it"),
        b"mine"
    );
    assert!(!plugin_path(&folder, b"http").exists());
    assert!(!folder.join("cache").exists(), "compiled code is made anew");
    let (store, _writer) = Store::open(&folder).await.expect("open");
    let mut reader = store.reader().await.expect("reader");
    let kept = plugins::list(&mut reader).await.expect("list");
    assert_eq!(kept.len(), 3);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'backup_plugins'")
            .fetch_one(&mut *reader)
            .await
            .expect("count");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn bytes_that_are_not_what_their_digest_says_are_refused() {
    let f = filled().await;
    let base = tempfile::tempdir().expect("folder");
    let file = base.path().join("b.db");
    backup_of(f.folder.path(), &file).await.expect("backup");
    let folder = base.path().join("data");
    let forged = [
        "UPDATE backup_plugins SET bytes = x'00'",
        "UPDATE backup_plugins SET digest = '../cache/code'",
    ];
    for change in forged {
        let forged = base.path().join("forged.db");
        std::fs::copy(&file, &forged).expect("copy");
        let options = SqliteConnectOptions::new().filename(&forged);
        let mut conn = options.connect().await.expect("connect");
        sqlx::query(change).execute(&mut conn).await.expect("forge");
        conn.close().await.expect("close");
        let error = restore(&forged, &folder).await.expect_err("forged");
        assert!(error.to_string().contains("other content"), "{error}");
        assert!(!folder.join(DATABASE).exists());
        assert!(!folder.join("cache").exists());
    }
}

/// A folder with one row of `meta`, left as by a `kill -9`.
async fn left(key: &str) -> tempfile::TempDir {
    let mut f = fixture().await;
    let conn = f.writer.connection().await.expect("connection");
    meta::set(conn, key, "1").await.expect("set");
    let Fixture {
        store,
        writer,
        folder,
    } = f;
    store.close().await;
    writer.close().await.expect("close");
    folder
}

#[tokio::test]
async fn a_damaged_database_is_kept_as_it_is_and_in_nobodys_way() {
    let base = tempfile::tempdir().expect("folder");
    let file = base.path().join("b.db");
    let kept = left("kept").await;
    backup_of(kept.path(), &file).await.expect("backup");

    let folder = left("lost").await;
    let name = |suffix: &str| folder.path().join(format!("{DATABASE}{suffix}"));
    // Of an earlier restore.
    std::fs::write(name(".replaced-wal"), "older").expect("write");
    for (suffix, text) in [
        ("", "no database"),
        ("-wal", "a log"),
        ("-shm", "its index"),
    ] {
        std::fs::write(name(suffix), text).expect("write");
    }
    restore(&file, folder.path()).await.expect("restore");
    let read = |suffix: &str| std::fs::read_to_string(name(suffix)).expect(suffix);
    assert_eq!(read(".replaced"), "no database");
    assert_eq!(read(".replaced-wal"), "a log");
    let (store, _writer) = Store::open(folder.path()).await.expect("open");
    let mut reader = store.reader().await.expect("reader");
    let value = meta::get(&mut reader, "kept").await.expect("get");
    assert_eq!(value.as_deref(), Some("1"));
    assert_eq!(meta::get(&mut reader, "lost").await.expect("get"), None);
}

#[tokio::test]
async fn a_sound_database_is_kept_whole_and_alone() {
    let base = tempfile::tempdir().expect("folder");
    let file = base.path().join("b.db");
    backup_of(left("kept").await.path(), &file)
        .await
        .expect("backup");
    let folder = left("old").await;
    let aside = folder.path().join(format!("{DATABASE}.replaced"));
    std::fs::write(folder.path().join(format!("{DATABASE}.replaced-wal")), "x").expect("write");
    restore(&file, folder.path()).await.expect("restore");
    let options = SqliteConnectOptions::new().filename(&aside);
    let mut conn = options.connect().await.expect("connect");
    let value = meta::get(&mut conn, "old").await.expect("get");
    assert_eq!(value.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_was_restored_is_an_installation_of_its_own() {
    let mut f = fixture().await;
    let conn = f.writer.connection().await.expect("connection");
    assert_eq!(meta::installation_id(conn, "a").await.expect("id"), "a");
    let base = tempfile::tempdir().expect("folder");
    let file = base.path().join("b.db");
    backup_of(f.folder.path(), &file).await.expect("backup");
    let folder = base.path().join("data");
    restore(&file, &folder).await.expect("restore");
    let (_store, mut writer) = Store::open(&folder).await.expect("open");
    let conn = writer.connection().await.expect("connection");
    assert_eq!(meta::installation_id(conn, "b").await.expect("id"), "b");
}
