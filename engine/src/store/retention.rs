//! Deletes what is older than it is kept, in short steps through the recorder's
//! third lane.
//!
//! What fails stops nothing else: neither the compaction nor one kind of rows
//! may keep the others until the disk is full.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::compact::{self, Settings};
use super::{Conn, Result, Store, StoreError, credentials, rollups};
use crate::clock::{SharedClock, Timestamp};
use crate::config::spec::RetentionSpec;
use crate::recorder::Handle;

/// A statement that deletes a few of the oldest rows before `?1`, at most `?2`.
struct Rule {
    /// What is deleted, in words.
    what: &'static str,
    sql: &'static str,
    limit: i64,
}

const RESULTS: Rule = Rule {
    what: "results",
    sql: "DELETE FROM results WHERE (ts, series_id) IN \
          (SELECT ts, series_id FROM results WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 2_000,
};
const CHUNKS: Rule = Rule {
    what: "compacted results",
    sql: "DELETE FROM result_chunks WHERE (series_id, from_ts) IN \
          (SELECT series_id, from_ts FROM result_chunks WHERE to_ts < ?1 ORDER BY to_ts LIMIT ?2)",
    limit: 100,
};
const FINE: Rule = Rule {
    what: "rollups of 5 minutes",
    sql: "DELETE FROM rollups WHERE (series_id, step_s, ts) IN (SELECT series_id, step_s, ts \
          FROM rollups WHERE step_s = 300 AND ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 200,
};
const COARSE: Rule = Rule {
    what: "rollups of 1 hour",
    sql: "DELETE FROM rollups WHERE (series_id, step_s, ts) IN (SELECT series_id, step_s, ts \
          FROM rollups WHERE step_s = 3600 AND ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 200,
};
const LOGS: Rule = Rule {
    what: "log records",
    sql: "DELETE FROM logs WHERE id IN (SELECT id FROM logs WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 1_000,
};
const TIMELINE: Rule = Rule {
    what: "timelines",
    sql: "DELETE FROM timeline WHERE id IN \
          (SELECT id FROM timeline WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 500,
};
// The newest row of these stays, so that ids are never given out again.
const ALERTS: Rule = Rule {
    what: "alerts",
    sql: "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE ended_at < ?1 \
          AND id < (SELECT max(id) FROM alerts) ORDER BY ended_at LIMIT ?2)",
    limit: 200,
};
const OUTBOX: Rule = Rule {
    what: "deliveries",
    sql: "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE done_at < ?1 \
          AND id < (SELECT max(id) FROM outbox) ORDER BY done_at LIMIT ?2)",
    limit: 200,
};
const ACTION_RUNS: Rule = Rule {
    what: "runs of actions",
    sql: "DELETE FROM action_runs WHERE id IN (SELECT id FROM action_runs WHERE created_at < ?1 \
          AND finished_at IS NOT NULL AND id < (SELECT max(id) FROM action_runs) \
          ORDER BY created_at LIMIT ?2)",
    limit: 200,
};
const AUDIT: Rule = Rule {
    what: "audit entries",
    sql: "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 500,
};

/// What failed of late.
#[derive(Debug, Default)]
struct Troubles {
    /// When it was told last, by what failed.
    told: HashMap<&'static str, Instant>,
    /// When the compaction failed last.
    compaction: Option<Instant>,
}

impl Troubles {
    /// Counts a failure and tells of it, of the same not in every step.
    fn note(&mut self, what: &'static str, error: &StoreError) {
        metrics::counter!("bellwether_tidying_errors_total").increment(1);
        let recent = self.told.get(what).is_some_and(|at| at.elapsed() < PAUSE);
        if !recent {
            tracing::warn!(%error, "tidying the database failed ({what}); it is tried again");
            self.told.insert(what, Instant::now());
        }
    }

    /// Whether the compaction failed a moment ago: each attempt costs a lot.
    fn rests(&self) -> bool {
        self.compaction.is_some_and(|at| at.elapsed() < PAUSE)
    }
}

