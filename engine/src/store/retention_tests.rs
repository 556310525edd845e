use super::*;
use crate::check::outcome::{LogLevel, SeriesId};
use crate::config::units::Span;
use crate::pipeline::changes::{
    DeliveryResult, OutboxUpdate, Phase, RunStatus, TimelineEntry, TimelineEvent,
};
use crate::store::testkit::{Fixture, Lane, count, fixture, result, results, with_series};
use crate::store::write::tests::{alert, log, outbox, run};

const DAY: i64 = 86_400_000_000;

fn keep(results: u64, rollups: u64, logs: u64, timeline: u64) -> RetentionSpec {
    let days = |n: u64| Span::secs(n * 86_400);
    RetentionSpec {
        results: days(results),
        rollups: days(rollups),
        logs: days(logs),
        timeline: days(timeline),
    }
}

async fn all(lane: &Lane, keep: &RetentionSpec, now: i64) -> u64 {
    let mut sum = 0;
    loop {
        match retain_step(&lane.handle, keep, Timestamp(now))
            .await
            .expect("step")
        {
            0 => return sum,
            n => sum += n,
        }
    }
}

#[tokio::test]
async fn old_rows_go_and_young_and_open_ones_stay() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    let mut changes = with_series(1);
    for day in 0..20 {
        let at = day * DAY;
        changes.results.push(result(at, 1));
        changes.logs.push(log(at, LogLevel::Info, "x"));
        changes.timeline.push(TimelineEntry {
            ts: Timestamp(at),
            series: Some(SeriesId(1)),
            alert: None,
            event: TimelineEvent::FaultEnded,
        });
    }
    for id in 1..=4 {
        // The first stays open, the last is the newest.
        let phase = if id == 1 {
            Phase::Firing
        } else {
            Phase::Resolved
        };
        changes.alerts.insert(id, alert(id, phase));
        changes.outbox.push(outbox(id, &format!("k{id}")));
        if id > 1 {
            changes.outbox_updates.push(OutboxUpdate {
                id,
                alert: 1,
                recipient: "x".into(),
                attempts: 1,
                at: Timestamp(5),
                result: DeliveryResult::Sent("250".into()),
            });
        }
        let mut done = run(id, RunStatus::Succeeded);
        done.finished_at = (id > 1).then_some(Timestamp(9));
        changes.action_runs.insert(id, done);
    }
    writer.commit(&changes).await.expect("commit");
    let lane = Lane::start(writer);
    all(&lane, &keep(10, 10, 3, 5), 20 * DAY - 1).await;
    for (table, rows) in [
        ("results", 10),
        ("logs", 3),
        ("timeline", 5),
        ("alerts", 2),
        ("outbox", 2),
        // The limits of repairs look back further than this timeline is kept.
        ("action_runs", 4),
        ("series", 1),
    ] {
        assert_eq!(count(&store, table).await, rows, "{table}");
    }
    all(&lane, &keep(10, 10, 3, 5), 40 * DAY).await;
    assert_eq!(count(&store, "action_runs").await, 2, "action_runs");
    lane.end().await;
}

#[tokio::test]
async fn chunks_and_rollups_are_kept_for_their_own_time() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    writer.commit(&with_series(2)).await.expect("series");
    let rows = (0..40 * 24)
        .flat_map(|hour| (1..=2).map(move |id| result(hour * DAY / 24 + id, id)))
        .collect();
    writer.commit(&results(rows)).await.expect("results");
    let lane = Lane::start(writer);
    let settings = Settings {
        keep: Duration::ZERO,
        gather: Duration::ZERO,
        target: 20,
        window_rows: 100,
        ..Settings::default()
    };
    let now = 40 * DAY;
    while pass(
        &store,
        &lane.handle,
        &settings,
        &keep(10, 30, 1, 1),
        Timestamp(now),
        &mut Troubles::default(),
    )
    .await
    .expect("pass")
    {}
    let mut r = store.reader().await.expect("reader");
    let (from, to) = (Timestamp(0), Timestamp(i64::MAX));
    let kept = super::super::results::range(&mut r, SeriesId(1), from, to)
        .await
        .expect("range");
    let days = |ts: i64| ts / DAY;
    assert!((28..=30).contains(&days(kept[0].ts.0)), "{}", kept[0].ts.0);
    let [fine, coarse] = rollups::STEPS;
    for (step, day) in [(fine, 29..=30), (coarse, 8..=10)] {
        let buckets = rollups::range(&mut r, SeriesId(1), step, from, to)
            .await
            .expect("rollups");
        let (first, _) = buckets.first_key_value().expect("buckets");
        assert!(
            day.contains(&days(first * 1_000_000)),
            "step {step}: {first}"
        );
    }
    // A long chart goes on where results have gone.
    let shown = super::super::results::points(
        &mut r,
        SeriesId(1),
        super::super::results::Measure::Duration,
        Timestamp(12 * DAY),
        Timestamp(14 * DAY),
        2_000,
    )
    .await
    .expect("points");
    assert!(!shown.is_empty());
    drop(r);
    lane.end().await;
}

/// Without the table of chunks neither compaction nor the deletion of chunks
/// succeeds.
#[tokio::test]
async fn what_fails_does_not_keep_the_rest_for_ever() {
    let Fixture {
        store,
        mut writer,
        folder: _folder,
    } = fixture().await;
    let mut changes = with_series(1);
    for day in 0..20 {
        changes.results.push(result(day * DAY, 1));
        changes.logs.push(log(day * DAY, LogLevel::Info, "x"));
    }
    writer.commit(&changes).await.expect("commit");
    let conn = writer.connection().await.expect("connection");
    sqlx::query("ALTER TABLE result_chunks RENAME TO elsewhere")
        .execute(conn)
        .await
        .expect("damage");
    let lane = Lane::start(writer);
    let mut troubles = Troubles::default();
    let (settings, keep) = (Settings::default(), keep(10, 10, 3, 5));
    let now = Timestamp(20 * DAY - 1);
    while pass(&store, &lane.handle, &settings, &keep, now, &mut troubles)
        .await
        .expect("pass")
    {}
    assert_eq!(count(&store, "results").await, 10);
    assert_eq!(count(&store, "logs").await, 3);
    let told = |what| troubles.told.contains_key(what);
    assert!(told("compaction") && told("compacted results"));
    assert!(!told("results"));
    lane.end().await;
}
