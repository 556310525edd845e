//! `net.tcp`: a connection as a resource of the guest.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use wasmtime::component::Resource;

use super::bindings::bellwether::plugin::net::{
    Certificate, Error, HostTcp, Phase, Timings, TlsInfo, TlsOptions,
};
use super::egress::io_error;
use super::net_http::micros;
use super::replay::{Bytes, Exchange, Played, StartTls, Step, TcpExchange};
use super::run::{Progress, RunData};
use super::tls::Tls;
use super::watch::{Answer, bytes};
use crate::clock::Timestamp;

/// Most bytes of one read.
const MAX_READ: usize = 1 << 20;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A recorded conversation.
    Played(Box<Played>),
    /// An upgrade failed.
    Broken,
}

/// A connection of a guest.
pub struct TcpConnection {
    stream: Stream,
    host: String,
    /// Name that TLS was asked for, where it is not the host.
    server_name: Option<String>,
    peer: String,
    timings: Timings,
    started: Instant,
    certificate: Option<Certificate>,
    /// Read and not yet asked for.
    buffer: BytesMut,
    /// Its number in the recording that is made.
    kept: Option<usize>,
}

impl TcpConnection {
    fn stream(&mut self) -> Result<&mut dyn Duplex, Error> {
        match &mut self.stream {
            Stream::Plain(stream) => Ok(stream),
            Stream::Tls(stream) => Ok(stream),
            Stream::Played(stream) => Ok(stream),
            Stream::Broken => Err(Error::Closed("the TLS upgrade failed".into())),
        }
    }

    fn took(&mut self, first_byte: Option<Duration>) {
        if matches!(self.stream, Stream::Played(_)) {
            return;
        }
        self.timings.total = micros(self.started.elapsed());
        if let (None, Some(first)) = (self.timings.first_byte, first_byte) {
            self.timings.first_byte = Some(micros(first));
        }
    }

    /// Reads once into the buffer; false at the end of the stream.
    async fn fill(&mut self, room: usize, progress: &Progress) -> Result<bool, Error> {
        progress.enter(if self.timings.first_byte.is_none() {
            Phase::FirstByte
        } else {
            Phase::Receive
        });
        let waiting = Instant::now();
        let mut chunk = [0; 8 << 10];
        let most = room.min(chunk.len());
        let count = match self.stream()?.read(&mut chunk[..most]).await {
            Ok(count) => count,
            // Many servers close TLS without a farewell.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(io_error(&error)),
        };
        self.buffer.extend_from_slice(&chunk[..count]);
        self.took((count > 0).then(|| waiting.elapsed()));
        Ok(count > 0)
    }

    async fn read_until(
        &mut self,
        delimiter: &[u8],
        max: usize,
        progress: &Progress,
    ) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..]
                .windows(delimiter.len())
                .position(|window| window == delimiter);
            if let Some(at) = found {
                let end = searched + at + delimiter.len();
                if end > max {
                    return Err(Error::TooLarge(max as u64));
                }
                return Ok(self.buffer.split_to(end).to_vec());
            }
            if self.buffer.len() >= max {
                return Err(Error::TooLarge(max as u64));
            }
            searched = (self.buffer.len() + 1).saturating_sub(delimiter.len());
            if !self.fill(max - self.buffer.len(), progress).await? {
                return Err(Error::Closed(format!(
                    "after {} bytes, before the delimiter",
                    self.buffer.len()
                )));
            }
        }
    }
}

impl TcpConnection {
    fn played(played: Played, host: String) -> Self {
        Self {
            host,
            server_name: None,
            peer: played.peer(),
            timings: played.timings(),
            started: Instant::now(),
            certificate: played.certificate(),
            buffer: BytesMut::new(),
            kept: None,
            stream: Stream::Played(Box::new(played)),
        }
    }

    /// What is known of its TLS.
    fn info(&self, tls: &Tls, now: Timestamp) -> Option<TlsInfo> {
        match &self.stream {
            Stream::Tls(stream) => {
                let name = self.server_name.as_deref().unwrap_or(&self.host);
                Some(tls.info(stream.get_ref().1, name, now))
            }
            Stream::Played(played) => played.tls_info(),
            Stream::Plain(_) | Stream::Broken => None,
        }
    }

    /// How its beginning is recorded.
    fn recorded(&self, port: u16, tls: &Tls, now: Timestamp) -> TcpExchange {
        TcpExchange {
            host: self.host.clone(),
            port,
            peer: self.peer.clone(),
            timings: (&self.timings).into(),
            certificate: self.certificate.as_ref().map(Into::into),
            tls_info: self.info(tls, now).as_ref().map(Into::into),
            ..TcpExchange::default()
        }
    }
}

impl RunData {
    /// The end of a read: kept where a recording is made, without secrets.
    fn kept_read(
        &self,
        kept: Option<usize>,
        result: Result<Vec<u8>, Error>,
    ) -> Result<Vec<u8>, Error> {
        let result = result.map(|bytes| self.redacted(bytes));
        if let (Some(replay), Some(kept)) = (&self.replay, kept) {
            match &result {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => replay.keep_step(kept, Step::Receive(Bytes::of(bytes))),
                Err(error) => replay.keep_step(kept, Step::Error(error.into())),
            }
        }
        result
    }

