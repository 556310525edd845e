//! What guests of other languages cost: to compile, to load after a restart, to
//! run, and in memory. The baseline of each is a bare instantiate and call.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bellwether::plugin::{Host, Kind};
use tokio::runtime::Runtime;

use super::{hanging, host, job, on_guests, report, serve, silent, status_kib};

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let address = serve(runtime.handle());
    let answering = format!("{{\"url\":\"http://{address}/\"}}");
    let silent = silent(runtime.handle());
    let hangs = format!(
        "{{\"url\":\"http://{}/\"}}",
        silent.local_addr().expect("an address")
    );
    let built = built();
    if built.is_empty() {
        println!("no templates: plugins/test-guests.sh has not run");
    }
    for file in built {
        guest(&file, &runtime, &answering, &hangs);
    }
}

/// What `plugins/templates/*/build.sh` left, log parsers excepted.
fn built() -> Vec<PathBuf> {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/templates");
    let inside = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
    };
    let mut files: Vec<PathBuf> = inside(templates)
        .flat_map(|language| inside(language.join("dist")))
        .filter(|file| {
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            matches!(stem, Some("probe" | "command"))
        })
        .collect();
    files.sort();
    files
}

fn guest(file: &Path, runtime: &Runtime, answering: &str, hangs: &str) {
    let language = file.ancestors().nth(2).and_then(Path::file_name);
    let name = format!(
        "{} {}",
        language.unwrap_or_default().display(),
        file.file_stem().unwrap_or_default().display()
    );
    let bytes = std::fs::read(file).expect("a template");
    let size = bytes.len() >> 10;
    let dir = tempfile::tempdir().expect("a temporary folder");

    let begun = Instant::now();
    let first = host(dir.path(), 64);
    let digest = runtime
        .block_on(first.install(bytes, |_| {}))
        .expect("a plugin")
        .digest;
    let compiled = begun.elapsed();
    first.shutdown();
    drop(first);

    // As after a restart: the code is on the disk, nothing is in memory.
    let host = host(dir.path(), 400);
    let before = status_kib("VmRSS:");
    let begun = Instant::now();
    let installed = runtime.block_on(host.load(&digest)).expect("it is kept");
    let loaded = begun.elapsed();
    let kind = installed.kind;
    let idle = status_kib("VmRSS:").saturating_sub(before);
    let config = match kind {
        Kind::Command => "{}",
        _ => answering,
    };
    let mut all = times(&host, config, &digest, 1);
    println!(
        "{name}, {size} KiB: {:.1} s to compile; after a restart {:.1} ms to load and {:.2} ms for the first run; {idle} KiB while it is idle",
        compiled.as_secs_f64(),
        loaded.as_secs_f64() * 1e3,
        all[0].as_secs_f64() * 1e3,
    );
    let bare = {
        let (host, digest) = (Arc::clone(&host), digest.clone());
        on_guests(
            &host.clone(),
            async move { host.bare_runs(&digest, 300).await },
        )
    };
    // A probe's bare call has no network: it refuses its empty configuration.
    report(&format!("{name}: bare instantiate and call"), bare);
    all = times(&host, config, &digest, 300);
    report(&format!("{name}: run_probe"), all);
    if kind == Kind::Probe {
        hanging(&host, runtime, &job(&digest, hangs), 200);
    }
    host.shutdown();
}

fn times(
    host: &Arc<Host>,
    config: &str,
    digest: &bellwether::check::outcome::Digest,
    runs: usize,
) -> Vec<std::time::Duration> {
    let (shared, job) = (Arc::clone(host), job(digest, config));
    on_guests(host, async move {
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let begun = Instant::now();
            let outcome = shared.run_probe(job.clone()).await;
            outcome.verdict.expect("a report");
            times.push(begun.elapsed());
        }
        times
    })
}
