use std::time::Duration;

use tokio::net::TcpListener;
use wasmtime::component::Component;

use super::super::bindings::bellwether::plugin::net::Phase;
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
    socket_and(port, "")
}

/// The same, and what it does when it is connected.
fn socket_and(port: u16, then: &str) -> String {
    format!(
        r#"(component {POLL}
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                (alias outer 1 $pollable (type $pa))
                (export "pollable" (type $pb (eq $pa)))
                (export "subscribe-duration" (func (param "when" u64) (result (own $pb))))))
            (core func $sleep (canon lower (func $clock "subscribe-duration")))
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
                (import "h" "sleep" (func $sleep (param i64) (result i32)))
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
                    {then}
                    (i32.const 1)))
            (core instance $i (instantiate $m (with "h" (instance
                (export "sleep" (func $sleep))
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

#[tokio::test]
async fn a_guest_that_looks_at_its_socket_in_slices_waits_on_its_target() {
    let test = inner();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slices = "(loop $more (call $block (call $sleep (i64.const 5000000))) (br $more))";
    let text = socket_and(address.port(), slices);
    let (ended, _) = run(&test, &text, &[address.to_string()]).await;
    assert!(
        matches!(ended, Err(End::Target(Phase::Receive))),
        "{ended:?}"
    );
    let text = socket_and(address.port(), "(loop $more (br $more))");
    let (ended, _) = run(&test, &text, &[address.to_string()]).await;
    let Err(End::Fault(fault)) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault:?}");
}

#[test]
fn no_part_of_a_secret_is_left_where_output_was_dropped() {
    let mut redactor = Redactor::default();
    redactor.add("s3cret");
    let kept = |dropped| Kept {
        bytes: b"it is s3c".to_vec(),
        dropped,
    };
    assert_eq!(kept(0).text(&redactor), "it is s3c");
    assert_eq!(kept(3).text(&redactor), "it is ");
}

#[test]
fn a_machine_without_sockets_is_told_from_a_target() {
    use rustix::io::Errno;
    let failed = |errno: Errno| trouble::<()>(Err(errno.into()));
    assert!(failed(Errno::MFILE).is_some_and(|text| text.contains("open files")));
    assert_eq!(failed(Errno::ACCESS), None);
    assert_eq!(trouble(Ok(())), None);
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
