//! WASI with nothing inherited: clocks and random numbers work, there are no
//! files, and sockets (of WASI 0.2; preview 1 has none) pass the same egress
//! check as `net`. What a component prints goes to the run's log; a program has
//! the arguments, the variables and the standard input that it was given.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::egress::Egress;
use super::grants::{NetGrants, Transport};
use super::run::{RunData, own_trouble};
use super::secrets::Redactor;

/// Most bytes of standard output and error kept, each.
const MAX_OUTPUT: usize = 16 << 10;
/// Denied addresses that are kept for the run's log.
const MAX_DENIALS: usize = 20;
/// Most random bytes of one call.
const MAX_RANDOM: u64 = 1 << 20;

/// The beginning of what a guest printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub bytes: Vec<u8>,
    /// Bytes beyond those kept.
    pub dropped: u64,
}

impl Kept {
    /// As text, without the beginning of a secret where the rest was dropped.
    pub fn text(&self, redactor: &Redactor) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.dropped {
            0 => text,
            _ => Cow::Owned(redactor.whole(text.into_owned())),
        }
    }
}

/// An output stream of a guest.
#[derive(Clone)]
struct Printed {
    kept: Arc<Mutex<Kept>>,
    most: usize,
}

impl Printed {
    fn new(most: usize) -> Self {
        Self {
            kept: Arc::default(),
            most,
        }
    }

    /// What does not fit is taken and dropped: a guest must not hang on its own
    /// noise.
    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock();
        let room = bytes.len().min(self.most - kept.bytes.len());
        kept.bytes.extend_from_slice(&bytes[..room]);
        kept.dropped += (bytes.len() - room) as u64;
    }

    fn take(&self) -> Kept {
        std::mem::take(&mut *self.kept.lock())
    }
}

impl AsyncWrite for Printed {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.keep(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// What a program is given, beside its run's grants.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Its name first.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdin: Bytes,
    /// Bytes of standard output kept; of standard error it is as for every guest.
    pub stdout: usize,
}

struct Streams {
    stdout: Printed,
    stderr: Printed,
}

/// What the sockets of a run may reach, and what they leave behind.
struct Sockets {
    grants: Arc<NetGrants>,
    egress: Egress,
    /// What goes over a socket cannot be told from what only asks.
    dry_run: bool,
    /// Set when a target was allowed.
    used: AtomicBool,
    denials: Mutex<Vec<String>>,
}

impl Sockets {
    fn permits(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let transport = match usage {
            SocketAddrUse::TcpConnect => Transport::Tcp,
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => Transport::Udp,
            // Binding to a port of the system's choice comes before connecting;
            // listening is never allowed.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                return address.ip().is_unspecified() && address.port() == 0;
            }
            _ => return false,
        };
        let allowed = !self.dry_run && self.egress.permits_socket(&self.grants, transport, address);
        // A stranger's datagram is not what the guest asked for.
        let asked = !matches!(usage, SocketAddrUse::UdpReceive);
        if allowed {
            self.used.store(true, Ordering::Relaxed);
        } else if asked {
            self.deny(transport, address);
        }
        allowed
    }

    fn deny(&self, transport: Transport, address: SocketAddr) {
        let shown = transport.grant(&address.ip().to_string(), address.port());
        let why = match self.dry_run {
            true => "was held back: dry run",
            false => "is not granted, or closed by egress.deny",
        };
        let mut denials = self.denials.lock();
        if denials.len() < MAX_DENIALS {
            denials.push(format!("net {shown} {why}"));
        }
    }
}

struct Preview2 {
    ctx: WasiCtx,
    streams: Streams,
    sockets: Arc<Sockets>,
}

struct Preview1 {
    ctx: WasiP1Ctx,
    streams: Streams,
}

/// WASI of a run, built when the guest first uses it.
#[derive(Default)]
pub(super) struct LazyWasi {
    given: Option<Box<Given>>,
    p2: Option<Box<Preview2>>,
    p1: Option<Box<Preview1>>,
}

impl LazyWasi {
    /// Of a program that gets this.
    pub fn of(given: Given) -> Self {
        Self {
            given: Some(Box::new(given)),
            ..Self::default()
        }
    }

    fn streams(&self) -> Option<&Streams> {
        let p1 = self.p1.as_ref().map(|wasi| &wasi.streams);
        p1.or(self.p2.as_ref().map(|wasi| &wasi.streams))
    }
}

/// What is the engine's own in the end of a try.
fn trouble<T>(tried: std::io::Result<T>) -> Option<String> {
    let error = tried.err()?;
    Some(format!("{} ({error})", own_trouble(&error)?))
}

