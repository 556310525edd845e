//! One attempt to deliver: what goes out in one mail, or one call of a contact's
//! notifier.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::backoff;
use super::dispatcher::{DueDelivery, Outbound};
use super::mail::{Delivery, Mail};
use super::render::{Rendered, Renderer};
use super::together::{GroupRenderer, urgency};
use crate::check::outcome::{Digest, RunLimits};
use crate::clock::Timestamp;
use crate::config::spec::GrantsSpec;
use crate::pipeline::changes::{
    DeliveryResult, Notification, NotificationKind, OutboxRow, OutboxUpdate,
};
use crate::plugin::notifier::{self, NotifyFailure, NotifyJob, NotifyOutcome};

/// Runs a notifier to its end.
pub type RunNotifier = Arc<dyn Fn(NotifyJob) -> BoxFuture<'static, NotifyOutcome> + Send + Sync>;

/// The notifier of a contact, with all that its runs need.
#[derive(Clone, Debug)]
pub struct Notifier {
    pub plugin: Digest,
    /// As JSON.
    pub config: Arc<str>,
    pub grants: Arc<GrantsSpec>,
    pub limits: RunLimits,
}

/// How notifications become words.
#[derive(Debug, Default)]
pub(super) struct Renderers {
    single: Renderer,
    group: GroupRenderer,
}

impl Renderers {
    fn render(&self, rows: &[DueDelivery], public_url: &str) -> Rendered {
        match rows {
            [row] => self.single.render(&row.payload, public_url),
            rows => {
                let all: Vec<&Notification> = rows.iter().map(|row| &*row.payload).collect();
                self.group.render(&all, public_url)
            }
        }
    }
}

/// How an attempt ended, and when the receiver wants the next one at the
/// earliest.
pub(super) struct Told {
    delivery: Delivery,
    after: Option<Duration>,
}

impl From<Delivery> for Told {
    fn from(delivery: Delivery) -> Self {
        Self {
            delivery,
            after: None,
        }
    }
}

/// Tells a recipient of `rows`, which share a mail: at least one, the oldest
/// first.
pub(super) async fn attempt(
    rows: &[DueDelivery],
    outbound: &Outbound,
    run: Option<&RunNotifier>,
    renderers: &Renderers,
    now: Timestamp,
) -> Told {
    let Some(first) = rows.first() else {
        return Delivery::Failed("nothing to tell".into()).into();
    };
    let rendered = renderers.render(rows, &outbound.public_url);
    if is_notifier(&first.recipient) {
        let Some(known) = outbound.notifiers.get(&first.recipient) else {
            let text = format!("contact {} has no plugin any more", first.contact);
            return Delivery::Failed(text).into();
        };
        let Some(run) = run else {
            return Delivery::Retry("no plugins run here".into()).into();
        };
        return called(run(job(rows, first, rendered, known, outbound)).await);
    }
    let Some(mailer) = &outbound.mailer else {
        let text = "no mail server is configured: add the smtp section";
        return Delivery::Retry(text.into()).into();
    };
    // One that came too late for its mail answers to it.
    let late = first.slot.as_ref().map(|slot| slot.id.clone());
    let in_reply_to = first.payload.in_reply_to.clone().or(late);
    let mail = Mail {
        message_id: first.message_id.clone(),
        in_reply_to: in_reply_to.filter(|id| *id != first.message_id),
        recipient: first.recipient.clone(),
        subject: rendered.subject,
        text: rendered.text,
        html: rendered.html,
        date: now,
    };
    mailer.send(&mail).await.into()
}

/// Whether a recipient is the notifier of a contact.
fn is_notifier(recipient: &str) -> bool {
    recipient.starts_with("plugin:")
}

/// What a notifier is handed: the most urgent of the notifications, and the
/// words of all.
fn job(
    rows: &[DueDelivery],
    first: &OutboxRow,
    rendered: Rendered,
    known: &Notifier,
    outbound: &Outbound,
) -> NotifyJob {
    let payloads = rows.iter().map(|row| &*row.payload);
    let n = payloads
        .min_by_key(|n| urgency(n.kind))
        .unwrap_or(&first.payload);
    NotifyJob {
        plugin: known.plugin.clone(),
        kind: match n.kind {
            NotificationKind::Firing => notifier::NotificationKind::Firing,
            NotificationKind::Resolved | NotificationKind::FaultResolved => {
                notifier::NotificationKind::Resolved
            }
            NotificationKind::RepairFailed => notifier::NotificationKind::RepairFailed,
            NotificationKind::Fault => notifier::NotificationKind::Fault,
        },
        alert: n.alert.to_string(),
        rule: n.name.clone(),
        severity: n.severity.as_str().to_owned(),
        title: rendered.subject,
        text: rendered.text,
        check: n.check.clone(),
        node: n.node.clone().map(Arc::new),
        labels: BTreeMap::clone(&n.labels),
        since: n.since,
        link: format!("{}/alerts/{}", outbound.public_url, n.alert),
        config: known.config.clone(),
        grants: known.grants.clone(),
        limits: known.limits.clone(),
        idempotency_key: first.idempotency_key.clone(),
        attempt: first.attempts.saturating_add(1),
    }
}

