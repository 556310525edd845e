//! Beginning and ending shadow runs.

use serde_json::json;

use super::super::Core;
use super::super::configuration::Generation;
use super::super::shadow::Pairing;
use super::Answer;
use crate::config::Problem;
use crate::http::commands::{Actor, CommandError};
use crate::http::shadow::{ShadowVersion, ShadowView, ShadowWanted};
use crate::plugin::Kind;

impl Core {
    /// Lets a version run beside the one in use from now on.
    pub(super) async fn start_shadow(
        &self,
        plugin: String,
        wanted: ShadowWanted,
        actor: Actor,
    ) -> Answer<()> {
        let versions = self.registry.versions(&plugin);
        if versions.is_empty() {
            return Err(CommandError::NotFound(format!("plugin {plugin}")));
        }
        let mut fitting = versions.iter().filter(|one| match &wanted.digest {
            Some(digest) => one.digest == *digest,
            None => Some(&one.manifest.version) == wanted.version.as_ref(),
        });
        let key = if wanted.digest.is_some() {
            "digest"
        } else {
            "version"
        };
        let invalid = |text: String| CommandError::Invalid(vec![Problem::new(key, text)]);
        let chosen = match (fitting.next(), fitting.next()) {
            (Some(one), None) => one,
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "several files call themselves that: name one by its digest".into(),
                ));
            }
            (None, _) => {
                let known: Vec<&str> = versions
                    .iter()
                    .map(|one| one.manifest.version.as_str())
                    .collect();
                return Err(invalid(format!(
                    "expected a version of {plugin} that is there ({}), found none of it",
                    known.join(", ")
                )));
            }
        };
        let Some(current) = versions.iter().find(|one| one.active) else {
            return Err(invalid(format!("no version of {plugin} is in use")));
        };
        if current.digest == chosen.digest {
            return Err(invalid(
                "expected another version than the one in use".into(),
            ));
        }
        if !matches!(chosen.kind, Kind::Probe | Kind::Command) {
            return Err(invalid(format!(
                "expected a plugin that checks use, found a {}: actions, parsers and notifiers change things",
                chosen.kind.as_str()
            )));
        }
        if let Some(held) = self.host.held(&chosen.digest) {
            return Err(CommandError::Conflict(held.text));
        }
        // The checks' configuration must fit, as it must to switch.
        let tried = self.registry.fork();
        tried.activate(&plugin, &chosen.digest);
        let number = {
            let current = self.changing.lock().await;
            let next = Generation {
                number: current.number + 1,
                ..current.clone()
            };
            self.candidate(next, &tried)
                .map_err(CommandError::Invalid)?;
            current.number
        };
        self.host
            .load(&chosen.digest)
            .await
            .map_err(|error| CommandError::Unavailable(error.to_string()))?;
        let version = |one: &super::super::registry::Version| ShadowVersion {
            digest: one.digest.clone(),
            version: one.manifest.version.clone(),
        };
        let pairing = Pairing {
            current: version(current),
            shadow: version(chosen),
            since: self.clock.now(),
            started_by: actor.name.to_string(),
        };
        self.shadows
            .start(&plugin, pairing)
            .map_err(CommandError::Conflict)?;
        let detail = json!({ "digest": chosen.digest, "generation": number });
        self.audit(&actor, "shadow", &format!("plugin/{plugin}"), detail)
            .await;
        Ok(())
    }

    /// Ends a plugin's shadow.
    pub(super) async fn end_shadow(&self, plugin: String, actor: Actor) -> Answer<()> {
        if !self.shadows.end(&plugin) {
            return Err(CommandError::NotFound(format!("shadow of plugin {plugin}")));
        }
        self.audit(&actor, "shadow_end", &format!("plugin/{plugin}"), json!({}))
            .await;
        Ok(())
    }

    /// How a plugin's versions compare.
    pub(super) fn shadow(&self, plugin: &str) -> Answer<Option<Box<ShadowView>>> {
        if self.registry.versions(plugin).is_empty() {
            return Err(CommandError::NotFound(format!("plugin {plugin}")));
        }
        Ok(self.shadows.view(plugin).map(Box::new))
    }
}
