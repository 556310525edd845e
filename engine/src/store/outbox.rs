//! Notifications to be delivered and what became of them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Sqlite};
use utoipa::ToSchema;

use super::{Conn, Result, StoreError, from_json, page};
use crate::clock::Timestamp;
use crate::pipeline::changes::{OutboxRow, Slot};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for its (next) attempt.
    Queued,
    Sent,
    /// Given up.
    Failed,
}

impl Status {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Sent => "sent",
            Status::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        [Status::Queued, Status::Sent, Status::Failed]
            .into_iter()
            .find(|s| s.as_str() == word)
            .ok_or_else(|| StoreError::corrupt("outbox.status", word))
    }
}

/// A stored delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub row: OutboxRow,
    pub status: Status,
    /// Sent or given up.
    pub done_at: Option<Timestamp>,
    /// Last answer of the mail server, or why it was not reached.
    pub reply: Option<String>,
}

type Columns = (
    i64,
    String,
    Option<i64>,
    String,
    String,
    String,
    String,
    String,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
);

const SELECT: &str = "SELECT id, idempotency_key, alert_id, contact, recipient, message_id, \
     payload, status, attempts, created_at, next_at, done_at, reply, slot, slot_group, slot_at \
     FROM outbox ";

/// Most rows of one slot that are read at once.
const SLOT_ROWS: i64 = 1_000;

fn delivery(c: Columns) -> Result<Delivery> {
    Ok(Delivery {
        row: OutboxRow {
            id: c.0,
            idempotency_key: c.1,
            alert: c.2.unwrap_or_default(),
            contact: c.3,
            recipient: c.4,
            message_id: c.5,
            payload: Arc::new(from_json("outbox", &c.6)?),
            attempts: u32::try_from(c.8).unwrap_or(u32::MAX),
            created_at: Timestamp(c.9),
            next_at: Timestamp(c.10),
            slot: slot(c.13, c.14, c.15),
        },
        status: Status::parse(&c.7)?,
        done_at: c.11.map(Timestamp),
        reply: c.12,
    })
}

fn slot(id: Option<String>, group: Option<String>, at: Option<i64>) -> Option<Slot> {
    Some(Slot {
        id: id?,
        group: group?,
        at: Timestamp(at?),
    })
}

/// The newest mail of each group that left, or leaves, after `since`.
pub async fn newest_slots(
    conn: &mut Conn,
    since: Timestamp,
) -> Result<Vec<(String, String, Timestamp)>> {
    // With max() SQLite takes the other columns from the row of the maximum.
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT slot_group, slot, max(slot_at) FROM outbox \
         WHERE slot_at > ? AND slot IS NOT NULL AND slot_group IS NOT NULL GROUP BY slot_group",
    )
    .bind(since.0)
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(group, id, at)| (group, id, Timestamp(at)))
        .collect())
}

/// Most rows that [`due`] reads at once, without those that share a mail.
pub const MAX_DUE: u32 = 10_000;

/// Queued deliveries whose time has come, oldest first: at most `limit`, taken
/// from all recipients in turn, of each the oldest. So a recipient with
/// thousands of rows hides nobody else's. Where `limit` is reached, those follow
/// that share a mail with one of them and whose time has come, too.
pub async fn due(conn: &mut Conn, now: Timestamp, limit: u32) -> Result<Vec<Delivery>> {
    let limit = limit.clamp(1, MAX_DUE);
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query
        .push(
            "WHERE id IN (SELECT id FROM (SELECT id, \
             row_number() OVER (PARTITION BY recipient ORDER BY id) AS turn \
             FROM outbox WHERE status = 'queued' AND next_at <= ",
        )
        .push_bind(now.0)
        .push(") ORDER BY turn, id LIMIT ")
        .push_bind(i64::from(limit))
        .push(") ORDER BY id");
    let rows: Vec<Columns> = query.build_query_as().fetch_all(&mut *conn).await?;
    let full = rows.len() >= limit as usize;
    let mut found = rows.into_iter().map(delivery).collect::<Result<Vec<_>>>()?;
    if full {
        let mut known: HashSet<i64> = found.iter().map(|one| one.row.id).collect();
        let slots: BTreeSet<String> = found
            .iter()
            .filter_map(|one| one.row.slot.as_ref().map(|slot| slot.id.clone()))
            .collect();
        for slot in slots {
            let mut query = QueryBuilder::<Sqlite>::new(SELECT);
            query
                .push("WHERE status = 'queued' AND slot = ")
                .push_bind(slot)
                .push(" AND next_at <= ")
                .push_bind(now.0)
                .push(" ORDER BY id LIMIT ")
                .push_bind(SLOT_ROWS);
            let rows: Vec<Columns> = query.build_query_as().fetch_all(&mut *conn).await?;
            for columns in rows {
                if known.insert(columns.0) {
                    found.push(delivery(columns)?);
                }
            }
        }
    }
    Ok(found)
}

/// When the next queued delivery is due; absent where none is queued.
pub async fn next_due(conn: &mut Conn) -> Result<Option<Timestamp>> {
    let next: Option<i64> =
        sqlx::query_scalar("SELECT min(next_at) FROM outbox WHERE status = 'queued'")
            .fetch_one(conn)
            .await?;
    Ok(next.map(Timestamp))
}

/// One delivery.
pub async fn get(conn: &mut Conn, id: i64) -> Result<Option<Delivery>> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query.push("WHERE id = ").push_bind(id);
    let row: Option<Columns> = query.build_query_as().fetch_optional(conn).await?;
    row.map(delivery).transpose()
}

