//! Names to addresses.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use tokio::sync::OnceCell;

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

/// The system's configuration: `/etc/hosts`, `/etc/resolv.conf`.
#[derive(Default)]
pub struct SystemResolver(OnceCell<TokioResolver>);

impl SystemResolver {
    async fn resolver(&self) -> Result<&TokioResolver, ResolveError> {
        // Built on first use, on the runtime that its connections live on.
        let build = async || {
            let mut builder = TokioResolver::builder_tokio()?;
            // Monitoring wants to see changes: no answer is kept for long.
            builder.options_mut().positive_max_ttl = Some(std::time::Duration::from_secs(30));
            builder.options_mut().negative_max_ttl = Some(std::time::Duration::from_secs(1));
            builder.build()
        };
        self.0.get_or_try_init(build).await.map_err(|error| {
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
            let answer = self.resolver().await?.lookup_ip(name).await;
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
