//! Facts about this database.

use super::{Conn, Result};

/// Key of the random name of this installation.
const INSTALLATION: &str = "installation";

/// Key of the hash of a series' report URL.
pub fn report_key(check: &str, node: &str) -> String {
    // Names have no line breaks, so one can part them.
    format!("report\n{check}\n{node}")
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
    async fn the_installation_keeps_its_first_name() {
        let mut f = fixture().await;
        let conn = f.writer.connection().await.expect("connection");
        assert_eq!(installation_id(conn, "x").await.expect("id"), "x");
        assert_eq!(installation_id(conn, "y").await.expect("id"), "x");
    }
}