/// Newest first, those with an id below `before`; of a status, of an alert.
pub async fn list(
    conn: &mut Conn,
    status: Option<Status>,
    alert: Option<i64>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Delivery>> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query
        .push("WHERE id < ")
        .push_bind(before.unwrap_or(i64::MAX));
    if let Some(status) = status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(alert) = alert {
        query.push(" AND alert_id = ").push_bind(alert);
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(page(limit));
    let rows: Vec<Columns> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(delivery).collect()
}

/// Number of deliveries that wait, and that were given up.
pub async fn count_open(conn: &mut Conn) -> Result<(u64, u64)> {
    let (queued, failed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM outbox WHERE status = 'queued'), \
         (SELECT count(*) FROM outbox WHERE status = 'failed' AND done_at IS NOT NULL)",
    )
    .fetch_one(conn)
    .await?;
    Ok((queued as u64, failed as u64))
}

/// Makes a waiting or given-up delivery due now. A sent one is refused.
pub async fn retry_now(conn: &mut Conn, id: i64, now: Timestamp) -> Result<()> {
    let done = sqlx::query(
        "UPDATE outbox SET status = 'queued', next_at = ?, done_at = NULL \
         WHERE id = ? AND status IN ('queued', 'failed')",
    )
    .bind(now.0)
    .bind(id)
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() > 0 {
        return Ok(());
    }
    match get(conn, id).await? {
        Some(_) => Err(StoreError::Invalid(format!(
            "delivery {id} was already sent: it is not sent again"
        ))),
        None => Err(StoreError::NotFound(format!("delivery {id}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::changes::{Changes, DeliveryResult, OutboxUpdate};
    use crate::store::testkit::fixture;
    use crate::store::write::tests::outbox;

    #[tokio::test]
    async fn deliveries_become_due_and_end() {
        let mut f = fixture().await;
        let mut rows: Vec<_> = (1..=4).map(|id| outbox(id, &format!("k{id}"))).collect();
        rows[1].next_at = Timestamp(2);
        rows[2].next_at = Timestamp(100);
        rows[3].alert = 9;
        let changes = Changes {
            outbox: rows.clone(),
            ..Changes::default()
        };
        f.writer.commit(&changes).await.expect("commit");
        let conn = f.writer.connection().await.expect("connection");
        let ids = |d: Vec<Delivery>| d.into_iter().map(|d| d.row.id).collect::<Vec<_>>();
        assert_eq!(next_due(conn).await.expect("next"), Some(Timestamp(2)));
        let found = due(conn, Timestamp(5), 10).await.expect("due");
        assert_eq!(found[1].row, rows[1]);
        assert_eq!(ids(found), [1, 2, 4]);
        assert_eq!(
            ids(list(conn, None, Some(9), None, 10).await.expect("list")),
            [4]
        );

        let ended = Changes {
            outbox_updates: vec![
                ended(1, DeliveryResult::Sent("250 ok".into())),
                ended(2, DeliveryResult::Failed("550 no".into())),
            ],
            ..Changes::default()
        };
        f.writer.commit(&ended).await.expect("commit");
        let conn = f.writer.connection().await.expect("connection");
        assert_eq!(count_open(conn).await.expect("count"), (2, 1));
        let failed = list(conn, Some(Status::Failed), None, None, 10)
            .await
            .expect("list");
        assert_eq!(failed[0].reply.as_deref(), Some("550 no"));
        assert_eq!(failed[0].done_at, Some(Timestamp(7)));
        retry_now(conn, 2, Timestamp(50)).await.expect("retry");
        let again = get(conn, 2).await.expect("get").expect("there");
        assert_eq!(
            (again.status, again.row.next_at),
            (Status::Queued, Timestamp(50))
        );
        assert!(matches!(
            retry_now(conn, 1, Timestamp(50)).await,
            Err(StoreError::Invalid(_))
        ));
        assert!(matches!(
            retry_now(conn, 77, Timestamp(50)).await,
            Err(StoreError::NotFound(_))
        ));
    }

    #[tokio::test]
    async fn a_recipient_with_many_rows_hides_nobody() {
        let mut f = fixture().await;
        let mut rows: Vec<_> = (1..=1_203)
            .map(|id| outbox(id, &format!("k{id}")))
            .collect();
        for row in &mut rows[1_200..] {
            row.recipient = "other@example.org".into();
            // Due for a shorter time than all the others.
            row.next_at = Timestamp(5);
        }
        let changes = Changes {
            outbox: rows,
            ..Changes::default()
        };
        f.writer.commit(&changes).await.expect("commit");
        let conn = f.writer.connection().await.expect("connection");
        let found = due(conn, Timestamp(9), 4).await.expect("due");
        let ids: Vec<_> = found.iter().map(|one| one.row.id).collect();
        assert_eq!(ids, [1, 2, 1_201, 1_202], "in turn, the oldest of each");
        // As many as were asked for: fewer rows mean that these are all.
        let found = due(conn, Timestamp(9), 1_100).await.expect("due");
        assert_eq!(found.len(), 1_100);
        assert!(found.iter().any(|one| one.row.id == 1_203));
        let found = due(conn, Timestamp(9), u32::MAX).await.expect("due");
        assert_eq!(found.len(), 1_203);
    }

    fn ended(id: i64, result: DeliveryResult) -> OutboxUpdate {
        OutboxUpdate {
            id,
            alert: 1,
            recipient: "ops@example.org".into(),
            attempts: 1,
            at: Timestamp(7),
            result,
        }
    }
}