/// What the outcome of a notifier means. A fault is the engine's or the
/// configuration's and may be mended: worth another try.
fn called(outcome: NotifyOutcome) -> Told {
    match outcome {
        Ok(receipt) => Delivery::Accepted(receipt).into(),
        Err(NotifyFailure::Retry { reason, after }) => Told {
            delivery: Delivery::Retry(reason),
            after,
        },
        Err(NotifyFailure::Fail(reason)) => Delivery::Failed(reason).into(),
        Err(NotifyFailure::Fault(fault)) => {
            Delivery::Retry(format!("fault ({}): {}", fault.kind.as_str(), fault.text)).into()
        }
    }
}

/// What the attempt means for each of its rows: the same for all.
pub(super) fn conclude(rows: &[DueDelivery], told: Told, now: Timestamp) -> Vec<OutboxUpdate> {
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let attempts = first.attempts.saturating_add(1);
    let result = match told.delivery {
        Delivery::Accepted(reply) => DeliveryResult::Sent(reply),
        Delivery::Failed(error) => DeliveryResult::Failed(error),
        Delivery::Retry(error) => {
            let seed = first.id.unsigned_abs();
            match backoff::next_attempt(first.created_at, now, attempts, seed) {
                Some(next) => {
                    let wanted = told.after.map_or(next, |after| now + after.min(PATIENCE));
                    DeliveryResult::Retry {
                        error,
                        next_at: next.max(wanted),
                    }
                }
                None => DeliveryResult::Failed(format!(
                    "given up after {attempts} attempts in 24 h: {error}"
                )),
            }
        }
    };
    rows.iter()
        .map(|row| OutboxUpdate {
            id: row.id,
            alert: row.alert,
            recipient: row.recipient.clone(),
            attempts,
            at: now,
            result: result.clone(),
        })
        .collect()
}

/// A receiver that asks for more time gets at most this.
const PATIENCE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64) -> DueDelivery {
        DueDelivery {
            id,
            idempotency_key: format!("k{id}"),
            alert: id,
            contact: "oncall".into(),
            recipient: "a@example.org".into(),
            message_id: format!("m{id}@example.org"),
            payload: Arc::new(serde_json::from_value(payload(id)).unwrap()),
            attempts: 3,
            created_at: Timestamp::from_secs(1_000),
            next_at: Timestamp::from_secs(1_000),
            slot: None,
        }
    }

    fn payload(id: i64) -> serde_json::Value {
        let kind = if id == 2 { "firing" } else { "resolved" };
        serde_json::json!({
            "kind": kind, "alert": id, "name": "r", "check": null, "node": null,
            "severity": "warning", "labels": {}, "summary": "s", "since": 0, "at": 0,
            "expression": "true", "last_results": [], "tried": [], "in_reply_to": null,
        })
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn an_unconfigured_server_is_worth_a_retry_until_the_day_is_over() {
        let day = 24 * 3_600;
        let retry = |now| conclude(&[row(1)], Delivery::Retry("refused".into()).into(), now);
        let early = retry(at(10)).remove(0);
        assert_eq!(early.attempts, 4);
        assert!(matches!(early.result, DeliveryResult::Retry { next_at, .. } if next_at > at(10)));
        let late = retry(at(day - 1)).remove(0);
        assert!(matches!(late.result, DeliveryResult::Retry { next_at, .. } if next_at == at(day)));
        let over = retry(at(day)).remove(0).result;
        assert!(
            matches!(&over, DeliveryResult::Failed(e) if e.contains("refused")),
            "{over:?}"
        );
    }

    #[test]
    fn notifications_of_one_mail_share_their_fate() {
        let rows = [row(1), row(2), row(3)];
        let updates = conclude(&rows, Delivery::Retry("busy".into()).into(), at(10));
        let ids: Vec<i64> = updates.iter().map(|one| one.id).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert!(updates.iter().all(|one| one.result == updates[0].result));
        assert!(updates.iter().all(|one| one.attempts == 4));
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it() {
        let asked = |after| {
            let told = called(Err(NotifyFailure::Retry {
                reason: "slow down".into(),
                after: Some(Duration::from_secs(after)),
            }));
            match conclude(&[row(1)], told, at(10)).remove(0).result {
                DeliveryResult::Retry { next_at, error } => {
                    assert_eq!(error, "slow down");
                    next_at
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(asked(3_000), at(3_010));
        assert_eq!(asked(1_000_000), at(3_610), "an hour at most");
        assert!(asked(0) > at(10), "never at once");
    }

    #[test]
    fn a_notifier_is_handed_the_most_urgent_and_the_words_of_all() {
        let rows = [row(1), row(2)];
        let known = Notifier {
            plugin: Digest("d".into()),
            config: "{}".into(),
            grants: Arc::default(),
            limits: RunLimits {
                memory: 1,
                timeout: Duration::from_secs(1),
            },
        };
        let outbound = Outbound {
            public_url: "https://b.example.org".into(),
            ..Outbound::default()
        };
        let rendered = Renderers::default().render(&rows, &outbound.public_url);
        let job = job(&rows, &rows[0], rendered, &known, &outbound);
        assert_eq!(job.alert, "2");
        assert_eq!(job.kind, notifier::NotificationKind::Firing);
        assert_eq!(job.link, "https://b.example.org/alerts/2");
        assert!(job.text.contains("alerts/1") && job.text.contains("alerts/2"));
        assert_eq!((job.idempotency_key.as_str(), job.attempt), ("k1", 4));
    }
}
