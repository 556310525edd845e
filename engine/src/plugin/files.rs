//! `files`: reading below folders that the operator configured by name. The
//! kernel keeps paths beneath the folder (openat2 with `RESOLVE_BENEATH`), so
//! there is nothing between a check and the opening that could change.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType as Kind, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::bindings::bellwether::plugin::files::{Entry, Error, FileType, Host, Listing, Metadata};
use super::run::RunData;
use super::watch::Answer;

const MAX_PATH: usize = 4 << 10;
/// Entries of a listing, and those that are looked at to sort them.
const MAX_ENTRIES: usize = 1_000;
const MAX_SEEN: usize = 100_000;
/// Bytes of one read.
const MAX_READ: u32 = 1 << 20;
/// The kernel asks for another try where something was renamed meanwhile.
const MAX_TRIES: usize = 16;

/// Checks a folder as the configuration has it.
///
/// # Errors
/// What was expected and found.
pub fn validate_root(path: &str) -> Result<(), String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(format!("expected an absolute path, found {path:?}"));
    }
    Ok(())
}

/// A granted folder and a path in it.
struct Place {
    /// What the operator calls the folder.
    name: String,
    root: PathBuf,
    path: String,
}

impl Place {
    fn shown(&self) -> String {
        format!("{}:{}", self.name, self.path)
    }

    fn error(&self, errno: Errno) -> Error {
        let shown = self.shown();
        match errno {
            Errno::NOENT => Error::NotFound(shown),
            // Out of the folder: `..`, an absolute link, a magic link.
            Errno::XDEV => Error::Denied(format!(
                "files {shown} leads out of the folder, which no grant allows"
            )),
            Errno::NOTDIR => Error::Invalid(format!("{shown}: expected a folder on the way")),
            Errno::LOOP => Error::Invalid(format!("{shown}: too many symbolic links")),
            Errno::NAMETOOLONG => Error::Invalid(format!("{shown}: the path is too long")),
            Errno::NOSYS => Error::Failed(
                "the kernel has no openat2, which keeps paths inside their folder: Linux 5.6 is needed"
                    .into(),
            ),
            errno => Error::Failed(format!("{shown}: {}", std::io::Error::from(errno))),
        }
    }

    fn open(&self, flags: OFlags) -> Result<OwnedFd, Error> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, folder, Mode::empty()).map_err(|errno| {
            Error::Failed(format!(
                "the folder {} cannot be opened: {}",
                self.name,
                std::io::Error::from(errno)
            ))
        })?;
        let path = if self.path.is_empty() {
            "."
        } else {
            &self.path
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut last = Errno::AGAIN;
        for _ in 0..MAX_TRIES {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
                Ok(found) => return Ok(found),
                Err(errno @ (Errno::AGAIN | Errno::INTR)) => last = errno,
                Err(errno) => return Err(self.error(errno)),
            }
        }
        Err(self.error(last))
    }

    /// What is there, without opening it for reading: opening a pipe or a
    /// device does something.
    fn look(&self) -> Result<(OwnedFd, Stat), Error> {
        let found = self.open(OFlags::PATH)?;
        let stat = rustix::fs::fstat(&found).map_err(|errno| self.error(errno))?;
        Ok((found, stat))
    }

    fn stat(&self) -> Result<Metadata, Error> {
        let (_, stat) = self.look()?;
        let micros = i64::from(stat.st_mtime_nsec as u32) / 1_000;
        Ok(Metadata {
            file_type: file_type(Kind::from_raw_mode(stat.st_mode)),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: stat
                .st_mtime
                .saturating_mul(1_000_000)
                .saturating_add(micros),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        })
    }

    fn list(&self, max: usize) -> Result<Listing, Error> {
        let folder = self.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        let failed = |errno| self.error(errno);
        let mut entries = Vec::new();
        let mut seen = 0;
        for entry in Dir::read_from(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            seen += 1;
            if seen > MAX_SEEN {
                break;
            }
            let kind = match entry.file_type() {
                Kind::Unknown => kind_of(folder.as_fd(), name),
                kind => kind,
            };
            entries.push(Entry {
                name: name.to_string_lossy().into_owned(),
                file_type: file_type(kind),
            });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let truncated = entries.len() > max || seen > MAX_SEEN;
        entries.truncate(max);
        Ok(Listing { entries, truncated })
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let (found, stat) = self.look()?;
        let kind = Kind::from_raw_mode(stat.st_mode);
        if kind != Kind::RegularFile {
            return Err(Error::Invalid(format!(
                "{}: expected a regular file, found {}",
                self.shown(),
                kind_name(kind)
            )));
        }
        // Beyond what a file can have, the kernel takes it for a negative one.
        if i64::try_from(offset.saturating_add(length as u64)).is_err() {
            return Ok(Vec::new());
        }
        let failed = |error: std::io::Error| Error::Failed(format!("{}: {error}", self.shown()));
        // The very file that was looked at, whatever its name means by now.
        let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(failed)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn kind_of(folder: impl AsFd, name: &std::ffi::CStr) -> Kind {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Kind::from_raw_mode(stat.st_mode),
        Err(_) => Kind::Unknown,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::RegularFile => FileType::Regular,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        _ => FileType::Other,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "a folder",
        Kind::Fifo => "a pipe",
        Kind::Socket => "a socket",
        Kind::CharacterDevice | Kind::BlockDevice => "a device",
        _ => "something else",
    }
}

impl RunData {
    fn place(&mut self, root: String, path: String) -> Result<Place, Error> {
        if !self.grants.files.contains(&root) {
            let what = format!("files {root} is not granted; a grant would be files: [{root}]");
            self.log.push("warning", &format!("denied: {what}"));
            return Err(Error::Denied(what));
        }
        let settings = self.shared.settings();
        let Some(folder) = settings.files.get(&root) else {
            return Err(Error::Denied(format!(
                "the folder {root} is not configured under files"
            )));
        };
        if path.len() > MAX_PATH || path.contains('\0') || Path::new(&path).is_absolute() {
            return Err(Error::Invalid(format!(
                "expected a path relative to the folder, of at most {MAX_PATH} bytes, found {:?}",
                super::log::clip(&path, 200)
            )));
        }
        Ok(Place {
            root: folder.clone(),
            name: root,
            path,
        })
    }

    async fn at_place<T: Send + 'static>(
        &mut self,
        call: &'static str,
        root: String,
        path: String,
        work: impl FnOnce(Place) -> Result<T, Error> + Send + 'static,
    ) -> wasmtime::Result<Result<T, Error>> {
        let watching = self.watch(call, || format!("{root}:{path}"));
        let result = match self.place(root, path) {
            Ok(place) => {
                let blocking = self.shared.blocking.clone();
                let result = blocking.run(self.waits, "a file", || work(place)).await?;
                if let Err(Error::Denied(what)) = &result {
                    self.log.push("warning", &format!("denied: {what}"));
                }
                result
            }
            Err(error) => Err(error),
        };
        watching.answered(|| Answer::of(&result, |_| "done".into()));
        Ok(result)
    }
}

