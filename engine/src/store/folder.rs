//! The data folder: who may reach into it.
//!
//! Its permissions are the trust boundary of native code: whoever can write
//! there can run code as the engine.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::open::{BACKUPS, DATABASE, LOCK, OpenError};

/// What an engine leaves in its folder, and what a new file system holds.
const KNOWN: [&str; 6] = [DATABASE, LOCK, BACKUPS, "plugins", "cache", "lost+found"];

/// Makes a folder an engine's own before it is opened, for what puts files of
/// its own beside the database.
///
/// # Errors
/// The folder cannot be made, or is not fit.
pub fn claim(folder: &Path) -> Result<(), OpenError> {
    prepare_folder(folder)?;
    create_database(folder)
}

/// Creates the folder for its owner only, or narrows an empty or own one. A
/// folder with other people's files is refused.
pub(super) fn prepare_folder(folder: &Path) -> Result<(), OpenError> {
    let io = |what| {
        move |source| OpenError::Io {
            what,
            path: folder.to_owned(),
            source,
        }
    };
    let unfit = |found: String| OpenError::Unfit {
        path: folder.to_owned(),
        found,
    };
    let meta = match std::fs::symlink_metadata(folder) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(io("creating the data folder"));
        }
        Err(error) => return Err(io("reading the data folder")(error)),
    };
    if meta.is_symlink() {
        let text = "a symbolic link: name the folder that it points to";
        return Err(unfit(text.into()));
    }
    if !meta.is_dir() {
        return Err(unfit("a file: choose another --data-dir".into()));
    }
    let own_user = rustix::process::geteuid().as_raw();
    if meta.uid() != own_user {
        return Err(unfit(format!(
            "one that belongs to user {}, and the engine runs as user {own_user}: run chown on it or choose another --data-dir",
            meta.uid()
        )));
    }
    let mut own = false;
    let mut foreign = None;
    for entry in std::fs::read_dir(folder).map_err(io("reading the data folder"))? {
        let entry = entry.map_err(io("reading the data folder"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = KNOWN.contains(&name.as_str()) || name.starts_with(DATABASE);
        if known && entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            return Err(unfit(format!(
                "{name} as a symbolic link in it: put the file itself there"
            )));
        }
        own |= name == DATABASE;
        if !known {
            foreign = Some(name);
        }
    }
    if let Some(name) = foreign.filter(|_| !own) {
        return Err(unfit(format!(
            "one with other files, such as {name:?}: choose an empty folder or a new one"
        )));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            folder = %folder.display(),
            mode = format!("{mode:o}"),
            "others could reach into the data folder; it is its owner's alone now"
        );
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(io("running chmod 700 on the data folder"))?;
    }
    Ok(())
}

/// Creates the database file for its owner only, or narrows the one there is.
/// SQLite gives its other files the same permissions.
pub(super) fn create_database(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(DATABASE);
    let io = |source| OpenError::Io {
        what: "creating the database",
        path: path.clone(),
        source,
    };
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    for suffix in ["", "-wal", "-shm"] {
        let path = folder.join(format!("{DATABASE}{suffix}"));
        let narrow = match std::fs::metadata(&path) {
            Ok(meta) => meta.mode() & 0o077 != 0,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(io(error)),
        };
        if narrow {
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(io)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
