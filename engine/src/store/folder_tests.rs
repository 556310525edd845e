use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::store::Store;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").mode() & 0o777
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

async fn refused(folder: &Path) -> String {
    match Store::open(folder).await {
        Err(error @ OpenError::Unfit { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_folder_and_its_database_are_the_owners_alone() {
    let base = tempfile::tempdir().expect("folder");
    let folder = base.path().join("deep").join("data");
    let (store, writer) = Store::open(&folder).await.expect("open");
    assert_eq!(mode(&folder), 0o700);
    for name in [DATABASE, "bellwether.db-wal", "bellwether.db-shm", LOCK] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    drop((store, writer));
}

#[tokio::test]
async fn an_own_folder_that_others_could_reach_into_is_narrowed() {
    let base = tempfile::tempdir().expect("folder");
    let folder = base.path().join("data");
    drop(Store::open(&folder).await.expect("open"));
    std::fs::write(folder.join("notes.txt"), "x").expect("write");
    set(&folder, 0o755);
    set(&folder.join(DATABASE), 0o644);
    drop(Store::open(&folder).await.expect("open again"));
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(DATABASE)), 0o600);
    // An empty one, too, such as the root of a new file system.
    let fresh = base.path().join("fresh");
    std::fs::create_dir_all(fresh.join("lost+found")).expect("folders");
    set(&fresh, 0o777);
    drop(Store::open(&fresh).await.expect("open"));
    assert_eq!(mode(&fresh), 0o700);
}

#[tokio::test]
async fn a_folder_with_other_files_is_left_alone() {
    let base = tempfile::tempdir().expect("folder");
    for bits in [0o700, 0o755, 0o777] {
        let folder = base.path().join(format!("home-{bits:o}"));
        std::fs::create_dir(&folder).expect("folder");
        std::fs::write(folder.join("notes.txt"), "x").expect("write");
        set(&folder, bits);
        let text = refused(&folder).await;
        assert!(
            text.contains("notes.txt") && text.contains("choose an empty"),
            "{text}"
        );
        assert_eq!(mode(&folder), bits);
        assert_eq!(std::fs::read_dir(&folder).expect("list").count(), 1);
    }
    // Unless it was claimed before.
    let claimed = base.path().join("claimed");
    claim(&claimed).expect("claim");
    std::fs::write(claimed.join("notes.txt"), "x").expect("write");
    Store::open(&claimed).await.expect("open");
}

#[tokio::test]
async fn links_and_files_are_no_data_folder() {
    let base = tempfile::tempdir().expect("folder");
    let real = base.path().join("real");
    drop(Store::open(&real).await.expect("open"));
    let link = base.path().join("link");
    symlink(&real, &link).expect("link");
    let text = refused(&link).await;
    assert!(text.contains("symbolic link"), "{text}");
    let file = base.path().join("file");
    std::fs::write(&file, "x").expect("write");
    assert!(refused(&file).await.contains("a file"));

    // Nor is what is inside a link to elsewhere.
    for name in ["plugins", "cache", LOCK] {
        let folder = base.path().join(format!("with-{name}"));
        std::fs::create_dir(&folder).expect("folder");
        symlink(PathBuf::from("/tmp"), folder.join(name)).expect("link");
        let text = refused(&folder).await;
        assert!(text.contains(name), "{text}");
    }
}
