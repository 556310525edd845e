use super::*;
use crate::store::results::range;
use crate::store::rollups::{self, Bucket, Pack, STEPS};
use crate::store::testkit::{Fixture, Lane, count, fixture, result, results, with_series};

const SECOND: i64 = 1_000_000;

fn settings() -> Settings {
    Settings {
        keep: Duration::ZERO,
        gather: Duration::ZERO,
        window_rows: 700,
        target: 100,
        ..Settings::default()
    }
}

/// Everything that readers see of a series.
type Seen = (Vec<ResultRow>, Vec<BTreeMap<i64, Bucket>>);

async fn seen(store: &Store, series: i64) -> Seen {
    let mut r = store.reader().await.expect("reader");
    let (from, to) = (Timestamp(0), Timestamp(i64::MAX));
    let rows = range(&mut r, SeriesId(series), from, to)
        .await
        .expect("range");
    let mut buckets = Vec::new();
    for step in STEPS {
        let of = rollups::range(&mut r, SeriesId(series), step, from, to).await;
        buckets.push(of.expect("rollups"));
    }
    (rows, buckets)
}

/// Rollups as they must be once all of `rows` are compacted.
fn rolled(rows: &[ResultRow]) -> Vec<BTreeMap<i64, Bucket>> {
    STEPS
        .into_iter()
        .map(|step| {
            let mut all = Pack::default();
            rows.iter().for_each(|row| all.add(step, row));
            all.0
        })
        .collect()
}

fn rows_of(series: i64, seconds: std::ops::Range<i64>) -> Vec<ResultRow> {
    seconds
        .map(|s| result(s * SECOND + series, series))
        .collect()
}

async fn drain(store: &Store, lane: &Lane, settings: &Settings) -> Moved {
    let mut sum = Moved::default();
    loop {
        let moved = compact_step(store, &lane.handle, settings, Timestamp(i64::MAX / 2))
            .await
            .expect("compact");
        sum.rows += moved.rows;
        sum.chunks += moved.chunks;
        if !moved.more {
            return sum;
        }
    }
}

#[tokio::test]
async fn results_look_the_same_before_and_after() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(3)).await.expect("series");
    let mut all: Vec<ResultRow> = (1..=3).flat_map(|id| rows_of(id, 0..1_500)).collect();
    all.sort_by_key(|row| row.ts);
    writer.commit(&results(all)).await.expect("results");
    let lane = Lane::start(writer);
    let mut before = Vec::new();
    for id in 1..=3 {
        before.push(seen(&store, id).await.0);
    }
    let moved = drain(&store, &lane, &settings()).await;
    assert_eq!(moved.rows, 4_500);
    assert_eq!(count(&store, "results").await, 0);
    for id in 1..=3 {
        let (rows, buckets) = seen(&store, id).await;
        assert_eq!(rows, before[id as usize - 1]);
        assert_eq!(buckets, rolled(&rows));
    }
    // Nothing is left to do, and nothing changes by trying.
    assert_eq!(drain(&store, &lane, &settings()).await, Moved::default());
    lane.end().await;
}

#[tokio::test]
async fn small_chunks_are_merged_up_to_the_target() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(1)).await.expect("series");
    let lane = Lane::start(writer);
    let mut packed = 0;
    for round in 0..100 {
        lane.commit(results(rows_of(1, round * 10..round * 10 + 10)))
            .await;
        packed += drain(&store, &lane, &settings()).await.chunks;
    }
    let (rows, buckets) = seen(&store, 1).await;
    assert_eq!(rows, rows_of(1, 0..1_000));
    assert_eq!(buckets, rolled(&rows));
    let chunks = count(&store, "result_chunks").await;
    assert!(chunks <= 12, "{chunks} chunks for 1000 results");
    assert!(packed >= 100);
    lane.end().await;
}

