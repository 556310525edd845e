//! Requests whose run crashed a plugin.

use super::{Conn, Result, from_json, to_json};
use crate::check::outcome::Digest;
use crate::plugin::CrashRequest;

/// Kept of each version.
pub const KEPT: u32 = 5;

/// Stores a crash; of its version only the newest stay.
pub async fn insert(conn: &mut Conn, request: &CrashRequest) -> Result<()> {
    sqlx::query("INSERT INTO plugin_crashes (digest, ts, request) VALUES (?, ?, ?)")
        .bind(&*request.digest.0)
        .bind(request.at.0)
        .bind(to_json("crash", request)?)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "DELETE FROM plugin_crashes WHERE digest = ?1 AND id NOT IN \
         (SELECT id FROM plugin_crashes WHERE digest = ?1 ORDER BY id DESC LIMIT ?2)",
    )
    .bind(&*request.digest.0)
    .bind(KEPT)
    .execute(conn)
    .await?;
    Ok(())
}

/// Crashes of a version, newest first.
pub async fn of(conn: &mut Conn, digest: &Digest) -> Result<Vec<(i64, CrashRequest)>> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, request FROM plugin_crashes WHERE digest = ? ORDER BY id DESC")
            .bind(&*digest.0)
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|(id, text)| Ok((id, from_json("crash", &text)?)))
        .collect()
}

/// One crash.
pub async fn get(conn: &mut Conn, id: i64) -> Result<Option<CrashRequest>> {
    let row: Option<(String,)> = sqlx::query_as("SELECT request FROM plugin_crashes WHERE id = ?")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.map(|(text,)| from_json("crash", &text)).transpose()
}

/// Forgets the crashes of a version.
pub async fn delete(conn: &mut Conn, digest: &Digest) -> Result<()> {
    sqlx::query("DELETE FROM plugin_crashes WHERE digest = ?")
        .bind(&*digest.0)
        .execute(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::fixture;

    fn request(digest: &str, at: i64) -> CrashRequest {
        serde_json::from_value(serde_json::json!({
            "plugin": "nasty", "version": "1.0.0", "digest": digest, "at": at,
            "fault": {"kind": "trap", "text": "unreachable"}, "check": "c",
            "node": {"name": "n", "address": "192.0.2.1", "labels": {}}, "config": {},
            "attempt": 1, "timeout_ms": 1000, "memory": 1024, "grants": {}, "state": {},
        }))
        .expect("request")
    }

    #[tokio::test]
    async fn the_newest_of_each_version_stay() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        insert(c, &request("bb", 1)).await.expect("insert");
        for at in 1..=8 {
            insert(c, &request("aa", at)).await.expect("insert");
        }
        let times = |rows: Vec<(i64, CrashRequest)>| -> Vec<i64> {
            rows.iter().map(|(_, request)| request.at.0).collect()
        };
        let (aa, bb) = (Digest("aa".into()), Digest("bb".into()));
        let kept = of(c, &aa).await.expect("of");
        let (newest, request) = kept[0].clone();
        assert_eq!(times(kept), [8, 7, 6, 5, 4]);
        assert_eq!(get(c, newest).await.expect("get"), Some(request));
        assert_eq!(get(c, newest + 1).await.expect("get"), None);
        delete(c, &aa).await.expect("delete");
        assert_eq!(times(of(c, &aa).await.expect("of")), [] as [i64; 0]);
        assert_eq!(times(of(c, &bb).await.expect("of")), [1]);
    }
}
