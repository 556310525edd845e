//! How far the files of log sources were read.

use super::{Conn, Result};
use crate::clock::Timestamp;
use crate::pipeline::changes::Checkpoint;

/// Every checkpoint of a source, or of all.
pub async fn list(conn: &mut Conn, source: Option<&str>) -> Result<Vec<Checkpoint>> {
    let rows: Vec<(String, String, String, i64, String, i64)> = sqlx::query_as(
        "SELECT source, file_key, path, offset, state, updated_at FROM log_checkpoints \
         WHERE ?1 IS NULL OR source = ?1 ORDER BY source, file_key",
    )
    .bind(source)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(source, file_key, path, offset, state, updated_at)| Checkpoint {
                source: source.into(),
                file_key,
                path,
                offset: offset.max(0) as u64,
                state,
                updated_at: Timestamp(updated_at),
                removed: false,
            },
        )
        .collect())
}

/// Forgets a source that is no longer configured.
pub async fn forget(conn: &mut Conn, source: &str) -> Result<()> {
    sqlx::query("DELETE FROM log_checkpoints WHERE source = ?")
        .bind(source)
        .execute(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::changes::Changes;
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn checkpoints_are_read_back_and_forgotten() {
        let mut f = fixture().await;
        let point = |source: &str| Checkpoint {
            source: source.into(),
            file_key: "8:15".into(),
            path: "/var/log/a.log".into(),
            offset: 1 << 40,
            state: "{\"first\":\"x\"}".into(),
            updated_at: Timestamp(3),
            removed: false,
        };
        let changes = Changes {
            checkpoints: vec![point("a"), point("b")],
            ..Changes::default()
        };
        f.writer.commit(&changes).await.expect("commit");
        let conn = f.writer.connection().await.expect("connection");
        assert_eq!(list(conn, None).await.expect("list"), changes.checkpoints);
        assert_eq!(list(conn, Some("b")).await.expect("list"), [point("b")]);
        forget(conn, "a").await.expect("forget");
        assert_eq!(list(conn, None).await.expect("list"), [point("b")]);
    }
}