#[tokio::test]
async fn late_rows_are_sorted_in() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(1)).await.expect("series");
    let lane = Lane::start(writer);
    let all = rows_of(1, 0..900);
    let late: Vec<_> = all
        .iter()
        .filter(|r| r.ts.secs() % 31 == 5)
        .cloned()
        .collect();
    let first: Vec<_> = all
        .iter()
        .filter(|r| r.ts.secs() % 31 != 5)
        .cloned()
        .collect();
    lane.commit(results(first)).await;
    drain(&store, &lane, &settings()).await;
    lane.commit(results(late)).await;
    drain(&store, &lane, &settings()).await;
    let (rows, buckets) = seen(&store, 1).await;
    assert_eq!(rows, all);
    assert_eq!(buckets[0].len(), 3);
    let total: u32 = buckets[1].values().flat_map(|b| b.counts).sum();
    assert_eq!(total, 900);
    lane.end().await;
}

#[tokio::test]
async fn rows_that_come_late_into_the_window_are_not_deleted() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(1)).await.expect("series");
    let lane = Lane::start(writer);
    lane.commit(results(rows_of(1, 0..50))).await;
    let times: Vec<i64> = rows_of(1, 0..50).iter().map(|r| r.ts.0).collect();
    // As if it came between reading the window and deleting it.
    lane.commit(results(vec![result(7 * SECOND + 5, 1)])).await;
    let deleted = delete_moved(&lane.handle, &times, &settings()).await;
    assert_eq!(deleted.expect("delete"), 0);
    assert_eq!(count(&store, "results").await, 51);
    drain(&store, &lane, &settings()).await;
    assert_eq!(seen(&store, 1).await.0.len(), 51);
    lane.end().await;
}

/// The process dies after any of the steps of a compaction: copies of database
/// and log, taken between the steps, hold every result exactly once, and the
/// compaction goes on from there.
#[tokio::test]
async fn a_crash_between_any_two_steps_loses_and_doubles_nothing() {
    let Fixture {
        store,
        mut writer,
        folder,
    } = fixture().await;
    writer.commit(&with_series(4)).await.expect("series");
    let mut all: Vec<ResultRow> = (1..=4).flat_map(|id| rows_of(id, 0..150)).collect();
    all.sort_by_key(|row| row.ts);
    writer.commit(&results(all)).await.expect("results");
    let lane = Lane::start(writer);
    let mut crashes = Vec::new();
    let copy = |crashes: &mut Vec<tempfile::TempDir>| {
        let to = tempfile::tempdir().expect("folder");
        for name in ["bellwether.db", "bellwether.db-wal"] {
            std::fs::copy(folder.path().join(name), to.path().join(name)).expect("copy");
        }
        crashes.push(to);
    };
    copy(&mut crashes);
    let s = settings();
    let window = read_window(&store, &s, Timestamp(i64::MAX / 2))
        .await
        .expect("window")
        .expect("rows");
    let group: Vec<_> = window.series.into_iter().collect();
    let packed = pack_group(&store, &s, group).await.expect("pack");
    let mut pace = Pace::new(1, Duration::ZERO);
    for one in packed {
        write_packed(&lane.handle, vec![one], &mut pace)
            .await
            .expect("write");
        copy(&mut crashes);
    }
    for part in window.times.chunks(200) {
        delete_moved(&lane.handle, part, &s).await.expect("delete");
        copy(&mut crashes);
    }
    assert_eq!(crashes.len(), 8);
    for (at, crash) in crashes.iter().enumerate() {
        let (store, writer) = Store::open(crash.path()).await.expect("open");
        let lane = Lane::start(writer);
        for id in 1..=4 {
            assert_eq!(
                seen(&store, id).await.0,
                rows_of(id, 0..150),
                "after step {at}"
            );
        }
        let mut twice = 0;
        let mut r = store.reader().await.expect("reader");
        results::each_since(&mut r, Timestamp(0), |_| twice += 1)
            .await
            .expect("each");
        drop(r);
        assert_eq!(twice, 600, "after step {at}");
        drain(&store, &lane, &s).await;
        for id in 1..=4 {
            let (rows, buckets) = seen(&store, id).await;
            assert_eq!(rows, rows_of(id, 0..150), "after step {at}");
            assert_eq!(buckets, rolled(&rows), "after step {at}");
        }
        lane.end().await;
    }
    lane.end().await;
}

