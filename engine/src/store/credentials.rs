//! Browser sessions, API tokens and one-time links. Only the SHA-256 of a secret
//! is stored, so a stolen database opens nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::users::{Role, parse_role};
use super::{Conn, Result, StoreError};
use crate::clock::Timestamp;

/// SHA-256 of a secret.
pub type Hash = [u8; 32];

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A browser that logged in.
    Session,
    /// A program.
    Token,
    /// Works once.
    Link,
}

impl Kind {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Session => "session",
            Kind::Token => "token",
            Kind::Link => "link",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        [Kind::Session, Kind::Token, Kind::Link]
            .into_iter()
            .find(|k| k.as_str() == word)
            .ok_or_else(|| StoreError::corrupt("credentials.kind", word))
    }
}

/// A stored credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    pub hash: Hash,
    pub kind: Kind,
    pub user: Option<i64>,
    /// Label of a token, or what the session's browser calls itself.
    pub name: String,
    pub role: Role,
    /// What a link allows, as JSON; empty for others.
    pub purpose: String,
    pub created_at: Timestamp,
    /// Absent: until it is deleted.
    pub expires_at: Option<Timestamp>,
    /// Last use; of a link its only one.
    pub used_at: Option<Timestamp>,
}

impl Credential {
    /// A name for lists and for revoking: the first bytes of the hash.
    pub fn id(&self) -> String {
        hex::encode(&self.hash[..8])
    }
}

type Columns = (
    Vec<u8>,
    String,
    Option<i64>,
    String,
    String,
    String,
    i64,
    Option<i64>,
    Option<i64>,
);

fn credential(c: Columns) -> Result<Credential> {
    Ok(Credential {
        hash: c
            .0
            .try_into()
            .map_err(|_| StoreError::corrupt("credentials.hash", "expected 32 bytes"))?,
        kind: Kind::parse(&c.1)?,
        user: c.2,
        name: c.3,
        role: parse_role(&c.4)?,
        purpose: c.5,
        created_at: Timestamp(c.6),
        expires_at: c.7.map(Timestamp),
        used_at: c.8.map(Timestamp),
    })
}

/// Stores a new credential.
pub async fn insert(conn: &mut Conn, new: &Credential) -> Result<()> {
    sqlx::query(
        "INSERT INTO credentials (hash, kind, user_id, name, role, purpose, created_at, \
         expires_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(new.hash.as_slice())
    .bind(new.kind.as_str())
    .bind(new.user)
    .bind(new.name.as_str())
    .bind(new.role.as_str())
    .bind(new.purpose.as_str())
    .bind(new.created_at.0)
    .bind(new.expires_at.map(|t| t.0))
    .bind(new.used_at.map(|t| t.0))
    .execute(conn)
    .await?;
    Ok(())
}

/// The credential with that hash, while it is valid: not expired, and a link
/// not used yet. Credentials of disabled users are not valid.
pub async fn find(conn: &mut Conn, hash: &Hash, now: Timestamp) -> Result<Option<Credential>> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT hash, kind, user_id, name, role, purpose, created_at, expires_at, used_at \
         FROM credentials WHERE hash = ?1 AND (expires_at IS NULL OR expires_at > ?2) \
         AND (kind <> 'link' OR used_at IS NULL) \
         AND NOT EXISTS (SELECT 1 FROM users WHERE id = user_id AND disabled = 1)",
    )
    .bind(hash.as_slice())
    .bind(now.0)
    .fetch_optional(conn)
    .await?;
    row.map(credential).transpose()
}

