//! `net.udp`: one datagram to a peer, and what that very peer sends back.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::bindings::bellwether::plugin::net::{
    Datagram, Error, Phase, Timings, UdpRequest, UdpResponse,
};
use super::egress::{Found, datagrams_to, io_error};
use super::grants::Transport;
use super::net_http::micros;
use super::run::{Progress, RunData};

/// Most bytes of a datagram that a guest sends.
const MAX_DATA: usize = 8 << 10;
/// Most replies of one exchange, bytes of one reply and of all of them.
const MAX_REPLIES: u32 = 64;
const MAX_REPLY: u32 = 64 << 10;
const MAX_ALL: usize = 1 << 20;
const MAX_ATTEMPTS: u32 = 5;

/// Datagrams that one run sends at most, UDP, DNS and ICMP together, and their
/// bytes: a check is no load generator.
const MAX_DATAGRAMS: u32 = 1_000;
const MAX_BYTES: usize = 1 << 20;

/// What a run has sent so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    datagrams: u32,
    bytes: usize,
}

impl Budget {
    /// Takes a datagram of so many bytes off what is left.
    ///
    /// # Errors
    /// `invalid` where nothing is left.
    pub fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        let (datagrams, bytes) = (self.datagrams + 1, self.bytes + bytes);
        if datagrams > MAX_DATAGRAMS || bytes > MAX_BYTES {
            return Err(Error::Invalid(format!(
                "the run has sent {} datagrams with {} bytes; it may send {MAX_DATAGRAMS} with {MAX_BYTES} bytes",
                self.datagrams, self.bytes
            )));
        }
        (self.datagrams, self.bytes) = (datagrams, bytes);
        Ok(())
    }
}

/// How often something is sent while nothing comes: at least once.
pub(super) fn attempts(wanted: u32) -> Result<u32, Error> {
    if wanted > MAX_ATTEMPTS {
        return Err(Error::Invalid(format!(
            "expected at most {MAX_ATTEMPTS} attempts, found {wanted}"
        )));
    }
    Ok(wanted.max(1))
}

/// An error of a socket in use, noted where it is the engine's own.
pub(super) fn socket_error(error: &std::io::Error, progress: &Progress) -> Error {
    progress.note(error);
    io_error(error)
}

fn check(request: &UdpRequest) -> Result<u32, Error> {
    if request.data.len() > MAX_DATA {
        return Err(Error::Invalid(format!(
            "expected a datagram of at most {MAX_DATA} bytes, found {}",
            request.data.len()
        )));
    }
    if request.replies > MAX_REPLIES {
        return Err(Error::Invalid(format!(
            "expected to wait for at most {MAX_REPLIES} replies, found {}",
            request.replies
        )));
    }
    attempts(request.attempts)
}

/// Receives one datagram and keeps `max` bytes of it.
async fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    max: usize,
    sent: Instant,
) -> std::io::Result<Datagram> {
    let count = socket.recv(buffer).await?;
    Ok(Datagram {
        data: buffer[..count.min(max)].to_vec(),
        truncated: count > max,
        after: micros(sent.elapsed()),
    })
}

impl RunData {
    /// `until` ends the waiting for replies.
    async fn exchange_datagrams(
        &mut self,
        request: &UdpRequest,
        until: Instant,
        progress: &Progress,
    ) -> Result<UdpResponse, Error> {
        let attempts = check(request)?;
        if self.dry_run {
            return Err(Error::Denied("dry run: a datagram was held back".into()));
        }
        let begun = Instant::now();
        let (egress, grants) = (self.shared.egress(), self.net_grants());
        let Found { addresses, resolve } = egress
            .find(
                &grants,
                Transport::Udp,
                &request.host,
                request.port,
                progress,
            )
            .await?;
        let (socket, peer) = datagrams_to(&addresses, request.port, progress).await?;
        let max = request.max_size.min(MAX_REPLY) as usize;
        // One byte more tells a longer datagram from one that just fits.
        let mut buffer = vec![0; max + 1];
        let pause = until.saturating_duration_since(Instant::now()) / attempts;
        let started = Instant::now();
        let (mut replies, mut count) = (Vec::new(), 0);
        let (sent, sent_at) = loop {
            self.datagrams.spend(request.data.len())?;
            progress.enter(Phase::Send);
            socket
                .send(&request.data)
                .await
                .map_err(|error| socket_error(&error, progress))?;
            count += 1;
            let (sent, sent_at) = (Instant::now(), self.shared.clock.now());
            if request.replies == 0 {
                break (sent, sent_at);
            }
            progress.enter(Phase::FirstByte);
            let last = count == attempts;
            let end = if last { until } else { started + pause * count };
            match timeout_at(end, receive(&socket, &mut buffer, max, sent)).await {
                Ok(Ok(reply)) => {
                    replies.push(reply);
                    break (sent, sent_at);
                }
                Ok(Err(error)) => return Err(socket_error(&error, progress)),
                Err(_) if last => return Err(Error::Timeout(Phase::FirstByte)),
                Err(_) => {}
            }
        };
        progress.enter(Phase::Receive);
        let mut size: usize = replies.iter().map(|reply| reply.data.len()).sum();
        while (replies.len() as u32) < request.replies && size < MAX_ALL {
            let end = match request.idle_ms {
                Some(idle) => until.min(Instant::now() + Duration::from_millis(idle.into())),
                None => until,
            };
            // No more is no failure: there is an answer.
            let Ok(Ok(reply)) = timeout_at(end, receive(&socket, &mut buffer, max, sent)).await
            else {
                break;
            };
            size += reply.data.len();
            replies.push(reply);
        }
        Ok(UdpResponse {
            peer: peer.to_string(),
            sent: count,
            sent_at: sent_at.micros(),
            timings: Timings {
                resolve: resolve.map(micros),
                connect: None,
                tls: None,
                first_byte: replies.first().map(|reply| reply.after),
                total: micros(begun.elapsed()),
            },
            replies,
        })
    }

    /// Serves `net.udp`.
    pub(super) async fn serve_udp(
        &mut self,
        request: &UdpRequest,
    ) -> wasmtime::Result<Result<UdpResponse, Error>> {
        let (progress, waits) = (Progress::new(Phase::Resolve), self.waits);
        let until = Instant::now() + waits.timeout;
        let result = waits
            .on_target(
                &progress,
                self.exchange_datagrams(request, until, &progress),
            )
            .await?;
        self.note_denial(result.as_ref().err());
        Ok(result.map(|mut response| {
            for reply in &mut response.replies {
                reply.data = self.redacted(std::mem::take(&mut reply.data));
            }
            response
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_and_bytes_are_counted() {
        let mut budget = Budget::default();
        for _ in 0..MAX_DATAGRAMS {
            budget.spend(1).unwrap();
        }
        let Err(Error::Invalid(text)) = budget.spend(1) else {
            panic!("expected a refusal")
        };
        assert!(text.contains("1000 datagrams with 1000 bytes"), "{text}");
        let mut budget = Budget::default();
        budget.spend(MAX_BYTES).unwrap();
        assert!(budget.spend(1).is_err());
        // What was refused was not sent.
        assert!(budget.spend(0).is_ok());
    }

    #[test]
    fn attempts_are_bounded() {
        assert_eq!(attempts(0).unwrap(), 1);
        assert_eq!(attempts(5).unwrap(), 5);
        assert!(attempts(6).is_err());
    }
}
