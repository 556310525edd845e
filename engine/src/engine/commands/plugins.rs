//! The life of uploaded plugins: install, grant, activate, remove.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::super::Core;
use super::super::configuration::{Generation, in_file};
use super::super::registry::Version;
use super::{Answer, append, store_error};
use crate::check::outcome::Digest;
use crate::config::spec::GrantsSpec;
use crate::http::commands::{
    Actor, Applied, CommandError, Expect, ObjectChange, ObjectKind, relative,
};
use crate::http::uploads::{Replaces, Upload, UploadPhase, UploadResult};
use crate::pipeline::changes::Event;
use crate::plugin::{InstallPhase, Installed, Kind, digest};
use crate::store::plugins::Origin;
use crate::store::{StoreError, objects, plugins};

/// What an upload is to be called.
pub(super) struct UploadName {
    /// As the uploader said.
    pub name: Option<String>,
    /// As the file was called.
    pub file_name: Option<String>,
}

impl UploadName {
    /// The name to keep a plugin under: as was said, else its own. A command
    /// plugin has none of its own and takes the file's.
    fn of(self, installed: &Installed) -> String {
        let from_file = || {
            let file = self.file_name.as_deref()?;
            let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
            let stem = file.strip_suffix(".wasm").unwrap_or(file);
            let name: String = stem
                .chars()
                .map(|c| match c.to_ascii_lowercase() {
                    c @ ('a'..='z' | '0'..='9') => c,
                    _ => '-',
                })
                .take(64)
                .collect();
            let name = name.trim_matches('-');
            (!name.is_empty()).then(|| name.to_owned())
        };
        let own = || installed.manifest.name.clone();
        match installed.kind {
            _ if self.name.is_some() => self.name.unwrap_or_default(),
            Kind::Command => from_file().unwrap_or_else(own),
            _ => own(),
        }
    }
}

impl Core {
    pub(super) async fn install(
        self: &Arc<Self>,
        upload: String,
        name: UploadName,
        bytes: Bytes,
        signature: Option<String>,
        actor: Actor,
    ) {
        let fail = |text: String| self.uploads.phase(&upload, UploadPhase::Failed, text);
        if let Err(refused) = self.may_install(&digest::of(&bytes), signature.as_deref()) {
            return fail(refused);
        }
        let (uploads, id) = (self.uploads.clone(), upload.clone());
        let installed = self
            .host
            .install(bytes.into(), move |phase| {
                let (phase, text) = match phase {
                    InstallPhase::Received => (UploadPhase::Received, "received"),
                    InstallPhase::Compiling => {
                        (UploadPhase::Compiling, "compiling in a sandboxed process")
                    }
                    InstallPhase::Describing => {
                        (UploadPhase::Describing, "asking the plugin what it is")
                    }
                };
                uploads.phase(&id, phase, text);
            })
            .await;
        let installed = match installed {
            Ok(installed) => installed,
            Err(error) => return fail(error.to_string()),
        };
        let digest = installed.digest.clone();
        // What is not taken leaves nothing behind.
        let refuse = |text: String| {
            if !self.registry.holds(&digest)
                && let Err(error) = self.host.remove(&digest)
            {
                tracing::warn!(%error, "the files of a refused plugin stay");
            }
            fail(text);
        };
        let name = name.of(&installed);
        if !crate::config::validate::is_name(&name) {
            return refuse(format!(
                "expected a name of letters, digits, '-', '_' and '.', found {name:?}"
            ));
        }
        // A file is one plugin: its bytes are its identity.
        let twin = self.registry.all().into_iter().find(|(other, versions)| {
            *other != name && versions.iter().any(|one| one.digest == installed.digest)
        });
        if let Some((twin, _)) = twin {
            return refuse(format!(
                "this file is the plugin {twin} already, byte for byte: use that one"
            ));
        }
        let before = self.registry.versions(&name);
        if before
            .iter()
            .any(|version| version.origin != Origin::Upload)
        {
            return refuse(format!(
                "the name {name} belongs to a plugin that came with the engine or its file: upload it under another name"
            ));
        }
        if let Some(other) = before.iter().find(|version| version.kind != installed.kind) {
            return refuse(format!(
                "{name} is a {}, and this file is a {}: upload it under another name",
                other.kind.as_str(),
                installed.kind.as_str()
            ));
        }
        let installed = self.host.named(installed, &name);
        let now = self.clock.now();
        let mut version = Version::new(&installed, Origin::Upload, &actor.name, now);
        let active = before.iter().find(|version| version.active);
        let known = before.iter().find(|old| old.digest == version.digest);
        // A new version waits until somebody switches to it.
        version.active = before.is_empty() || known.is_some_and(|old| old.active);
        version.signature = signature.or_else(|| known?.signature.clone());
        let replaces = active
            .filter(|old| old.digest != version.digest)
            .map(|old| {
                let (new, old_caps) =
                    (&installed.manifest.capabilities, &old.manifest.capabilities);
                let minus = |a: &[String], b: &[String]| {
                    a.iter()
                        .filter(|one| !b.contains(one))
                        .cloned()
                        .collect::<Vec<_>>()
                };
                Replaces {
                    version: old.manifest.version.clone(),
                    added_capabilities: minus(new, old_caps),
                    removed_capabilities: minus(old_caps, new),
                }
            });
        let row = super::super::plugins::row(&name, &version);
        let detail = json!({ "version": installed.manifest.version, "digest": installed.digest });
        let stored = self
            .recorder
            .write(move |conn| {
                let (row, actor, detail) = (row.clone(), actor.clone(), detail.clone());
                Box::pin(async move {
                    plugins::insert(conn, &row).await?;
                    plugins::sign(conn, &row.digest, row.signature.as_deref()).await?;
                    // Rows of versions that no longer load are there as well.
                    if row.active {
                        plugins::activate(conn, &row.digest).await?;
                    }
                    append(
                        conn,
                        now,
                        &actor,
                        "upload",
                        &format!("plugin/{}", row.name),
                        detail,
                    )
                    .await
                })
            })
            .await;
        if let Err(error) = stored {
            return refuse(format!("the plugin could not be stored: {error}"));
        }
        self.registry.add(&name, version);
        // A signature may be what it waited for.
        if self.host.held(&installed.digest).is_some()
            && let Err(problems) = self.refresh().await
        {
            tracing::warn!(?problems, "a plugin that was signed is still held back");
        }
        // Nobody may be watching.
        let _ = self.events.send(Event::Plugins {
            digest: installed.digest.clone(),
        });
        self.uploads.tell(Upload {
            id: upload.clone(),
            phase: UploadPhase::Done,
            message: format!("{name} {} is ready", installed.manifest.version),
            result: Some(UploadResult {
                name,
                version: installed.manifest.version.clone(),
                kind: installed.kind.as_str().to_owned(),
                digest: installed.digest.clone(),
                wanted: installed.manifest.capabilities.clone(),
                manifest: serde_json::to_value(&*installed.manifest).unwrap_or_default(),
                replaces,
            }),
        });
    }

