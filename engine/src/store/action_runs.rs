//! Runs of remediation actions.

use super::{Conn, Result, from_json, page};
use crate::clock::Timestamp;
use crate::pipeline::changes::ActionRun;

fn runs(rows: Vec<String>) -> Result<Vec<ActionRun>> {
    rows.iter()
        .map(|text| from_json("action run", text))
        .collect()
}

/// Runs without an outcome, waiting for approval or for their verification,
/// oldest first.
pub async fn open(conn: &mut Conn) -> Result<Vec<ActionRun>> {
    let rows = sqlx::query_scalar(
        "SELECT state FROM action_runs WHERE status IN ('running', 'awaiting_approval') \
         OR verify = 'waiting' ORDER BY id",
    )
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// Runs made since a moment, oldest first: what the limits of an envelope count.
pub async fn since(conn: &mut Conn, from: Timestamp) -> Result<Vec<ActionRun>> {
    let rows =
        sqlx::query_scalar("SELECT state FROM action_runs WHERE created_at >= ? ORDER BY id")
            .bind(from.0)
            .fetch_all(conn)
            .await?;
    runs(rows)
}

/// Runs for an alert, oldest first.
pub async fn of_alert(conn: &mut Conn, alert: i64) -> Result<Vec<ActionRun>> {
    let rows = sqlx::query_scalar(
        "SELECT state FROM action_runs WHERE alert_id = ? ORDER BY id LIMIT 1000",
    )
    .bind(alert)
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// One run.
pub async fn get(conn: &mut Conn, id: i64) -> Result<Option<ActionRun>> {
    let row: Option<String> = sqlx::query_scalar("SELECT state FROM action_runs WHERE id = ?")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.map(|text| from_json("action run", &text)).transpose()
}

/// Newest first, those with an id below `before`; of a remediation.
pub async fn list(
    conn: &mut Conn,
    remediation: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<ActionRun>> {
    let rows = sqlx::query_scalar(
        "SELECT state FROM action_runs WHERE id < ?1 AND (?2 IS NULL OR remediation = ?2) \
         ORDER BY id DESC LIMIT ?3",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(remediation)
    .bind(page(limit))
    .fetch_all(conn)
    .await?;
    runs(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::changes::{Changes, RunStatus, VerifyStatus};
    use crate::store::testkit::fixture;
    use crate::store::write::tests::run;

    #[tokio::test]
    async fn open_recent_and_listed() {
        let mut f = fixture().await;
        let mut changes = Changes::default();
        for (id, status) in [
            (1, RunStatus::Succeeded),
            (2, RunStatus::Running),
            (3, RunStatus::AwaitingApproval),
            (4, RunStatus::Succeeded),
        ] {
            changes.action_runs.insert(id, run(id, status));
        }
        let mut waiting = run(5, RunStatus::Succeeded);
        waiting.verify = VerifyStatus::Waiting;
        waiting.alert = 8;
        waiting.remediation = "other".into();
        changes.action_runs.insert(5, waiting.clone());
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        let ids = |runs: Vec<ActionRun>| runs.into_iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(open(&mut r).await.expect("open")), [2, 3, 5]);
        assert_eq!(
            ids(since(&mut r, Timestamp(4)).await.expect("since")),
            [4, 5]
        );
        assert_eq!(of_alert(&mut r, 8).await.expect("alert"), [waiting]);
        assert_eq!(
            get(&mut r, 2).await.expect("get").map(|r| r.status),
            Some(RunStatus::Running)
        );
        assert_eq!(
            ids(list(&mut r, None, Some(4), 2).await.expect("list")),
            [3, 2]
        );
        assert_eq!(
            ids(list(&mut r, Some("other"), None, 9).await.expect("list")),
            [5]
        );
    }
}
