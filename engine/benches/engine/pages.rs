//! What people wait for when they look: pages of an engine with 10,000 checks
//! and seven days of results, over real HTTP.
//!
//! Ten series have a result every 10 s and are the ones looked at; the others
//! one every 10 minutes, so that filling the file takes minutes and not hours.
//! How long a page of one series takes depends on that series' own results.

use std::sync::Arc;
use std::time::Instant;

use bellwether::check::outcome::{SeriesId, State};
use bellwether::clock::{Clock as _, SystemClock, Timestamp};
use bellwether::live::LiveView;
use bellwether::pipeline::changes::{Changes, ResultRow, SeriesRow};
use bellwether::recorder::{Limits, Recorder};
use bellwether::store::compact::{Settings, compact_step};
use bellwether::store::{Store, Writer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::support::{NODES, Times, engine, nodes, plugin};

const DAYS: i64 = 7;
const SPARSE: i64 = 600;
const DENSE: i64 = 10;
const LOOKED_AT: i64 = 10;
const REQUESTS: usize = 200;

pub async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let (rows, size) = fill(&folder.path().join("data")).await;
    println!(
        "pages: {rows} results of {DAYS} days in {} MiB, written and compacted in {:.0} s",
        size >> 20,
        began.elapsed().as_secs_f64()
    );
    let yaml = format!(
        "plugins:\n  - {{ name: noop, path: {} }}\n{}checks:\n  - {{ name: load, plugin: noop, every: 10s, paused: true, config: {{}} }}\n",
        plugin("testing/noop").display(),
        nodes(NODES),
    );
    let engine = engine(folder.path(), &yaml, None).await;
    let api = Api::log_in(engine.address()).await;
    let to = SystemClock.now().0;
    let week = to - DAYS * 86_400_000_000;
    let hour = to - 3_600_000_000;
    let one = "/series/load/n00003";
    for (what, path) in [
        ("who is logged in (baseline)", "/session".to_owned()),
        ("overview", "/overview".to_owned()),
        ("check with 10,000 nodes", "/checks/load".to_owned()),
        ("series", one.to_owned()),
        ("newest results", format!("{one}/results?limit=100")),
        (
            "chart of an hour",
            format!("{one}/chart?metric=answer&from={hour}&to={to}"),
        ),
        (
            "chart of a week",
            format!("{one}/chart?metric=answer&from={week}&to={to}"),
        ),
        (
            "states of a week",
            format!("{one}/strip?from={week}&to={to}"),
        ),
        ("timeline", format!("{one}/timeline")),
    ] {
        let mut times = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let began = Instant::now();
            api.get(&path).await;
            times.push(began.elapsed());
        }
        println!("  {what}: {}", Times::of(times));
    }
    engine.stop(std::future::pending()).await;
}

/// Fills a data folder as a week of running would; returns rows and bytes.
async fn fill(data: &std::path::Path) -> (u64, u64) {
    let (store, mut writer) = Store::open(data).await.expect("a store");
    let end = SystemClock.now().secs() / SPARSE * SPARSE;
    let start = end - DAYS * 86_400;
    let definitions = Changes {
        new_series: (0..NODES)
            .map(|n| SeriesRow {
                id: SeriesId(n as i64 + 1),
                check: Arc::from("load"),
                node: Arc::from(format!("n{n:05}")),
                created_at: Timestamp::from_secs(start),
            })
            .collect(),
        new_metrics: vec![(1, Arc::from("answer"))],
        ..Changes::default()
    };
    writer.commit(&definitions).await.expect("series");
    let mut rows = 0;
    for slot in (start..end).step_by(SPARSE as usize) {
        rows += write_slot(&mut writer, slot).await;
    }
    let (recorder, handle) = Recorder::<()>::new(
        writer,
        Box::new(|_, _| Changes::default()),
        Box::new(|_| {}),
        Arc::new(SystemClock),
        LiveView::new(),
        tokio::sync::broadcast::channel(1).0,
        Limits::default(),
    );
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(recorder.run(stop.clone()));
    let settings = Settings::default();
    while compact_step(&store, &handle, &settings, SystemClock.now())
        .await
        .expect("compaction")
        .more
    {}
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    let size = store.size();
    store.close().await;
    (rows, size)
}

async fn write_slot(writer: &mut Writer, slot: i64) -> u64 {
    let mut results = Vec::with_capacity(NODES + 1_000);
    for step in 0..SPARSE / DENSE {
        let second = slot + step * DENSE;
        let series = if step == 0 { NODES as i64 } else { LOOKED_AT };
        for id in 1..=series {
            let n = second / DENSE + id;
            results.push(ResultRow {
                ts: Timestamp(second * 1_000_000 + id * 7),
                series: SeriesId(id),
                verdict: Ok(if n % 997 == 0 {
                    State::Warning
                } else {
                    State::Ok
                }),
                duration_us: 1_200 + (n % 977) as u32,
                lateness_us: (n % 11) as u32,
                summary: format!("200 OK in {} ms", n % 13),
                details: None,
                metrics: vec![(1, 12.0 + (n % 101) as f64 / 7.0)],
            });
        }
    }
    let rows = results.len() as u64;
    let changes = Changes {
        results,
        ..Changes::default()
    };
    writer.commit(&changes).await.expect("a commit");
    rows
}
