//! The pure core: what a batch of inputs changes.
//!
//! Invariant: nothing here does I/O, reads a clock or waits. The recorder and
//! every test call the same [`apply`].

pub mod backtest;
pub mod changes;
pub mod faults;
pub mod groups;
pub mod policy;
pub mod quarantine;
pub mod snapshot;

mod alerts;
mod approvals;
mod checks;
mod notices;
mod parents;
mod remedies;
mod restart;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;
mod verification;

use std::sync::Arc;

use self::changes::{Changes, Checkpoint, Effect, Event, OutboxUpdate, TimelineEntry};
use self::changes::{DeliveryResult, TimelineEvent};
use self::policy::Policy;
use self::snapshot::Snapshot;
use crate::check::outcome::{ActionOutcome, Digest, Fault, LogRecord, Outcome, SeriesId};
use crate::clock::Timestamp;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A run of a check ended.
    Checked(Box<Outcome>),
    /// Lines of a log source were parsed.
    Logs {
        source: Arc<str>,
        records: Vec<LogRecord>,
        checkpoints: Vec<Checkpoint>,
    },
    /// Time went on: comes about once a second.
    Tick,
    /// An action run ended.
    ActionFinished(Box<ActionOutcome>),
    /// An action run has no outcome from before the restart.
    ActionInterrupted { run: i64 },
    /// A person decided on a repair that waits for approval.
    ActionApproved { run: i64, approved: bool },
    /// Somebody outside told a series something, which its plugin finds in its
    /// state.
    Reported {
        series: SeriesId,
        entries: Vec<(String, Vec<u8>)>,
    },
    /// A person lets a plugin that is held back run again.
    PluginReleased { digest: Digest, by: String },
    /// A delivery attempt ended: of one notification, or of all in one mail.
    Delivered(Vec<OutboxUpdate>),
    /// A log source could not be read or parsed.
    SourceFaulted { source: Arc<str>, fault: Fault },
    /// A log source reads and parses: after a fault, and once after the start.
    SourceSound { source: Arc<str> },
    /// The past of windows that a configuration added was read.
    WindowsFilled { generation: u64 },
    /// A new configuration is in force.
    Configured {
        policy: Arc<Policy>,
        mail_domain: String,
        generation: u64,
    },
}

/// Applies a batch in order and returns what is to be committed, and what
/// follows the commit.
pub fn apply(snapshot: &mut Snapshot, batch: Vec<Input>, now: Timestamp) -> Changes {
    let mut changes = Changes::default();
    snapshot.clock(now);
    for input in batch {
        match input {
            Input::Checked(outcome) => snapshot.checked(*outcome, now, &mut changes),
            Input::Logs {
                source,
                records,
                checkpoints,
            } => {
                snapshot.logs_arrived(&source, records, now, &mut changes);
                changes.checkpoints.extend(checkpoints);
            }
            Input::Tick => snapshot.tick(now, &mut changes),
            Input::ActionFinished(outcome) => snapshot.action_finished(*outcome, now, &mut changes),
            Input::ActionInterrupted { run } => {
                snapshot.action_interrupted(run, now, &mut changes);
            }
            Input::ActionApproved { run, approved } => {
                snapshot.action_approved(run, approved, now, &mut changes);
            }
            Input::Reported { series, entries } => {
                snapshot.told(series, entries, &mut changes);
            }
            Input::PluginReleased { digest, by } => {
                snapshot.release(&digest, &format!("released by {by}"), now, &mut changes);
            }
            Input::Delivered(updates) => {
                for update in updates {
                    delivered(update, &mut changes);
                }
            }
            Input::SourceFaulted { source, fault } => {
                snapshot.source_faulted(&source, fault, now, &mut changes);
            }
            Input::SourceSound { source } => snapshot.source_sound(&source, now, &mut changes),
            Input::WindowsFilled { generation } => snapshot.let_rules_go(generation),
            Input::Configured {
                policy,
                mail_domain,
                generation,
            } => {
                snapshot.configure(policy, mail_domain, now, &mut changes);
                snapshot.hold_rules(generation);
                let series = snapshot.active_series();
                changes
                    .effects
                    .push(Effect::Configured { generation, series });
                changes
                    .effects
                    .push(Effect::Event(Event::Config { generation }));
                snapshot.look_again(&mut changes);
            }
        }
    }
    changes
}

fn delivered(update: OutboxUpdate, changes: &mut Changes) {
    let (outbox, recipient) = (update.id, update.recipient.clone());
    let event = match &update.result {
        DeliveryResult::Sent(reply) => TimelineEvent::NotificationSent {
            outbox,
            recipient,
            reply: reply.clone(),
        },
        DeliveryResult::Retry { error, next_at } => TimelineEvent::NotificationRetry {
            outbox,
            recipient,
            error: error.clone(),
            next_at: next_at.0,
            attempts: update.attempts,
        },
        DeliveryResult::Failed(error) => TimelineEvent::NotificationFailed {
            outbox,
            recipient,
            error: error.clone(),
        },
    };
    changes.timeline.push(TimelineEntry {
        ts: update.at,
        series: None,
        alert: Some(update.alert),
        event,
    });
    changes
        .effects
        .push(Effect::Event(Event::Outbox { id: update.id }));
    changes.outbox_updates.push(update);
}