/// Deletes some of what is too old; returns the number of rows. Repeat it until
/// that is 0. What cannot be deleted is told, and stops nothing else.
///
/// # Errors
/// The recorder has stopped.
pub async fn retain_step<I: Send + 'static>(
    writer: &Handle<I>,
    keep: &RetentionSpec,
    now: Timestamp,
) -> Result<u64> {
    retain(writer, keep, now, &mut Troubles::default()).await
}

async fn retain<I: Send + 'static>(
    writer: &Handle<I>,
    keep: &RetentionSpec,
    now: Timestamp,
    troubles: &mut Troubles,
) -> Result<u64> {
    let width = |step: i64| Duration::from_secs((step * rollups::PACK) as u64);
    let [fine, coarse] = rollups::STEPS.map(width);
    let timeline = now - keep.timeline.0;
    let mut deleted = 0;
    for (rule, before) in [
        (&RESULTS, now - keep.results.0),
        (&CHUNKS, now - keep.results.0),
        // A pack goes when its last bucket is too old.
        (&FINE, now - keep.results.0 - fine),
        (&COARSE, now - keep.rollups.0 - coarse),
        (&LOGS, now - keep.logs.0),
        (&TIMELINE, timeline),
        (&ALERTS, timeline),
        (&OUTBOX, timeline),
        // Limits of repairs count them.
        (
            &ACTION_RUNS,
            timeline.min(now - crate::remedy::envelope::LONGEST_LIMIT),
        ),
        (&AUDIT, timeline),
    ] {
        let done = writer
            .background(move |conn| Box::pin(delete(conn, rule, before)))
            .await;
        deleted += or_noted(done, rule.what, troubles)?;
    }
    let done = writer
        .background(move |conn| Box::pin(credentials::purge(conn, now)))
        .await;
    deleted += or_noted(done, "sessions", troubles)?;
    Ok(deleted)
}

/// The number of rows, or none where it failed; only the end of the recorder is
/// an error.
fn or_noted(done: Result<u64>, what: &'static str, troubles: &mut Troubles) -> Result<u64> {
    match done {
        Err(StoreError::Stopped) => Err(StoreError::Stopped),
        Err(error) => {
            troubles.note(what, &error);
            Ok(0)
        }
        done => done,
    }
}

async fn delete(conn: &mut Conn, rule: &'static Rule, before: Timestamp) -> Result<u64> {
    let done = sqlx::query(rule.sql)
        .bind(before.0)
        .bind(rule.limit)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Time between two looks for work.
const PAUSE: Duration = Duration::from_secs(15);

/// Compacts and deletes until `stop` is cancelled. `keep` is asked each time, so
/// that a new configuration counts.
pub async fn run<I: Send + 'static>(
    store: Store,
    writer: Handle<I>,
    settings: Settings,
    keep: impl Fn() -> RetentionSpec + Send,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut troubles = Troubles::default();
    loop {
        let now = clock.now();
        // Only the end of the recorder is an error.
        let Ok(more) = pass(&store, &writer, &settings, &keep(), now, &mut troubles).await else {
            return;
        };
        let pause = if more {
            Duration::from_millis(20)
        } else {
            PAUSE
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn pass<I: Send + 'static>(
    store: &Store,
    writer: &Handle<I>,
    settings: &Settings,
    keep: &RetentionSpec,
    now: Timestamp,
    troubles: &mut Troubles,
) -> Result<bool> {
    if !troubles.rests() {
        match compact::compact_step(store, writer, settings, now).await {
            // Results get into rollups before their time is up.
            Ok(moved) if moved.more => return Ok(true),
            Ok(_) => {}
            Err(StoreError::Stopped) => return Err(StoreError::Stopped),
            Err(error) => {
                troubles.note("compaction", &error);
                troubles.compaction = Some(Instant::now());
            }
        }
    }
    Ok(retain(writer, keep, now, troubles).await? > 0)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
