//! `net.dns`: questions to a chosen server or to those of the engine's host.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::bindings::bellwether::plugin::net::{
    DnsFlags, DnsQuery, DnsResponse, DnsTransport, Error, Phase, Timings,
};
use super::dns_message::{Answer, MAX_DATAGRAM, Question};
use super::egress::{datagrams_to, stream_to};
use super::grants::Transport;
use super::net_http::micros;
use super::net_udp::{attempts, socket_error};
use super::run::{Progress, RunData};

/// Servers of one name, or of the system, that are asked.
const MAX_SERVERS: usize = 8;
/// Datagrams that answer something else until a server counts as broken.
const MAX_STRANGERS: usize = 64;

/// An answer and how it came.
struct Heard {
    answer: Answer,
    transport: DnsTransport,
    size: usize,
    timings: Timings,
}

/// Who is asked.
struct Servers {
    addresses: Vec<SocketAddr>,
    resolve: Option<u64>,
    /// The system's: where one does not know, the next one is asked.
    system: bool,
}

impl RunData {
    async fn servers(
        &mut self,
        query: &DnsQuery,
        question: &Question,
        progress: &Progress,
    ) -> Result<Servers, Error> {
        let grants = self.net_grants();
        let Some(host) = &query.server else {
            if query.port.is_some() {
                return Err(Error::Invalid("a port goes with a server".into()));
            }
            let name = question.name();
            if !grants.allows_question(&name) {
                let grant = Transport::Dns.grant(if name.is_empty() { "*" } else { &name }, 0);
                return Err(Error::Denied(format!(
                    "net {grant} is not granted; a grant would be \"{grant}\""
                )));
            }
            let addresses = self.shared.egress().resolver.servers().map_err(|error| {
                progress.own_fault(format!("the engine's host has no resolver: {error}"));
                Error::Resolve(error)
            })?;
            return Ok(Servers {
                addresses,
                resolve: None,
                system: true,
            });
        };
        let port = query.port.unwrap_or(53);
        // A grant for datagrams is one for the protocol, which falls back to TCP.
        let transport = match query.transport {
            DnsTransport::Tcp => Transport::Tcp,
            DnsTransport::Auto | DnsTransport::Udp => Transport::Udp,
        };
        let egress = self.shared.egress();
        let found = egress
            .find(&grants, transport, host, port, progress)
            .await?;
        Ok(Servers {
            addresses: found
                .addresses
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect(),
            resolve: found.resolve.map(micros),
            system: false,
        })
    }

    /// `until` ends the waiting for answers.
    async fn ask(
        &mut self,
        query: &DnsQuery,
        until: Instant,
        progress: &Progress,
    ) -> Result<DnsResponse, Error> {
        let begun = Instant::now();
        let attempts = attempts(query.attempts)?;
        let question = Question::new(query)?;
        let mut servers = self.servers(query, &question, progress).await?;
        servers.addresses.truncate(MAX_SERVERS);
        let tries = servers.addresses.len() as u32 * attempts;
        let mut last = Error::Timeout(Phase::FirstByte);
        for (index, server) in (0..tries).zip(servers.addresses.iter().cycle()) {
            let left = tries - index;
            let share = until.saturating_duration_since(Instant::now()) / left;
            let end = if left == 1 {
                until
            } else {
                Instant::now() + share
            };
            let asking = self.ask_one(query.transport, &question, *server, progress);
            let heard = match timeout_at(end, asking).await {
                Ok(Ok(heard)) => heard,
                // What is wrong with the run will not get better.
                Ok(Err(error @ (Error::Invalid(_) | Error::Denied(_)))) => return Err(error),
                Ok(Err(error)) => {
                    last = error;
                    continue;
                }
                Err(_) => {
                    last = Error::Timeout(progress.phase());
                    continue;
                }
            };
            if servers.system && left > 1 && heard.answer.is_no_answer() {
                continue;
            }
            return Ok(DnsResponse {
                rcode: heard.answer.rcode(),
                flags: heard.answer.flags,
                answers: heard.answer.answers,
                authorities: heard.answer.authorities,
                additionals: heard.answer.additionals,
                server: server.to_string(),
                transport: heard.transport,
                size: u32::try_from(heard.size).unwrap_or(u32::MAX),
                timings: Timings {
                    resolve: servers.resolve,
                    total: micros(begun.elapsed()),
                    ..heard.timings
                },
            });
        }
        Err(last)
    }

