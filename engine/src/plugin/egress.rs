//! The one place that finds a guest's targets and opens sockets to them.
//!
//! Resolves, checks every address against grants and `deny`, and connects to
//! the very address that was checked. Callers take addresses from
//! [`Egress::find`] alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::address::{barred_for_names, denied};
use super::bindings::bellwether::plugin::net::{Error, Phase};
use super::grants::{Host, NameAccess, NetGrants, Transport};
use super::host::Settings;
use super::resolve::{Resolve, ResolveError};
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

/// Addresses of a target that were checked, in the order in which to try them.
pub(super) struct Found {
    /// At least one.
    pub addresses: Vec<IpAddr>,
    /// How long it took to resolve the name; absent for a literal address.
    pub resolve: Option<Duration>,
}

/// How long the first addresses of a name get while others are left.
const MIN_TRY: Duration = Duration::from_millis(250);

impl Egress {
    /// The addresses of a host that a guest named, as far as the run may talk
    /// to them.
    pub async fn find(
        &self,
        grants: &NetGrants,
        transport: Transport,
        host: &str,
        port: u16,
        progress: &Progress,
    ) -> Result<Found, Error> {
        progress.enter(Phase::Resolve);
        let parsed = Host::parse(host).ok_or_else(|| {
            Error::Invalid(format!(
                "expected a host name or an address, found {host:?}"
            ))
        })?;
        if port == 0 && transport != Transport::Icmp {
            return Err(Error::Invalid(
                "expected a port from 1 to 65535, found 0".into(),
            ));
        }
        let asked = Asked {
            egress: self,
            grants,
            transport,
            port,
        };
        match parsed {
            Host::Address(ip) => {
                asked.check_address(ip)?;
                Ok(Found {
                    addresses: vec![ip],
                    resolve: None,
                })
            }
            Host::Name(name) => {
                let started = Instant::now();
                let addresses = asked.resolve(&name, progress).await?;
                Ok(Found {
                    addresses,
                    resolve: Some(started.elapsed()),
                })
            }
        }
    }

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
        let found = self
            .find(grants, Transport::Tcp, host, port, progress)
            .await?;
        progress.enter(Phase::Connect);
        let started = Instant::now();
        let mut last = Error::Unreachable(format!("{host} has no address"));
        for (index, ip) in found.addresses.iter().enumerate() {
            let peer = SocketAddr::new(*ip, port);
            let left = (found.addresses.len() - index) as u32;
            let connecting = stream_to(peer, progress);
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
                    return Ok(Connected {
                        stream,
                        peer,
                        resolve: found.resolve,
                        connect: started.elapsed(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
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

/// What a guest asked to talk to, against its grants.
struct Asked<'a> {
    egress: &'a Egress,
    grants: &'a NetGrants,
    transport: Transport,
    port: u16,
}

impl Asked<'_> {
    /// The target as the texts name it.
    fn named(&self, host: &str) -> String {
        self.transport.grant(host, self.port)
    }

    fn check_address(&self, ip: IpAddr) -> Result<(), Error> {
        let shown = self.named(&ip.to_string());
        if !self.grants.allows_address(self.transport, ip, self.port) {
            return Err(Error::Denied(format!(
                "net {shown} is not granted; a grant would be \"{shown}\""
            )));
        }
        if denied(&self.egress.settings.deny, ip) {
            return Err(Error::Denied(format!(
                "net {shown} lies in a network that egress.deny closes"
            )));
        }
        Ok(())
    }

    /// The addresses of a name that may be talked to; an error where there are
    /// none.
    async fn resolve(&self, name: &str, progress: &Progress) -> Result<Vec<IpAddr>, Error> {
        let access = self.grants.allows_name(self.transport, name, self.port);
        let shown = self.named(name);
        match access {
            NameAccess::Denied => {
                return Err(Error::Denied(format!(
                    "net {shown} is not granted; a grant would be \"{shown}\""
                )));
            }
            NameAccess::NotAsked => {
                let grant = Transport::Dns.grant(name, 0);
                return Err(Error::Denied(format!(
                    "net {shown} is not granted by name, and the addresses of {name} may not be asked for; a grant would be \"{grant}\" beside that of their network"
                )));
            }
            NameAccess::ByName | NameAccess::ByNetwork => {}
        }
        let found = self.egress.resolver.resolve(name).await.map_err(|error| {
            if let ResolveError::Host(what) = &error {
                progress.own_fault(format!("{name} cannot be resolved: {what}"));
            }
            Error::Resolve(format!("{name}: {error}"))
        })?;
        let mut refused = None;
        let mut addresses = Vec::with_capacity(found.len());
        for ip in found {
            match self.check_resolved(access, name, ip) {
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

    fn check_resolved(&self, access: NameAccess, name: &str, ip: IpAddr) -> Result<(), Error> {
        let shown = self.named(name);
        if denied(&self.egress.settings.deny, ip) {
            return Err(Error::Denied(format!(
                "net {shown} resolves to {ip}, which lies in a network that egress.deny closes"
            )));
        }
        if self.grants.allows_address(self.transport, ip, self.port) {
            return Ok(());
        }
        match (access, barred_for_names(ip)) {
            (NameAccess::ByName, None) => Ok(()),
            (NameAccess::ByName, Some(class)) => Err(Error::Denied(format!(
                "net {shown} resolves to the {class} address {ip}, which a name never grants; write {ip} in the place of {name}; a grant would be \"{}\"",
                self.named(&ip.to_string())
            ))),
            _ => Err(Error::Denied(format!(
                "net {shown} resolves to {ip}, which is not granted; a grant would be \"{shown}\""
            ))),
        }
    }
}

/// A stream to an address that was checked.
pub(super) async fn stream_to(peer: SocketAddr, progress: &Progress) -> Result<TcpStream, Error> {
    match TcpStream::connect(peer).await {
        Ok(stream) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Err(error) => Err(failed(peer.ip(), &error, progress)),
    }
}

/// A UDP socket that hears nobody but the first of these addresses that the
/// machine has a route to. The addresses were checked.
pub(super) async fn datagrams_to(
    addresses: &[IpAddr],
    port: u16,
    progress: &Progress,
) -> Result<(UdpSocket, SocketAddr), Error> {
    progress.enter(Phase::Connect);
    let mut last = Error::Unreachable("the target has no address".into());
    for ip in addresses {
        let (local, peer) = (any_address(*ip), SocketAddr::new(*ip, port));
        let opened = async {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(peer).await?;
            Ok(socket)
        };
        match opened.await {
            Ok(socket) => return Ok((socket, peer)),
            Err(error) => last = failed(*ip, &error, progress),
        }
    }
    Err(last)
}

/// The unspecified address of the same family, any port.
fn any_address(ip: IpAddr) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// An error of a socket that was about to reach an address.
pub(super) fn failed(ip: IpAddr, error: &std::io::Error, progress: &Progress) -> Error {
    // A machine without IPv6 says "address not available" to every IPv6 target:
    // that is about the target's address.
    if ip.is_ipv4() || error.kind() != std::io::ErrorKind::AddrNotAvailable {
        progress.note(error);
    }
    io_error(error)
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
    // A recorded conversation knows its error.
    if let Some(recorded) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        return recorded.clone();
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