/// A context without files and sockets.
fn builder(given: Option<Box<Given>>) -> (WasiCtxBuilder, Streams) {
    let mut builder = WasiCtxBuilder::new();
    let mut most = MAX_OUTPUT;
    if let Some(given) = given {
        most = given.stdout;
        builder
            .args(&given.args)
            .envs(&given.env)
            .stdin(MemoryInputPipe::new(given.stdin));
    }
    let streams = Streams {
        stdout: Printed::new(most),
        stderr: Printed::new(MAX_OUTPUT),
    };
    builder
        .stdout(streams.stdout.clone())
        .stderr(streams.stderr.clone())
        .max_random_size(MAX_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    (builder, streams)
}

fn preview2(given: Option<Box<Given>>, sockets: Arc<Sockets>) -> Box<Preview2> {
    let (mut builder, streams) = builder(given);
    let rules = Arc::clone(&sockets);
    let check = move |address: SocketAddr, usage| {
        let allowed = rules.permits(address, usage);
        Box::pin(std::future::ready(allowed)) as Pin<Box<dyn Future<Output = bool> + Send + Sync>>
    };
    let ctx = builder
        .allow_tcp(true)
        .allow_udp(true)
        .socket_addr_check(check)
        .build();
    Box::new(Preview2 {
        ctx,
        streams,
        sockets,
    })
}

impl RunData {
    /// True where the guest was let through to a target by a WASI socket.
    fn used_socket(&self) -> bool {
        self.wasi
            .p2
            .as_ref()
            .is_some_and(|wasi| wasi.sockets.used.load(Ordering::Relaxed))
    }

    /// True where the guest may wait on a target: by a WASI socket, or by an
    /// exchange of `wasi:http` that has not ended.
    pub(super) fn has_socket(&self) -> bool {
        self.used_socket() || self.http.is_open()
    }

    /// True where it could have waited on one at some time.
    pub(super) fn had_target(&self) -> bool {
        self.has_socket() || self.http.was_used()
    }

    /// What the engine's own machine lacks for sockets, where the guest may have
    /// wanted one: WASI tells of it in words that plugins take for the target's.
    /// So it is tried, once the guest has failed.
    pub(super) fn socket_trouble(&self) -> Option<String> {
        self.wasi.p2.as_ref()?;
        trouble(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
    }

    /// Moves what the guest printed into the run's log.
    pub(super) fn collect_output(&mut self) {
        let (stdout, stderr) = self.take_output();
        self.log_lines("info", &stdout);
        self.log_lines("warning", &stderr);
    }

    /// Standard output and standard error so far. Requests that were denied go
    /// to the run's log.
    pub(super) fn take_output(&mut self) -> (Kept, Kept) {
        let mut denials = self.http.denials();
        if let Some(wasi) = &self.wasi.p2 {
            denials.append(&mut wasi.sockets.denials.lock());
        }
        for denial in denials {
            self.log.push("warning", &format!("denied: {denial}"));
        }
        self.wasi
            .streams()
            .map_or_else(Default::default, |streams| {
                (streams.stdout.take(), streams.stderr.take())
            })
    }

    /// Writes the lines of an output into the run's log.
    pub(super) fn log_lines(&mut self, level: &str, printed: &Kept) {
        let text = printed.text(&self.redactor);
        for line in text.lines().filter(|line| !line.is_empty()) {
            self.log.push(level, line);
        }
    }

    /// WASI preview 1 of a program.
    pub(super) fn preview1(&mut self) -> &mut WasiP1Ctx {
        let given = &mut self.wasi.given;
        let wasi = self.wasi.p1.get_or_insert_with(|| {
            let (mut builder, streams) = builder(given.take());
            Box::new(Preview1 {
                ctx: builder.build_p1(),
                streams,
            })
        });
        &mut wasi.ctx
    }
}

impl WasiView for RunData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = match self.wasi.p2.take() {
            Some(wasi) => wasi,
            None => {
                let sockets = Sockets {
                    grants: self.net_grants(),
                    egress: self.shared.egress(),
                    dry_run: self.dry_run,
                    used: AtomicBool::new(false),
                    denials: Mutex::default(),
                };
                preview2(self.wasi.given.take(), Arc::new(sockets))
            }
        };
        WasiCtxView {
            ctx: &mut self.wasi.p2.insert(wasi).ctx,
            table: &mut self.table,
        }
    }
}

#[cfg(test)]
mod tests;