    pub(super) async fn grant(
        &self,
        plugin: String,
        grants: GrantsSpec,
        actor: Actor,
    ) -> Answer<Applied> {
        if self.registry.versions(&plugin).is_empty() {
            return Err(CommandError::NotFound(format!("plugin {plugin}")));
        }
        let mut current = self.changing.lock().await;
        let spec = json!({ "name": plugin, "grants": grants });
        let expect = match current.ui.get(&(ObjectKind::Plugin, plugin.clone())) {
            Some((_, version)) => Expect::Version(*version),
            None => Expect::Absent,
        };
        let change = ObjectChange {
            kind: ObjectKind::Plugin,
            name: plugin,
            expect,
            spec: Some(spec),
        };
        self.change_objects(&mut current, vec![change], "grant", actor)
            .await
            .map_err(|error| match error {
                // The grants alone were sent.
                CommandError::Invalid(found) => CommandError::Invalid(relative(found, "grants")),
                other => other,
            })
    }

    pub(super) async fn activate(
        &self,
        plugin: String,
        digest: Digest,
        actor: Actor,
    ) -> Answer<Applied> {
        let mut current = self.changing.lock().await;
        let tried = self.registry.fork();
        if !tried.activate(&plugin, &digest) {
            return Err(CommandError::NotFound(format!(
                "version {} of plugin {plugin}",
                digest.0
            )));
        }
        let next = Generation {
            number: current.number + 1,
            ..current.clone()
        };
        let candidate = self
            .candidate(next.clone(), &tried)
            .map_err(CommandError::Invalid)?;
        self.load_referenced(&candidate.config)
            .await
            .map_err(CommandError::Invalid)?;
        let input = self.propose(candidate);
        let (now, subject, active) = (self.clock.now(), format!("plugin/{plugin}"), digest.clone());
        let stored = self
            .recorder
            .write_then(
                move |conn| {
                    let (actor, subject, digest) = (actor.clone(), subject.clone(), active.clone());
                    Box::pin(async move {
                        plugins::activate(conn, &digest).await?;
                        append(
                            conn,
                            now,
                            &actor,
                            "activate",
                            &subject,
                            json!({ "digest": digest }),
                        )
                        .await
                    })
                },
                move |()| input,
            )
            .await;
        if let Err(error) = stored {
            self.proposed.lock().remove(&next.number);
            return Err(store_error(error));
        }
        self.registry.activate(&plugin, &digest);
        // What was compared is the same now, or something else.
        self.shadows.end(&plugin);
        *current = next;
        self.in_force(current.number).await;
        let _ = self.events.send(Event::Plugins { digest });
        Ok(Applied {
            generation: current.number,
        })
    }

