//! Plugins that were uploaded, came with the engine or are named in the file.
//! Their bytes are in the data folder under their digest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Conn, Result, StoreError, from_json, to_json};
use crate::check::outcome::Digest;
use crate::clock::Timestamp;

/// Where a plugin came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Inside the binary.
    Builtin,
    /// `plugins: path:` of the configuration file.
    File,
    Upload,
}

impl Origin {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Builtin => "builtin",
            Origin::File => "file",
            Origin::Upload => "upload",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        [Origin::Builtin, Origin::File, Origin::Upload]
            .into_iter()
            .find(|o| o.as_str() == word)
            .ok_or_else(|| StoreError::corrupt("plugins.origin", word))
    }
}

/// A stored plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    pub digest: Digest,
    pub name: String,
    pub version: String,
    /// `probe`, `log-parser`, `action`, `notifier` or `command`.
    pub kind: String,
    pub manifest: serde_json::Value,
    pub origin: Origin,
    /// The version that a bare name means.
    pub active: bool,
    /// Bytes.
    pub size: u64,
    pub uploaded_at: Timestamp,
    pub uploaded_by: String,
    /// Detached signature, base64.
    pub signature: Option<String>,
}

type Columns = (
    String,
    String,
    String,
    String,
    String,
    String,
    bool,
    i64,
    i64,
    String,
    Option<String>,
);

fn plugin(c: Columns) -> Result<Plugin> {
    Ok(Plugin {
        manifest: from_json(&format!("manifest of plugin {}", c.1), &c.4)?,
        digest: Digest(Arc::from(c.0)),
        name: c.1,
        version: c.2,
        kind: c.3,
        origin: Origin::parse(&c.5)?,
        active: c.6,
        size: c.7.max(0) as u64,
        uploaded_at: Timestamp(c.8),
        uploaded_by: c.9,
        signature: c.10,
    })
}

/// All plugins by name, newest version of each first.
pub async fn list(conn: &mut Conn) -> Result<Vec<Plugin>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT digest, name, version, kind, manifest, origin, active, size, uploaded_at, \
         uploaded_by, signature FROM plugins ORDER BY name, uploaded_at DESC, digest",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(plugin).collect()
}

/// One plugin.
pub async fn get(conn: &mut Conn, digest: &Digest) -> Result<Option<Plugin>> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT digest, name, version, kind, manifest, origin, active, size, uploaded_at, \
         uploaded_by, signature FROM plugins WHERE digest = ?",
    )
    .bind(&*digest.0)
    .fetch_optional(conn)
    .await?;
    row.map(plugin).transpose()
}

/// Stores a plugin; false where its digest is there already (nothing changes
/// then). The first version of a name becomes the active one; `active` is not
/// regarded, see [`activate`].
pub async fn insert(conn: &mut Conn, plugin: &Plugin) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO plugins (digest, name, version, kind, manifest, origin, active, size, \
         uploaded_at, uploaded_by, signature) VALUES (?1, ?2, ?3, ?4, ?5, ?6, \
         NOT EXISTS (SELECT 1 FROM plugins WHERE name = ?2), ?7, ?8, ?9, ?10) \
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(&*plugin.digest.0)
    .bind(plugin.name.as_str())
    .bind(plugin.version.as_str())
    .bind(plugin.kind.as_str())
    .bind(to_json("manifest", &plugin.manifest)?)
    .bind(plugin.origin.as_str())
    .bind(i64::try_from(plugin.size).unwrap_or(i64::MAX))
    .bind(plugin.uploaded_at.0)
    .bind(plugin.uploaded_by.as_str())
    .bind(plugin.signature.as_deref())
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Replaces the signature of a stored version.
pub async fn sign(conn: &mut Conn, digest: &Digest, signature: Option<&str>) -> Result<()> {
    sqlx::query("UPDATE plugins SET signature = ? WHERE digest = ?")
        .bind(signature)
        .bind(&*digest.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Makes this version the one that its bare name means.
pub async fn activate(conn: &mut Conn, digest: &Digest) -> Result<()> {
    let done = sqlx::query(
        "UPDATE plugins SET active = (digest = ?1) \
         WHERE name = (SELECT name FROM plugins WHERE digest = ?1)",
    )
    .bind(&*digest.0)
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound(format!("plugin {}", digest.0)));
    }
    Ok(())
}

/// Deletes a version with the crashes that were kept of it. No other one becomes
/// active in its place: nobody has looked at what that one may do.
pub async fn delete(conn: &mut Conn, digest: &Digest) -> Result<()> {
    super::crashes::delete(conn, digest).await?;
    let done = sqlx::query("DELETE FROM plugins WHERE digest = ?")
        .bind(&*digest.0)
        .execute(conn)
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound(format!("plugin {}", digest.0)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::fixture;

    fn version(digest: &str, version: &str, at: i64) -> Plugin {
        Plugin {
            digest: Digest(Arc::from(digest)),
            name: "http".into(),
            version: version.into(),
            kind: "probe".into(),
            manifest: serde_json::json!({"name": "http"}),
            origin: Origin::Upload,
            active: false,
            size: 1234,
            uploaded_at: Timestamp(at),
            uploaded_by: "admin".into(),
            signature: None,
        }
    }

    #[tokio::test]
    async fn versions_are_switched_and_deleted() {
        let mut f = fixture().await;
        let c = f.writer.connection().await.expect("connection");
        let (one, two) = (version("aa", "1.0.0", 1), version("bb", "2.0.0", 2));
        assert!(insert(c, &one).await.expect("insert"));
        assert!(!insert(c, &one).await.expect("again"));
        assert!(insert(c, &two).await.expect("insert"));
        let active = |list: Vec<Plugin>| {
            list.into_iter()
                .filter(|p| p.active)
                .map(|p| p.version)
                .collect::<Vec<_>>()
        };
        assert_eq!(active(list(c).await.expect("list")), ["1.0.0"]);
        activate(c, &two.digest).await.expect("activate");
        assert_eq!(active(list(c).await.expect("list")), ["2.0.0"]);
        let stored = get(c, &two.digest).await.expect("get");
        assert_eq!(
            stored,
            Some(Plugin {
                active: true,
                ..two.clone()
            })
        );
        sign(c, &two.digest, Some("sig")).await.expect("sign");
        let signed = get(c, &two.digest).await.expect("get").expect("there");
        assert_eq!(signed.signature.as_deref(), Some("sig"));
        delete(c, &two.digest).await.expect("delete");
        assert_eq!(
            active(list(c).await.expect("list")),
            [] as [&str; 0],
            "nobody chose the other one"
        );
        activate(c, &one.digest).await.expect("activate");
        assert_eq!(active(list(c).await.expect("list")), ["1.0.0"]);
        assert!(matches!(
            activate(c, &two.digest).await,
            Err(StoreError::NotFound(_))
        ));
    }
}
