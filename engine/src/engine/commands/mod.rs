//! What HTTP handlers ask for, done one after another where it changes the
//! configuration, and beside each other otherwise.

mod lifecycle;
mod objects;
mod plugins;
mod pull;
mod reports;
mod shadow;
mod tries;

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use self::plugins::UploadName;
use super::Core;
use crate::check::outcome::{Cause, SeriesId};
use crate::check::runner::Message;
use crate::clock::Timestamp;
use crate::config::Problem;
use crate::http::commands::{Actor, Command, CommandError, Expect, ObjectChange, ObjectKind};
use crate::pipeline::Input;
use crate::pipeline::changes::Event;
use crate::store::{StoreError, audit, outbox};

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
                file_name,
                bytes,
                signature,
                place,
                actor,
            } => {
                let name = UploadName { name, file_name };
                self.install(upload, name, bytes, signature, actor).await;
                drop(place);
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
            Command::Pull {
                upload,
                name,
                reference,
                signature,
                actor,
            } => self.pull(upload, name, &reference, signature, actor).await,
            Command::StartShadow {
                plugin,
                wanted,
                actor,
                reply,
            } => {
                let _ = reply.send(self.start_shadow(plugin, wanted, actor).await);
            }
            Command::EndShadow {
                plugin,
                actor,
                reply,
            } => {
                let _ = reply.send(self.end_shadow(plugin, actor).await);
            }
            Command::Shadow { plugin, reply } => {
                let _ = reply.send(self.shadow(&plugin));
            }
            Command::Report {
                series,
                entries,
                reply,
            } => {
                let _ = reply.send(self.report(series, entries).await);
            }
            Command::ReportKey {
                check,
                node,
                key,
                actor,
                reply,
            } => {
                let _ = reply.send(self.set_report_key(check, node, key, actor).await);
            }
            Command::ReleasePlugin {
                plugin,
                digest,
                actor,
                reply,
            } => {
                let _ = reply.send(self.release_plugin(plugin, digest, actor).await);
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
                input,
                timeout,
                reply,
                ..
            } => {
                let _ = reply.send(self.dry_run(plugin, node, config, input, timeout).await);
            }
            Command::ReplayCrash {
                plugin,
                id,
                digest,
                reply,
            } => {
                let _ = reply.send(self.replay_crash(plugin, id, digest).await);
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
            Command::Backtest { ask, reply } => {
                let _ = reply.send(self.backtest(&ask).await);
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
                let _ = reply.send(answer);
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