    async fn ask_one(
        &mut self,
        transport: DnsTransport,
        question: &Question,
        server: SocketAddr,
        progress: &Progress,
    ) -> Result<Heard, Error> {
        if transport != DnsTransport::Tcp {
            let heard = self.ask_by_datagram(question, server, progress).await?;
            let cut = heard.answer.flags.contains(DnsFlags::TRUNCATED);
            if !cut || transport == DnsTransport::Udp {
                return Ok(heard);
            }
        }
        self.ask_by_stream(question, server, progress).await
    }

    async fn ask_by_datagram(
        &mut self,
        question: &Question,
        server: SocketAddr,
        progress: &Progress,
    ) -> Result<Heard, Error> {
        let id = random_id()?;
        let message = question.message(id)?;
        self.datagrams.spend(message.len())?;
        let (socket, _) = datagrams_to(&[server.ip()], server.port(), progress).await?;
        progress.enter(Phase::Send);
        let started = Instant::now();
        socket
            .send(&message)
            .await
            .map_err(|error| socket_error(&error, progress))?;
        progress.enter(Phase::FirstByte);
        // Some servers send more than they were asked to.
        let mut buffer = vec![0; 4 * usize::from(MAX_DATAGRAM)];
        for _ in 0..MAX_STRANGERS {
            let size = socket
                .recv(&mut buffer)
                .await
                .map_err(|error| socket_error(&error, progress))?;
            if let Some(answer) = question.answer(id, &buffer[..size]) {
                return Ok(Heard {
                    answer: answer?,
                    transport: DnsTransport::Udp,
                    size,
                    timings: timings(None, started),
                });
            }
        }
        Err(Error::Protocol(format!(
            "{MAX_STRANGERS} datagrams came that answer another question"
        )))
    }

    async fn ask_by_stream(
        &mut self,
        question: &Question,
        server: SocketAddr,
        progress: &Progress,
    ) -> Result<Heard, Error> {
        let id = random_id()?;
        let message = question.message(id)?;
        self.datagrams.spend(message.len())?;
        let length = u16::try_from(message.len())
            .map_err(|_| Error::Invalid("the question is too long".into()))?;
        progress.enter(Phase::Connect);
        let connecting = Instant::now();
        let mut stream = stream_to(server, progress).await?;
        let connect = micros(connecting.elapsed());
        progress.enter(Phase::Send);
        let started = Instant::now();
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&message);
        let talking = async {
            stream.write_all(&framed).await?;
            progress.enter(Phase::FirstByte);
            let mut length = [0; 2];
            stream.read_exact(&mut length).await?;
            progress.enter(Phase::Receive);
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        };
        let bytes: Vec<u8> = talking
            .await
            .map_err(|error: std::io::Error| socket_error(&error, progress))?;
        let answer = question.answer(id, &bytes).unwrap_or_else(|| {
            Err(Error::Protocol(
                "the server answered another question".into(),
            ))
        })?;
        Ok(Heard {
            answer,
            transport: DnsTransport::Tcp,
            size: bytes.len(),
            timings: timings(Some(connect), started),
        })
    }

    /// Serves `net.dns`.
    pub(super) async fn serve_dns(
        &mut self,
        query: &DnsQuery,
    ) -> wasmtime::Result<Result<DnsResponse, Error>> {
        let (progress, waits) = (Progress::new(Phase::Resolve), self.waits);
        let until = Instant::now() + waits.timeout;
        let result = waits
            .on_target(&progress, self.ask(query, until, &progress))
            .await?;
        self.note_denial(result.as_ref().err());
        Ok(result)
    }
}

fn timings(connect: Option<u64>, started: Instant) -> Timings {
    Timings {
        resolve: None,
        connect,
        tls: None,
        first_byte: Some(micros(started.elapsed())),
        total: 0,
    }
}

/// Whoever cannot see the question cannot guess it.
fn random_id() -> Result<u16, Error> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Unreachable(format!("no random numbers: {error}")))?;
    Ok(u16::from_be_bytes(bytes))
}
