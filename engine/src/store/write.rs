//! Writes the rows of one batch. The hot path of the engine.

use std::collections::BTreeMap;

use super::batch::{Batched, Binder};
use super::{Conn, Result, to_json};
use crate::check::outcome::{Fault, SeriesId, State, StateEntry};
use crate::pipeline::changes::{
    ActionRun, Alert, AlertSource, Changes, DeliveryResult, OutboxUpdate, ResultRow,
};

/// Code of a fault in the `state` columns: this plus the fault's kind.
pub(super) const FAULT: i64 = 16;

// A repeated (ts, series) can only come from a clock that was set back: the
// newer one wins instead of blocking the writer for ever.
static RESULTS: Batched = Batched::new(
    "INSERT OR REPLACE INTO results \
     (ts, series_id, state, duration_us, lateness_us, summary, details, metrics) VALUES",
    8,
    "",
);
static SERIES: Batched = Batched::new(
    "INSERT INTO series (id, check_name, node_name, created_at) VALUES",
    4,
    "ON CONFLICT DO NOTHING",
);
static METRIC_NAMES: Batched = Batched::new(
    "INSERT INTO metric_names (id, name) VALUES",
    2,
    "ON CONFLICT DO NOTHING",
);
static SERIES_STATE: Batched = Batched::new(
    "INSERT INTO series_state (series_id, state) VALUES",
    2,
    "ON CONFLICT (series_id) DO UPDATE SET state = excluded.state",
);
static PLUGIN_STATE: Batched = Batched::new(
    "INSERT INTO plugin_state (series_id, key, value, version) VALUES",
    4,
    "ON CONFLICT (series_id, key) DO UPDATE SET value = excluded.value, version = excluded.version",
);
static ALERTS: Batched = Batched::new(
    "INSERT INTO alerts (id, kind, name, series_id, check_name, node_name, phase, severity, \
     summary, pending_at, fired_at, ended_at, state) VALUES",
    13,
    "ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, severity = excluded.severity, \
     summary = excluded.summary, fired_at = excluded.fired_at, ended_at = excluded.ended_at, \
     state = excluded.state",
);
static TIMELINE: Batched = Batched::new(
    "INSERT INTO timeline (ts, series_id, alert_id, kind, data) VALUES",
    5,
    "",
);
static OUTBOX: Batched = Batched::new(
    "INSERT INTO outbox (id, idempotency_key, alert_id, contact, recipient, message_id, payload, \
     status, attempts, created_at, next_at, slot, slot_group, slot_at) VALUES",
    14,
    "ON CONFLICT (idempotency_key) DO NOTHING",
);
static ACTION_RUNS: Batched = Batched::new(
    "INSERT INTO action_runs (id, idempotency_key, alert_id, remediation, series_id, node_name, \
     attempt, status, verify, created_at, finished_at, state) VALUES",
    12,
    "ON CONFLICT (id) DO UPDATE SET status = excluded.status, verify = excluded.verify, \
     finished_at = excluded.finished_at, state = excluded.state",
);
static LOGS: Batched = Batched::new(
    "INSERT INTO logs (ts, received, source, level, message, fields) VALUES",
    6,
    "",
);
static CHECKPOINTS: Batched = Batched::new(
    "INSERT INTO log_checkpoints (source, file_key, path, offset, state, updated_at) VALUES",
    6,
    "ON CONFLICT (source, file_key) DO UPDATE SET path = excluded.path, \
     offset = excluded.offset, state = excluded.state, updated_at = excluded.updated_at",
);

