//! Letting a plugin that is held back run again.

use serde_json::json;

use super::super::Core;
use super::{Answer, append, store_error};
use crate::check::outcome::Digest;
use crate::http::commands::{Actor, CommandError};
use crate::pipeline::Input;
use crate::pipeline::quarantine::QuarantineCause;
use crate::plugin::signing;
use crate::store::quarantines;

impl Core {
    /// Whether an upload is taken, before anything of it is compiled.
    pub(super) fn may_install(
        &self,
        digest: &Digest,
        signature: Option<&str>,
    ) -> Result<(), String> {
        let config = self.config.read().clone();
        let signing = &config.spec.signing;
        if signing::is_revoked(signing, digest) {
            return Err(format!(
                "sha256:{} is revoked: signing.revoked of the configuration names it",
                digest.0
            ));
        }
        signing::admit(signing, digest, signature)
    }

    pub(super) async fn release_plugin(
        &self,
        plugin: String,
        digest: Digest,
        actor: Actor,
    ) -> Answer<()> {
        let mut reader = self.store.reader().await.map_err(store_error)?;
        let held = quarantines::get(&mut reader, &digest)
            .await
            .map_err(store_error)?
            .filter(|held| held.plugin == plugin)
            .ok_or_else(|| {
                CommandError::NotFound(format!(
                    "a quarantine of version {} of plugin {plugin}",
                    digest.0
                ))
            })?;
        drop(reader);
        if held.cause != QuarantineCause::Crashes {
            return Err(CommandError::ReadOnly(held.text()));
        }
        let (now, subject) = (self.clock.now(), format!("plugin/{plugin}"));
        let detail = json!({ "digest": digest, "version": held.version });
        let by = actor.name.to_string();
        self.recorder
            .write_then(
                move |conn| {
                    let (actor, subject, detail) = (actor.clone(), subject.clone(), detail.clone());
                    Box::pin(
                        async move { append(conn, now, &actor, "release", &subject, detail).await },
                    )
                },
                move |()| Input::PluginReleased { digest, by },
            )
            .await
            .map_err(store_error)
    }
}
