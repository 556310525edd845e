//! Every change by a person or token.

use super::{Conn, Result, from_json, page, to_json};
use crate::clock::Timestamp;

/// A stored entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub id: i64,
    pub ts: Timestamp,
    /// User or token.
    pub actor: String,
    /// `create`, `update`, `delete`, `login`, …
    pub action: String,
    /// `kind/name`.
    pub subject: String,
    /// What changed, without secrets.
    pub detail: serde_json::Value,
}

/// Appends an entry; call it in the transaction of the change.
pub async fn append(
    conn: &mut Conn,
    ts: Timestamp,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &serde_json::Value,
) -> Result<()> {
    sqlx::query("INSERT INTO audit (ts, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(ts.0)
        .bind(actor)
        .bind(action)
        .bind(subject)
        .bind(to_json("audit", detail)?)
        .execute(conn)
        .await?;
    Ok(())
}

/// Newest first, those with an id below `before`; of a subject.
pub async fn list(
    conn: &mut Conn,
    subject: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Entry>> {
    let rows: Vec<(i64, i64, String, String, String, String)> = sqlx::query_as(
        "SELECT id, ts, actor, action, subject, detail FROM audit \
         WHERE id < ?1 AND (?2 IS NULL OR subject = ?2) ORDER BY id DESC LIMIT ?3",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(subject)
    .bind(page(limit))
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(id, ts, actor, action, subject, detail)| {
            Ok(Entry {
                id,
                ts: Timestamp(ts),
                actor,
                action,
                subject,
                detail: from_json("audit", &detail)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn entries_are_listed_newest_first() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        for n in 1..=5 {
            let subject = if n % 2 == 0 { "node/a" } else { "rule/b" };
            let detail = serde_json::json!({ "n": n });
            append(c, Timestamp(n), "admin", "update", subject, &detail)
                .await
                .expect("append");
        }
        let ids = |e: Vec<Entry>| e.into_iter().map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids(list(c, None, None, 2).await.expect("list")), [5, 4]);
        assert_eq!(
            ids(list(c, Some("node/a"), Some(4), 9).await.expect("list")),
            [2]
        );
        let first = list(c, None, Some(2), 1).await.expect("list");
        assert_eq!(first[0].detail["n"], 1);
    }
}
