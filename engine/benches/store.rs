//! Prints how fast batches of results are committed.

use std::sync::Arc;
use std::time::Instant;

use bellwether::check::outcome::{SeriesId, State};
use bellwether::clock::Timestamp;
use bellwether::pipeline::changes::{Changes, ResultRow, SeriesRow};
use bellwether::store::Store;

const SERIES: i64 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    for (batch, commits) in [(100_i64, 2_000_i64), (1_000, 500), (2_000, 500)] {
        runtime.block_on(results(batch, commits));
    }
}

async fn results(batch: i64, commits: i64) {
    let folder = tempfile::tempdir().expect("folder");
    let (_store, mut writer) = Store::open(folder.path()).await.expect("open");
    let series = Changes {
        new_series: (1..=SERIES)
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
    let mut spent = std::time::Duration::ZERO;
    let mut ts = 0;
    for _ in 0..commits {
        let rows = (0..batch)
            .map(|_| {
                ts += 100;
                ResultRow {
                    ts: Timestamp(ts),
                    series: SeriesId(ts / 100 % SERIES + 1),
                    verdict: Ok(State::Ok),
                    duration_us: 1_234,
                    lateness_us: 5,
                    summary: "200 OK in 12 ms, 512 bytes".into(),
                    details: None,
                    metrics: vec![(1, 12.0), (2, 512.0)],
                }
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
