use std::time::Duration;

use super::*;
use crate::store::compact::{Settings, compact_step};
use crate::store::testkit::{Fixture, Lane, fixture, result, results, with_series};

const SECOND: i64 = 1_000_000;

/// Three series with a result each 10 s for `hours`; the last `recent` seconds
/// are not compacted.
async fn filled(hours: i64, recent: i64) -> (Fixture2, Vec<ResultRow>) {
    let Fixture {
        store,
        mut writer,
        folder,
    } = fixture().await;
    writer.commit(&with_series(3)).await.expect("series");
    let end = hours * 3_600;
    let all: Vec<ResultRow> = (0..end)
        .step_by(10)
        .flat_map(|s| (1..=3).map(move |id| result(s * SECOND + id, id)))
        .collect();
    writer.commit(&results(all.clone())).await.expect("results");
    let lane = Lane::start(writer);
    let settings = Settings {
        keep: Duration::from_secs(recent as u64),
        gather: Duration::ZERO,
        window_rows: 1_000,
        target: 200,
        ..Settings::default()
    };
    while compact_step(&store, &lane.handle, &settings, Timestamp(end * SECOND))
        .await
        .expect("compact")
        .more
    {}
    let of_two = all
        .into_iter()
        .filter(|r| r.series == SeriesId(2))
        .collect();
    (
        Fixture2 {
            store,
            lane,
            _folder: folder,
        },
        of_two,
    )
}

struct Fixture2 {
    store: crate::store::Store,
    lane: Lane,
    _folder: tempfile::TempDir,
}

const TWO: SeriesId = SeriesId(2);

#[tokio::test]
async fn ranges_and_pages_span_chunks_and_rows() {
    let (f, all) = filled(4, 900).await;
    let mut r = f.store.reader().await.expect("reader");
    let everything = range(&mut r, TWO, Timestamp(0), Timestamp(i64::MAX)).await;
    assert_eq!(everything.expect("range"), all);
    let (from, to) = (all[333].ts, all[1_400].ts);
    let part = range(&mut r, TWO, from, to).await.expect("range");
    assert_eq!(part, all[333..1_400]);
    let one = range(&mut r, TWO, from, Timestamp(from.0 + 1))
        .await
        .expect("range");
    assert_eq!(one, all[333..334]);

    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = recent(&mut r, TWO, before, 97).await.expect("page");
        let Some(last) = page.last() else { break };
        before = Some(last.ts);
        seen.extend(page);
    }
    seen.reverse();
    assert_eq!(seen, all);

    let mut given: Vec<ResultRow> = Vec::new();
    each_since(&mut r, from, |row| given.push(row))
        .await
        .expect("each");
    let of_two: Vec<_> = given
        .iter()
        .filter(|row| row.series == TWO)
        .cloned()
        .collect();
    assert_eq!(of_two, all[333..]);
    // The result of series 1 in that round began a microsecond earlier.
    assert_eq!(given.len(), of_two.len() * 3 - 1);
    drop(r);
    f.lane.end().await;
}

#[tokio::test]
async fn the_newest_of_each_series_is_found_in_rows_and_in_chunks() {
    let (f, all) = filled(2, 0).await;
    // Everything is in chunks; series 1 gets a new row.
    let newer = result(3 * 3_600 * SECOND, 1);
    f.lane.commit(results(vec![newer.clone()])).await;
    let mut r = f.store.reader().await.expect("reader");
    let found = newest(&mut r, Timestamp(0)).await.expect("newest");
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].ts, &found[0].summary), (newer.ts, &newer.summary));
    assert_eq!(found[1].ts, all[all.len() - 1].ts);
    let late = newest(&mut r, newer.ts).await.expect("newest");
    assert_eq!(late.len(), 1);
    drop(r);
    f.lane.end().await;
}

/// A chart's points computed from the results themselves.
fn expected(all: &[ResultRow], from: i64, to: i64, points: u32, id: u32) -> Vec<Point> {
    let width = stretch_us(Timestamp(from), Timestamp(to), points);
    let mut stats: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for row in all.iter().filter(|r| r.ts.0 >= from && r.ts.0 < to) {
        for (_, value) in row.metrics.iter().filter(|m| m.0 == id) {
            stats
                .entry((row.ts.0 - from) / width)
                .or_default()
                .push(*value);
        }
    }
    stats
        .into_iter()
        .map(|(at, v)| Point {
            ts: Timestamp(from + at * width),
            min: v.iter().copied().fold(f64::MAX, f64::min),
            avg: v.iter().sum::<f64>() / v.len() as f64,
            max: v.iter().copied().fold(f64::MIN, f64::max),
            count: v.len() as u32,
        })
        .collect()
}

#[tokio::test]
async fn charts_say_the_same_from_results_and_from_rollups() {
    let (f, all) = filled(6, 900).await;
    let mut r = f.store.reader().await.expect("reader");
    let end = 6 * 3_600 * SECOND;
    // 60 s stretches from results; 10 min and 1 h ones from rollups and the rows
    // that are not in them yet.
    for stretches in [360, 36, 6] {
        let (from, to) = (Timestamp(0), Timestamp(end));
        let shown = points(&mut r, TWO, Measure::Metric(1), from, to, stretches)
            .await
            .expect("points");
        assert_eq!(shown, expected(&all, 0, end, stretches, 1), "{stretches}");
        let strip = state_strip(&mut r, TWO, from, to, stretches)
            .await
            .expect("strip");
        assert_eq!(strip.len(), stretches as usize);
        let total: u32 = strip.iter().flat_map(|s| s.counts).sum();
        assert_eq!(total as usize, all.len());
        let faults: u32 = strip.iter().map(|s| s.counts[4]).sum();
        assert_eq!(
            faults as usize,
            all.iter().filter(|r| r.verdict.is_err()).count()
        );
        let durations = points(&mut r, TWO, Measure::Duration, from, to, stretches)
            .await
            .expect("points");
        assert!(durations.iter().all(|p| p.min >= 1.0 && p.max < 1.1));
    }
    let none = points(
        &mut r,
        TWO,
        Measure::Metric(99),
        Timestamp(0),
        Timestamp(end),
        10,
    )
    .await;
    assert_eq!(none.expect("points"), []);
    drop(r);
    f.lane.end().await;
}
