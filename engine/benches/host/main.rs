//! What a run costs: a bare instantiate and call against `run_probe`, and HTTP
//! probes a second; then the same of the templates in all languages.
//!
//! `cargo bench --bench host`, or with `runs` or `guests` behind `--`; needs
//! `plugins/build.sh`, and for the templates `plugins/test-guests.sh`.

mod guests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bellwether::check::outcome::{Cause, Digest, Job, JobSpec, NodeInfo, RunLimits, SeriesId};
use bellwether::clock::{SystemClock, Timestamp};
use bellwether::config::InputSpec;
use bellwether::config::spec::GrantsSpec;
use bellwether::plugin::{CompilerConfig, Host, HostConfig, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::TaskTracker;

const RUNS: usize = 20_000;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let run = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    if run("runs") {
        runs();
    }
    if run("guests") {
        guests::run();
    }
}

/// A host that keeps plugins and compiled code below `dir`.
fn host(dir: &Path, max_in_flight: u32) -> Arc<Host> {
    Arc::new(
        Host::new(HostConfig {
            data_dir: dir.to_owned(),
            cache_dir: dir.join("code"),
            compiler: CompilerConfig {
                exe: env!("CARGO_BIN_EXE_bellwether").into(),
                timeout: Duration::from_secs(120),
                max_size: 64 << 20,
            },
            max_in_flight,
            max_memory: 256 << 20,
            settings: Settings::default(),
            resolver: None,
            extra_roots: Vec::new(),
            clock: Arc::new(SystemClock),
        })
        .expect("a host"),
    )
}

fn runs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let host = host(dir.path(), 20_000);
    let outside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let install = |name: &str| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../plugins/dist")
            .join(format!("{name}.wasm"));
        let bytes = std::fs::read(&path).expect("plugins/build.sh has run");
        outside
            .block_on(host.install(bytes, |_| {}))
            .expect(name)
            .digest
    };
    println!("runs that fit at the same time: {}", host.capacity());
    let noop = install("testing/noop");
    let http = install("http");

    let bare = {
        let host = Arc::clone(&host);
        let digest = noop.clone();
        on_guests(
            &host.clone(),
            async move { host.bare_runs(&digest, RUNS).await },
        )
    };
    report("bare instantiate and call", bare);

    let inside = {
        let (shared, job) = (Arc::clone(&host), job(&noop, "{}"));
        on_guests(&host, async move {
            let mut times = Vec::with_capacity(RUNS);
            for _ in 0..RUNS {
                let begun = Instant::now();
                shared
                    .run_probe(job.clone())
                    .await
                    .verdict
                    .expect("a report");
                times.push(begun.elapsed());
            }
            times
        })
    };
    report("run_probe on the guests' runtime", inside);

    let across = outside.block_on(async {
        let job = job(&noop, "{}");
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let begun = Instant::now();
            host.run_probe(job.clone()).await.verdict.expect("a report");
            times.push(begun.elapsed());
        }
        times
    });
    report("run_probe from another runtime", across);
    throughput(
        "no-op probes",
        &host,
        &outside,
        &job(&noop, "{}"),
        200_000,
        64,
    );

    let say = wat::parse_str(SAY).expect("a module");
    let say = outside
        .block_on(host.install(say, |_| {}))
        .expect("a program")
        .digest;
    program("a WASI program of 400 bytes", &host, job(&say, "{}"));
    let queue = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins/dist/testing/command-queue.wasm");
    match std::fs::metadata(&queue) {
        Ok(meta) => {
            let mut job = job(
                &install("testing/command-queue"),
                r#"{"args":["-w","80","-c","90"]}"#,
            );
            Arc::make_mut(&mut job.spec).input = Some(Arc::new(InputSpec::Text("55\n".to_owned())));
            let what = format!("a Rust program of {} KiB", meta.len() >> 10);
            program(&what, &host, job.clone());
            throughput(&what, &host, &outside, &job, 100_000, 64);
        }
        Err(_) => println!("no Rust program: plugins/build.sh had no compiler for wasm32-wasip1"),
    }

    let processes = outside.block_on(fork_and_exec(3_000, 2));
    println!(
        "fork and exec of a program that prints one line: {processes:.0} a second with 2 at a time"
    );

    let address = serve(outside.handle());
    let config = format!("{{\"url\":\"http://{address}/\"}}");
    throughput(
        "http probes",
        &host,
        &outside,
        &job(&http, &config),
        20_000,
        64,
    );

    let silent = silent(outside.handle());
    let config = format!(
        "{{\"url\":\"http://{}/\"}}",
        silent.local_addr().expect("an address")
    );
    hanging(&host, &outside, &job(&http, &config), 2_000);
}

/// Prints one line and ends.
const SAY: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\1e\00\00\00")
    (data (i32.const 16) "OK - nothing to do | answer=42")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 0))))"#;

