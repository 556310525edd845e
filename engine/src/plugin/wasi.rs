//! WASI with nothing inherited: clocks and random numbers work, there are no
//! files, and sockets (of WASI 0.2; preview 1 has none) pass the same egress
//! check as `net`. What a component prints goes to the run's log; a program has
//! the arguments, the variables and the standard input that it was given.

use std::net::SocketAddr;
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
use super::run::RunData;

/// Most bytes of standard output and error kept, each.
const MAX_OUTPUT: usize = 16 << 10;
/// Most random bytes of one call.
const MAX_RANDOM: u64 = 1 << 20;

/// The beginning of what a guest printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub bytes: Vec<u8>,
    /// Bytes beyond those kept.
    pub dropped: u64,
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

struct Preview2 {
    ctx: WasiCtx,
    streams: Streams,
    /// Set when a socket was allowed.
    used_socket: Arc<AtomicBool>,
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

fn preview2(given: Option<Box<Given>>, grants: Arc<NetGrants>, egress: Egress) -> Box<Preview2> {
    let (mut builder, streams) = builder(given);
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
    let ctx = builder
        .allow_tcp(true)
        .allow_udp(true)
        .socket_addr_check(check)
        .build();
    Box::new(Preview2 {
        ctx,
        streams,
        used_socket,
    })
}

impl RunData {
    /// True where the guest has a WASI socket or sent a request by `wasi:http`.
    pub(super) fn has_socket(&self) -> bool {
        let socket = self
            .wasi
            .p2
            .as_ref()
            .is_some_and(|wasi| wasi.used_socket.load(Ordering::Relaxed));
        socket || self.http.was_used()
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
        for denial in self.http.denials() {
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
        for line in String::from_utf8_lossy(&printed.bytes)
            .lines()
            .filter(|line| !line.is_empty())
        {
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
        let grants = self.net_grants();
        let (shared, given) = (&self.shared, &mut self.wasi.given);
        let wasi = self
            .wasi
            .p2
            .get_or_insert_with(|| preview2(given.take(), grants, shared.egress()));
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut self.table,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use wasmtime::component::Component;

    use super::super::host::tests::{TestInner, inner};
    use super::super::run::{End, HOSTCALL_FUEL, RunSetup, bounded, classify};
    use super::*;
    use crate::check::outcome::FaultKind;
    use crate::config::spec::GrantsSpec;

    const LENGTH: Duration = Duration::from_millis(200);

    /// Runs the export `run` of a component text; the end and what it logged.
    async fn run(test: &TestInner, text: &str, net: &[String]) -> (Result<u32, End>, Vec<String>) {
        let wasm = &test.inner.catalogue.wasm;
        let component = Component::new(&wasm.engine, wat::parse_str(text).unwrap()).unwrap();
        let pre = test.inner.catalogue.link(&component).unwrap();
        let mut store = test.inner.store(RunSetup {
            timeout: LENGTH,
            length: LENGTH,
            memory: 1 << 20,
            grants: Arc::new(GrantsSpec {
                net: net.to_vec(),
                ..GrantsSpec::default()
            }),
            node: None,
            state: None,
            dry_run: false,
            fuel: HOSTCALL_FUEL,
        });
        let running = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let run = instance.get_typed_func::<(), (u32,)>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        };
        let result = bounded(running, LENGTH).await;
        let mut data = store.into_data();
        let result = result
            .map(|(n,)| n)
            .map_err(|error| classify(&error, &data));
        data.collect_output();
        let log = data
            .log
            .finish(&Default::default())
            .into_iter()
            .map(|line| line.message)
            .collect();
        (result, log)
    }

    /// The shared parts of a component that uses streams.
    const POLL: &str = r#"
        (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type $p (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $p))))))
        (alias export $poll "pollable" (type $pollable))
        (core func $block (canon lower (func $poll "[method]pollable.block")))
    "#;

    #[tokio::test]
    async fn a_guest_that_sleeps_for_ever_is_a_fault() {
        let test = inner();
        let text = format!(
            r#"(component {POLL}
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                (alias outer 1 $pollable (type $pa))
                (export "pollable" (type $pb (eq $pa)))
                (export "subscribe-duration" (func (param "when" u64) (result (own $pb))))))
            (core func $subscribe (canon lower (func $clock "subscribe-duration")))
            (core module $m
                (import "h" "block" (func $block (param i32)))
                (import "h" "subscribe" (func $subscribe (param i64) (result i32)))
                (func (export "run") (result i32)
                    (call $block (call $subscribe (i64.const 3600000000000)))
                    (i32.const 1)))
            (core instance $i (instantiate $m (with "h" (instance
                (export "block" (func $block)) (export "subscribe" (func $subscribe))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
        );
        let (result, _) = run(&test, &text, &[]).await;
        let Err(End::Fault(fault)) = result else {
            panic!("expected a fault, found {result:?}")
        };
        assert_eq!(fault.kind, FaultKind::Deadline);
        assert!(
            fault.text.contains("waited beyond its deadline of 200 ms"),
            "{}",
            fault.text
        );
    }

    #[tokio::test]
    async fn output_goes_to_the_log_and_there_is_no_environment() {
        let test = inner();
        let text = r#"(component
            (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
            (alias export $error "error" (type $e))
            (import "wasi:io/streams@0.2.0" (instance $streams
                (alias outer 1 $e (type $ea))
                (export "error" (type $eb (eq $ea)))
                (export "output-stream" (type $o (sub resource)))
                (type $se' (variant (case "last-operation-failed" (own $eb)) (case "closed")))
                (export "stream-error" (type $se (eq $se')))
                (export "[method]output-stream.blocking-write-and-flush"
                    (func (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $se)))))))
            (alias export $streams "output-stream" (type $out))
            (import "wasi:cli/stderr@0.2.0" (instance $stderr
                (alias outer 1 $out (type $oa))
                (export "output-stream" (type $ob (eq $oa)))
                (export "get-stderr" (func (result (own $ob))))))
            (import "wasi:cli/environment@0.2.0" (instance $env
                (export "get-environment" (func (result (list (tuple string string)))))))
            (core module $memory
                (memory (export "memory") 1)
                (data (i32.const 0) "out of ideas\0a")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $mem (instantiate $memory))
            (alias core export $mem "memory" (core memory $mm))
            (alias core export $mem "realloc" (core func $realloc))
            (core func $get (canon lower (func $stderr "get-stderr")))
            (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
                (memory $mm)))
            (core func $environment (canon lower (func $env "get-environment") (memory $mm) (realloc $realloc)))
            (core module $m
                (import "h" "get" (func $get (result i32)))
                (import "h" "write" (func $write (param i32 i32 i32 i32)))
                (import "h" "environment" (func $environment (param i32)))
                (import "h" "memory" (memory 1))
                (func (export "run") (result i32)
                    (call $write (call $get) (i32.const 0) (i32.const 13) (i32.const 512))
                    (call $environment (i32.const 600))
                    (i32.load (i32.const 604))))
            (core instance $i (instantiate $m (with "h" (instance
                (export "get" (func $get)) (export "write" (func $write))
                (export "environment" (func $environment)) (export "memory" (memory $mm))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#;
        let (result, log) = run(&test, text, &[]).await;
        assert_eq!(result.unwrap(), 0, "the guest sees environment variables");
        assert_eq!(log, ["out of ideas"]);
    }

    /// Connects to 127.0.0.1 and waits until it is connected; then blocks on
    /// the empty input for ever. 2 where the connection is refused by the
    /// engine at once.
    fn socket(port: u16) -> String {
        format!(
            r#"(component {POLL}
            (import "wasi:sockets/network@0.2.0" (instance $network
                (export "network" (type (sub resource)))
                (type $code' (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout" "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
                (export "error-code" (type (eq $code')))
                (type $family' (enum "ipv4" "ipv6"))
                (export "ip-address-family" (type (eq $family')))
                (type $v4' (tuple u8 u8 u8 u8))
                (export "ipv4-address" (type $v4 (eq $v4')))
                (type $v6' (tuple u16 u16 u16 u16 u16 u16 u16 u16))
                (export "ipv6-address" (type $v6 (eq $v6')))
                (type $s4' (record (field "port" u16) (field "address" $v4)))
                (export "ipv4-socket-address" (type $s4 (eq $s4')))
                (type $s6' (record (field "port" u16) (field "flow-info" u32) (field "address" $v6) (field "scope-id" u32)))
                (export "ipv6-socket-address" (type $s6 (eq $s6')))
                (type $sa' (variant (case "ipv4" $s4) (case "ipv6" $s6)))
                (export "ip-socket-address" (type (eq $sa')))))
            (alias export $network "network" (type $net))
            (alias export $network "error-code" (type $code))
            (alias export $network "ip-address-family" (type $family))
            (alias export $network "ip-socket-address" (type $address))
            (import "wasi:sockets/instance-network@0.2.0" (instance $instance
                (alias outer 1 $net (type $na))
                (export "network" (type $nb (eq $na)))
                (export "instance-network" (func (result (own $nb))))))
            (import "wasi:sockets/tcp@0.2.0" (instance $tcp
                (alias outer 1 $net (type $na)) (export "network" (type $nb (eq $na)))
                (alias outer 1 $code (type $ca)) (export "error-code" (type $cb (eq $ca)))
                (alias outer 1 $address (type $aa)) (export "ip-socket-address" (type $ab (eq $aa)))
                (alias outer 1 $pollable (type $pa)) (export "pollable" (type $pb (eq $pa)))
                (export "tcp-socket" (type $s (sub resource)))
                (export "[method]tcp-socket.start-connect"
                    (func (param "self" (borrow $s)) (param "network" (borrow $nb)) (param "remote-address" $ab) (result (result (error $cb)))))
                (export "[method]tcp-socket.subscribe" (func (param "self" (borrow $s)) (result (own $pb))))))
            (alias export $tcp "tcp-socket" (type $socket))
            (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
                (alias outer 1 $code (type $ca)) (export "error-code" (type $cb (eq $ca)))
                (alias outer 1 $family (type $fa)) (export "ip-address-family" (type $fb (eq $fa)))
                (alias outer 1 $socket (type $sa)) (export "tcp-socket" (type $sb (eq $sa)))
                (export "create-tcp-socket" (func (param "address-family" $fb) (result (result (own $sb) (error $cb)))))))
            (core module $memory (memory (export "memory") 1))
            (core instance $mem (instantiate $memory))
            (alias core export $mem "memory" (core memory $mm))
            (core func $create (canon lower (func $create "create-tcp-socket") (memory $mm)))
            (core func $network (canon lower (func $instance "instance-network")))
            (core func $connect (canon lower (func $tcp "[method]tcp-socket.start-connect") (memory $mm)))
            (core func $subscribe (canon lower (func $tcp "[method]tcp-socket.subscribe")))
            (core module $m
                (import "h" "memory" (memory 1))
                (import "h" "block" (func $block (param i32)))
                (import "h" "create" (func $create (param i32 i32)))
                (import "h" "network" (func $network (result i32)))
                (import "h" "connect" (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
                (import "h" "subscribe" (func $subscribe (param i32) (result i32)))
                (func (export "run") (result i32)
                    (local $s i32)
                    (call $create (i32.const 0) (i32.const 0))
                    (local.set $s (i32.load (i32.const 4)))
                    (call $connect (local.get $s) (call $network) (i32.const 0) (i32.const {port})
                        (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
                        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16))
                    (if (i32.load8_u (i32.const 16)) (then (return (i32.const 2))))
                    (loop $again
                        (call $block (call $subscribe (local.get $s)))
                        (br $again))
                    (i32.const 1)))
            (core instance $i (instantiate $m (with "h" (instance
                (export "memory" (memory $mm)) (export "block" (func $block)) (export "create" (func $create))
                (export "network" (func $network)) (export "connect" (func $connect)) (export "subscribe" (func $subscribe))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
        )
    }

    #[tokio::test]
    async fn sockets_need_a_grant() {
        let test = inner();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = socket(address.port());
        let (denied, _) = run(&test, &text, &[]).await;
        let (granted, _) = run(&test, &text, &[address.to_string()]).await;
        // Without a grant nobody came; with one somebody did.
        let (_, peer) = tokio::time::timeout(LENGTH, listener.accept())
            .await
            .unwrap()
            .unwrap();
        assert!(peer.ip().is_loopback());
        assert!(
            tokio::time::timeout(LENGTH, listener.accept())
                .await
                .is_err(),
            "denied: {denied:?}, granted: {granted:?}"
        );
    }
}
