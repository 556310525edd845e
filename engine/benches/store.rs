//! Prints how fast batches of results are committed and compacted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::check::outcome::{SeriesId, State};
use bellwether::clock::{SystemClock, Timestamp};
use bellwether::live::LiveView;
use bellwether::pipeline::changes::{Changes, ResultRow, SeriesRow};
use bellwether::recorder::{Limits, Recorder};
use bellwether::store::compact::{Settings, compact_step};
use bellwether::store::{Store, Writer, results};
use tokio_util::sync::CancellationToken;

const SERIES: i64 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    for (batch, commits) in [(100_i64, 2_000_i64), (1_000, 500), (2_000, 500)] {
        runtime.block_on(commit(batch, commits));
    }
    // Every 10 s and every 1 s.
    for (series, every) in [(10_000, 10), (1_000, 1)] {
        runtime.block_on(compact(series, every));
    }
}

async fn open(series: i64) -> (tempfile::TempDir, Store, Writer) {
    let folder = tempfile::tempdir().expect("folder");
    let (store, mut writer) = Store::open(folder.path()).await.expect("open");
    let series = Changes {
        new_series: (1..=series)
            .map(|id| SeriesRow {
                id: SeriesId(id),
                check: Arc::from(format!("check-{id}")),
                node: Arc::from("node"),
                created_at: Timestamp(0),
            })
            .collect(),
        ..Changes::default()
    };
    writer.commit(&series).await.expect("series");
    (folder, store, writer)
}

fn row(ts: i64, series: i64) -> ResultRow {
    ResultRow {
        ts: Timestamp(ts),
        series: SeriesId(series),
        verdict: Ok(State::Ok),
        duration_us: 1_234 + (ts % 977) as u32,
        lateness_us: (ts % 11) as u32,
        summary: format!("200 OK in {} ms, 512 bytes", ts % 13),
        details: None,
        metrics: vec![(1, 12.0 + (ts % 101) as f64 / 7.0), (2, 512.0)],
    }
}

async fn commit(batch: i64, commits: i64) {
    let (_folder, _store, mut writer) = open(SERIES).await;
    let mut spent = Duration::ZERO;
    let mut ts = 0;
    for _ in 0..commits {
        let rows = (0..batch)
            .map(|_| {
                ts += 100;
                row(ts, ts / 100 % SERIES + 1)
            })
            .collect();
        let changes = Changes {
            results: rows,
            ..Changes::default()
        };
        let began = Instant::now();
        writer.commit(&changes).await.expect("commit");
        spent += began.elapsed();
    }
    let rows = (batch * commits) as f64;
    println!(
        "{batch:>5} rows a commit: {:>9.0} rows/s, {:.2} ms a commit",
        rows / spent.as_secs_f64(),
        spent.as_secs_f64() * 1e3 / commits as f64
    );
}

/// An hour of results is written and compacted while other commits go on.
async fn compact(series: i64, every: i64) {
    let (_folder, store, mut writer) = open(series).await;
    let total = 600_000;
    let step = every * 1_000_000 / series;
    for chunk in (0..total).collect::<Vec<i64>>().chunks(2_000) {
        let changes = Changes {
            results: chunk
                .iter()
                .map(|n| row(n * step, n % series + 1))
                .collect(),
            ..Changes::default()
        };
        writer.commit(&changes).await.expect("commit");
    }
    let before = store.size();
    let (recorder, handle) = Recorder::<()>::new(
        writer,
        Box::new(|_, _| Changes::default()),
        Box::new(|_| {}),
        Arc::new(SystemClock),
        LiveView::new(),
        tokio::sync::broadcast::channel(1).0,
        Limits::default(),
    );
    let stop = CancellationToken::new();
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(recorder.run(stop.clone()));
    // How long the writer keeps others waiting.
    let probe = handle.clone();
    let ended = stop.clone();
    let waits = tracker.spawn(async move {
        let mut waits = Vec::new();
        while !ended.is_cancelled() {
            let began = Instant::now();
            if probe.write(|_| Box::pin(async { Ok(()) })).await.is_ok() {
                waits.push(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits.sort_unstable();
        waits
    });
    let settings = Settings {
        keep: Duration::ZERO,
        gather: Duration::ZERO,
        ..Settings::default()
    };
    let began = Instant::now();
    let mut moved = 0;
    loop {
        let step = compact_step(&store, &handle, &settings, Timestamp(i64::MAX / 2)).await;
        let step = step.expect("compact");
        moved += step.rows;
        if !step.more {
            break;
        }
    }
    let took = began.elapsed();
    let mut reader = store.reader().await.expect("reader");
    let began = Instant::now();
    let (from, to) = (Timestamp(0), Timestamp(i64::MAX));
    let rows = results::range(&mut reader, SeriesId(7), from, to)
        .await
        .expect("range");
    let read = began.elapsed();
    drop(reader);
    stop.cancel();
    let waits = waits.await.expect("probe");
    tracker.close();
    tracker.wait().await;
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{series} series every {every} s: {moved} rows compacted at {:.0} rows/s; others waited \
         p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {} rows read in {:.1} ms; file {} MiB before, \
         {} MiB after",
        moved as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        rows.len(),
        read.as_secs_f64() * 1e3,
        before >> 20,
        store.size() >> 20
    );
}