    async fn tcp_connect(
        &mut self,
        host: &str,
        port: u16,
        tls: Option<&TlsOptions>,
        progress: &Progress,
    ) -> Result<TcpConnection, Error> {
        let grants = self.net_grants();
        let egress = self.shared.egress();
        let until = Instant::now() + self.waits.timeout;
        let started = Instant::now();
        let connected = egress.connect(&grants, host, port, until, progress).await?;
        let mut connection = TcpConnection {
            stream: Stream::Broken,
            host: host.to_owned(),
            server_name: None,
            peer: connected.peer.to_string(),
            timings: Timings {
                resolve: connected.resolve.map(micros),
                connect: Some(micros(connected.connect)),
                tls: None,
                first_byte: None,
                total: 0,
            },
            started,
            certificate: None,
            buffer: BytesMut::new(),
            kept: None,
        };
        match tls {
            None => connection.stream = Stream::Plain(connected.stream),
            Some(options) => {
                upgrade(
                    &self.shared.tls,
                    &mut connection,
                    connected.stream,
                    options,
                    progress,
                )
                .await?
            }
        }
        connection.took(None);
        Ok(connection)
    }
}

async fn upgrade(
    tls: &Tls,
    connection: &mut TcpConnection,
    plain: TcpStream,
    options: &TlsOptions,
    progress: &Progress,
) -> Result<(), Error> {
    progress.enter(Phase::TlsHandshake);
    let started = Instant::now();
    let (stream, certificate) = tls
        .connect(plain, &connection.host, Some(options), &[])
        .await?;
    connection.stream = Stream::Tls(Box::new(stream));
    connection.server_name.clone_from(&options.server_name);
    connection.certificate = certificate;
    connection.timings.tls = Some(micros(started.elapsed()));
    connection.took(None);
    Ok(())
}

impl HostTcp for RunData {
    async fn connect(
        &mut self,
        host: String,
        port: u16,
        tls: Option<TlsOptions>,
    ) -> wasmtime::Result<Result<Resource<TcpConnection>, Error>> {
        let watching = self.watch("tcp.connect", || {
            format!(
                "{host}:{port}{}",
                if tls.is_some() { " with TLS" } else { "" }
            )
        });
        let (progress, waits) = (Progress::new(Phase::Resolve), self.waits);
        let result = match self.played() {
            Some(replay) => replay
                .tcp(&host, port, tls.is_some())?
                .map(|played| TcpConnection::played(played, host.clone())),
            None => {
                let connecting = self.tcp_connect(&host, port, tls.as_ref(), &progress);
                waits.on_target(&progress, connecting).await?
            }
        };
        let kept = self.keep(|| {
            let now = self.shared.clock.now();
            Exchange::Tcp(TcpExchange {
                error: result.as_ref().err().map(Into::into),
                tls: tls.is_some(),
                ..match &result {
                    Ok(connection) => connection.recorded(port, &self.shared.tls, now),
                    Err(_) => TcpExchange {
                        host: host.clone(),
                        port,
                        ..TcpExchange::default()
                    },
                }
            })
        });
        self.note_denial(result.as_ref().err());
        watching.answered(|| {
            Answer::net(&result, |connection| {
                Answer::ok(connection.peer.clone()).timed(connection.timings)
            })
        });
        Ok(
            match result.map(|connection| TcpConnection { kept, ..connection }) {
                Ok(connection) => match self.table.push(connection) {
                    Ok(resource) => Ok(resource),
                    Err(_) => Err(Error::Invalid("too many open connections".into())),
                },
                Err(error) => Err(error),
            },
        )
    }

    async fn write(
        &mut self,
        connection: Resource<TcpConnection>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        if self.dry_run {
            let error = Error::Denied("dry run: data for a TCP connection was held back".into());
            self.note_denial(Some(&error));
            return Ok(Err(error));
        }
        let watching = self.watch("tcp.write", || bytes(data.len()));
        let (progress, waits) = (Progress::new(Phase::Send), self.waits);
        let replay = self.replay.clone();
        let connection = self.table.get_mut(&connection)?;
        if let (Some(replay), Some(kept)) = (replay, connection.kept) {
            replay.keep_step(kept, Step::Send(Bytes::of(&data)));
        }
        let writing = async {
            let stream = connection.stream()?;
            stream
                .write_all(&data)
                .await
                .map_err(|error| io_error(&error))?;
            stream.flush().await.map_err(|error| io_error(&error))?;
            connection.took(None);
            Ok(())
        };
        let result = waits.on_target(&progress, writing).await?;
        watching.answered(|| Answer::net(&result, |()| Answer::ok("sent")));
        Ok(result)
    }

