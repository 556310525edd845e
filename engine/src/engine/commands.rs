//! What HTTP handlers ask for, done one after another where it changes the
//! configuration, and beside each other otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::configuration::Generation;
use super::registry::Version;
use super::{Core, resolve};
use crate::check::outcome::{Cause, Digest, Job, JobSpec, NodeInfo, RunLimits, SeriesId};
use crate::check::runner::Message;
use crate::clock::Timestamp;
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::{GrantsSpec, JsonObject};
use crate::config::{PluginLookup, Problem};
use crate::http::commands::{
    Actor, Applied, Command, CommandError, DryRunReport, Expect, ObjectChange, ObjectKind,
};
use crate::http::uploads::{Replaces, Upload, UploadPhase, UploadResult};
use crate::pipeline::Input;
use crate::pipeline::changes::Event;
use crate::plugin::InstallPhase;
use crate::store::plugins::Origin;
use crate::store::{StoreError, audit, objects, outbox, plugins};

type Answer<T> = Result<T, CommandError>;

/// Serves commands until the engine stops. Each is a task of its own: a
/// compilation does not hold up a run-now.
pub async fn serve(core: Arc<Core>, mut commands: mpsc::Receiver<Command>) {
    loop {
        let command = tokio::select! {
            () = core.stop.cancelled() => break,
            command = commands.recv() => match command {
                Some(command) => command,
                None => break,
            },
        };
        let core_of_task = core.clone();
        core.tasks
            .spawn(async move { core_of_task.execute(command).await });
    }
}

impl Core {
    async fn execute(self: Arc<Self>, command: Command) {
        // Whoever asked may have gone: an answer that nobody takes is fine.
        match command {
            Command::RunNow {
                check,
                node,
                actor,
                reply,
            } => {
                let _ = reply.send(self.run_now(check, node, actor).await);
            }
            Command::Pause {
                check,
                paused,
                actor,
                reply,
            } => {
                let _ = reply.send(self.pause(check, paused, actor).await);
            }
            Command::Install {
                upload,
                name,
                bytes,
                actor,
                ..
            } => {
                self.install(upload, name, bytes, actor).await;
            }
            Command::Grant {
                plugin,
                grants,
                actor,
                reply,
            } => {
                let _ = reply.send(self.grant(plugin, grants, actor).await);
            }
            Command::Activate {
                plugin,
                digest,
                actor,
                reply,
            } => {
                let _ = reply.send(self.activate(plugin, digest, actor).await);
            }
            Command::RemovePlugin {
                plugin,
                digest,
                actor,
                reply,
            } => {
                let _ = reply.send(self.remove_plugin(plugin, digest, actor).await);
            }
            Command::ApplyObjects {
                changes,
                dry_run,
                actor,
                reply,
            } => {
                let _ = reply.send(self.apply_objects(changes, dry_run, actor).await);
            }
            Command::DryRun {
                plugin,
                node,
                config,
                timeout,
                reply,
                ..
            } => {
                let _ = reply.send(self.dry_run(plugin, node, config, timeout).await);
            }
            Command::TestRule {
                when,
                check,
                node,
                reply,
            } => {
                let report = self
                    .test_rule(&when, check.as_deref(), node.as_deref())
                    .await;
                let _ = reply.send(report);
            }
            Command::RetryDelivery {
                outbox,
                actor,
                reply,
            } => {
                let _ = reply.send(self.retry_delivery(outbox, actor).await);
            }
            Command::DecideRepair {
                run,
                approve,
                actor,
                reply,
            } => {
                let _ = reply.send(self.decide_repair(run, approve, actor).await);
            }
            Command::SetDemoBroken { broken, reply } => {
                let answer = self.demo.as_ref().map(|shop| shop.set_broken(broken));
                let _ = reply.send(answer.ok_or_else(no_demo));
            }
            Command::DemoBroken { reply } => {
                let answer = self.demo.as_ref().map(crate::demo::Shop::is_broken);
                let _ = reply.send(answer.ok_or_else(no_demo));
            }
            Command::ValidateConfig { text, reply } => {
                let _ = reply.send(Ok(self.validate_text(&text)));
            }
            Command::Reload { actor, reply } => {
                let answer = self.reload().await.map_err(CommandError::Invalid);
                if answer.is_ok() {
                    self.audit(&actor, "reload", "configuration", json!({}))
                        .await;
                }
                let _ = reply.send(answer.map(|generation| Applied { generation }));
            }
        }
    }