/// Notes a use of a session or token, and lets a session live on until
/// `expires_at`. Call it now and then, not on every request.
pub async fn touch(
    conn: &mut Conn,
    hash: &Hash,
    now: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<()> {
    sqlx::query(
        "UPDATE credentials SET used_at = ?, expires_at = coalesce(?, expires_at) \
         WHERE hash = ? AND kind <> 'link'",
    )
    .bind(now.0)
    .bind(expires_at.map(|t| t.0))
    .bind(hash.as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses a link up: whoever gets it back is the only one who ever does. Call it
/// on the writer.
pub async fn consume_link(
    conn: &mut Conn,
    hash: &Hash,
    now: Timestamp,
) -> Result<Option<Credential>> {
    let row: Option<Columns> = sqlx::query_as(
        "UPDATE credentials SET used_at = ?1 WHERE hash = ?2 AND kind = 'link' \
         AND used_at IS NULL AND (expires_at IS NULL OR expires_at > ?1) \
         AND NOT EXISTS (SELECT 1 FROM users WHERE id = user_id AND disabled = 1) \
         RETURNING hash, kind, user_id, name, role, purpose, created_at, expires_at, used_at",
    )
    .bind(now.0)
    .bind(hash.as_slice())
    .fetch_optional(conn)
    .await?;
    row.map(credential).transpose()
}

/// All credentials of a kind, newest first; of a user.
pub async fn list(conn: &mut Conn, kind: Kind, user: Option<i64>) -> Result<Vec<Credential>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT hash, kind, user_id, name, role, purpose, created_at, expires_at, used_at \
         FROM credentials WHERE kind = ?1 AND (?2 IS NULL OR user_id = ?2) \
         ORDER BY created_at DESC, hash LIMIT 1000",
    )
    .bind(kind.as_str())
    .bind(user)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(credential).collect()
}

/// Ends a credential; true where it was there.
pub async fn delete(conn: &mut Conn, hash: &Hash) -> Result<bool> {
    let done = sqlx::query("DELETE FROM credentials WHERE hash = ?")
        .bind(hash.as_slice())
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends the sessions of a user, as after a change of the password.
pub async fn delete_sessions(conn: &mut Conn, user: i64) -> Result<u64> {
    let done = sqlx::query("DELETE FROM credentials WHERE kind = 'session' AND user_id = ?")
        .bind(user)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Removes what expired; returns how many.
pub async fn purge(conn: &mut Conn, now: Timestamp) -> Result<u64> {
    let done = sqlx::query("DELETE FROM credentials WHERE expires_at <= ?")
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::fixture;
    use crate::store::users;

    fn new(n: u8, kind: Kind, user: Option<i64>) -> Credential {
        Credential {
            hash: [n; 32],
            kind,
            user,
            name: format!("{n}"),
            role: Role::Operator,
            purpose: String::new(),
            created_at: Timestamp(i64::from(n)),
            expires_at: Some(Timestamp(100)),
            used_at: None,
        }
    }

    #[tokio::test]
    async fn a_link_works_exactly_once() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        let link = new(1, Kind::Link, None);
        insert(c, &link).await.expect("insert");
        assert_eq!(
            find(c, &link.hash, Timestamp(5)).await.expect("find"),
            Some(link.clone())
        );
        let used = consume_link(c, &link.hash, Timestamp(6))
            .await
            .expect("use");
        assert_eq!(used.and_then(|l| l.used_at), Some(Timestamp(6)));
        assert_eq!(
            consume_link(c, &link.hash, Timestamp(7))
                .await
                .expect("use"),
            None
        );
        assert_eq!(find(c, &link.hash, Timestamp(7)).await.expect("find"), None);
        let late = new(2, Kind::Link, None);
        insert(c, &late).await.expect("insert");
        assert_eq!(
            consume_link(c, &late.hash, Timestamp(100))
                .await
                .expect("use"),
            None
        );
        let token = new(3, Kind::Token, None);
        insert(c, &token).await.expect("insert");
        assert_eq!(
            consume_link(c, &token.hash, Timestamp(5))
                .await
                .expect("use"),
            None
        );
    }

    #[tokio::test]
    async fn sessions_end_with_time_user_and_logout() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        let user = users::create(c, "bob", None, Role::Operator, Timestamp(1))
            .await
            .expect("user");
        for n in 1..=3 {
            insert(c, &new(n, Kind::Session, Some(user)))
                .await
                .expect("insert");
        }
        touch(c, &[1; 32], Timestamp(50), Some(Timestamp(500)))
            .await
            .expect("touch");
        let first = find(c, &[1; 32], Timestamp(200))
            .await
            .expect("find")
            .expect("there");
        assert_eq!(
            (first.used_at, first.id()),
            (Some(Timestamp(50)), "01".repeat(8))
        );
        assert_eq!(find(c, &[2; 32], Timestamp(200)).await.expect("find"), None);
        users::set_access(c, user, Role::Operator, true)
            .await
            .expect("disable");
        assert_eq!(find(c, &[1; 32], Timestamp(200)).await.expect("find"), None);
        assert_eq!(
            list(c, Kind::Session, Some(user))
                .await
                .expect("list")
                .len(),
            3
        );
        assert_eq!(purge(c, Timestamp(200)).await.expect("purge"), 2);
        assert_eq!(delete_sessions(c, user).await.expect("delete"), 1);
        insert(c, &new(9, Kind::Token, Some(user)))
            .await
            .expect("insert");
        assert!(delete(c, &[9; 32]).await.expect("delete"));
        insert(c, &new(9, Kind::Token, Some(user)))
            .await
            .expect("insert");
        users::delete(c, user).await.expect("delete user");
        assert!(!delete(c, &[9; 32]).await.expect("gone with the user"));
    }
}
