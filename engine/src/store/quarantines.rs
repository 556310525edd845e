//! Versions of plugins that are held back.

use super::{Conn, Result, from_json, to_json};
use crate::check::outcome::Digest;
use crate::pipeline::changes::Changes;
use crate::pipeline::quarantine::Quarantine;

/// All of them, by digest.
pub async fn list(conn: &mut Conn) -> Result<Vec<Quarantine>> {
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT state FROM plugin_quarantine ORDER BY digest")
            .fetch_all(conn)
            .await?;
    rows.iter()
        .map(|text| from_json("quarantine", text))
        .collect()
}

/// One of them.
pub async fn get(conn: &mut Conn, digest: &Digest) -> Result<Option<Quarantine>> {
    let row: Option<String> =
        sqlx::query_scalar("SELECT state FROM plugin_quarantine WHERE digest = ?")
            .bind(&*digest.0)
            .fetch_optional(conn)
            .await?;
    row.map(|text| from_json("quarantine", &text)).transpose()
}

/// Writes those that a batch changed.
pub(super) async fn write(conn: &mut Conn, changes: &Changes) -> Result<()> {
    for (digest, quarantine) in &changes.quarantines {
        match quarantine {
            Some(quarantine) => {
                sqlx::query(
                    "INSERT INTO plugin_quarantine (digest, state) VALUES (?, ?) \
                     ON CONFLICT (digest) DO UPDATE SET state = excluded.state",
                )
                .bind(&*digest.0)
                .bind(to_json("quarantine", quarantine)?)
                .execute(&mut *conn)
                .await?;
            }
            None => {
                sqlx::query("DELETE FROM plugin_quarantine WHERE digest = ?")
                    .bind(&*digest.0)
                    .execute(&mut *conn)
                    .await?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::pipeline::quarantine::QuarantineCause;
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn they_are_kept_until_released() {
        let mut f = fixture().await;
        let digest = Digest("aa".into());
        let held = Quarantine {
            digest: digest.clone(),
            plugin: "nasty".into(),
            version: "1.0.0".into(),
            cause: QuarantineCause::Crashes,
            reason: "trap".into(),
            since: Timestamp(5),
            trials: 1,
            trial_at: Some(Timestamp(6)),
        };
        let mut changes = Changes::default();
        changes
            .quarantines
            .insert(digest.clone(), Some(held.clone()));
        assert!(changes.must_survive_power_loss());
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        assert_eq!(
            list(&mut r).await.expect("list"),
            std::slice::from_ref(&held)
        );
        assert_eq!(get(&mut r, &digest).await.expect("get"), Some(held));
        drop(r);
        changes.quarantines.insert(digest.clone(), None);
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        assert_eq!(get(&mut r, &digest).await.expect("get"), None);
    }
}
