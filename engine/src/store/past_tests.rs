use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::check::outcome::{LogLevel, LogRecord};
use crate::pipeline::changes::Changes;
use crate::store::compact::{Settings, compact_step};
use crate::store::testkit::{Fixture, Lane, fixture, result, with_series};

const SECOND: i64 = 1_000_000;

#[tokio::test]
async fn results_of_chunks_and_rows_come_once_and_in_order() {
    let Fixture {
        store,
        mut writer,
        folder,
    } = fixture().await;
    writer.commit(&with_series(3)).await.expect("series");
    let all: Vec<ResultRow> = (0..3_600)
        .step_by(10)
        .flat_map(|s| (1..=3).map(move |id| result(s * SECOND + id, id)))
        .collect();
    let rows = crate::store::testkit::results(all.clone());
    writer.commit(&rows).await.expect("results");
    let lane = Lane::start(writer);
    let settings = Settings {
        keep: Duration::from_secs(900),
        gather: Duration::ZERO,
        window_rows: 500,
        target: 100,
        ..Settings::default()
    };
    let now = Timestamp(3_600 * SECOND);
    while compact_step(&store, &lane.handle, &settings, now)
        .await
        .expect("compact")
        .more
    {}
    let mut conn = open(folder.path()).await.expect("open");
    let wanted: HashSet<SeriesId> = [SeriesId(1), SeriesId(3)].into();
    let (from, to) = (Timestamp(600 * SECOND), Timestamp(3_300 * SECOND));
    let found = results(&mut conn, &wanted, from, to, 10_000)
        .await
        .expect("results")
        .expect("few enough");
    let mut expected: Vec<ResultRow> = all
        .into_iter()
        .filter(|row| wanted.contains(&row.series) && row.ts >= from && row.ts < to)
        .collect();
    let ended = |row: &ResultRow| row.ts.0 + i64::from(row.duration_us);
    expected.sort_by_key(ended);
    let key = |rows: &[ResultRow]| -> Vec<_> {
        rows.iter()
            .map(|row| (row.ts, row.series, row.metrics.clone()))
            .collect()
    };
    assert_eq!(key(&found), key(&expected));
    assert_eq!(
        results(&mut conn, &wanted, from, to, 100)
            .await
            .expect("results"),
        None
    );
    lane.end().await;
}

#[tokio::test]
async fn logs_are_found_by_the_time_of_their_arrival() {
    let mut f = fixture().await;
    let mut reader = open(f.folder.path()).await.expect("open");
    assert_eq!(first_log(&mut reader, Timestamp(5)).await.expect("none"), 0);
    // Their own time says nothing about the order.
    let record = |received: i64| LogRecord {
        time: Timestamp(1_000 - received),
        received: Timestamp(received),
        level: LogLevel::Info,
        message: received.to_string(),
        fields: Vec::new(),
    };
    let source: Arc<str> = "app".into();
    let changes = Changes {
        logs: (0..100).map(|n| (source.clone(), record(n * 10))).collect(),
        ..Changes::default()
    };
    f.writer.commit(&changes).await.expect("commit");
    let first = first_log(&mut reader, Timestamp(305)).await.expect("first");
    let found = logs(&mut reader, first, Timestamp(340), 100)
        .await
        .expect("logs")
        .expect("few enough");
    let received: Vec<i64> = found.iter().map(|row| row.record.received.0).collect();
    assert_eq!(received, [310, 320, 330]);
    let many = logs(&mut reader, first, Timestamp(900), 5).await;
    assert_eq!(many.expect("logs"), None);
    let beyond = first_log(&mut reader, Timestamp(10_000))
        .await
        .expect("first");
    let none = logs(&mut reader, beyond, Timestamp(i64::MAX), 5).await;
    assert_eq!(none.expect("logs"), Some(Vec::new()));
}
