//! Deletes what is older than it is kept, in short steps through the recorder's
//! third lane.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::compact::{self, Settings};
use super::{Conn, Result, Store, credentials, rollups};
use crate::clock::{SharedClock, Timestamp};
use crate::config::spec::RetentionSpec;
use crate::recorder::Handle;

/// A statement that deletes a few of the oldest rows before `?1`, at most `?2`.
struct Rule {
    sql: &'static str,
    limit: i64,
}

const RESULTS: Rule = Rule {
    sql: "DELETE FROM results WHERE (ts, series_id) IN \
          (SELECT ts, series_id FROM results WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 2_000,
};
const CHUNKS: Rule = Rule {
    sql: "DELETE FROM result_chunks WHERE (series_id, from_ts) IN \
          (SELECT series_id, from_ts FROM result_chunks WHERE to_ts < ?1 ORDER BY to_ts LIMIT ?2)",
    limit: 100,
};
const FINE: Rule = Rule {
    sql: "DELETE FROM rollups WHERE (series_id, step_s, ts) IN (SELECT series_id, step_s, ts \
          FROM rollups WHERE step_s = 300 AND ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 200,
};
const COARSE: Rule = Rule {
    sql: "DELETE FROM rollups WHERE (series_id, step_s, ts) IN (SELECT series_id, step_s, ts \
          FROM rollups WHERE step_s = 3600 AND ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 200,
};
const LOGS: Rule = Rule {
    sql: "DELETE FROM logs WHERE id IN (SELECT id FROM logs WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 1_000,
};
const TIMELINE: Rule = Rule {
    sql: "DELETE FROM timeline WHERE id IN \
          (SELECT id FROM timeline WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 500,
};
// The newest row of these stays, so that ids are never given out again.
const ALERTS: Rule = Rule {
    sql: "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE ended_at < ?1 \
          AND id < (SELECT max(id) FROM alerts) ORDER BY ended_at LIMIT ?2)",
    limit: 200,
};
const OUTBOX: Rule = Rule {
    sql: "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE done_at < ?1 \
          AND id < (SELECT max(id) FROM outbox) ORDER BY done_at LIMIT ?2)",
    limit: 200,
};
const ACTION_RUNS: Rule = Rule {
    sql: "DELETE FROM action_runs WHERE id IN (SELECT id FROM action_runs WHERE created_at < ?1 \
          AND finished_at IS NOT NULL AND id < (SELECT max(id) FROM action_runs) \
          ORDER BY created_at LIMIT ?2)",
    limit: 200,
};
const AUDIT: Rule = Rule {
    sql: "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE ts < ?1 ORDER BY ts LIMIT ?2)",
    limit: 500,
};

/// Deletes some of what is too old; returns the number of rows. Repeat it until
/// that is 0.
pub async fn retain_step<I: Send + 'static>(
    writer: &Handle<I>,
    keep: &RetentionSpec,
    now: Timestamp,
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
        deleted += writer
            .background(move |conn| Box::pin(delete(conn, rule, before)))
            .await?;
    }
    deleted += writer
        .background(move |conn| Box::pin(credentials::purge(conn, now)))
        .await?;
    Ok(deleted)
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
    loop {
        let more = match pass(&store, &writer, &settings, &keep(), clock.now()).await {
            Ok(more) => more,
            Err(super::StoreError::Stopped) => return,
            Err(error) => {
                tracing::warn!(%error, "tidying the database failed; it is tried again");
                false
            }
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
) -> Result<bool> {
    let moved = compact::compact_step(store, writer, settings, now).await?;
    if moved.more {
        // Results get into rollups before their time is up.
        return Ok(true);
    }
    Ok(retain_step(writer, keep, now).await? > 0)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
