//! Which files a source means: a path or a pattern with `*` and `?`.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Identity of a file while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    pub device: u64,
    pub inode: u64,
}

impl FileKey {
    /// The key of the file with that metadata.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl std::fmt::Display for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

impl std::str::FromStr for FileKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected device:inode, found {text:?}");
        let (device, inode) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            device: device.parse().map_err(|_| wrong())?,
            inode: inode.parse().map_err(|_| wrong())?,
        })
    }
}

/// A file that a pattern matches.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub key: FileKey,
    /// Seconds and nanoseconds of the last change.
    pub modified: (i64, i64),
    /// Bytes.
    pub size: u64,
}

/// What a pattern matches now: regular files in the order of their names, each
/// once, and what could not be looked at. Files that do not exist are no error.
pub fn expand(pattern: &str) -> (Vec<Found>, Vec<(PathBuf, io::Error)>) {
    let (mut paths, mut errors) = (vec![PathBuf::new()], Vec::new());
    for component in Path::new(pattern).components() {
        let name = match component {
            Component::Normal(name) => name,
            other => {
                paths.iter_mut().for_each(|p| p.push(other));
                continue;
            }
        };
        let wildcard = name.to_str().filter(|n| n.contains(['*', '?']));
        let Some(wildcard) = wildcard else {
            paths.iter_mut().for_each(|p| p.push(name));
            continue;
        };
        paths = paths
            .into_iter()
            .flat_map(|folder| list(folder, wildcard, &mut errors))
            .collect();
    }
    let (mut found, mut keys) = (Vec::new(), HashSet::new());
    for path in paths {
        match std::fs::metadata(&path) {
            Ok(m) if m.is_file() => {
                let key = FileKey::of(&m);
                if keys.insert(key) {
                    let modified = (m.mtime(), m.mtime_nsec());
                    found.push(Found {
                        path,
                        key,
                        modified,
                        size: m.len(),
                    });
                }
            }
            Ok(_) => {}
            Err(e) if is_absent(&e) => {}
            Err(e) => errors.push((path, e)),
        }
    }
    (found, errors)
}

fn list(folder: PathBuf, wildcard: &str, errors: &mut Vec<(PathBuf, io::Error)>) -> Vec<PathBuf> {
    let shown = match folder.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => folder.clone(),
    };
    let entries = match std::fs::read_dir(&shown) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Vec::new(),
        Err(e) => {
            errors.push((shown, e));
            return Vec::new();
        }
    };
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_str().is_some_and(|n| matches(wildcard, n)))
        .collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// The file with that key in `folder`, wherever it was renamed to.
pub fn find_renamed(folder: &Path, key: FileKey) -> Option<PathBuf> {
    std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|entry| {
            let metadata = entry.metadata();
            metadata.is_ok_and(|m| m.is_file() && FileKey::of(&m) == key)
        })
        .map(|entry| entry.path())
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// `*` any characters, `?` one. As in a shell, a leading dot is only matched by
/// a dot; and compressed files are only matched by a pattern that ends like
/// them, because a log's archive is no log.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    for packed in [".gz", ".bz2", ".xz", ".zst", ".lz4"] {
        if name.ends_with(packed) && !pattern.ends_with(packed) {
            return false;
        }
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and what it matched up to.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, upto)) => {
                    star = Some((at, upto + 1));
                    p = at + 1;
                    n = upto + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("app*", "app.log.1", true),
            ("app*", "app.log.2.gz", false),
            ("*.gz", "app.log.2.gz", true),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("exact", "exact", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_finds_files_in_several_folders_and_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/x.log", "b/y.log", "b/z.txt", "c/d.log/inner"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let pattern = dir.path().join("*/*.log");
        let (found, errors) = expand(pattern.to_str().unwrap());
        let names: Vec<_> = found
            .iter()
            .map(|f| f.path.strip_prefix(dir.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a/x.log", "b/y.log"]);
        assert!(errors.is_empty());
        let missing = dir.path().join("nowhere/*.log");
        let (found, errors) = expand(missing.to_str().unwrap());
        assert!(found.is_empty() && errors.is_empty());
    }
}
