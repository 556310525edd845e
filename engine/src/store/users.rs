//! People who can log in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Conn, Result, StoreError};
use crate::clock::Timestamp;

/// What somebody may do; each includes the ones before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Changes checks, rules, nodes; approves repairs.
    Operator,
    /// Manages plugins, grants and users, too.
    Admin,
}

impl Role {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Role::Viewer, Role::Operator, Role::Admin]
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| format!("expected viewer, operator or admin, found {word:?}"))
    }
}

pub(super) fn parse_role(word: &str) -> Result<Role> {
    word.parse()
        .map_err(|e: String| StoreError::corrupt("role", e))
}

/// A stored user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub id: i64,
    pub name: String,
    /// argon2id in PHC form; absent until the first link was used.
    pub password_hash: Option<String>,
    pub role: Role,
    pub created_at: Timestamp,
    /// Cannot log in.
    pub disabled: bool,
}

type Columns = (i64, String, Option<String>, String, i64, bool);

fn user((id, name, password_hash, role, created_at, disabled): Columns) -> Result<User> {
    Ok(User {
        id,
        name,
        password_hash,
        role: parse_role(&role)?,
        created_at: Timestamp(created_at),
        disabled,
    })
}

/// All users by name.
pub async fn list(conn: &mut Conn) -> Result<Vec<User>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, name, password_hash, role, created_at, disabled FROM users ORDER BY name",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(user).collect()
}

/// The user with that name.
pub async fn find(conn: &mut Conn, name: &str) -> Result<Option<User>> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT id, name, password_hash, role, created_at, disabled FROM users WHERE name = ?",
    )
    .bind(name)
    .fetch_optional(conn)
    .await?;
    row.map(user).transpose()
}

/// The user with that id.
pub async fn get(conn: &mut Conn, id: i64) -> Result<Option<User>> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT id, name, password_hash, role, created_at, disabled FROM users WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(user).transpose()
}

/// Creates a user and returns its id; a name that is taken is a conflict.
pub async fn create(
    conn: &mut Conn,
    name: &str,
    password_hash: Option<&str>,
    role: Role,
    now: Timestamp,
) -> Result<i64> {
    let id: Option<i64> = sqlx::query_scalar(
        "INSERT INTO users (name, password_hash, role, created_at) VALUES (?, ?, ?, ?) \
         ON CONFLICT (name) DO NOTHING RETURNING id",
    )
    .bind(name)
    .bind(password_hash)
    .bind(role.as_str())
    .bind(now.0)
    .fetch_optional(conn)
    .await?;
    id.ok_or_else(|| StoreError::Conflict {
        what: format!("user {name:?}"),
        expected: 0,
        found: 1,
    })
}

/// Sets the hash of the password.
pub async fn set_password(conn: &mut Conn, id: i64, hash: &str) -> Result<()> {
    let done = sqlx::query("UPDATE users SET password_hash = ? WHERE id = ?")
        .bind(hash)
        .bind(id)
        .execute(conn)
        .await?;
    found(done.rows_affected(), id)
}

/// Sets the role and whether the user can log in. The last administrator who
/// can log in is kept.
pub async fn set_access(conn: &mut Conn, id: i64, role: Role, disabled: bool) -> Result<()> {
    if role != Role::Admin || disabled {
        keep_an_admin(conn, id).await?;
    }
    let done = sqlx::query("UPDATE users SET role = ?, disabled = ? WHERE id = ?")
        .bind(role.as_str())
        .bind(disabled)
        .bind(id)
        .execute(conn)
        .await?;
    found(done.rows_affected(), id)
}

/// Deletes a user with their sessions and tokens. The last administrator who
/// can log in is kept.
pub async fn delete(conn: &mut Conn, id: i64) -> Result<()> {
    keep_an_admin(conn, id).await?;
    let done = sqlx::query("DELETE FROM users WHERE id = ?")
        .bind(id)
        .execute(conn)
        .await?;
    found(done.rows_affected(), id)
}

async fn keep_an_admin(conn: &mut Conn, id: i64) -> Result<()> {
    let (others, is_admin): (i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(id <> ?1), 0), coalesce(sum(id = ?1), 0) FROM users \
         WHERE role = 'admin' AND disabled = 0",
    )
    .bind(id)
    .fetch_one(conn)
    .await?;
    if others == 0 && is_admin > 0 {
        return Err(StoreError::Invalid(
            "the last administrator is kept: make another one first".into(),
        ));
    }
    Ok(())
}

fn found(rows: u64, id: i64) -> Result<()> {
    if rows == 0 {
        return Err(StoreError::NotFound(format!("user {id}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn users_and_the_last_administrator() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        let t = Timestamp(1);
        let admin = create(c, "admin", None, Role::Admin, t)
            .await
            .expect("admin");
        let taken = create(c, "admin", None, Role::Viewer, t).await;
        assert!(matches!(taken, Err(StoreError::Conflict { .. })));
        set_password(c, admin, "$argon2id$x")
            .await
            .expect("password");
        let stored = find(c, "admin").await.expect("find").expect("there");
        assert_eq!(stored.password_hash.as_deref(), Some("$argon2id$x"));
        assert_eq!(get(c, admin).await.expect("get"), Some(stored));
        assert!(matches!(
            delete(c, admin).await,
            Err(StoreError::Invalid(_))
        ));
        assert!(matches!(
            set_access(c, admin, Role::Viewer, false).await,
            Err(StoreError::Invalid(_))
        ));
        let other = create(c, "bob", None, Role::Viewer, t).await.expect("bob");
        set_access(c, other, Role::Admin, false)
            .await
            .expect("promote");
        delete(c, admin).await.expect("delete");
        assert_eq!(list(c).await.expect("list").len(), 1);
        assert!(matches!(
            set_password(c, 99, "x").await,
            Err(StoreError::NotFound(_))
        ));
        assert!(Role::Viewer < Role::Admin && "root".parse::<Role>().is_err());
    }
}
