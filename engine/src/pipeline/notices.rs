//! Who is told: one outbox row per recipient, with its place in the thread.

use std::sync::Arc;

use super::changes::{
    Alert, AlertSource, Changes, Effect, Notification, NotificationKind, OutboxRow, TimelineEntry,
    TimelineEvent,
};
use super::policy::Recipient;
use super::snapshot::Snapshot;
use crate::clock::Timestamp;

impl Snapshot {
    /// Queues a notification of `alert` to each of its recipients. The alert
    /// may be open or just closed; its threads are updated in place.
    pub(super) fn notify(
        &mut self,
        alert: &mut Alert,
        kind: NotificationKind,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let (recipients, expression) = self.audience(alert);
        if recipients.is_empty() {
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: alert.series,
                alert: Some(alert.id),
                event: TimelineEvent::NotificationSkipped {
                    kind,
                    reason: match alert.source {
                        AlertSource::Rule { .. } => "the rule names nobody to notify".into(),
                        AlertSource::Fault { .. }
                        | AlertSource::LogSource { .. }
                        | AlertSource::Plugin { .. } => "faults.notify names nobody".into(),
                    },
                },
            });
            return;
        }
        let series = alert.series.and_then(|id| self.get(id));
        let payload = Notification {
            kind,
            alert: alert.id,
            name: alert.source.name().to_owned(),
            check: alert.check.clone(),
            node: series.and_then(|series| series.node.as_deref().cloned()),
            severity: alert.severity,
            labels: alert.labels.clone(),
            summary: alert.summary.clone(),
            since: alert.pending_at,
            at: now,
            expression,
            last_results: series
                .map(|series| series.recent.iter().rev().cloned().collect())
                .unwrap_or_default(),
            tried: alert
                .remedies
                .iter()
                .filter(|(_, progress)| !progress.last.is_empty())
                .map(|(name, progress)| format!("{name}: {}", progress.last))
                .collect(),
            in_reply_to: None,
        };
        for recipient in recipients {
            let id = self.next.outbox;
            self.next.outbox += 1;
            let message_id = format!("<{}.{id}@{}>", self.installation, self.mail_domain);
            let slot = self.slot(&recipient, alert, &message_id, now);
            let leaves = slot.as_ref().map_or(now, |slot| slot.at);
            // The mail has the Message-ID of its first notification.
            let mail = slot.as_ref().map_or(&message_id, |slot| &slot.id).clone();
            let thread = alert.threads.get(&recipient.mailbox).cloned();
            if thread.is_none() {
                alert
                    .threads
                    .insert(recipient.mailbox.clone(), mail.clone());
            }
            let thread = thread.filter(|thread| *thread != mail);
            changes.outbox.push(OutboxRow {
                id,
                idempotency_key: format!("{}-{id}", self.installation),
                alert: alert.id,
                contact: recipient.contact.clone(),
                recipient: recipient.mailbox.clone(),
                message_id,
                payload: Arc::new(Notification {
                    in_reply_to: thread,
                    ..payload.clone()
                }),
                attempts: 0,
                created_at: now,
                next_at: leaves,
                slot,
            });
            changes.timeline.push(TimelineEntry {
                ts: now,
                series: alert.series,
                alert: Some(alert.id),
                event: TimelineEvent::NotificationQueued {
                    outbox: id,
                    kind,
                    contact: recipient.contact,
                    recipient: recipient.mailbox,
                    leaves_at: (leaves > now).then(|| leaves.micros()),
                },
            });
        }
        changes.effects.push(Effect::Deliver);
    }

    fn audience(&self, alert: &Alert) -> (Vec<Recipient>, String) {
        match &alert.source {
            AlertSource::Rule { name } => self
                .policy
                .rules
                .iter()
                .find(|rule| *rule.name == **name)
                .map(|rule| (rule.recipients.clone(), rule.expression.to_string()))
                .unwrap_or_default(),
            AlertSource::Fault { .. }
            | AlertSource::LogSource { .. }
            | AlertSource::Plugin { .. } => (self.policy.fault_contacts.clone(), String::new()),
        }
    }
}
