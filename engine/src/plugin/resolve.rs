//! Names to addresses.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::run::own_trouble;

/// The answer of a resolver: addresses, or why there are none.
pub type Resolving<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>>;

/// Why there are no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name has none, or its servers do not say.
    #[error("{0}")]
    Name(String),
    /// The engine's own machine cannot ask: nothing is known of the name.
    #[error("{0}")]
    Host(String),
}

/// Resolves host names.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, in the order in which to try them. The time is
    /// bounded by the caller.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;

    /// Servers for questions about other records than addresses; those of the
    /// system where a resolver has none of its own.
    ///
    /// # Errors
    /// Why none is known.
    fn servers(&self) -> Result<Vec<SocketAddr>, String> {
        system_servers()
    }
}

/// The servers of `/etc/resolv.conf`.
fn system_servers() -> Result<Vec<SocketAddr>, String> {
    let (config, _) = hickory_resolver::system_conf::read_system_conf()
        .map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"))?;
    let mut servers: Vec<SocketAddr> = Vec::new();
    for server in config.name_servers() {
        let server = SocketAddr::new(server.ip, 53);
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    match servers.is_empty() {
        true => Err("/etc/resolv.conf names no server".into()),
        false => Ok(servers),
    }
}

/// Files that the system's resolver is made from.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What tells a file from its next version; absent where there is none.
type Version = Option<(u64, u64, i64, i64)>;

fn version(path: &Path) -> Version {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// What was made from files, made anew when they have changed.
struct OfFiles<T> {
    files: Vec<PathBuf>,
    made: Mutex<Option<Made<T>>>,
}

struct Made<T> {
    value: T,
    versions: Vec<Version>,
    looked: Instant,
}

impl<T: Clone> OfFiles<T> {
    fn new<P: Into<PathBuf>>(files: impl IntoIterator<Item = P>) -> Self {
        Self {
            files: files.into_iter().map(Into::into).collect(),
            made: Mutex::new(None),
        }
    }

    /// The value, made where there is none for these files yet. One that cannot
    /// be made anew stays as it is: somebody may be writing the file.
    fn get<E>(&self, now: Instant, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut made = self.made.lock();
        if let Some(made) = &*made
            && now.saturating_duration_since(made.looked) < LOOK_EVERY
        {
            return Ok(made.value.clone());
        }
        // Before they are read: what changes meanwhile is read again.
        let versions: Vec<Version> = self.files.iter().map(|file| version(file)).collect();
        let value = match &mut *made {
            Some(made) => {
                made.looked = now;
                if made.versions == versions {
                    return Ok(made.value.clone());
                }
                match make() {
                    Ok(value) => value,
                    Err(_) => return Ok(made.value.clone()),
                }
            }
            None => make()?,
        };
        *made = Some(Made {
            value: value.clone(),
            versions,
            looked: now,
        });
        Ok(value)
    }
}

/// The system's configuration: `/etc/hosts`, `/etc/resolv.conf`.
pub struct SystemResolver(OfFiles<TokioResolver>);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(OfFiles::new(FILES))
    }
}

impl SystemResolver {
    fn resolver(&self) -> Result<TokioResolver, ResolveError> {
        // Built on first use, on the runtime that its connections live on.
        let build = || {
            let mut builder = TokioResolver::builder_tokio()?;
            // Monitoring wants to see changes: no answer is kept for long.
            builder.options_mut().positive_max_ttl = Some(Duration::from_secs(30));
            builder.options_mut().negative_max_ttl = Some(Duration::from_secs(1));
            builder.build()
        };
        self.0.get(Instant::now(), build).map_err(|error| {
            ResolveError::Host(format!(
                "the system's resolver configuration cannot be used: {error}"
            ))
        })
    }
}

/// Whose trouble it is.
fn blame(error: &NetError) -> ResolveError {
    match error {
        NetError::Io(io) => match own_trouble(io) {
            Some(what) => ResolveError::Host(format!("{what} ({io})")),
            None => ResolveError::Name(error.to_string()),
        },
        error => ResolveError::Name(error.to_string()),
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let answer = self.resolver()?.lookup_ip(name).await;
            answer
                .map(|lookup| lookup.iter().collect())
                .map_err(|error| blame(&error))
        })
    }
}

/// The resolver of a host without another one.
pub fn system() -> Arc<dyn Resolve> {
    Arc::new(SystemResolver::default())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_comes_from_files_follows_them() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        std::fs::write(&one, "a").unwrap();
        let of = OfFiles::new([one.clone(), other.clone()]);
        let begun = Instant::now();
        let read = |seconds: u64| {
            let make = || std::fs::read_to_string(&one);
            of.get(begun + Duration::from_secs(seconds), make).unwrap()
        };
        assert_eq!(read(0), "a");
        std::fs::write(&one, "bb").unwrap();
        assert_eq!(read(4), "a");
        assert_eq!(read(5), "bb");
        // Unchanged files are not read again.
        let unread = || -> Result<String, ()> { Err(()) };
        assert_eq!(
            of.get(begun + Duration::from_secs(20), unread).unwrap(),
            "bb"
        );
        // Another file is as good as a change.
        std::fs::write(&other, "").unwrap();
        assert_eq!(
            of.get(begun + Duration::from_secs(30), unread).unwrap(),
            "bb"
        );
        std::fs::write(&one, "ccc").unwrap();
        assert_eq!(read(40), "ccc");
        std::fs::remove_file(&one).unwrap();
        assert_eq!(read(50), "ccc");
        let none = OfFiles::new([one]);
        assert!(none.get(begun, unread).is_err());
    }

    #[test]
    fn the_engine_s_own_trouble_is_not_the_name_s() {
        let io =
            |errno: Errno| NetError::from(std::io::Error::from_raw_os_error(errno.raw_os_error()));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS] {
            let blamed = blame(&io(errno));
            assert!(matches!(blamed, ResolveError::Host(_)), "{blamed:?}");
        }
        for error in [
            io(Errno::CONNREFUSED),
            NetError::Timeout,
            NetError::NoConnections,
        ] {
            let blamed = blame(&error);
            assert!(matches!(blamed, ResolveError::Name(_)), "{blamed:?}");
        }
    }
}
