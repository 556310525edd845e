use std::sync::Mutex;

use futures_util::future::BoxFuture;

use super::*;
use crate::check::outcome::SeriesId;
use crate::clock::TestClock;
use crate::store::testkit::{Fixture, count, fixture, result, with_series};
use crate::store::{Conn, Store};

/// Inputs of the test pipeline: results, or an alert to fire in its event.
#[derive(Debug)]
enum In {
    Result(i64),
    Series(i64),
    Broken,
}

/// Rows of each input, the number of inputs per batch, one effect per batch.
fn pipeline(batches: Arc<Mutex<Vec<usize>>>) -> Apply<In> {
    Box::new(move |inputs, _now| {
        batches.lock().expect("lock").push(inputs.len());
        let mut changes = Changes::default();
        for input in inputs {
            match input {
                In::Result(ts) => changes.results.push(result(ts, 1)),
                In::Series(n) => changes.new_series = with_series(n).new_series,
                In::Broken => {
                    changes
                        .series_states
                        .insert(SeriesId(404), Default::default());
                }
            }
        }
        changes.effects.push(Effect::Deliver);
        changes.effects.push(Effect::Event(Event::Outbox { id: 1 }));
        changes
    })
}

struct Running {
    handle: Handle<In>,
    store: Store,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    batches: Arc<Mutex<Vec<usize>>>,
    effects: Arc<Mutex<usize>>,
    live: LiveView,
    clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
}

async fn start(limits: Limits) -> Running {
    let Fixture {
        store,
        mut writer,
        folder,
    } = fixture().await;
    writer.commit(&with_series(1)).await.expect("series");
    let batches = Arc::new(Mutex::new(Vec::new()));
    let effects = Arc::new(Mutex::new(0));
    let live = LiveView::new();
    let clock = TestClock::new(Timestamp::from_secs(1_000));
    let counted = Arc::clone(&effects);
    let (recorder, handle) = Recorder::new(
        writer,
        pipeline(Arc::clone(&batches)),
        Box::new(move |effects| *counted.lock().expect("lock") += effects.len()),
        clock.clone(),
        live.clone(),
        broadcast::channel(64).0,
        limits,
    );
    let stop = CancellationToken::new();
    let tracker = tokio_util::task::TaskTracker::new();
    let task = tracker.spawn(recorder.run(stop.clone()));
    Running {
        handle,
        store,
        stop,
        task,
        batches,
        effects,
        live,
        clock,
        _folder: folder,
    }
}

/// Waits for what other tasks bring about.
async fn until(mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not happen within 10 s");
}

#[tokio::test]
async fn results_are_recorded_shown_and_followed_by_effects() {
    let r = start(Limits::default()).await;
    let mut events = r.handle.subscribe();
    r.handle.submit(In::Result(5)).await.expect("submit");
    assert_eq!(events.recv().await.expect("event"), Event::Outbox { id: 1 });
    assert_eq!(count(&r.store, "results").await, 1);
    let newest = r.live.get(SeriesId(1)).and_then(|l| l.newest);
    assert_eq!(newest.map(|n| n.ts), Some(Timestamp(5)));
    until(async || *r.effects.lock().expect("lock") == 1).await;
    assert!(r.handle.health().healthy());
}

#[tokio::test]
async fn the_shutdown_commits_everything_queued() {
    let r = start(Limits {
        results_batch: 100,
        ..Limits::default()
    })
    .await;
    for ts in 0..5_000 {
        r.handle.submit(In::Result(ts)).await.expect("submit");
    }
    r.handle
        .submit_logs(In::Result(9_999), 1)
        .await
        .expect("logs");
    r.stop.cancel();
    r.task.await.expect("task");
    assert_eq!(count(&r.store, "results").await, 5_001);
    let batches = r.batches.lock().expect("lock").clone();
    assert!(batches.iter().all(|n| *n <= 100), "{batches:?}");
    assert!(matches!(
        r.handle.submit(In::Result(1)).await,
        Err(StoreError::Stopped)
    ));
    assert!(matches!(
        r.handle.write(|_| Box::pin(async { Ok(()) })).await,
        Err(StoreError::Stopped)
    ));
}

fn put(
    key: &'static str,
) -> impl for<'c> FnMut(&'c mut Conn) -> BoxFuture<'c, Result<u64, StoreError>> {
    move |conn| {
        Box::pin(async move {
            crate::store::meta::set(conn, key, "1").await?;
            Ok(7)
        })
    }
}

#[tokio::test]
async fn operations_commit_with_their_input_or_not_at_all() {
    let r = start(Limits::default()).await;
    assert_eq!(r.handle.write(put("a")).await.expect("write"), 7);
    assert_eq!(r.handle.background(put("b")).await.expect("write"), 7);
    let n = r
        .handle
        .write_then(put("c"), |n| In::Series(*n as i64))
        .await
        .expect("write");
    assert_eq!(n, 7);
    assert_eq!(count(&r.store, "series").await, 7);
    assert_eq!(count(&r.store, "meta").await, 3);

    let seen = r.batches.lock().expect("lock").len();
    let refused = r
        .handle
        .write_then(
            |conn| {
                Box::pin(async move {
                    crate::store::meta::set(conn, "d", "1").await?;
                    Err::<i64, _>(StoreError::Conflict {
                        what: "node/a".into(),
                        expected: 1,
                        found: 2,
                    })
                })
            },
            |n| In::Series(*n),
        )
        .await;
    assert!(matches!(
        refused,
        Err(StoreError::Conflict { found: 2, .. })
    ));
    assert_eq!(count(&r.store, "meta").await, 3, "rolled back");
    assert_eq!(
        r.batches.lock().expect("lock").len(),
        seen,
        "pipeline untouched"
    );
}