impl Host for RunData {
    async fn stat(
        &mut self,
        root: String,
        path: String,
    ) -> wasmtime::Result<Result<Metadata, Error>> {
        self.at_place("files.stat", root, path, |place| place.stat())
            .await
    }

    async fn list(
        &mut self,
        root: String,
        path: String,
        max: u32,
    ) -> wasmtime::Result<Result<Listing, Error>> {
        let max = (max as usize).min(MAX_ENTRIES);
        self.at_place("files.list", root, path, move |place| place.list(max))
            .await
    }

    async fn read(
        &mut self,
        root: String,
        path: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let length = length.min(MAX_READ) as usize;
        self.at_place("files.read", root, path, move |place| {
            place.read(offset, length)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `in` with things in it, and a secret beside it.
    fn tree() -> (tempfile::TempDir, impl Fn(&str) -> Place) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("in");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(dir.path().join("outside"), "secret").unwrap();
        std::fs::write(root.join("a"), "0123456789").unwrap();
        std::fs::write(root.join("sub/b"), "b").unwrap();
        symlink("sub/b", root.join("inner")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink(dir.path().join("outside"), root.join("absolute")).unwrap();
        symlink(root.join("a"), root.join("absolute-inside")).unwrap();
        symlink("..", root.join("sub/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let place = move |path: &str| Place {
            name: "r".into(),
            root: root.clone(),
            path: path.into(),
        };
        (dir, place)
    }

    #[test]
    fn what_lies_inside_is_read() {
        let (_dir, place) = tree();
        assert_eq!(place("a").read(3, 4).unwrap(), b"3456");
        assert_eq!(place("a").read(8, 100).unwrap(), b"89");
        assert_eq!(place("a").read(u64::MAX, 1).unwrap(), b"");
        for path in ["sub/b", "inner", "sub/../sub/b", "./sub//b", "sub/up/sub/b"] {
            assert_eq!(place(path).read(0, 10).unwrap(), b"b", "{path}");
        }
        let stat = place("a").stat().unwrap();
        assert_eq!((stat.file_type, stat.size), (FileType::Regular, 10));
        assert!(stat.modified > 1_600_000_000_000_000);
        assert_eq!(place("").stat().unwrap().file_type, FileType::Directory);
        let listing = place("").list(3).unwrap();
        let names: Vec<_> = listing.entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a", "absolute", "absolute-inside"]);
        assert!(listing.truncated);
        assert_eq!(listing.entries[1].file_type, FileType::Symlink);
        assert!(!place("sub").list(2).unwrap().truncated);
    }

    #[test]
    fn nothing_leads_out() {
        let (_dir, place) = tree();
        for path in [
            "..",
            "../outside",
            "sub/../../outside",
            "relative",
            "absolute",
            "absolute-inside",
            "sub/up/../outside",
        ] {
            for result in [
                place(path).read(0, 10).map(|_| ()),
                place(path).stat().map(|_| ()),
                place(path).list(1).map(|_| ()),
            ] {
                assert!(
                    matches!(&result, Err(Error::Denied(text)) if text.contains("leads out")),
                    "{path}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn other_things_are_named() {
        let (dir, place) = tree();
        assert!(matches!(place("none").stat(), Err(Error::NotFound(_))));
        assert!(matches!(place("loop").stat(), Err(Error::Invalid(_))));
        assert!(matches!(place("a/b").stat(), Err(Error::Invalid(_))));
        let text = |result: Result<Vec<u8>, Error>| match result {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(text(place("sub").read(0, 1)).contains("found a folder"));
        let pipe = dir.path().join("in/pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            Kind::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        // Opening it would wait for a writer.
        assert!(text(place("pipe").read(0, 1)).contains("found a pipe"));
        assert!(validate_root("relative").is_err());
        assert!(validate_root("/var/log").is_ok());
    }
}
