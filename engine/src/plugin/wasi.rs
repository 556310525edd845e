//! WASI 0.2 with nothing inherited: clocks and random numbers work, output goes
//! to the run's log, there are no files and no environment, and sockets pass
//! the same egress check as `net`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::egress::Egress;
use super::grants::{NetGrants, Transport};
use super::run::RunData;

/// Most bytes of standard output and error kept, each.
const MAX_OUTPUT: usize = 16 << 10;
/// Most random bytes of one call.
const MAX_RANDOM: u64 = 1 << 20;

/// What a guest printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// What does not fit is taken and dropped: a guest must not hang on its own
    /// noise.
    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock();
        let room = MAX_OUTPUT - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl AsyncWrite for Printed {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
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

struct Wasi {
    ctx: WasiCtx,
    stdout: Printed,
    stderr: Printed,
    /// Set when a socket was allowed.
    used_socket: Arc<AtomicBool>,
}

/// WASI of a run, built when the guest first uses it.
#[derive(Default)]
pub(super) struct LazyWasi(Option<Box<Wasi>>);

fn build(grants: Arc<NetGrants>, egress: Egress) -> Box<Wasi> {
    let (stdout, stderr) = (Printed::default(), Printed::default());
    let used_socket = Arc::new(AtomicBool::new(false));
    let used = Arc::clone(&used_socket);
    let check = move |address: SocketAddr, usage| {
        let allowed = match usage {
            SocketAddrUse::TcpConnect => egress.permits_socket(&grants, Transport::Tcp, address),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                egress.permits_socket(&grants, Transport::Udp, address)
            }
            // Binding to a port of the system's choice comes before connecting;
            // listening is never allowed.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                address.ip().is_unspecified() && address.port() == 0
            }
            _ => false,
        };
        if allowed {
            used.store(true, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(allowed)) as Pin<Box<dyn Future<Output = bool> + Send + Sync>>
    };
    let ctx = WasiCtxBuilder::new()
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .max_random_size(MAX_RANDOM)
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(false)
        .socket_addr_check(check)
        .build();
    Box::new(Wasi { ctx, stdout, stderr, used_socket })
}

impl RunData {
    /// True where the guest has a WASI socket.
    pub(super) fn has_socket(&self) -> bool {
        self.wasi.0.as_ref().is_some_and(|wasi| wasi.used_socket.load(Ordering::Relaxed))
    }

    /// Moves what the guest printed into the run's log.
    pub(super) fn collect_output(&mut self) {
        let Some(wasi) = self.wasi.0.take() else { return };
        for (level, printed) in [("info", &wasi.stdout), ("warning", &wasi.stderr)] {
            let bytes = std::mem::take(&mut *printed.0.lock());
            for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.is_empty()) {
                self.log.push(level, line);
            }
        }
    }
}

impl WasiView for RunData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let grants = self.net_grants();
        let shared = &self.shared;
        let wasi = self.wasi.0.get_or_insert_with(|| build(grants, shared.egress()));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}
