//! Plugins that crash again and again are held back: pure, like all of the
//! pipeline.
//!
//! A version is quarantined when [`CRASHES`] runs in a row within [`WITHIN`]
//! crashed, over all its checks and nodes, and no node's newest run by it ended
//! well: one configuration that crashes a plugin does not take it away from
//! others. A crash is a trap, an exceeded limit, or computing beyond the
//! deadline. Whatever else a plugin says, even that it failed, is an answer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::changes::{Alert, AlertSource, Changes, Effect, Event, NotificationKind, Phase};
use super::snapshot::{AlertKey, Snapshot};
use crate::check::outcome::{Digest, Fault, FaultKind, Outcome, SeriesId};
use crate::clock::Timestamp;
use crate::config::spec::Severity;

/// Crashes in a row that quarantine a version.
pub const CRASHES: usize = 10;
/// Time within which they fall.
pub const WITHIN: Duration = Duration::from_secs(300);
/// Time until the first trial run; it doubles with each trial that fails.
pub const FIRST_TRIAL: Duration = Duration::from_secs(300);
/// Longest time between trial runs.
pub const LONGEST_TRIAL: Duration = Duration::from_secs(3_600);
/// A version that crashes again so soon after a trial went on where it was.
pub const RELAPSE: Duration = Duration::from_secs(3_600);

/// Why a version is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineCause {
    /// It crashed again and again.
    Crashes,
    /// The configuration revokes it.
    Revoked,
    /// The configuration demands a signature that it does not have.
    Unsigned,
}

/// A version that is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    pub digest: Digest,
    /// Name of the plugin.
    pub plugin: String,
    pub version: String,
    pub cause: QuarantineCause,
    /// What happened, in plain words.
    pub reason: String,
    pub since: Timestamp,
    /// Trial runs that crashed.
    pub trials: u32,
    /// When a run is let through to see; `None`: never.
    pub trial_at: Option<Timestamp>,
}

impl Quarantine {
    /// What the fault of a run says that is held back.
    pub fn text(&self) -> String {
        let Self {
            plugin,
            version,
            reason,
            ..
        } = self;
        let remedy = match self.cause {
            QuarantineCause::Crashes => {
                "activate another version, or look at its crashes on its page and release it there; \
                 a trial run is made from time to time and releases it when it ends well"
            }
            QuarantineCause::Revoked => {
                "activate another version; signing.revoked of the configuration names this one"
            }
            QuarantineCause::Unsigned => {
                "upload it again with a signature of a key in signing.keys, or set signing.require: false"
            }
        };
        format!("plugin {plugin} {version} is quarantined and not run: {reason}; {remedy}")
    }
}

/// Name and version behind a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginName {
    pub name: String,
    pub version: String,
}

/// A version that the configuration does not let run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub cause: QuarantineCause,
    pub reason: String,
}

/// What is remembered of crashes and quarantines.
#[derive(Debug, Default)]
pub(super) struct Quarantines {
    held: BTreeMap<Digest, Quarantine>,
    /// Crashes in a row, oldest first.
    streaks: HashMap<Digest, VecDeque<Timestamp>>,
    /// Trials that failed before a version was released by one that did not.
    released: HashMap<Digest, (Timestamp, u32)>,
}

impl Quarantines {
    pub fn new(held: Vec<Quarantine>) -> Self {
        Self {
            held: held
                .into_iter()
                .map(|one| (one.digest.clone(), one))
                .collect(),
            ..Self::default()
        }
    }

    pub fn holds(&self, digest: &Digest) -> bool {
        !self.held.is_empty() && self.held.contains_key(digest)
    }
}

/// True where the guest came to no end of its own.
pub fn is_crash(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Trap | FaultKind::Limit | FaultKind::Deadline
    )
}

impl Snapshot {
    /// Takes notice of how a run's guest ended.
    pub(super) fn guest_ended(
        &mut self,
        id: SeriesId,
        outcome: &Outcome,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let digest = &outcome.job.spec.plugin;
        match &outcome.verdict {
            // The guest did not run.
            Err(fault) if matches!(fault.kind, FaultKind::Engine | FaultKind::Plugin) => {}
            Err(fault) if is_crash(fault.kind) => {
                if let Some(series) = self.get_mut(id) {
                    series.sound = None;
                }
                match self.quarantines.held.get(digest) {
                    Some(held) => {
                        if held.trial_at.is_some_and(|at| outcome.started >= at) {
                            self.trial_failed(digest.clone(), now, changes);
                        }
                    }
                    None => self.crashed(digest, fault, now, changes),
                }
            }
            _ => {
                if let Some(series) = self.get_mut(id)
                    && series.sound.as_ref() != Some(digest)
                {
                    series.sound = Some(digest.clone());
                }
                if !self.quarantines.streaks.is_empty() {
                    self.quarantines.streaks.remove(digest);
                }
                let trial = self.quarantines.held.get(digest).and_then(|q| q.trial_at);
                if trial.is_some_and(|at| outcome.started >= at) {
                    let trials = self.quarantines.held[digest].trials;
                    self.quarantines
                        .released
                        .insert(digest.clone(), (now, trials));
                    self.release(digest, "a trial run ended well", now, changes);
                }
            }
        }
    }

