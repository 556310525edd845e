//! `net.icmp`: echo requests over the kernel's datagram sockets for ICMP, which
//! need no privilege where `net.ipv4.ping_group_range` has the engine's group.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::bindings::bellwether::plugin::net::{
    Error, IcmpReply, IcmpRequest, IcmpResponse, Phase,
};
use super::egress::failed;
use super::grants::Transport;
use super::net_http::micros;
use super::net_udp::socket_error;
use super::run::{Progress, RunData};

const MAX_COUNT: u32 = 100;
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MIN_SIZE: u32 = 16;
const MAX_SIZE: u32 = 1_400;
/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

/// An echo request. The kernel fills in identifier and checksum.
fn echo_request(v6: bool, sequence: u32, size: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER + size];
    packet[0] = if v6 { 128 } else { 8 };
    packet[6..8].copy_from_slice(&(sequence as u16).to_be_bytes());
    for (at, byte) in packet[HEADER..].iter_mut().enumerate() {
        *byte = at as u8;
    }
    packet
}

/// The sequence number of an echo reply; absent for anything else.
fn echo_reply(v6: bool, packet: &[u8]) -> Option<u32> {
    let kind = if v6 { 129 } else { 0 };
    match packet {
        [found, 0, _, _, _, _, high, low, ..] if *found == kind => {
            Some(u32::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

/// A socket that hears nobody but the target: the kernel passes on replies to
/// its own requests alone.
fn open(ip: IpAddr, progress: &Progress) -> Result<UdpSocket, Error> {
    let (domain, protocol) = match ip {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let opened = Socket::new(domain, Type::DGRAM, Some(protocol)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SocketAddr::new(ip, 0).into())?;
        UdpSocket::from_std(socket.into())
    });
    opened.map_err(|error| {
        if error.kind() == ErrorKind::PermissionDenied {
            progress.own_fault(format!(
                "the kernel does not let the engine send echo requests: put the group of its process into net.ipv4.ping_group_range, as in `sysctl net.ipv4.ping_group_range=\"0 2147483647\"` ({error})"
            ));
        }
        failed(ip, &error, progress)
    })
}

fn check(request: &IcmpRequest) -> Result<(), Error> {
    if request.count > MAX_COUNT || request.size > MAX_SIZE {
        return Err(Error::Invalid(format!(
            "expected at most {MAX_COUNT} echo requests of at most {MAX_SIZE} bytes, found {} of {}",
            request.count, request.size
        )));
    }
    Ok(())
}

impl RunData {
    /// `until` ends the waiting for replies.
    async fn echo(
        &mut self,
        request: &IcmpRequest,
        until: Instant,
        progress: &Progress,
    ) -> Result<IcmpResponse, Error> {
        check(request)?;
        let (egress, grants) = (self.shared.egress(), self.net_grants());
        let found = egress
            .find(&grants, Transport::Icmp, &request.host, 0, progress)
            .await?;
        progress.enter(Phase::Send);
        let mut last = Error::Timeout(Phase::FirstByte);
        let mut opened = None;
        for ip in &found.addresses {
            match open(*ip, progress) {
                Ok(socket) => {
                    opened = Some((socket, *ip));
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some((socket, ip)) = opened else {
            return Err(last);
        };
        let count = request.count.max(1);
        let interval = Duration::from_millis(request.interval_ms.into()).max(MIN_INTERVAL);
        let size = request.size.max(MIN_SIZE) as usize;
        let mut sent: Vec<Instant> = Vec::new();
        let mut replies: Vec<IcmpReply> = Vec::new();
        let mut failures = 0;
        let mut buffer = vec![0; 2 << 10];
        let mut next = Instant::now();
        // Every request may be answered by an error, and by no more than one.
        while replies.len() < count as usize && failures <= count {
            let all_sent = sent.len() as u32 == count;
            let now = Instant::now();
            if !all_sent && now >= next && now < until {
                self.datagrams.spend(HEADER + size)?;
                let packet = echo_request(ip.is_ipv6(), sent.len() as u32, size);
                sent.push(now);
                next = now + interval;
                match socket.send(&packet).await {
                    Ok(_) => progress.enter(Phase::FirstByte),
                    Err(error) => {
                        failures += 1;
                        last = socket_error(&error, progress);
                    }
                }
                continue;
            }
            let end = match (all_sent, request.wait_ms) {
                (false, _) => next,
                (true, Some(wait)) => {
                    sent.last().copied().unwrap_or(now) + Duration::from_millis(wait.into())
                }
                (true, None) => until,
            };
            match timeout_at(end.min(until), socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => {
                    let Some(sequence) = echo_reply(ip.is_ipv6(), &buffer[..length]) else {
                        continue;
                    };
                    let known = replies.iter().any(|reply| reply.sequence == sequence);
                    if let (Some(at), false) = (sent.get(sequence as usize), known) {
                        replies.push(IcmpReply {
                            sequence,
                            round_trip: micros(at.elapsed()),
                        });
                    }
                }
                Ok(Err(error)) => {
                    failures += 1;
                    last = socket_error(&error, progress);
                }
                Err(_) if all_sent || Instant::now() >= until => break,
                Err(_) => {}
            }
        }
        if replies.is_empty() {
            return Err(last);
        }
        Ok(IcmpResponse {
            peer: ip.to_string(),
            sent: sent.len() as u32,
            replies,
            resolve: found.resolve.map(micros),
        })
    }

    /// Serves `net.icmp`.
    pub(super) async fn serve_icmp(
        &mut self,
        request: &IcmpRequest,
    ) -> wasmtime::Result<Result<IcmpResponse, Error>> {
        let (progress, waits) = (Progress::new(Phase::Resolve), self.waits);
        let until = Instant::now() + waits.timeout;
        let result = waits
            .on_target(&progress, self.echo(request, until, &progress))
            .await?;
        self.note_denial(result.as_ref().err());
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_written_and_read() {
        let mut packet = echo_request(false, 258, 16);
        assert_eq!(packet.len(), 24);
        assert_eq!(packet[..8], [8, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(echo_reply(false, &packet), None, "a request is no reply");
        packet[0] = 0;
        assert_eq!(echo_reply(false, &packet), Some(258));
        assert_eq!(echo_reply(true, &packet), None);
        packet[0] = 129;
        assert_eq!(echo_reply(true, &packet), Some(258));
        // Destination unreachable, and half a packet.
        packet[0] = 3;
        assert_eq!(echo_reply(false, &packet), None);
        assert_eq!(echo_reply(false, &[0, 0, 0, 0, 0, 0, 1]), None);
    }
}
