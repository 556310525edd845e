//! The great outage: thousands of targets that accept and never answer, all at
//! once. The engine is the real program in a process of its own, so that its
//! memory and its descriptors are its own, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bellwether::check::outcome::State;
use bellwether::store::{Store, results, series};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::net::TcpListener;

use crate::api::{Api, PASSWORD};
use crate::support::{Service, free_port};

const TARGETS: usize = 10_000;
/// Resident memory of the engine at the peak: 10,000 suspended plugins with
/// their connections, at 200 KiB each, and the engine itself.
const MAX_RESIDENT_KIB: u64 = 3 << 20;

/// Accepts and holds every connection until the other side closes it.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with its runtime"
)]
async fn silent_service() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Reads requests and says nothing.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    port
}

fn resident_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_targets_that_hang_are_all_critical_and_no_fault() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let (silent, service) = (silent_service().await, Service::start().await);
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (
        folder.path().join("bellwether.yaml"),
        folder.path().join("data"),
    );
    // Addresses of their own, as far as loopback has them: no target takes the
    // local ports of another.
    let mut yaml =
        "nodes:\n  - { name: well, address: 127.0.0.1, labels: { kind: well } }\n".to_owned();
    for n in 0..TARGETS {
        let (a, b) = (n / 250, n % 250 + 1);
        writeln!(
            yaml,
            "  - {{ name: t{n}, address: 127.1.{a}.{b}, labels: {{ kind: silent }} }}"
        )
        .unwrap();
    }
    write!(
        yaml,
        r#"
checks:
  - {{ name: hangs, plugin: http, nodes: 'labels.kind == "silent"', every: 10s, timeout: 5s, attempts: 3, retry_every: 2s, config: {{ url: "http://{{{{ node.address }}}}:{silent}/" }} }}
  - {{ name: well, plugin: http, nodes: 'labels.kind == "well"', every: 1s, timeout: 5s, config: {{ url: "http://{{{{ node.address }}}}:{}/health" }} }}
"#,
        service.address.port()
    )
    .unwrap();
    std::fs::write(&config, yaml).unwrap();
    let port = free_port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--config",
        ])
        .arg(&config)
        .arg("--data-dir")
        .arg(&data)
        .env("BELLWETHER_ADMIN_PASSWORD", PASSWORD)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let waiting = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let api = Api::log_in(([127, 0, 0, 1], port).into()).await;
        loop {
            let counts = api.get("/overview").await["counts"].clone();
            if counts["critical"].as_u64() == Some(TARGETS as u64) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let all_critical = tokio::time::timeout(Duration::from_secs(240), waiting).await;
    let peak = resident_kib(child.id(), "VmHWM:");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap();

    let (store, writer) = Store::open(&data).await.unwrap();
    let mut reader = store.reader().await.unwrap();
    let names: BTreeMap<_, _> = series::all(&mut reader)
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.id, row.check))
        .collect();
    let (mut faults, mut odd, mut well, mut late) = (Vec::new(), Vec::new(), 0, 0);
    results::each_since(&mut reader, bellwether::clock::Timestamp(0), |row| {
        let hangs = &*names[&row.series] == "hangs";
        match &row.verdict {
            Err(fault) => faults.push(fault.clone()),
            Ok(State::Critical) if hangs => {}
            Ok(State::Ok) if !hangs => {
                well += 1;
                late = late.max(row.lateness_us);
            }
            Ok(state) => odd.push((*state, row.summary.clone())),
        }
    })
    .await
    .unwrap();
    println!(
        "peak {} MiB, {well} healthy results, the latest {} ms late",
        peak >> 10,
        late / 1_000
    );
    assert!(
        all_critical.is_ok(),
        "not all critical after 240 s; faults: {:?}",
        faults.first()
    );
    assert_eq!(faults, Vec::new(), "an outage is no fault");
    assert_eq!(odd, Vec::new());
    assert!(peak < MAX_RESIDENT_KIB, "{} MiB", peak >> 10);
    assert!(well >= 15, "the healthy check went on: {well}");
    drop(reader);
    writer.close().await.unwrap();
    store.close().await;
}
