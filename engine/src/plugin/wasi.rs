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
    /// True where the guest was let through to a target by a WASI socket, or
    /// sent a request by `wasi:http`.
    pub(super) fn has_socket(&self) -> bool {
        let socket = self
            .wasi
            .p2
            .as_ref()
            .is_some_and(|wasi| wasi.sockets.used.load(Ordering::Relaxed));
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
        run_as(test, text, net, false).await
    }

    async fn run_as(
        test: &TestInner,
        text: &str,
        net: &[String],
        dry_run: bool,
    ) -> (Result<u32, End>, Vec<String>) {
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
            dry_run,
            fuel: HOSTCALL_FUEL,
        });
        let bound = store.data().bound();
        let running = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let run = instance.get_typed_func::<(), (u32,)>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        };
        let result = bounded(bound, running).await;
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

    /// Connects to 127.0.0.1: 1 once it is connected, 100 and the error's
    /// number where it is not.
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
            (import "wasi:io/streams@0.2.0" (instance $streams
                (export "input-stream" (type (sub resource)))
                (export "output-stream" (type (sub resource)))))
            (alias export $streams "input-stream" (type $input))
            (alias export $streams "output-stream" (type $output))
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
                (alias outer 1 $input (type $ia)) (export "input-stream" (type $ib (eq $ia)))
                (alias outer 1 $output (type $oa)) (export "output-stream" (type $ob (eq $oa)))
                (export "tcp-socket" (type $s (sub resource)))
                (export "[method]tcp-socket.finish-connect"
                    (func (param "self" (borrow $s)) (result (result (tuple (own $ib) (own $ob)) (error $cb)))))
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
            (core func $finish (canon lower (func $tcp "[method]tcp-socket.finish-connect") (memory $mm)))
            (core func $subscribe (canon lower (func $tcp "[method]tcp-socket.subscribe")))
            (core module $m
                (import "h" "memory" (memory 1))
                (import "h" "block" (func $block (param i32)))
                (import "h" "create" (func $create (param i32 i32)))
                (import "h" "network" (func $network (result i32)))
                (import "h" "connect" (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
                (import "h" "finish" (func $finish (param i32 i32)))
                (import "h" "subscribe" (func $subscribe (param i32) (result i32)))
                (func (export "run") (result i32)
                    (local $s i32)
                    (call $create (i32.const 0) (i32.const 0))
                    (local.set $s (i32.load (i32.const 4)))
                    (call $connect (local.get $s) (call $network) (i32.const 0) (i32.const {port})
                        (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
                        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16))
                    (if (i32.load8_u (i32.const 16)) (then (return (i32.const 2))))
                    (call $block (call $subscribe (local.get $s)))
                    (call $finish (local.get $s) (i32.const 32))
                    (if (i32.load8_u (i32.const 32))
                        (then (return (i32.add (i32.const 100) (i32.load8_u (i32.const 36))))))
                    (i32.const 1)))
            (core instance $i (instantiate $m (with "h" (instance
                (export "memory" (memory $mm)) (export "block" (func $block)) (export "create" (func $create))
                (export "network" (func $network)) (export "connect" (func $connect)) (export "subscribe" (func $subscribe)) (export "finish" (func $finish))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
        )
    }

    #[tokio::test]
    async fn sockets_need_a_grant_and_a_run_that_may_change_something() {
        let test = inner();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = socket(address.port());
        // 101 is access-denied.
        for (grants, dry_run, why) in [
            (vec![], false, "is not granted"),
            (vec![address.to_string()], true, "dry run"),
        ] {
            let (denied, log) = run_as(&test, &text, &grants, dry_run).await;
            assert!(matches!(denied, Ok(101)), "{denied:?}");
            assert!(
                log.len() == 1 && log[0].contains(&address.to_string()) && log[0].contains(why),
                "{log:?}"
            );
        }
        let (granted, log) = run(&test, &text, &[address.to_string()]).await;
        assert!(matches!(granted, Ok(1)) && log.is_empty(), "{granted:?}");
        let (_, peer) = listener.accept().await.unwrap();
        assert!(peer.ip().is_loopback());
        // Nobody else came.
        assert!(
            tokio::time::timeout(LENGTH, listener.accept())
                .await
                .is_err()
        );
    }

    #[test]
    fn only_a_permitted_target_counts_as_one() {
        let test = inner();
        let sockets = |dry_run| Sockets {
            grants: Arc::new(NetGrants::new(&["127.0.0.1:80".into()], None)),
            egress: test.inner.shared.egress(),
            dry_run,
            used: AtomicBool::new(false),
            denials: Mutex::default(),
        };
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (wet, dry) = (sockets(false), sockets(true));
        for usage in [SocketAddrUse::TcpBind, SocketAddrUse::UdpBind] {
            assert!(wet.permits(at("0.0.0.0:0"), usage));
            assert!(!wet.permits(at("0.0.0.0:80"), usage));
        }
        assert!(!wet.permits(at("127.0.0.1:80"), SocketAddrUse::TcpListen));
        assert!(!wet.permits(at("127.0.0.1:81"), SocketAddrUse::TcpConnect));
        assert!(!wet.permits(at("127.0.0.1:80"), SocketAddrUse::UdpSend));
        assert!(!dry.permits(at("127.0.0.1:80"), SocketAddrUse::TcpConnect));
        assert!(!wet.used.load(Ordering::Relaxed) && !dry.used.load(Ordering::Relaxed));
        assert_eq!(wet.denials.lock().len(), 2);
        assert!(wet.permits(at("127.0.0.1:80"), SocketAddrUse::TcpConnect));
        assert!(wet.used.load(Ordering::Relaxed));
    }
}
