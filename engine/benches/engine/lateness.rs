//! How late checks begin, and how much memory the engine takes meanwhile: the
//! real program in a process of its own.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bellwether::check::outcome::SeriesId;
use bellwether::clock::Timestamp;
use bellwether::store::{Store, results, series};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::TaskTracker;

use crate::api::PASSWORD;
use crate::support::{NODES, Times, nodes, plugin};

pub async fn run() {
    println!("a bare timer, {NODES} sleeps over 10 s: {}", timers().await);
    let noop = format!(
        "plugins:\n  - {{ name: noop, path: {} }}\n{}checks:\n  - {{ name: load, plugin: noop, every: 10s, timeout: 5s, config: {{}} }}\n",
        plugin("testing/noop").display(),
        nodes(NODES),
    );
    measure("no-op", &noop, Duration::from_secs(60)).await;

    let tracker = TaskTracker::new();
    let port = serve(&tracker).await;
    let http = format!(
        "{}checks:\n  - {{ name: load, plugin: http, every: 10s, timeout: 5s, config: {{ url: \"http://{{{{ node.address }}}}:{port}/\" }} }}\n",
        nodes(NODES),
    );
    let minutes = std::env::var("BELLWETHER_BENCH_MINUTES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    measure("http", &http, Duration::from_secs(60 * minutes)).await;
}

/// Sleeps spread like the checks, in this process with nothing else to do.
async fn timers() -> Times {
    let tracker = TaskTracker::new();
    let start = tokio::time::Instant::now() + Duration::from_millis(100);
    let sleeps: Vec<_> = (0..NODES as u64)
        .map(|n| {
            let at = start + Duration::from_micros(n * 1_000);
            tracker.spawn(async move {
                tokio::time::sleep_until(at).await;
                at.elapsed()
            })
        })
        .collect();
    let mut times = Vec::with_capacity(NODES);
    for sleep in sleeps {
        times.push(sleep.await.expect("a sleep"));
    }
    Times::of(times)
}

/// A server that answers everything with 200.
async fn serve(tracker: &TaskTracker) -> u16 {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serving = tracker.clone();
    tracker.spawn(async move {
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
    });
    port
}

/// Runs a configuration for so long; the lateness of its check `load` behind the
/// first ten seconds.
pub async fn measure(what: &str, yaml: &str, time: Duration) -> Times {
    let folder = tempfile::tempdir().expect("a folder");
    let idle = {
        let mut child = start(folder.path(), "idle", "nodes: []\n");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let idle = resident_mib(&child, "VmRSS:");
        end(&mut child);
        idle
    };
    let mut child = start(folder.path(), what, yaml);
    let cpu_before = cpu_seconds(&child);
    let began = Instant::now();
    tokio::time::sleep(time).await;
    let (now, peak) = (
        resident_mib(&child, "VmRSS:"),
        resident_mib(&child, "VmHWM:"),
    );
    let cpu = cpu_seconds(&child) - cpu_before;
    let ran = began.elapsed();
    end(&mut child);
    let (store, _writer) = Store::open(&folder.path().join(what))
        .await
        .expect("a store");
    let mut reader = store.reader().await.expect("a reader");
    let all = series::all(&mut reader).await.expect("series");
    let load: HashSet<SeriesId> = all
        .iter()
        .filter(|one| &*one.check == "load")
        .map(|one| one.id)
        .collect();
    let mut first = i64::MAX;
    let mut rows = Vec::new();
    results::each_since(&mut reader, Timestamp(0), |row| {
        if !load.contains(&row.series) {
            return;
        }
        first = first.min(row.ts.0);
        rows.push((row.ts.0, row.lateness_us, row.verdict.is_ok()));
    })
    .await
    .expect("results");
    let faults = rows.iter().filter(|row| !row.2).count();
    // The first round starts ten thousand series that never ran.
    let later = rows.iter().filter(|row| row.0 > first + 10_000_000);
    let times = Times::of(
        later
            .map(|row| Duration::from_micros(row.1.into()))
            .collect(),
    );
    println!(
        "lateness of {} {what} checks every 10 s for {} s: {times}, {faults} faults",
        load.len(),
        time.as_secs()
    );
    println!(
        "memory and processor of that: {now} MiB resident, {peak} MiB at the peak (idle engine {idle} MiB); {:.0}% of one core, {:.0} µs a check",
        100.0 * cpu / ran.as_secs_f64(),
        1e6 * cpu / rows.len() as f64
    );
    times
}

fn start(folder: &Path, name: &str, yaml: &str) -> Child {
    let config = folder.join(format!("{name}.yaml"));
    std::fs::write(&config, yaml).expect("the configuration is written");
    Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .arg("--data-dir")
        .arg(folder.join(name))
        .env("BELLWETHER_ADMIN_PASSWORD", PASSWORD)
        .stdout(Stdio::null())
        .spawn()
        .expect("the engine starts")
}

fn end(child: &mut Child) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process");
    kill_process(pid, Signal::TERM).expect("a signal");
    child.wait().expect("it ends");
}

fn resident_mib(child: &Child, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with(key))
        .expect("a line");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    kib >> 10
}

/// Processor time of all threads; ticks are 10 ms on Linux.
fn cpu_seconds(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}
