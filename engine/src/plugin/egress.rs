//! The one place that makes a connection for a guest.
//!
//! Resolves, checks every address against grants and `deny`, and connects to
//! the very address that was checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::address::{barred_for_names, denied};
use super::bindings::bellwether::plugin::net::{Error, Phase};
use super::grants::{Host, NameAccess, NetGrants, Transport};
use super::host::Settings;
use super::resolve::Resolve;
use super::run::Progress;

/// What may be reached at all, and how names become addresses.
#[derive(Clone)]
pub(super) struct Egress {
    pub settings: Arc<Settings>,
    pub resolver: Arc<dyn Resolve>,
}

/// A connection, and how long its phases took.
pub(super) struct Connected {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    /// Absent for a literal address.
    pub resolve: Option<Duration>,
    pub connect: Duration,
}

/// How long the first addresses of a name get while others are left.
const MIN_TRY: Duration = Duration::from_millis(250);

impl Egress {
    /// Connects to a host that a guest named. `until` bounds the tries of the
    /// single addresses; the caller bounds the whole.
    pub async fn connect(
        &self,
        grants: &NetGrants,
        host: &str,
        port: u16,
        until: Instant,
        progress: &Progress,
    ) -> Result<Connected, Error> {
        progress.enter(Phase::Resolve);
        let parsed = Host::parse(host).ok_or_else(|| {
            Error::Invalid(format!(
                "expected a host name or an address, found {host:?}"
            ))
        })?;
        if port == 0 {
            return Err(Error::Invalid(
                "expected a port from 1 to 65535, found 0".into(),
            ));
        }
        let (addresses, resolve) = match parsed {
            Host::Address(ip) => {
                self.check_address(grants, ip, port)?;
                (vec![ip], None)
            }
            Host::Name(name) => {
                let started = Instant::now();
                let addresses = self.resolve_checked(grants, &name, port).await?;
                (addresses, Some(started.elapsed()))
            }
        };
        progress.enter(Phase::Connect);
        let started = Instant::now();
        let mut last = Error::Unreachable(format!("{host} has no address"));
        for (index, ip) in addresses.iter().enumerate() {
            let peer = SocketAddr::new(*ip, port);
            let left = (addresses.len() - index) as u32;
            let connecting = TcpStream::connect(peer);
            let result = if left == 1 {
                connecting.await
            } else {
                let share = (until.saturating_duration_since(Instant::now()) / left).max(MIN_TRY);
                match tokio::time::timeout(share, connecting).await {
                    Ok(result) => result,
                    Err(_) => {
                        last = Error::Timeout(Phase::Connect);
                        continue;
                    }
                }
            };
            match result {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(Connected {
                        stream,
                        peer,
                        resolve,
                        connect: started.elapsed(),
                    });
                }
                Err(error) => {
                    // A machine without IPv6 says "address not available" to every
                    // IPv6 target: that is about the target's address.
                    if ip.is_ipv4() || error.kind() != std::io::ErrorKind::AddrNotAvailable {
                        progress.note(&error);
                    }
                    last = io_error(&error);
                }
            }
        }
        Err(last)
    }

    fn check_address(&self, grants: &NetGrants, ip: IpAddr, port: u16) -> Result<(), Error> {
        let shown = SocketAddr::new(ip, port);
        if !grants.allows_address(Transport::Tcp, ip, port) {
            return Err(Error::Denied(format!(
                "net {shown} is not granted; a grant would be \"{shown}\""
            )));
        }
        if denied(&self.settings.deny, ip) {
            return Err(Error::Denied(format!(
                "net {shown} lies in a network that egress.deny closes"
            )));
        }
        Ok(())
    }

    /// The addresses of a name that may be connected to; an error where there
    /// are none.
    async fn resolve_checked(
        &self,
        grants: &NetGrants,
        name: &str,
        port: u16,
    ) -> Result<Vec<IpAddr>, Error> {
        let access = grants.allows_name(Transport::Tcp, name, port);
        if access == NameAccess::Denied {
            return Err(Error::Denied(format!(
                "net {name}:{port} is not granted; a grant would be \"{name}:{port}\""
            )));
        }
        let found = self
            .resolver
            .resolve(name)
            .await
            .map_err(|error| Error::Resolve(format!("{name}: {error}")))?;
        let mut refused = None;
        let mut addresses = Vec::with_capacity(found.len());
        for ip in found {
            match self.check_resolved(grants, access, name, ip, port) {
                Ok(()) => addresses.push(ip.to_canonical()),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(error) => Err(error),
            None => Err(Error::Resolve(format!("{name} has no address"))),
        }
    }

    fn check_resolved(
        &self,
        grants: &NetGrants,
        access: NameAccess,
        name: &str,
        ip: IpAddr,
        port: u16,
    ) -> Result<(), Error> {
        let shown = SocketAddr::new(ip, port);
        if denied(&self.settings.deny, ip) {
            return Err(Error::Denied(format!(
                "net {name}:{port} resolves to {ip}, which lies in a network that egress.deny closes"
            )));
        }
        if grants.allows_address(Transport::Tcp, ip, port) {
            return Ok(());
        }
        match (access, barred_for_names(ip)) {
            (NameAccess::ByName, None) => Ok(()),
            (NameAccess::ByName, Some(class)) => Err(Error::Denied(format!(
                "net {name}:{port} resolves to the {class} address {ip}, which a name never grants; write {ip} in the place of {name}, or grant \"{shown}\""
            ))),
            _ => Err(Error::Denied(format!(
                "net {name}:{port} resolves to {ip}, which is not granted; a grant would be \"{name}:{port}\""
            ))),
        }
    }

    /// True where a WASI socket may use this address.
    pub fn permits_socket(
        &self,
        grants: &NetGrants,
        transport: Transport,
        peer: SocketAddr,
    ) -> bool {
        grants.allows_address(transport, peer.ip(), peer.port())
            && !denied(&self.settings.deny, peer.ip())
    }
}

/// A failed connection or exchange in the words of the contract.
pub(super) fn io_error(error: &std::io::Error) -> Error {
    use std::io::ErrorKind as Kind;
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return Error::Tls(tls.to_string());
    }
    match error.kind() {
        Kind::ConnectionRefused => Error::Refused,
        Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::AddrNotAvailable => Error::Unreachable(error.to_string()),
        Kind::TimedOut => Error::Timeout(Phase::Connect),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof
        | Kind::NotConnected => Error::Closed(error.to_string()),
        _ => Error::Unreachable(error.to_string()),
    }
}
