//! Facts about this database.

use super::{Conn, Result};

/// Key of the random name of this installation.
const INSTALLATION: &str = "installation";

/// Key of the hash of a series' report URL.
pub fn report_key(check: &str, node: &str) -> String {
    // Names have no line breaks, so one can part them.
    format!("report\n{check}\n{node}")
}

/// Removes the hashes of the report URLs of a check.
pub async fn forget_reports_of_check(conn: &mut Conn, check: &str) -> Result<()> {
    let prefix = report_key(check, "");
    sqlx::query("DELETE FROM meta WHERE substr(key, 1, length(?1)) = ?1")
        .bind(prefix)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes the hashes of the report URLs of a node.
pub async fn forget_reports_of_node(conn: &mut Conn, node: &str) -> Result<()> {
    let (first, last) = ("report\n", format!("\n{node}"));
    sqlx::query(
        "DELETE FROM meta WHERE substr(key, 1, length(?1)) = ?1 \
         AND substr(key, -length(?2)) = ?2",
    )
    .bind(first)
    .bind(last)
    .execute(conn)
    .await?;
    Ok(())
}

/// The value of a key.
pub async fn get(conn: &mut Conn, key: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
        .bind(key)
        .fetch_optional(conn)
        .await?)
}

/// Sets the value of a key.
pub async fn set(conn: &mut Conn, key: &str, value: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES (?, ?) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes a key; true where it was there.
pub async fn delete(conn: &mut Conn, key: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM meta WHERE key = ?")
        .bind(key)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The random name of this installation, chosen by the first caller: `fresh` is
/// stored where there is none yet. Call it on the writer.
pub async fn installation_id(conn: &mut Conn, fresh: &str) -> Result<String> {
    sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING")
        .bind(INSTALLATION)
        .bind(fresh)
        .execute(&mut *conn)
        .await?;
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
        .bind(INSTALLATION)
        .fetch_one(conn)
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn values_are_set_read_and_removed() {
        let mut f = fixture().await;
        let conn = f.writer.connection().await.expect("connection");
        assert_eq!(get(conn, "a").await.expect("get"), None);
        set(conn, "a", "1").await.expect("set");
        set(conn, "a", "2").await.expect("set");
        assert_eq!(get(conn, "a").await.expect("get").as_deref(), Some("2"));
        assert!(delete(conn, "a").await.expect("delete"));
        assert!(!delete(conn, "a").await.expect("delete"));
    }

    #[tokio::test]
    async fn report_urls_go_with_their_check_or_node() {
        let mut f = fixture().await;
        let conn = f.writer.connection().await.expect("connection");
        let keys = [("backup", "db-1"), ("backup", "db-2"), ("back", "db-1")];
        let left = async |conn: &mut Conn| {
            let mut left = Vec::new();
            for (check, node) in keys {
                let value = get(conn, &report_key(check, node)).await.expect("get");
                left.extend(value.map(|_| (check, node)));
            }
            left
        };
        for (check, node) in keys {
            set(conn, &report_key(check, node), "hash")
                .await
                .expect("set");
        }
        forget_reports_of_node(conn, "1").await.expect("forget");
        forget_reports_of_check(conn, "b").await.expect("forget");
        assert_eq!(left(conn).await, keys);
        forget_reports_of_node(conn, "db-2").await.expect("forget");
        assert_eq!(left(conn).await, [keys[0], keys[2]]);
        forget_reports_of_check(conn, "back").await.expect("forget");
        assert_eq!(left(conn).await, [keys[0]]);
    }

    #[tokio::test]
    async fn the_installation_keeps_its_first_name() {
        let mut f = fixture().await;
        let conn = f.writer.connection().await.expect("connection");
        assert_eq!(installation_id(conn, "x").await.expect("id"), "x");
        assert_eq!(installation_id(conn, "y").await.expect("id"), "x");
    }
}