#[tokio::test]
async fn young_results_stay_where_they_are() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(1)).await.expect("series");
    writer
        .commit(&results(rows_of(1, 0..1_000)))
        .await
        .expect("results");
    let lane = Lane::start(writer);
    let s = Settings {
        keep: Duration::from_secs(600),
        gather: Duration::from_secs(300),
        ..Settings::default()
    };
    let step = async |now: i64| {
        compact_step(&store, &lane.handle, &s, Timestamp(now * SECOND))
            .await
            .expect("compact")
            .rows
    };
    assert_eq!(step(899).await, 0, "not enough gathered");
    assert_eq!(step(1_000).await, 400);
    assert_eq!(count(&store, "results").await, 600);
    lane.end().await;
}

/// Of the first series a chunk and the rollups are damaged; results come that
/// are older and younger than the chunk, and one inside its stretch.
#[tokio::test]
async fn what_cannot_be_read_stops_neither_its_series_nor_the_others() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(2)).await.expect("series");
    let lane = Lane::start(writer);
    lane.commit(results(rows_of(1, 20..50))).await;
    drain(&store, &lane, &settings()).await;
    for damage in [
        "UPDATE result_chunks SET data = x'00'",
        "UPDATE rollups SET data = x'00'",
    ] {
        lane.handle
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query(damage).execute(conn).await?;
                    Ok(())
                })
            })
            .await
            .expect("damage");
    }
    let mut rows = rows_of(1, 0..20);
    rows.push(result(30 * SECOND + 5, 1));
    rows.extend(rows_of(1, 50..80));
    rows.extend(rows_of(2, 0..80));
    lane.commit(results(rows)).await;
    drain(&store, &lane, &settings()).await;
    assert_eq!(count(&store, "results").await, 0);
    let (rows, buckets) = seen(&store, 2).await;
    assert_eq!(rows, rows_of(2, 0..80));
    assert_eq!(buckets, rolled(&rows));
    // What is outside of the damaged chunk can be read.
    let mut r = store.reader().await.expect("reader");
    for seconds in [0..20, 50..80] {
        let (from, to) = (seconds.start * SECOND + 1, seconds.end * SECOND);
        let rows = range(&mut r, SeriesId(1), Timestamp(from), Timestamp(to)).await;
        assert_eq!(rows.expect("range"), rows_of(1, seconds));
    }
    let (from, to) = (Timestamp(0), Timestamp(i64::MAX));
    // So can all of it, as at a start, without what is damaged.
    let all = range(&mut r, SeriesId(1), from, to).await.expect("range");
    assert_eq!(all.len(), 50);
    let mut rows = 0;
    let each = crate::store::results::each_since(&mut r, from, |_| rows += 1).await;
    each.expect("each");
    assert_eq!(rows, 130);
    let newest = crate::store::results::newest(&mut r, from).await;
    assert_eq!(newest.expect("newest").len(), 2);
    for step in STEPS {
        let buckets = rollups::range(&mut r, SeriesId(1), step, from, to).await;
        let counts = buckets.expect("rollups").into_values().map(|b| b.counts);
        assert_eq!(counts.flatten().sum::<u32>(), 50);
    }
    drop(r);
    lane.end().await;
}

/// As a row of a later release would be.
#[tokio::test]
async fn a_result_that_cannot_be_read_goes_with_its_window() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(1)).await.expect("series");
    writer
        .commit(&results(rows_of(1, 0..9)))
        .await
        .expect("results");
    let conn = writer.connection().await.expect("connection");
    sqlx::query("UPDATE results SET state = 99 WHERE ts = ?")
        .bind(4 * SECOND + 1)
        .execute(conn)
        .await
        .expect("damage");
    let lane = Lane::start(writer);
    assert_eq!(drain(&store, &lane, &settings()).await.rows, 9);
    let (rows, _) = seen(&store, 1).await;
    assert_eq!(rows.len(), 8);
    lane.end().await;
}
