//! Series, names of metrics, states and plugin state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Conn, Result, StoreError, from_json};
use crate::check::outcome::{PluginState, SeriesId, StateEntry};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::pipeline::changes::SeriesRow;

/// Every series that ever was, by id.
pub async fn all(conn: &mut Conn) -> Result<Vec<SeriesRow>> {
    let rows: Vec<(i64, String, String, i64)> =
        sqlx::query_as("SELECT id, check_name, node_name, created_at FROM series ORDER BY id")
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(series_row).collect())
}

/// One series.
pub async fn get(conn: &mut Conn, id: SeriesId) -> Result<Option<SeriesRow>> {
    let row: Option<(i64, String, String, i64)> =
        sqlx::query_as("SELECT id, check_name, node_name, created_at FROM series WHERE id = ?")
            .bind(id.0)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(series_row))
}

/// The series of a check on a node.
pub async fn by_name(conn: &mut Conn, check: &str, node: &str) -> Result<Option<SeriesRow>> {
    let row: Option<(i64, String, String, i64)> = sqlx::query_as(
        "SELECT id, check_name, node_name, created_at FROM series \
         WHERE check_name = ? AND node_name = ?",
    )
    .bind(check)
    .bind(node)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(series_row))
}

fn series_row((id, check, node, created_at): (i64, String, String, i64)) -> SeriesRow {
    SeriesRow {
        id: SeriesId(id),
        check: check.into(),
        node: node.into(),
        created_at: Timestamp(created_at),
    }
}

/// Names of metrics by id.
pub async fn metric_names(conn: &mut Conn) -> Result<Vec<(u32, Arc<str>)>> {
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT id, name FROM metric_names ORDER BY id")
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|(id, name)| {
            let id = u32::try_from(id).map_err(|e| StoreError::corrupt("metric_names.id", e))?;
            Ok((id, Arc::from(name)))
        })
        .collect()
}

/// The id of a metric's name.
pub async fn metric_id(conn: &mut Conn, name: &str) -> Result<Option<u32>> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM metric_names WHERE name = ?")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    id.map(|id| u32::try_from(id).map_err(|e| StoreError::corrupt("metric_names.id", e)))
        .transpose()
}

/// The state of every series that has one.
pub async fn states(conn: &mut Conn) -> Result<Vec<(SeriesId, CheckState)>> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT series_id, state FROM series_state ORDER BY series_id")
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|(id, state)| Ok((SeriesId(id), from_json("series_state", &state)?)))
        .collect()
}

/// Key-value state of plugins, per series that has some.
pub async fn plugin_states(conn: &mut Conn) -> Result<BTreeMap<SeriesId, PluginState>> {
    let rows: Vec<(i64, String, Vec<u8>, i64)> =
        sqlx::query_as("SELECT series_id, key, value, version FROM plugin_state")
            .fetch_all(conn)
            .await?;
    let mut states: BTreeMap<SeriesId, PluginState> = BTreeMap::new();
    for (series, key, value, version) in rows {
        let entry = StateEntry {
            value,
            version: version as u64,
        };
        states
            .entry(SeriesId(series))
            .or_default()
            .0
            .insert(key, entry);
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::{fixture, with_series};

    #[tokio::test]
    async fn what_was_written_is_read_back() {
        let mut f = fixture().await;
        let mut changes = with_series(3);
        let state = CheckState {
            attempt: 2,
            ..CheckState::default()
        };
        changes.series_states.insert(SeriesId(2), state.clone());
        let entry = StateEntry {
            value: vec![0, 1, 255],
            version: u64::MAX,
        };
        changes.plugin_state = vec![(SeriesId(2), "k".into(), Some(entry.clone()))];
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        assert_eq!(all(&mut r).await.expect("all"), changes.new_series);
        assert_eq!(
            get(&mut r, SeriesId(3)).await.expect("get").as_ref(),
            changes.new_series.get(2)
        );
        assert_eq!(
            by_name(&mut r, "c2", "n2")
                .await
                .expect("by_name")
                .map(|s| s.id),
            Some(SeriesId(2))
        );
        assert_eq!(by_name(&mut r, "c2", "n1").await.expect("by_name"), None);
        assert_eq!(
            metric_names(&mut r).await.expect("names"),
            changes.new_metrics
        );
        assert_eq!(metric_id(&mut r, "size").await.expect("id"), Some(2));
        assert_eq!(
            states(&mut r).await.expect("states"),
            [(SeriesId(2), state)]
        );
        let stored = plugin_states(&mut r).await.expect("plugin states");
        assert_eq!(stored[&SeriesId(2)].0["k"], entry);
    }
}
