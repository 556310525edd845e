//! What the engine needs to know at its start.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Conn, Result, action_runs, alerts, checkpoints, outbox, quarantines, series};
use crate::check::outcome::{PluginState, SeriesId};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::config::validate::LONGEST_GROUP;
use crate::pipeline::changes::{ActionRun, Alert, Checkpoint, SeriesRow};
use crate::pipeline::groups::Gathering;
use crate::pipeline::quarantine::Quarantine;
use crate::remedy::envelope::LONGEST_LIMIT;

/// Everything that was stored about the present.
#[derive(Clone, Debug, Default)]
pub struct SnapshotParts {
    /// Every series that ever was.
    pub series: Vec<SeriesRow>,
    pub metrics: Vec<(u32, Arc<str>)>,
    pub states: Vec<(SeriesId, CheckState)>,
    pub plugin_states: BTreeMap<SeriesId, PluginState>,
    /// Pending and firing.
    pub open_alerts: Vec<Alert>,
    /// Without an outcome, waiting for approval or verification.
    pub open_runs: Vec<ActionRun>,
    /// Of the last 24 hours, open ones included.
    pub recent_runs: Vec<ActionRun>,
    pub checkpoints: Vec<Checkpoint>,
    pub quarantines: Vec<Quarantine>,
    /// Groups of notifications and the newest mail of each.
    pub groups: Vec<(String, Gathering)>,
    pub last_ids: LastIds,
}

/// Greatest ids in use; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastIds {
    pub series: i64,
    pub metric: u32,
    pub alert: i64,
    pub outbox: i64,
    pub action_run: i64,
    pub timeline: i64,
}

/// Reads it all.
pub async fn snapshot_parts(conn: &mut Conn, now: Timestamp) -> Result<SnapshotParts> {
    Ok(SnapshotParts {
        series: series::all(conn).await?,
        metrics: series::metric_names(conn).await?,
        states: series::states(conn).await?,
        plugin_states: series::plugin_states(conn).await?,
        open_alerts: alerts::open(conn).await?,
        open_runs: action_runs::open(conn).await?,
        recent_runs: action_runs::since(conn, now - LONGEST_LIMIT).await?,
        checkpoints: checkpoints::list(conn, None).await?,
        quarantines: quarantines::list(conn).await?,
        groups: groups(conn, now).await?,
        last_ids: last_ids(conn).await?,
    })
}

async fn groups(conn: &mut Conn, now: Timestamp) -> Result<Vec<(String, Gathering)>> {
    let slots = outbox::newest_slots(conn, now - LONGEST_GROUP).await?;
    let slots = slots.into_iter();
    Ok(slots
        .map(|(group, id, at)| (group, Gathering { id, at }))
        .collect())
}

/// Greatest ids in use. Retention deletes from the lowest id, and the counters
/// only rise while the engine runs, so an id is not used twice for rows that
/// somebody could still see.
async fn last_ids(conn: &mut Conn) -> Result<LastIds> {
    let (series, metric, alert, outbox, action_run, timeline): (i64, i64, i64, i64, i64, i64) =
        sqlx::query_as(
            "SELECT (SELECT coalesce(max(id), 0) FROM series), \
             (SELECT coalesce(max(id), 0) FROM metric_names), \
             max((SELECT coalesce(max(id), 0) FROM alerts), \
                 (SELECT coalesce(max(alert_id), 0) FROM timeline WHERE alert_id IS NOT NULL)), \
             (SELECT coalesce(max(id), 0) FROM outbox), \
             (SELECT coalesce(max(id), 0) FROM action_runs), \
             (SELECT coalesce(max(id), 0) FROM timeline)",
        )
        .fetch_one(conn)
        .await?;
    Ok(LastIds {
        series,
        metric: u32::try_from(metric).unwrap_or(u32::MAX),
        alert,
        outbox,
        action_run,
        timeline,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::changes::{Phase, RunStatus};
    use crate::store::testkit::{fixture, with_series};
    use crate::store::write::tests::{alert, outbox, run};

    #[tokio::test]
    async fn an_empty_database_has_no_parts() {
        let f = fixture().await;
        let mut r = f.store.reader().await.expect("reader");
        let parts = snapshot_parts(&mut r, Timestamp(0)).await.expect("parts");
        assert_eq!(parts.last_ids, LastIds::default());
        assert!(parts.series.is_empty() && parts.open_alerts.is_empty());
    }

    #[tokio::test]
    async fn the_present_is_found_again() {
        let mut f = fixture().await;
        let mut changes = with_series(3);
        changes.alerts.insert(4, alert(4, Phase::Firing));
        changes.alerts.insert(5, alert(5, Phase::Resolved));
        changes.outbox = vec![outbox(8, "k")];
        let day = 86_400_000_000;
        let mut old = run(1, RunStatus::Succeeded);
        old.created_at = Timestamp(day);
        let now = old.created_at + LONGEST_LIMIT + std::time::Duration::from_secs(1);
        let mut new = run(2, RunStatus::Running);
        new.created_at = Timestamp(3 * day);
        changes.action_runs.insert(1, old);
        changes.action_runs.insert(2, new.clone());
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        let parts = snapshot_parts(&mut r, now).await.expect("parts");
        assert_eq!(parts.series, changes.new_series);
        assert_eq!(parts.open_alerts, [alert(4, Phase::Firing)]);
        assert_eq!(parts.open_runs, [new.clone()]);
        assert_eq!(parts.recent_runs, [new]);
        assert_eq!(
            parts.last_ids,
            LastIds {
                series: 3,
                metric: 2,
                alert: 5,
                outbox: 8,
                action_run: 2,
                timeline: 0
            }
        );
    }
}