    /// Problems of a whole configuration that is not used.
    fn validate_text(&self, text: &str) -> Vec<Problem> {
        let base = self
            .config_path
            .as_deref()
            .and_then(std::path::Path::parent);
        let base = base.unwrap_or(std::path::Path::new("."));
        let loaded = match crate::config::load_str("(sent)", text, base) {
            Ok(loaded) => loaded,
            Err(problems) => return problems,
        };
        match crate::config::Config::build(&loaded.spec, &self.registry) {
            Ok(_) => Vec::new(),
            Err(problems) => loaded.origins.locate(problems),
        }
    }

    async fn run_now(&self, check: String, node: Option<String>, actor: Actor) -> Answer<u32> {
        let view = self.view.borrow().clone();
        let series: Vec<SeriesId> = view
            .series_of_check(&check)
            .iter()
            .filter(|one| node.as_deref().is_none_or(|node| *one.node == *node))
            .map(|one| one.id)
            .collect();
        if series.is_empty() {
            let node = node
                .map(|node| format!(" on node {node}"))
                .unwrap_or_default();
            return Err(CommandError::NotFound(format!("check {check}{node}")));
        }
        let (reply, answer) = oneshot::channel();
        let message = Message::RunNow {
            series,
            cause: Cause::RunNow,
            reply: Some(reply),
        };
        if self.runner.send(message).await.is_err() {
            return Err(stopping());
        }
        let runs = answer.await.map_err(|_| stopping())?;
        self.audit(
            &actor,
            "run",
            &format!("check/{check}"),
            json!({ "node": node }),
        )
        .await;
        Ok(runs)
    }

