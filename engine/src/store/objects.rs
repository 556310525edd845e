//! Objects that people made in the UI or over the API.

use super::{Conn, Result, StoreError, from_json, to_json};
use crate::clock::Timestamp;

/// A stored object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `node`, `check`, `rule`, `contact`, `remediation`, `log_source`, `plugin`, …
    pub kind: String,
    pub name: String,
    /// As in the configuration file.
    pub spec: serde_json::Value,
    /// Counts changes, for If-Match.
    pub version: i64,
    pub updated_at: Timestamp,
}

type Columns = (String, String, String, i64, i64);

fn object((kind, name, spec, version, updated_at): Columns) -> Result<Object> {
    let spec = from_json(&format!("object {kind}/{name}"), &spec)?;
    Ok(Object {
        kind,
        name,
        spec,
        version,
        updated_at: Timestamp(updated_at),
    })
}

/// All objects, or those of a kind, by kind and name.
pub async fn list(conn: &mut Conn, kind: Option<&str>) -> Result<Vec<Object>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT kind, name, spec, version, updated_at FROM objects \
         WHERE ?1 IS NULL OR kind = ?1 ORDER BY kind, name",
    )
    .bind(kind)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(object).collect()
}

/// One object.
pub async fn get(conn: &mut Conn, kind: &str, name: &str) -> Result<Option<Object>> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT kind, name, spec, version, updated_at FROM objects WHERE kind = ? AND name = ?",
    )
    .bind(kind)
    .bind(name)
    .fetch_optional(conn)
    .await?;
    row.map(object).transpose()
}

/// Creates or changes an object and returns its new version. `expected` is the
/// version the caller has seen: 0 for "not there yet", absent to overwrite
/// whatever is there. Anything else stored is a [`StoreError::Conflict`].
pub async fn put(
    conn: &mut Conn,
    kind: &str,
    name: &str,
    spec: &serde_json::Value,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<i64> {
    check(conn, kind, name, expected).await?;
    Ok(sqlx::query_scalar(
        "INSERT INTO objects (kind, name, spec, version, updated_at) VALUES (?, ?, ?, 1, ?) \
         ON CONFLICT (kind, name) DO UPDATE SET spec = excluded.spec, version = version + 1, \
         updated_at = excluded.updated_at RETURNING version",
    )
    .bind(kind)
    .bind(name)
    .bind(to_json("object", spec)?)
    .bind(now.0)
    .fetch_one(conn)
    .await?)
}

/// Deletes an object; `expected` as in [`put`].
pub async fn delete(conn: &mut Conn, kind: &str, name: &str, expected: Option<i64>) -> Result<()> {
    check(conn, kind, name, expected).await?;
    let done = sqlx::query("DELETE FROM objects WHERE kind = ? AND name = ?")
        .bind(kind)
        .bind(name)
        .execute(conn)
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound(format!("{kind} {name:?}")));
    }
    Ok(())
}

async fn check(conn: &mut Conn, kind: &str, name: &str, expected: Option<i64>) -> Result<()> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let found: Option<i64> =
        sqlx::query_scalar("SELECT version FROM objects WHERE kind = ? AND name = ?")
            .bind(kind)
            .bind(name)
            .fetch_optional(conn)
            .await?;
    let found = found.unwrap_or(0);
    if found != expected {
        return Err(StoreError::Conflict {
            what: format!("{kind} {name:?}"),
            expected,
            found,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn versions_guard_against_lost_updates() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        let t = Timestamp(1);
        let spec = json!({"name": "a", "address": "127.0.0.1"});
        assert_eq!(
            put(c, "node", "a", &spec, Some(0), t).await.expect("new"),
            1
        );
        let again = put(c, "node", "a", &spec, Some(0), t).await;
        assert!(matches!(again, Err(StoreError::Conflict { found: 1, .. })));
        let changed = json!({"name": "a", "address": "127.0.0.2"});
        let version = put(c, "node", "a", &changed, Some(1), Timestamp(2)).await;
        assert_eq!(version.expect("change"), 2);
        assert_eq!(
            put(c, "node", "a", &changed, None, t).await.expect("any"),
            3
        );
        let stale = delete(c, "node", "a", Some(2)).await;
        assert!(matches!(
            stale,
            Err(StoreError::Conflict {
                expected: 2,
                found: 3,
                ..
            })
        ));
        assert_eq!(
            get(c, "node", "a").await.expect("get").map(|o| o.spec),
            Some(changed)
        );
        put(c, "check", "z", &spec, None, t).await.expect("other");
        let names = |objects: Vec<Object>| {
            objects
                .into_iter()
                .map(|o| format!("{}/{}", o.kind, o.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(list(c, None).await.expect("list")),
            ["check/z", "node/a"]
        );
        assert_eq!(
            names(list(c, Some("node")).await.expect("list")),
            ["node/a"]
        );
        delete(c, "node", "a", Some(3)).await.expect("delete");
        assert!(matches!(
            delete(c, "node", "a", None).await,
            Err(StoreError::NotFound(_))
        ));
    }
}
