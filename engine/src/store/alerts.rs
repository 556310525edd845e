//! Alerts, open and ended.

use sqlx::{QueryBuilder, Sqlite};

use super::{Conn, Result, from_json, page};
use crate::check::outcome::SeriesId;
use crate::clock::Timestamp;
use crate::config::spec::Severity;
use crate::pipeline::changes::{Alert, Phase};

/// Which alerts to list; what is absent does not filter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these phases; empty for all.
    pub phases: Vec<Phase>,
    /// Rule, or check for faults.
    pub name: Option<String>,
    pub check: Option<String>,
    pub node: Option<String>,
    pub severity: Option<Severity>,
    pub series: Option<SeriesId>,
    /// Became pending at or after.
    pub from: Option<Timestamp>,
    /// Became pending before.
    pub to: Option<Timestamp>,
}

/// Pending and firing alerts, oldest first.
pub async fn open(conn: &mut Conn) -> Result<Vec<Alert>> {
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT state FROM alerts WHERE phase IN ('pending', 'firing') ORDER BY id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter().map(|text| from_json("alert", text)).collect()
}

/// One alert.
pub async fn get(conn: &mut Conn, id: i64) -> Result<Option<Alert>> {
    let row: Option<String> = sqlx::query_scalar("SELECT state FROM alerts WHERE id = ?")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.map(|text| from_json("alert", &text)).transpose()
}

/// Newest first, those with an id below `before`.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Alert>> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT state FROM alerts WHERE id < ");
    query.push_bind(before.unwrap_or(i64::MAX));
    if !filter.phases.is_empty() {
        query.push(" AND phase IN (");
        let mut list = query.separated(", ");
        for phase in &filter.phases {
            list.push_bind(phase.as_str());
        }
        query.push(")");
    }
    for (column, value) in [
        (" AND name = ", filter.name.as_deref()),
        (" AND check_name = ", filter.check.as_deref()),
        (" AND node_name = ", filter.node.as_deref()),
        (" AND severity = ", filter.severity.map(|s| s.as_str())),
    ] {
        if let Some(value) = value {
            query.push(column).push_bind(value);
        }
    }
    for (column, value) in [
        (" AND series_id = ", filter.series.map(|s| s.0)),
        (" AND pending_at >= ", filter.from.map(|t| t.0)),
        (" AND pending_at < ", filter.to.map(|t| t.0)),
    ] {
        if let Some(value) = value {
            query.push(column).push_bind(value);
        }
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(page(limit));
    let rows: Vec<String> = query.build_query_scalar().fetch_all(conn).await?;
    rows.iter().map(|text| from_json("alert", text)).collect()
}

/// Number of open alerts: pending, firing.
pub async fn count_open(conn: &mut Conn) -> Result<(u64, u64)> {
    let (pending, firing): (i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(phase = 'pending'), 0), coalesce(sum(phase = 'firing'), 0) \
         FROM alerts WHERE phase IN ('pending', 'firing')",
    )
    .fetch_one(conn)
    .await?;
    Ok((pending as u64, firing as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::changes::Changes;
    use crate::store::testkit::fixture;
    use crate::store::write::tests::alert;

    #[tokio::test]
    async fn open_get_and_pages() {
        let mut f = fixture().await;
        let mut changes = Changes::default();
        for id in 1..=9 {
            let phase = match id % 3 {
                0 => Phase::Firing,
                1 => Phase::Resolved,
                _ => Phase::Pending,
            };
            changes.alerts.insert(id, alert(id, phase));
        }
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        let ids = |alerts: Vec<Alert>| alerts.into_iter().map(|a| a.id).collect::<Vec<_>>();
        assert_eq!(ids(open(&mut r).await.expect("open")), [2, 3, 5, 6, 8, 9]);
        assert_eq!(count_open(&mut r).await.expect("count"), (3, 3));
        assert_eq!(
            get(&mut r, 4).await.expect("get").as_ref(),
            changes.alerts.get(&4)
        );
        assert_eq!(get(&mut r, 99).await.expect("get"), None);
        let firing = Filter {
            phases: vec![Phase::Firing, Phase::Resolved],
            check: Some("c1".into()),
            node: Some("n1".into()),
            severity: Some(Severity::Critical),
            series: Some(SeriesId(1)),
            from: Some(Timestamp(2)),
            to: Some(Timestamp(9)),
            name: None,
        };
        let first = ids(list(&mut r, &firing, None, 2).await.expect("list"));
        assert_eq!(first, [7, 6]);
        let second = ids(list(&mut r, &firing, Some(6), 10).await.expect("list"));
        assert_eq!(second, [4, 3]);
        let named = Filter {
            name: Some("r5".into()),
            ..Filter::default()
        };
        assert_eq!(
            ids(list(&mut r, &named, None, 10).await.expect("list")),
            [5]
        );
    }
}