    fn crashed(&mut self, digest: &Digest, fault: &Fault, now: Timestamp, changes: &mut Changes) {
        // Runs of a version that was left may end late: they decide nothing.
        if !self.policy.plugins.contains_key(digest) {
            return;
        }
        let streak = self.quarantines.streaks.entry(digest.clone()).or_default();
        if streak.len() == CRASHES {
            streak.pop_front();
        }
        streak.push_back(now);
        let soon = streak.len() == CRASHES
            && streak
                .front()
                .is_some_and(|first| now.since(*first) <= WITHIN);
        let sound = |series: &super::snapshot::Series| {
            series.node.is_some() && series.sound.as_ref() == Some(digest)
        };
        if !soon || self.series().any(sound) {
            return;
        }
        let trials = match self.quarantines.released.remove(digest) {
            Some((at, trials)) if now.since(at) <= RELAPSE => trials + 1,
            _ => 0,
        };
        let reason = format!(
            "{CRASHES} runs in a row crashed, the last one: {}",
            clip(&fault.text)
        );
        let quarantine = Quarantine {
            trials,
            trial_at: Some(now + pause(trials)),
            ..self.quarantine(digest, QuarantineCause::Crashes, reason, now)
        };
        self.hold(quarantine, now, changes);
    }

    fn quarantine(
        &self,
        digest: &Digest,
        cause: QuarantineCause,
        reason: String,
        now: Timestamp,
    ) -> Quarantine {
        let known = self.policy.plugins.get(digest);
        Quarantine {
            digest: digest.clone(),
            plugin: known.map_or_else(|| digest.0.to_string(), |known| known.name.clone()),
            version: known.map_or_else(String::new, |known| known.version.clone()),
            cause,
            reason,
            since: now,
            trials: 0,
            trial_at: None,
        }
    }

    fn trial_failed(&mut self, digest: Digest, now: Timestamp, changes: &mut Changes) {
        let Some(held) = self.quarantines.held.get_mut(&digest) else {
            return;
        };
        held.trials = held.trials.saturating_add(1);
        held.trial_at = Some(now + pause(held.trials));
        let held = held.clone();
        changes.effects.push(Effect::Held(Box::new(held.clone())));
        changes.quarantines.insert(digest, Some(held));
    }

    /// Holds a version back and tells of it, once.
    fn hold(&mut self, quarantine: Quarantine, now: Timestamp, changes: &mut Changes) {
        let digest = quarantine.digest.clone();
        let source = AlertSource::Plugin {
            plugin: quarantine.plugin.clone(),
            digest: digest.clone(),
        };
        let key = AlertKey {
            source: source.clone(),
            series: None,
        };
        changes
            .effects
            .push(Effect::Held(Box::new(quarantine.clone())));
        changes.effects.push(Effect::Event(Event::Plugins {
            digest: digest.clone(),
        }));
        changes
            .quarantines
            .insert(digest.clone(), Some(quarantine.clone()));
        self.quarantines.streaks.remove(&digest);
        let alert = Alert {
            id: self.next.alert,
            source,
            series: None,
            check: None,
            node: None,
            phase: Phase::Pending,
            severity: Severity::Critical,
            labels: Default::default(),
            summary: quarantine.text(),
            pending_at: now,
            fired_at: None,
            ended_at: None,
            threads: Default::default(),
            remedies: Default::default(),
            escalated: false,
            suppressed_by: Vec::new(),
        };
        self.quarantines.held.insert(digest, quarantine);
        if !self.open.contains_key(&key) {
            self.next.alert += 1;
            self.fire(alert, NotificationKind::Fault, now, changes);
        }
    }

    /// Lets a version run again, where it is held back.
    pub(super) fn release(
        &mut self,
        digest: &Digest,
        why: &str,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(held) = self.quarantines.held.remove(digest) else {
            return;
        };
        changes.quarantines.insert(digest.clone(), None);
        changes.effects.push(Effect::Released(digest.clone()));
        changes.effects.push(Effect::Event(Event::Plugins {
            digest: digest.clone(),
        }));
        let key = AlertKey {
            source: AlertSource::Plugin {
                plugin: held.plugin,
                digest: digest.clone(),
            },
            series: None,
        };
        if let Some(alert) = self.open.get(&key).copied() {
            let summary = format!("runs again: {why}");
            self.resolve(
                alert,
                &summary,
                NotificationKind::FaultResolved,
                now,
                changes,
            );
        }
    }

    /// Follows the configuration: what it no longer uses or blocks is released,
    /// what it blocks is held.
    pub(super) fn configure_quarantines(&mut self, now: Timestamp, changes: &mut Changes) {
        let policy = self.policy.clone();
        let ended: Vec<(Digest, &str)> = self
            .quarantines
            .held
            .values()
            .filter_map(|held| {
                let blocked = policy.blocked.get(&held.digest);
                let why = if !policy.plugins.contains_key(&held.digest) {
                    "nothing uses this version any more"
                } else if held.cause != QuarantineCause::Crashes && blocked.is_none() {
                    "the configuration lets it run"
                } else {
                    return None;
                };
                Some((held.digest.clone(), why))
            })
            .collect();
        for (digest, why) in ended {
            self.release(&digest, why, now, changes);
        }
        self.quarantines
            .streaks
            .retain(|digest, _| policy.plugins.contains_key(digest));
        self.quarantines
            .released
            .retain(|digest, _| policy.plugins.contains_key(digest));
        for (digest, blocked) in &policy.blocked {
            let known = self.quarantines.held.get(digest).map(|held| held.cause);
            if policy.plugins.contains_key(digest) && known != Some(blocked.cause) {
                let quarantine =
                    self.quarantine(digest, blocked.cause, blocked.reason.clone(), now);
                self.hold(quarantine, now, changes);
            }
        }
    }
}

/// Time until the next trial after so many that failed.
fn pause(trials: u32) -> Duration {
    FIRST_TRIAL
        .saturating_mul(1 << trials.min(16))
        .min(LONGEST_TRIAL)
}

/// The beginning of a fault's text.
fn clip(text: &str) -> &str {
    text.get(..text.floor_char_boundary(500)).unwrap_or(text)
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