    async fn pause(&self, check: String, paused: bool, actor: Actor) -> Answer<()> {
        let mut current = self.changing.lock().await;
        let key = (ObjectKind::Check, check.clone());
        let Some((spec, version)) = current.ui.get(&key).cloned() else {
            return Err(match self.config.read().checks.contains_key(&check) {
                true => CommandError::ReadOnly(format!(
                    "check {check} belongs to the configuration file: set paused: {paused} there"
                )),
                false => CommandError::NotFound(format!("check {check}")),
            });
        };
        let mut spec = spec;
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("paused".into(), paused.into());
        }
        let change = ObjectChange {
            kind: ObjectKind::Check,
            name: check,
            expect: Expect::Version(version),
            spec: Some(spec),
        };
        let action = if paused { "pause" } else { "resume" };
        self.change_objects(&mut current, vec![change], action, actor)
            .await
            .map(|_| ())
    }

    async fn apply_objects(
        &self,
        changes: Vec<ObjectChange>,
        dry_run: bool,
        actor: Actor,
    ) -> Answer<Applied> {
        let mut current = self.changing.lock().await;
        if dry_run {
            let next = self.planned(&current, &changes)?;
            self.candidate(next, &self.registry)
                .map_err(CommandError::Invalid)?;
            return Ok(Applied {
                generation: current.number,
            });
        }
        self.change_objects(&mut current, changes, "", actor).await
    }

    /// The generation after `changes`, not validated yet.
    fn planned(&self, current: &Generation, changes: &[ObjectChange]) -> Answer<Generation> {
        let mut ui = (*current.ui).clone();
        for change in changes {
            let key = (change.kind, change.name.clone());
            let what = format!("{} {}", change.kind.as_str(), change.name);
            if super::configuration::in_file(&current.file.spec, change.kind, &change.name) {
                let file = self
                    .config_path
                    .as_ref()
                    .map(|path| path.display().to_string());
                return Err(CommandError::ReadOnly(format!(
                    "{what} belongs to {}: change it there",
                    file.unwrap_or_else(|| "the configuration file".into())
                )));
            }
            let found = ui.get(&key).map(|(_, version)| *version);
            match (change.expect, found) {
                (Expect::Absent, Some(_)) => {
                    return Err(CommandError::Conflict(format!("{what} exists already")));
                }
                (Expect::Present | Expect::Version(_), None) => {
                    return Err(CommandError::NotFound(what));
                }
                (Expect::Version(expected), Some(found)) if expected != found => {
                    return Err(CommandError::Conflict(format!(
                        "{what} was changed meanwhile: expected version {expected}, found {found}; load it again"
                    )));
                }
                _ => {}
            }
            match &change.spec {
                Some(spec) => {
                    // The store counts from 1 and adds 1 with every change.
                    ui.insert(key, (spec.clone(), found.unwrap_or(0) + 1));
                }
                None => {
                    ui.remove(&key);
                }
            }
        }
        Ok(Generation {
            number: current.number + 1,
            file: current.file.clone(),
            ui: Arc::new(ui),
        })
    }

    /// Validates, commits with the audit rows, and waits until it is in force.
    async fn change_objects(
        &self,
        current: &mut Generation,
        changes: Vec<ObjectChange>,
        action: &'static str,
        actor: Actor,
    ) -> Answer<Applied> {
        let next = self.planned(current, &changes)?;
        let candidate = self
            .candidate(next.clone(), &self.registry)
            .map_err(CommandError::Invalid)?;
        self.load_referenced(&candidate.config)
            .await
            .map_err(CommandError::Invalid)?;
        let input = self.propose(candidate);
        let now = self.clock.now();
        let rows = Arc::new((changes, actor, action));
        let stored = self
            .recorder
            .write_then(
                move |conn| {
                    let rows = rows.clone();
                    Box::pin(async move {
                        let (changes, actor, action) = &*rows;
                        for change in changes {
                            store_change(conn, change, action, actor, now).await?;
                        }
                        Ok(())
                    })
                },
                move |()| input,
            )
            .await;
        if let Err(error) = stored {
            self.proposed.lock().remove(&next.number);
            return Err(store_error(error));
        }
        *current = next;
        self.in_force(current.number).await;
        Ok(Applied {
            generation: current.number,
        })
    }

    async fn install(
        self: &Arc<Self>,
        upload: String,
        name: Option<String>,
        bytes: Bytes,
        actor: Actor,
    ) {
        let fail = |text: String| self.uploads.phase(&upload, UploadPhase::Failed, text);
        let (uploads, id) = (self.uploads.clone(), upload.clone());
        let installed = self
            .host
            .install(bytes.to_vec(), move |phase| {
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
        let name = name.unwrap_or_else(|| installed.manifest.name.clone());
        if !crate::config::validate::is_name(&name) {
            return fail(format!(
                "expected a name of letters, digits, '-', '_' and '.', found {name:?}"
            ));
        }
        let before = self.registry.versions(&name);
        if before
            .iter()
            .any(|version| version.origin != Origin::Upload)
        {
            return fail(format!(
                "the name {name} belongs to a plugin that came with the engine or its file: upload it under another name"
            ));
        }
        if let Some(other) = before.iter().find(|version| version.kind != installed.kind) {
            return fail(format!(
                "{name} is a {}, and this file is a {}: upload it under another name",
                other.kind.as_str(),
                installed.kind.as_str()
            ));
        }
        let now = self.clock.now();
        let mut version = Version::new(&installed, Origin::Upload, &actor.name, now);
        let active = before.iter().find(|version| version.active);
        // A new version waits until somebody switches to it.
        version.active = active.is_none_or(|old| old.digest == version.digest);
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
        let row = super::plugins::row(&name, &version);
        let detail = json!({ "version": installed.manifest.version, "digest": installed.digest });
        let stored = self
            .recorder
            .write(move |conn| {
                let (row, actor, detail) = (row.clone(), actor.clone(), detail.clone());
                Box::pin(async move {
                    plugins::insert(conn, &row).await?;
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
            return fail(format!("the plugin could not be stored: {error}"));
        }
        self.registry.add(&name, version);
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

    async fn grant(&self, plugin: String, grants: GrantsSpec, actor: Actor) -> Answer<Applied> {
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
    }

    async fn activate(&self, plugin: String, digest: Digest, actor: Actor) -> Answer<Applied> {
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
        *current = next;
        self.in_force(current.number).await;
        let _ = self.events.send(Event::Plugins { digest });
        Ok(Applied {
            generation: current.number,
        })
    }

    async fn remove_plugin(
        &self,
        plugin: String,
        digest: Option<Digest>,
        actor: Actor,
    ) -> Answer<()> {
        let current = self.changing.lock().await;
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
        let (now, subject) = (self.clock.now(), format!("plugin/{plugin}"));
        let digests: Vec<Digest> = doomed
            .iter()
            .map(|version| version.digest.clone())
            .collect();
        let rows = digests.clone();
        let last = doomed.len() == versions.len();
        let name = plugin.clone();
        self.recorder
            .write(move |conn| {
                let (rows, actor, subject, name) =
                    (rows.clone(), actor.clone(), subject.clone(), name.clone());
                Box::pin(async move {
                    for digest in &rows {
                        plugins::delete(conn, digest).await?;
                    }
                    if last {
                        // Grants of a plugin that is gone would wait for the
                        // next upload of that name.
                        match objects::delete(conn, ObjectKind::Plugin.as_str(), &name, None).await
                        {
                            Ok(()) | Err(StoreError::NotFound(_)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    append(
                        conn,
                        now,
                        &actor,
                        "delete",
                        &subject,
                        json!({ "digests": rows }),
                    )
                    .await
                })
            })
            .await
            .map_err(store_error)?;
        self.registry.remove(&plugin, digest.as_ref());
        for digest in digests {
            if !self.registry.holds(&digest)
                && let Err(error) = self.host.remove(&digest)
            {
                tracing::warn!(%error, "the files of a removed plugin stay");
            }
            let _ = self.events.send(Event::Plugins { digest });
        }
        drop(current);
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
        users
    }

    async fn dry_run(
        &self,
        plugin: String,
        node: Option<String>,
        config: JsonObject,
        timeout: Option<Duration>,
    ) -> Answer<DryRunReport> {
        let facts = self
            .registry
            .find(&plugin)
            .ok_or_else(|| CommandError::NotFound(format!("plugin {plugin}")))?;
        let node = node.ok_or_else(|| {
            let text = "expected the node to run against, found none";
            CommandError::Invalid(vec![Problem::new("node", text)])
        })?;
        let current = self.config.read().clone();
        let node: Arc<NodeInfo> = current
            .nodes
            .get(&node)
            .map(|def| def.info.clone())
            .ok_or_else(|| CommandError::NotFound(format!("node {node}")))?;
        let value = serde_json::Value::Object(config);
        let problems = crate::config::schema::check(&facts.config_schema, &value, "config");
        if !problems.is_empty() {
            return Err(CommandError::Invalid(problems));
        }
        let mut grants = resolve::operator_grants(&current, &facts);
        if facts.first_party {
            grants.net.push("node".into());
            grants
                .net
                .extend(crate::config::schema::targets(&facts.config_schema, &value));
            grants.state = true;
        }
        self.host
            .load(&facts.digest)
            .await
            .map_err(|error| CommandError::Unavailable(error.to_string()))?;
        let spec = JobSpec {
            series: SeriesId(0),
            check: "dry-run".into(),
            node,
            plugin: facts.digest.clone(),
            config: value.to_string().into(),
            grants: Arc::new(grants),
            limits: RunLimits {
                memory: DEFAULT_MEMORY,
                timeout: timeout
                    .unwrap_or(Duration::from_secs(5))
                    .min(Duration::from_secs(60)),
            },
        };
        let job = Job {
            spec: Arc::new(spec),
            scheduled: self.clock.now(),
            attempt: 1,
            cause: Cause::RunNow,
            state: Arc::default(),
        };
        let outcome = self.host.run_probe(job).await;
        let duration_us = u64::try_from(outcome.duration().as_micros()).unwrap_or(u64::MAX);
        let log = outcome.log;
        Ok(match outcome.verdict {
            Ok(report) => DryRunReport {
                state: Some(report.state),
                summary: report.summary,
                details: report.details,
                metrics: report.metrics,
                log,
                fault: None,
                duration_us,
            },
            Err(fault) => DryRunReport {
                state: None,
                summary: fault.text.clone(),
                details: String::new(),
                metrics: Vec::new(),
                log,
                fault: Some(fault),
                duration_us,
            },
        })
    }

    async fn retry_delivery(&self, id: i64, actor: Actor) -> Answer<()> {
        let now = self.clock.now();
        self.recorder
            .write(move |conn| {
                let actor = actor.clone();
                Box::pin(async move {
                    outbox::retry_now(conn, id, now).await?;
                    append(
                        conn,
                        now,
                        &actor,
                        "retry",
                        &format!("outbox/{id}"),
                        json!({}),
                    )
                    .await
                })
            })
            .await
            .map_err(store_error)?;
        self.deliver.notify_one();
        let _ = self.events.send(Event::Outbox { id });
        Ok(())
    }

    async fn decide_repair(&self, run: i64, approve: bool, actor: Actor) -> Answer<()> {
        let now = self.clock.now();
        let action = if approve { "approve" } else { "refuse" };
        self.recorder
            .write_then(
                move |conn| {
                    let actor = actor.clone();
                    Box::pin(async move {
                        append(
                            conn,
                            now,
                            &actor,
                            action,
                            &format!("repair/{run}"),
                            json!({}),
                        )
                        .await
                    })
                },
                move |()| Input::ActionApproved {
                    run,
                    approved: approve,
                },
            )
            .await
            .map_err(store_error)
    }

    async fn audit(
        &self,
        actor: &Actor,
        action: &'static str,
        subject: &str,
        detail: serde_json::Value,
    ) {
        let (now, actor, subject) = (self.clock.now(), actor.clone(), subject.to_owned());
        let written = self
            .recorder
            .write(move |conn| {
                let (actor, subject, detail) = (actor.clone(), subject.clone(), detail.clone());
                Box::pin(async move { append(conn, now, &actor, action, &subject, detail).await })
            })
            .await;
        if let Err(error) = written {
            tracing::error!(%error, action, "a change is missing in the audit");
        }
    }
}

async fn store_change(
    conn: &mut crate::store::Conn,
    change: &ObjectChange,
    action: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let kind = change.kind.as_str();
    let expected = match change.expect {
        Expect::Absent => Some(0),
        Expect::Version(version) => Some(version),
        Expect::Present => None,
    };
    let done = match &change.spec {
        Some(spec) => {
            objects::put(conn, kind, &change.name, spec, expected, now).await?;
            if change.expect == Expect::Absent {
                "create"
            } else {
                "update"
            }
        }
        None => {
            objects::delete(conn, kind, &change.name, expected).await?;
            "delete"
        }
    };
    let action = if action.is_empty() { done } else { action };
    let subject = format!("{kind}/{}", change.name);
    append(
        conn,
        now,
        actor,
        action,
        &subject,
        change.spec.clone().unwrap_or_default(),
    )
    .await
}

async fn append(
    conn: &mut crate::store::Conn,
    now: Timestamp,
    actor: &Actor,
    action: &str,
    subject: &str,
    detail: serde_json::Value,
) -> Result<(), StoreError> {
    audit::append(conn, now, &actor.name, action, subject, &detail)
        .await
        .map(|_| ())
}

fn store_error(error: StoreError) -> CommandError {
    match error {
        StoreError::Conflict { .. } => CommandError::Conflict(error.to_string()),
        StoreError::NotFound(what) => CommandError::NotFound(what),
        StoreError::Invalid(text) => CommandError::Invalid(vec![Problem::new("", text)]),
        StoreError::Stopped => stopping(),
        other => CommandError::Internal(other.into()),
    }
}

fn stopping() -> CommandError {
    CommandError::Unavailable("the engine is shutting down".into())
}

fn no_demo() -> CommandError {
    CommandError::NotFound(
        "the demo's switch: this engine was not started with `bellwether demo`".into(),
    )
}
