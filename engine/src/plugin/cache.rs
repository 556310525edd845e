//! Compiled code on disk, and plugin bytes by digest.
//!
//! Invariant: native code is loaded only from a folder that belongs to this
//! user and that nobody else can write. That folder's permissions are the trust
//! boundary: whoever can write there can run code as the engine.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::compile::compatibility;
use super::digest;
use crate::check::outcome::Digest;

/// The two folders of the plugin host.
#[derive(Debug)]
pub(super) struct Files {
    code: PathBuf,
    plugins: PathBuf,
}

impl Files {
    /// Makes the folders where they are missing and checks who can write them.
    pub fn open(data_dir: &Path, cache_dir: &Path) -> Result<Self, String> {
        let plugins = data_dir.join("plugins");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&plugins)
            .map_err(|error| format!("cannot make the folder {}: {error}", plugins.display()))?;
        private_folder(cache_dir)?;
        remove_leftovers(&plugins);
        remove_leftovers(cache_dir);
        Ok(Self {
            code: cache_dir.to_owned(),
            plugins,
        })
    }

    fn code_path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        self.code
            .join(format!("{}-{:016x}.cwasm", digest.0, compatibility(engine)))
    }

    /// Where a plugin's bytes are kept.
    pub fn plugin_path(&self, digest: &Digest) -> PathBuf {
        self.plugins.join(format!("{}.wasm", digest.0))
    }

    /// Native code from the cache; absent where there is none or where it does
    /// not load (it is compiled again then).
    pub fn cached<T>(&self, engine: &Engine, digest: &Digest, load: Load<T>) -> Option<T> {
        let path = self.code_path(engine, digest);
        let bytes = read_own_file(&path).ok()?;
        match load(engine, &bytes) {
            Ok(code) => Some(code),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached code does not load, compiling again");
                None
            }
        }
    }

    /// Keeps native code. A full disk costs a compilation at the next start, no
    /// more.
    pub fn keep_code(&self, engine: &Engine, digest: &Digest, code: &[u8]) {
        let path = self.code_path(engine, digest);
        if let Err(error) = write_atomically(&path, code) {
            tracing::warn!(path = %path.display(), %error, "compiled code is not cached");
        }
    }

    /// Keeps a plugin's bytes; they are on disk when this returns.
    pub fn keep_plugin(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let path = self.plugin_path(digest);
        // A file of that name may be damaged: it is the digest that was checked.
        let size = fs::metadata(&path).map(|meta| meta.len());
        let there = size.is_ok_and(|size| size == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|there| there == bytes);
        if there {
            return Ok(());
        }
        write_atomically(&path, bytes)
    }

    /// A plugin's bytes, checked against their name.
    pub fn plugin(&self, digest: &Digest) -> Result<Vec<u8>, String> {
        if !digest::is_valid(digest) {
            return Err(format!(
                "expected a SHA-256 digest of 64 hexadecimal digits, found {:?}",
                digest.0
            ));
        }
        let path = self.plugin_path(digest);
        let bytes = fs::read(&path).map_err(|error| {
            format!(
                "plugin {} is not there: {}: {error}",
                short(digest),
                path.display()
            )
        })?;
        if digest::of(&bytes) != *digest {
            return Err(format!(
                "plugin {} is damaged: {} has other content than its name says; upload it again",
                short(digest),
                path.display()
            ));
        }
        Ok(bytes)
    }

    /// Removes a plugin's bytes and its compiled code of every version.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        if !digest::is_valid(digest) {
            return Ok(());
        }
        for entry in fs::read_dir(&self.code)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&*digest.0) {
                fs::remove_file(entry.path())?;
            }
        }
        match fs::remove_file(self.plugin_path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The first characters of a digest, for people.
pub(super) fn short(digest: &Digest) -> &str {
    digest.0.get(..12).unwrap_or(&digest.0)
}

/// Makes native code runnable.
pub(super) type Load<T> = fn(&Engine, &[u8]) -> Result<T, String>;

/// Native code of a core module as this engine compiled it.
#[expect(
    unsafe_code,
    reason = "native code can only be loaded so; as below, for modules"
)]
pub(super) fn deserialize_module(engine: &Engine, code: &[u8]) -> Result<Module, String> {
    // SAFETY: the bytes come from our own compiler child over its pipe, or from
    // a file of this user in a folder that only this user can write, named by
    // the compatibility hash of this engine.
    unsafe { Module::deserialize(engine, code) }.map_err(|error| format!("{error:#}"))
}