#[tokio::test]
async fn a_failing_commit_is_repeated_with_the_same_rows() {
    let r = start(Limits::default()).await;
    let lock = crate::store::testkit::WriteLock::take(&r.store).await;
    r.handle.submit(In::Result(1)).await.expect("submit");
    let mut health = r.handle.watch_health();
    // The busy time-out of the writer is 5 s.
    health
        .wait_for(|h| !h.healthy())
        .await
        .expect("reports the failure");
    assert!(!r.handle.health().degraded);
    assert_eq!(r.live.get(SeriesId(1)), None, "not shown before the commit");
    r.clock.advance(Duration::from_secs(61));
    health
        .wait_for(|h| h.degraded)
        .await
        .expect("becomes degraded");
    lock.release().await;
    health.wait_for(|h| h.healthy()).await.expect("recovers");
    assert_eq!(count(&r.store, "results").await, 1);
    assert_eq!(*r.batches.lock().expect("lock"), [1], "applied once");
    until(async || *r.effects.lock().expect("lock") == 1).await;
}

/// The lock stands for a disk that hangs: for the busy time-out of 5 s nothing
/// fails, and the clock stands still.
#[tokio::test]
async fn a_commit_that_does_not_end_degrades_the_engine_while_it_is_waited_for() {
    let r = start(Limits {
        degraded_after: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut health = r.handle.watch_health();
    for lane in ["results", "configuration", "maintenance"] {
        let lock = crate::store::testkit::WriteLock::take(&r.store).await;
        let handle = r.handle.clone();
        let waiting = tokio_util::task::TaskTracker::new().spawn(async move {
            match lane {
                "results" => handle.submit(In::Result(1)).await,
                "configuration" => handle.write(put("a")).await.map(|_| ()),
                _ => handle.background(put("b")).await.map(|_| ()),
            }
        });
        let degraded = health.wait_for(|h| h.degraded);
        let seen = tokio::time::timeout(Duration::from_secs(20), degraded).await;
        let seen = seen.expect(lane).expect("a recorder").clone();
        assert!(
            seen.error
                .as_deref()
                .is_some_and(|e| e.contains("does not end")),
            "{lane}: {seen:?}"
        );
        assert_eq!(seen.failing_since, Some(Timestamp::from_secs(1_000)));
        lock.release().await;
        waiting.await.expect("task").expect(lane);
        health.wait_for(|h| h.healthy()).await.expect("recovers");
    }
    assert_eq!(count(&r.store, "results").await, 1);
    assert_eq!(count(&r.store, "meta").await, 2);
    assert_eq!(*r.batches.lock().expect("lock"), [1], "applied once");
}

#[tokio::test]
async fn commits_that_can_never_succeed_end_with_the_shutdown() {
    let r = start(Limits {
        shutdown_patience: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    r.handle.submit(In::Broken).await.expect("submit");
    let mut health = r.handle.watch_health();
    health.wait_for(|h| !h.healthy()).await.expect("fails");
    r.stop.cancel();
    r.task.await.expect("ends");
    assert_eq!(count(&r.store, "results").await, 0);
}

#[tokio::test]
async fn a_flood_of_results_does_not_starve_the_other_lanes() {
    let r = start(Limits {
        results_batch: 10,
        results_queue: 100,
        ..Limits::default()
    })
    .await;
    let flood = {
        let handle = r.handle.clone();
        let stop = r.stop.clone();
        tokio_util::task::TaskTracker::new().spawn(async move {
            let mut ts = 0;
            while !stop.is_cancelled() && handle.submit(In::Result(ts)).await.is_ok() {
                ts += 1;
            }
        })
    };
    for _ in 0..20 {
        r.handle.write(put("a")).await.expect("configuration");
        r.handle.background(put("b")).await.expect("maintenance");
    }
    r.stop.cancel();
    flood.await.expect("flood");
    r.task.await.expect("recorder");
}

#[tokio::test]
async fn an_operation_whose_input_was_applied_is_repeated_until_both_are_stored() {
    let r = start(Limits::default()).await;
    let mut calls = 0;
    let answer = r
        .handle
        .write_then(
            move |conn| {
                calls += 1;
                let first = calls == 1;
                Box::pin(async move {
                    crate::store::meta::set(conn, "a", "1").await?;
                    if first {
                        // The rows of the pipeline do not fit any more.
                        crate::store::testkit::fill(conn).await;
                    }
                    Ok(5_000)
                })
            },
            |n| In::Series(*n),
        )
        .await;
    assert_eq!(answer.expect("stored in the end"), 5_000);
    assert_eq!(count(&r.store, "series").await, 5_000);
    assert_eq!(count(&r.store, "meta").await, 1);
    assert_eq!(*r.batches.lock().expect("lock"), [1], "applied once");
    assert!(r.handle.health().healthy());
    until(async || *r.effects.lock().expect("lock") == 1).await;
}