/// What runs of a command plugin take, bare and as a check.
fn program(what: &str, host: &Arc<Host>, job: Job) {
    let (shared, digest) = (Arc::clone(host), job.spec.plugin.clone());
    let bare = on_guests(host, async move { shared.bare_runs(&digest, RUNS).await });
    report(&format!("{what}: bare instantiate and call"), bare);
    let shared = Arc::clone(host);
    let times = on_guests(host, async move {
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let begun = Instant::now();
            shared
                .run_probe(job.clone())
                .await
                .verdict
                .expect("a report");
            times.push(begun.elapsed());
        }
        times
    });
    report(&format!("{what}: run_probe"), times);
}

/// What an engine that runs programs pays for the least of them: start, read one
/// line, wait.
async fn fork_and_exec(runs: u64, wide: u64) -> f64 {
    let tracker = TaskTracker::new();
    let begun = Instant::now();
    for _ in 0..wide {
        tracker.spawn(async move {
            for _ in 0..runs / wide {
                let mut command = tokio::process::Command::new("/bin/echo");
                let output = command
                    .arg("OK - nothing to do | answer=42")
                    .env_clear()
                    .output()
                    .await;
                let output = output.expect("/bin/echo runs");
                assert!(output.status.success() && output.stdout.starts_with(b"OK"));
            }
        });
    }
    tracker.close();
    tracker.wait().await;
    runs as f64 / begun.elapsed().as_secs_f64()
}

/// Serves 200 to everybody, on loopback.
fn serve(runtime: &tokio::runtime::Handle) -> SocketAddr {
    let tracker = TaskTracker::new();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tracker.clone();
    tracker.spawn_on(
        async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                serving.spawn(async move {
                    let mut request = [0; 2048];
                    let _ = stream.read(&mut request).await;
                    let _ = stream
                        .write_all(
                            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                        )
                        .await;
                });
            }
        },
        runtime,
    );
    address
}

/// A port whose backlog takes the connections; nobody accepts them.
fn silent(runtime: &tokio::runtime::Handle) -> tokio::net::TcpListener {
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        socket.listen(4096).expect("a listener")
    })
}

/// KiB of this process by a key of `/proc/self/status`.
fn status_kib(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or("0")
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or(0)
}

/// What runs cost that wait on a target that never answers.
fn hanging(host: &Arc<Host>, outside: &tokio::runtime::Runtime, job: &Job, runs: usize) {
    let mappings = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap_or_default()
            .lines()
            .count()
    };
    let (resident, maps) = (status_kib("VmRSS:"), mappings());
    let tracker = TaskTracker::new();
    for _ in 0..runs {
        let (host, job) = (Arc::clone(host), job.clone());
        let handle = host.handle().clone();
        tracker.spawn_on(
            async move { host.run_probe(job).await.verdict.expect("a report") },
            &handle,
        );
    }
    std::thread::sleep(Duration::from_secs(3));
    println!(
        "{runs} runs that hang: {} KiB and {:.1} mappings each",
        status_kib("VmRSS:").saturating_sub(resident) / runs as u64,
        mappings().saturating_sub(maps) as f64 / runs as f64,
    );
    tracker.close();
    outside.block_on(tracker.wait());
}

fn job(plugin: &Digest, config: &str) -> Job {
    Job {
        spec: Arc::new(JobSpec {
            series: SeriesId(1),
            check: "bench".into(),
            node: Arc::new(NodeInfo {
                name: "n".into(),
                address: "127.0.0.1".into(),
                labels: Default::default(),
            }),
            plugin: plugin.clone(),
            config: config.into(),
            input: None,
            grants: Arc::new(GrantsSpec {
                net: vec!["node".into()],
                ..GrantsSpec::default()
            }),
            limits: RunLimits {
                memory: 64 << 20,
                timeout: Duration::from_secs(5),
            },
        }),
        scheduled: Timestamp::default(),
        attempt: 1,
        cause: Cause::Schedule,
        state: Arc::default(),
    }
}

fn on_guests<T: Send + 'static>(host: &Host, work: impl Future<Output = T> + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    TaskTracker::new().spawn_on(async move { send.send(work.await) }, host.handle());
    receive.recv().expect("the work ends")
}

fn report(what: &str, mut times: Vec<Duration>) {
    // A guest that wants more than an empty configuration ends in a trap.
    if times.is_empty() {
        println!("{what}: none, it did not come to its end");
        return;
    }
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_nanos() as f64 / 1_000.0;
    println!("{what}: p50 {:.1} µs, p99 {:.1} µs", at(0.5), at(0.99));
}

fn throughput(
    what: &str,
    host: &Arc<Host>,
    outside: &tokio::runtime::Runtime,
    job: &Job,
    runs: u64,
    wide: usize,
) {
    let left = Arc::new(AtomicU64::new(runs));
    let tracker = TaskTracker::new();
    let begun = Instant::now();
    for _ in 0..wide {
        let (host, job, left) = (Arc::clone(host), job.clone(), Arc::clone(&left));
        let handle = host.handle().clone();
        tracker.spawn_on(
            async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let report = host.run_probe(job.clone()).await.verdict.expect("a report");
                    assert_eq!(report.state.as_str(), "ok", "{}", report.summary);
                }
            },
            &handle,
        );
    }
    tracker.close();
    outside.block_on(tracker.wait());
    println!(
        "{what}: {:.0} a second with {wide} at a time",
        runs as f64 / begun.elapsed().as_secs_f64()
    );
}