/// Native code as this engine compiled it.
#[expect(
    unsafe_code,
    reason = "native code can only be loaded so; the one place that does"
)]
pub(super) fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the bytes come from our own compiler child over its pipe, or from
    // a file of this user in a folder that only this user can write, named by
    // the compatibility hash of this engine.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| format!("{error:#}"))
}

/// A folder of this user with mode 0700, no symbolic link.
fn private_folder(path: &Path) -> Result<(), String> {
    let refused = |what: String| {
        format!(
            "the cache folder {} holds native code and is not safe: {what}",
            path.display()
        )
    };
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| format!("cannot make the folder {}: {error}", parent.display()))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(format!(
                "cannot make the folder {}: {error}",
                path.display()
            ));
        }
    }
    let meta = fs::symlink_metadata(path).map_err(|error| refused(error.to_string()))?;
    if !meta.is_dir() {
        return Err(refused(
            "expected a folder, found a file or a symbolic link".into(),
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user {
        return Err(refused(format!(
            "expected it to belong to user {user}, found user {}",
            meta.uid()
        )));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(refused(format!(
            "others may write it (mode {mode:o}); run chmod 700 on it"
        )));
    }
    if mode != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| refused(error.to_string()))?;
    }
    Ok(())
}

/// Reads a regular file of this user without following a symbolic link.
fn read_own_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    let foreign = meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0;
    if !meta.is_file() || foreign {
        tracing::warn!(path = %path.display(), "cached code belongs to somebody else, compiling again");
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

const TEMPORARY: &str = ".tmp-";

/// Removes what a crash in the middle of a write left behind.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let old = |entry: &fs::DirEntry| {
        // A younger one may be another process's, at work.
        entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|time| {
                time.elapsed()
                    .is_ok_and(|age| age > std::time::Duration::from_secs(3_600))
            })
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) && old(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes beside the target, flushes, renames, flushes the folder.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_error(prepare: impl FnOnce(&Path)) -> Option<String> {
        let base = tempfile::tempdir().unwrap();
        let cache = base.path().join("cache");
        prepare(&cache);
        private_folder(&cache).err()
    }

    #[test]
    fn only_a_private_folder_is_taken() {
        assert_eq!(folder_error(|_| {}), None);
        let error = folder_error(|path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o770)).unwrap();
        });
        assert!(error.unwrap().contains("others may write it (mode 770)"));
        let error = folder_error(|path| {
            let real = path.with_extension("real");
            fs::create_dir(&real).unwrap();
            std::os::unix::fs::symlink(real, path).unwrap();
        });
        assert!(error.unwrap().contains("symbolic link"));
    }

    #[test]
    fn links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let (file, link) = (base.path().join("file"), base.path().join("link"));
        write_atomically(&file, b"code").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_own_file(&file).unwrap(), b"code");
        read_own_file(&link).unwrap_err();
    }

    #[test]
    fn damaged_bytes_are_noticed() {
        let base = tempfile::tempdir().unwrap();
        let files = Files::open(base.path(), &base.path().join("cache")).unwrap();
        let digest = digest::of(b"plugin");
        files.keep_plugin(&digest, b"plugin").unwrap();
        assert_eq!(files.plugin(&digest).unwrap(), b"plugin");
        fs::write(files.plugin_path(&digest), b"other").unwrap();
        assert!(files.plugin(&digest).unwrap_err().contains("damaged"));
        // Uploading it again mends it, whatever the size of what is there.
        for damaged in ["other", "plugim"] {
            fs::write(files.plugin_path(&digest), damaged).unwrap();
            files.keep_plugin(&digest, b"plugin").unwrap();
            assert_eq!(files.plugin(&digest).unwrap(), b"plugin");
        }
        fs::write(files.plugin_path(&digest), b"other").unwrap();
        let outside = Digest("../../etc/passwd".into());
        assert!(
            files
                .plugin(&outside)
                .unwrap_err()
                .contains("64 hexadecimal digits")
        );
    }
}
