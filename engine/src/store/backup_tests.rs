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