/// Writes every row of `changes`. Call it inside a transaction; repeating a
/// whole transaction that was rolled back is safe.
pub async fn write(conn: &mut Conn, changes: &Changes) -> Result<()> {
    SERIES
        .run(conn, &changes.new_series, |row, to| {
            to.add(row.id.0)?;
            to.add(row.check.clone())?;
            to.add(row.node.clone())?;
            to.add(row.created_at.0)
        })
        .await?;
    METRIC_NAMES
        .run(conn, &changes.new_metrics, |(id, name), to| {
            to.add(i64::from(*id))?;
            to.add(name.clone())
        })
        .await?;
    RESULTS.run(conn, &changes.results, bind_result).await?;
    let states: Vec<_> = changes.series_states.iter().collect();
    SERIES_STATE
        .run(conn, &states, |(series, state), to| {
            to.add(series.0)?;
            to.add(to_json("series_state", state)?)
        })
        .await?;
    write_plugin_state(conn, changes).await?;
    let alerts: Vec<_> = changes.alerts.values().collect();
    ALERTS
        .run(conn, &alerts, |alert, to| bind_alert(alert, to))
        .await?;
    TIMELINE
        .run(conn, &changes.timeline, |entry, to| {
            to.add(entry.ts.0)?;
            to.add(entry.series.map(|s| s.0))?;
            to.add(entry.alert)?;
            to.add(entry.event.kind())?;
            to.add(to_json("timeline", entry)?)
        })
        .await?;
    OUTBOX
        .run(conn, &changes.outbox, |row, to| {
            to.add(row.id)?;
            to.add(row.idempotency_key.as_str())?;
            to.add(row.alert)?;
            to.add(row.contact.as_str())?;
            to.add(row.recipient.as_str())?;
            to.add(row.message_id.as_str())?;
            to.add(to_json("outbox", &*row.payload)?)?;
            to.add("queued")?;
            to.add(i64::from(row.attempts))?;
            to.add(row.created_at.0)?;
            to.add(row.next_at.0)?;
            let slot = row.slot.as_ref();
            to.add(slot.map(|slot| slot.id.as_str()))?;
            to.add(slot.map(|slot| slot.group.as_str()))?;
            to.add(slot.map(|slot| slot.at.0))
        })
        .await?;
    super::quarantines::write(conn, changes).await?;
    for update in &changes.outbox_updates {
        write_outbox_update(conn, update).await?;
    }
    let runs: Vec<_> = changes.action_runs.values().collect();
    ACTION_RUNS
        .run(conn, &runs, |run, to| bind_run(run, to))
        .await?;
    LOGS.run(conn, &changes.logs, |(source, record), to| {
        to.add(record.time.0)?;
        to.add(record.received.0)?;
        to.add(source.clone())?;
        to.add(record.level as i64)?;
        to.add(record.message.as_str())?;
        to.add(fields_json(&record.fields)?)
    })
    .await?;
    write_checkpoints(conn, changes).await
}

/// The number that a verdict is stored as.
pub(super) fn verdict_code(verdict: &Result<State, Fault>) -> i64 {
    match verdict {
        Ok(state) => *state as i64,
        Err(fault) => FAULT + fault.kind as i64,
    }
}

/// Metric pairs as stored: `u32` id and `f64`, little endian.
pub(super) fn metrics_blob(metrics: &[(u32, f64)]) -> Option<Vec<u8>> {
    if metrics.is_empty() {
        return None;
    }
    let mut blob = Vec::with_capacity(metrics.len() * 12);
    for (id, value) in metrics {
        blob.extend_from_slice(&id.to_le_bytes());
        blob.extend_from_slice(&value.to_le_bytes());
    }
    Some(blob)
}

fn bind_result(row: &ResultRow, to: &mut Binder) -> Result<()> {
    to.add(row.ts.0)?;
    to.add(row.series.0)?;
    to.add(verdict_code(&row.verdict))?;
    to.add(i64::from(row.duration_us))?;
    to.add(i64::from(row.lateness_us))?;
    to.add(row.summary.as_str())?;
    to.add(row.details.as_deref())?;
    to.add(metrics_blob(&row.metrics))
}

fn bind_alert(alert: &Alert, to: &mut Binder) -> Result<()> {
    to.add(alert.id)?;
    to.add(match alert.source {
        AlertSource::Rule { .. } => "rule",
        AlertSource::Fault { .. } => "fault",
        AlertSource::LogSource { .. } => "log_source",
        AlertSource::Plugin { .. } => "plugin",
    })?;
    to.add(alert.source.name())?;
    to.add(alert.series.map(|s| s.0))?;
    to.add(alert.check.as_deref())?;
    to.add(alert.node.as_deref())?;
    to.add(alert.phase.as_str())?;
    to.add(alert.severity.as_str())?;
    to.add(alert.summary.as_str())?;
    to.add(alert.pending_at.0)?;
    to.add(alert.fired_at.map(|t| t.0))?;
    to.add(alert.ended_at.map(|t| t.0))?;
    to.add(to_json("alert", alert)?)
}