    async fn read(
        &mut self,
        connection: Resource<TcpConnection>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let max = (max as usize).min(MAX_READ);
        if max == 0 {
            return Ok(Err(Error::Invalid(
                "expected to read at least one byte, found max 0".into(),
            )));
        }
        let watching = self.watch("tcp.read", || format!("at most {}", bytes(max)));
        let (progress, waits) = (Progress::new(Phase::Receive), self.waits);
        let connection = self.table.get_mut(&connection)?;
        let kept = connection.kept;
        let reading = async {
            if connection.buffer.is_empty() {
                connection.fill(max, &progress).await?;
            }
            let count = connection.buffer.len().min(max);
            Ok(connection.buffer.split_to(count).to_vec())
        };
        let result = waits.on_target(&progress, reading).await?;
        watching.answered(|| Answer::net(&result, |found| Answer::ok(bytes(found.len()))));
        Ok(self.kept_read(kept, result))
    }

    async fn read_until(
        &mut self,
        connection: Resource<TcpConnection>,
        delimiter: Vec<u8>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let max = (max as usize).min(MAX_READ);
        if delimiter.is_empty() || delimiter.len() > 256 || max == 0 {
            return Ok(Err(Error::Invalid(
                "expected a delimiter of 1 to 256 bytes and max of at least 1".into(),
            )));
        }
        let watching = self.watch("tcp.read-until", || {
            format!("{:?}", String::from_utf8_lossy(&delimiter))
        });
        let (progress, waits) = (Progress::new(Phase::Receive), self.waits);
        let connection = self.table.get_mut(&connection)?;
        let kept = connection.kept;
        let reading = connection.read_until(&delimiter, max, &progress);
        let result = waits.on_target(&progress, reading).await?;
        watching.answered(|| Answer::net(&result, |found| Answer::ok(bytes(found.len()))));
        Ok(self.kept_read(kept, result))
    }

    async fn start_tls(
        &mut self,
        resource: Resource<TcpConnection>,
        tls: TlsOptions,
    ) -> wasmtime::Result<Result<(), Error>> {
        let (progress, waits) = (Progress::new(Phase::TlsHandshake), self.waits);
        // Out of the table and back, so that the upgrade can borrow the run.
        let connection = self.table.get_mut(&resource)?;
        if !connection.buffer.is_empty() {
            return Ok(Err(Error::Protocol(
                "the server sent data before the TLS handshake".into(),
            )));
        }
        let plain = match std::mem::replace(&mut connection.stream, Stream::Broken) {
            Stream::Plain(stream) => stream,
            Stream::Played(mut played) => {
                let result = played.start_tls();
                connection.certificate = played.certificate();
                connection.stream = Stream::Played(played);
                return Ok(result);
            }
            other => {
                connection.stream = other;
                return Ok(Err(Error::Invalid("the connection has TLS already".into())));
            }
        };
        let mut upgraded = TcpConnection {
            stream: Stream::Broken,
            host: connection.host.clone(),
            server_name: None,
            peer: connection.peer.clone(),
            timings: connection.timings,
            started: connection.started,
            certificate: None,
            buffer: BytesMut::new(),
            kept: connection.kept,
        };
        let shared = Arc::clone(&self.shared.tls);
        let watching = self.watch("tcp.start-tls", || upgraded.host.clone());
        let upgrading = upgrade(&shared, &mut upgraded, plain, &tls, &progress);
        let result = waits.on_target(&progress, upgrading).await?;
        if let (Some(replay), Some(kept)) = (&self.replay, upgraded.kept) {
            let now = self.shared.clock.now();
            let step = StartTls {
                error: result.as_ref().err().map(Into::into),
                certificate: upgraded.certificate.as_ref().map(Into::into),
                tls_info: upgraded
                    .info(&self.shared.tls, now)
                    .as_ref()
                    .map(Into::into),
            };
            replay.keep_step(kept, Step::StartTls(Box::new(step)));
        }
        watching.answered(|| Answer::net(&result, |()| Answer::ok("TLS").timed(upgraded.timings)));
        if result.is_ok() {
            *self.table.get_mut(&resource)? = upgraded;
        }
        Ok(result)
    }

    async fn timings(&mut self, connection: Resource<TcpConnection>) -> wasmtime::Result<Timings> {
        let connection = self.table.get(&connection)?;
        if let (Some(replay), Some(kept)) = (&self.replay, connection.kept) {
            replay.keep_times(kept, (&connection.timings).into());
        }
        Ok(connection.timings)
    }

    async fn peer(&mut self, connection: Resource<TcpConnection>) -> wasmtime::Result<String> {
        Ok(self.table.get(&connection)?.peer.clone())
    }

    async fn certificate(
        &mut self,
        connection: Resource<TcpConnection>,
    ) -> wasmtime::Result<Option<Certificate>> {
        Ok(self.table.get(&connection)?.certificate.clone())
    }

    async fn tls_info(
        &mut self,
        connection: Resource<TcpConnection>,
    ) -> wasmtime::Result<Option<TlsInfo>> {
        let connection = self.table.get(&connection)?;
        let now = self.shared.clock.now();
        Ok(connection.info(&self.shared.tls, now))
    }

    async fn drop(&mut self, connection: Resource<TcpConnection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