    pub(super) async fn remove_plugin(
        &self,
        plugin: String,
        digest: Option<Digest>,
        actor: Actor,
    ) -> Answer<()> {
        let mut current = self.changing.lock().await;
        let versions = self.registry.versions(&plugin);
        let doomed: Vec<Version> = versions
            .iter()
            .filter(|version| {
                digest
                    .as_ref()
                    .is_none_or(|digest| version.digest == *digest)
            })
            .cloned()
            .collect();
        if doomed.is_empty() {
            return Err(CommandError::NotFound(format!("plugin {plugin}")));
        }
        if doomed
            .iter()
            .any(|version| version.origin != Origin::Upload)
        {
            return Err(CommandError::ReadOnly(format!(
                "plugin {plugin} came with the engine or its file and cannot be removed here"
            )));
        }
        let users = self.users_of(&doomed);
        if !users.is_empty() {
            let message = format!("plugin {plugin} is in use by");
            return Err(CommandError::InUse { message, users });
        }
        let last = doomed.len() == versions.len();
        if !last && doomed.iter().any(|version| version.active) {
            return Err(CommandError::Conflict(
                "this version is the one in use: activate another one first".into(),
            ));
        }
        if last && in_file(&current.file.spec, ObjectKind::Plugin, &plugin) {
            return Err(CommandError::ReadOnly(format!(
                "the configuration file grants something to plugin {plugin}: take it out of plugins there first"
            )));
        }
        // What stays must be a valid configuration: the next start reads it.
        let tried = self.registry.fork();
        tried.remove(&plugin, digest.as_ref());
        let mut ui = (*current.ui).clone();
        if last {
            ui.remove(&(ObjectKind::Plugin, plugin.clone()));
        }
        let next = Generation {
            number: current.number + 1,
            file: current.file.clone(),
            ui: Arc::new(ui),
        };
        let candidate = self
            .candidate(next.clone(), &tried)
            .map_err(CommandError::Invalid)?;
        let input = self.propose(candidate);
        let (now, subject) = (self.clock.now(), format!("plugin/{plugin}"));
        let digests: Vec<Digest> = doomed
            .iter()
            .map(|version| version.digest.clone())
            .collect();
        let rows = digests.clone();
        let name = plugin.clone();
        let stored = self
            .recorder
            .write_then(
                move |conn| {
                    let (rows, actor, subject, name) =
                        (rows.clone(), actor.clone(), subject.clone(), name.clone());
                    Box::pin(async move {
                        for digest in &rows {
                            plugins::delete(conn, digest).await?;
                        }
                        if last {
                            // Grants of a plugin that is gone would wait for the
                            // next upload of that name.
                            let kind = ObjectKind::Plugin.as_str();
                            match objects::delete(conn, kind, &name, None).await {
                                Ok(()) | Err(StoreError::NotFound(_)) => {}
                                Err(error) => return Err(error),
                            }
                        }
                        let detail = json!({ "digests": rows });
                        append(conn, now, &actor, "delete", &subject, detail).await
                    })
                },
                move |()| input,
            )
            .await;
        if let Err(error) = stored {
            self.proposed.lock().remove(&next.number);
            return Err(store_error(error));
        }
        self.registry.remove(&plugin, digest.as_ref());
        *current = next;
        self.in_force(current.number).await;
        for digest in digests {
            self.shadows.end_of(&plugin, &digest);
            if !self.registry.holds(&digest)
                && let Err(error) = self.host.remove(&digest)
            {
                tracing::warn!(%error, "the files of a removed plugin stay");
            }
            let _ = self.events.send(Event::Plugins { digest });
        }
        Ok(())
    }

    /// Objects that run on one of these versions.
    fn users_of(&self, versions: &[Version]) -> Vec<String> {
        let config = self.config.read().clone();
        let used = |digest: &Digest| versions.iter().any(|version| version.digest == *digest);
        let mut users = Vec::new();
        users.extend(
            config
                .checks
                .values()
                .filter(|one| used(&one.plugin.digest))
                .map(|one| format!("check {}", one.spec.name)),
        );
        users.extend(
            config
                .remediations
                .values()
                .filter(|one| used(&one.plugin.digest))
                .map(|one| format!("remediation {}", one.spec.name)),
        );
        users.extend(
            config
                .log_sources
                .values()
                .filter(|one| used(&one.plugin.digest))
                .map(|one| format!("log source {}", one.spec.name)),
        );
        users.extend(
            config
                .contacts
                .values()
                .filter(|one| one.plugin.as_ref().is_some_and(|facts| used(&facts.digest)))
                .map(|one| format!("contact {}", one.spec.name)),
        );
        users
    }
}