fn bind_run(run: &ActionRun, to: &mut Binder) -> Result<()> {
    to.add(run.id)?;
    to.add(run.idempotency_key.as_str())?;
    to.add(run.alert)?;
    to.add(run.remediation.as_str())?;
    to.add(run.series.map(|s| s.0))?;
    to.add(run.node.as_deref())?;
    to.add(i64::from(run.attempt))?;
    to.add(run.status.as_str())?;
    to.add(run.verify.as_str())?;
    to.add(run.created_at.0)?;
    to.add(run.finished_at.map(|t| t.0))?;
    to.add(to_json("action run", run)?)
}

/// Fields as a JSON object; of a repeated key the last value stays.
fn fields_json(fields: &[(std::sync::Arc<str>, String)]) -> Result<String> {
    let map: serde_json::Map<String, serde_json::Value> = fields
        .iter()
        .map(|(key, value)| (key.to_string(), serde_json::Value::from(value.as_str())))
        .collect();
    to_json("log fields", &map)
}

async fn write_plugin_state(conn: &mut Conn, changes: &Changes) -> Result<()> {
    // Sets and deletes of the same key can follow each other in a batch: runs of
    // sets go together, deletes end them.
    let mut sets = Vec::new();
    for (series, key, entry) in &changes.plugin_state {
        match entry {
            Some(entry) => sets.push((series, key, entry)),
            None => {
                write_plugin_sets(conn, &sets).await?;
                sets.clear();
                sqlx::query("DELETE FROM plugin_state WHERE series_id = ? AND key = ?")
                    .bind(series.0)
                    .bind(key.as_str())
                    .execute(&mut *conn)
                    .await?;
            }
        }
    }
    write_plugin_sets(conn, &sets).await
}

async fn write_plugin_sets(
    conn: &mut Conn,
    sets: &[(&SeriesId, &String, &StateEntry)],
) -> Result<()> {
    PLUGIN_STATE
        .run(conn, sets, |(series, key, entry), to| {
            to.add(series.0)?;
            to.add(key.as_str())?;
            to.add(entry.value.as_slice())?;
            to.add(entry.version as i64)
        })
        .await
}

async fn write_outbox_update(conn: &mut Conn, update: &OutboxUpdate) -> Result<()> {
    let (status, next_at, done_at, reply) = match &update.result {
        DeliveryResult::Sent(reply) => ("sent", update.at, Some(update.at.0), reply),
        DeliveryResult::Retry { error, next_at } => ("queued", *next_at, None, error),
        DeliveryResult::Failed(error) => ("failed", update.at, Some(update.at.0), error),
    };
    sqlx::query(
        "UPDATE outbox SET status = ?, attempts = ?, next_at = ?, done_at = ?, reply = ? \
         WHERE id = ?",
    )
    .bind(status)
    .bind(i64::from(update.attempts))
    .bind(next_at.0)
    .bind(done_at)
    .bind(reply.as_str())
    .bind(update.id)
    .execute(&mut *conn)
    .await?;
    Ok(())
}

async fn write_checkpoints(conn: &mut Conn, changes: &Changes) -> Result<()> {
    // Of several for the same file the last one counts.
    let mut newest = BTreeMap::new();
    for point in &changes.checkpoints {
        newest.insert((&*point.source, point.file_key.as_str()), point);
    }
    let (gone, kept): (Vec<_>, Vec<_>) = newest.into_values().partition(|c| c.removed);
    for point in gone {
        sqlx::query("DELETE FROM log_checkpoints WHERE source = ? AND file_key = ?")
            .bind(&*point.source)
            .bind(point.file_key.as_str())
            .execute(&mut *conn)
            .await?;
    }
    CHECKPOINTS
        .run(conn, &kept, |point, to| {
            to.add(point.source.clone())?;
            to.add(point.file_key.as_str())?;
            to.add(point.path.as_str())?;
            to.add(i64::try_from(point.offset).unwrap_or(i64::MAX))?;
            to.add(point.state.as_str())?;
            to.add(point.updated_at.0)
        })
        .await
}

#[cfg(test)]
#[path = "write_tests.rs"]
pub(crate) mod tests;
