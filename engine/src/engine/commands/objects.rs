//! Changes of objects that the API and the UI make: planned, validated,
//! committed with their audit rows, and in force when the answer is given.

use std::sync::Arc;

use super::super::Core;
use super::super::configuration::{Generation, in_file};
use super::{Answer, append, store_error};
use crate::clock::Timestamp;
use crate::http::commands::{Actor, Applied, CommandError, Expect, ObjectChange, ObjectKind};
use crate::store::{StoreError, meta, objects};

impl Core {
    pub(super) async fn apply_objects(
        &self,
        changes: Vec<ObjectChange>,
        dry_run: bool,
        actor: Actor,
    ) -> Answer<Applied> {
        let mut current = self.changing.lock().await;
        if dry_run {
            let next = self.planned(&current, &changes)?;
            self.candidate_with(next, &self.registry, sent(&changes))
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
            if in_file(&current.file.spec, change.kind, &change.name) {
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
    pub(super) async fn change_objects(
        &self,
        current: &mut Generation,
        changes: Vec<ObjectChange>,
        action: &'static str,
        actor: Actor,
    ) -> Answer<Applied> {
        let next = self.planned(current, &changes)?;
        let candidate = self
            .candidate_with(next.clone(), &self.registry, sent(&changes))
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
}

/// The object to which the paths of problems are relative.
fn sent(changes: &[ObjectChange]) -> Option<(ObjectKind, &str)> {
    match changes {
        [one] if one.spec.is_some() => Some((one.kind, &one.name)),
        _ => None,
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
            // Whoever makes one of that name again makes new URLs.
            match change.kind {
                ObjectKind::Check => meta::forget_reports_of_check(conn, &change.name).await?,
                ObjectKind::Node => meta::forget_reports_of_node(conn, &change.name).await?,
                _ => {}
            }
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
