//! The outbox worker: takes rows that are due and delivers them.
//!
//! Invariants: a row is never in flight twice; a row whose result was reported
//! is not taken again before that result is committed; at most one mail to a
//! recipient is in flight, so one slow recipient holds one connection; and a
//! later mail of an alert does not overtake an earlier one that waits for its
//! retry. It holds no database handle and shares no task with checks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::mail::{Delivery, Mail, Mailer};
use super::render::Renderer;
use crate::clock::{SharedClock, Timestamp};
use crate::pipeline::changes::{DeliveryResult, OutboxRow, OutboxUpdate};

/// A queued row of the outbox whose `next_at` has come.
pub type DueDelivery = OutboxRow;

/// What reading the outbox answers.
pub type DueResult = Result<Vec<DueDelivery>, Box<dyn std::error::Error + Send + Sync>>;

/// How often the outbox is read without being woken.
const POLL: Duration = Duration::from_secs(1);

/// How long attempts in flight may go on after cancellation.
const GRACE: Duration = Duration::from_secs(5);

/// Most rows read at once.
const MAX_LISTING: usize = 10_000;

/// What deliveries need of the configuration; replaced on reload.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// Absent where the configuration has no `smtp`.
    pub mailer: Option<Arc<Mailer>>,
    /// What links in mails start with.
    pub public_url: String,
}

/// The worker; [`run`](Self::run) is its only task.
pub struct Dispatcher<S> {
    source: S,
    report: mpsc::Sender<OutboxUpdate>,
    outbound: watch::Receiver<Arc<Outbound>>,
    clock: SharedClock,
    wake: Arc<Notify>,
    concurrency: usize,
    renderer: Arc<Renderer>,
}

impl<S> Dispatcher<S>
where
    S: Fn(Timestamp, usize) -> BoxFuture<'static, DueResult> + Send + Sync + 'static,
{
    /// `source(now, limit)` reads at most `limit` queued rows with
    /// `next_at <= now`, smallest `next_at` first. `report` takes results to
    /// the recorder. `wake` is notified when something was queued. At most
    /// `concurrency` attempts run at the same time.
    pub fn new(
        source: S,
        report: mpsc::Sender<OutboxUpdate>,
        outbound: watch::Receiver<Arc<Outbound>>,
        clock: SharedClock,
        wake: Arc<Notify>,
        concurrency: usize,
    ) -> Self {
        Self {
            source,
            report,
            outbound,
            clock,
            wake,
            concurrency: concurrency.max(1),
            renderer: Arc::new(Renderer::new()),
        }
    }

    /// Delivers until cancelled or until nobody takes results any more. After
    /// cancellation attempts in flight get a grace period; what is cut off
    /// stays queued and is sent again with the same Message-ID.
    pub async fn run(self, cancel: CancellationToken) {
        let mut flights = Flights::default();
        while !cancel.is_cancelled() && !self.report.is_closed() {
            while let Some(ended) = flights.tasks.try_join_next_with_id() {
                flights.landed(ended);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = self.start_due(&mut flights) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = flights.tasks.join_next_with_id() => flights.landed(ended),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {
                    let mailer = self.outbound.borrow().mailer.clone();
                    if let Some(mailer) = mailer {
                        mailer.tidy().await;
                    }
                }
            }
        }
        let landing = async { while flights.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, landing).await.is_err() {
            tracing::warn!(
                "mail attempts were cut off at shutdown; they are sent again at the next start"
            );
        }
    }

    /// Starts as many due rows as there is room for.
    async fn start_due(&self, flights: &mut Flights) {
        let now = self.clock.now();
        let mut limit = 2 * self.concurrency + flights.in_flight.len() + flights.settling.len();
        while flights.in_flight.len() < self.concurrency {
            let mut due = match (self.source)(now, limit).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the outbox; trying again");
                    return;
                }
            };
            let complete = due.len() < limit;
            if complete {
                flights.forget_committed(&due, now);
            }
            due.sort_by_key(|row| row.id);
            for row in due {
                if flights.in_flight.len() >= self.concurrency {
                    return;
                }
                if flights.may_start(&row, now) {
                    self.start(flights, row);
                }
            }
            // Room is left: rows that may not start could hide others.
            if complete || limit >= MAX_LISTING {
                return;
            }
            limit = (limit * 4).min(MAX_LISTING);
        }
    }

    fn start(&self, flights: &mut Flights, row: DueDelivery) {
        let outbound = Arc::clone(&self.outbound.borrow());
        let (clock, renderer) = (Arc::clone(&self.clock), Arc::clone(&self.renderer));
        let report = self.report.clone();
        flights.recipients.insert(row.recipient.clone());
        flights.in_flight.insert(row.id);
        let key = Flight::of(&row);
        let task = flights.tasks.spawn(async move {
            let delivery = attempt(&row, &outbound, &renderer, clock.now()).await;
            let update = conclude(&row, delivery, clock.now());
            let landed = Landed {
                attempts: update.attempts,
                next_at: match update.result {
                    DeliveryResult::Retry { next_at, .. } => Some(next_at),
                    _ => None,
                },
            };
            count(&update.result);
            // Waits while the recorder is busy: the row stays in flight.
            report.send(update).await.is_ok().then_some(landed)
        });
        flights.rows.insert(task.id(), key);
    }
}

/// Renders and sends one row.
async fn attempt(
    row: &DueDelivery,
    outbound: &Outbound,
    renderer: &Renderer,
    now: Timestamp,
) -> Delivery {
    let Some(mailer) = &outbound.mailer else {
        return Delivery::Retry("no mail server is configured: add the smtp section".into());
    };
    let rendered = renderer.render(&row.payload, &outbound.public_url);
    let mail = Mail {
        message_id: row.message_id.clone(),
        in_reply_to: row.payload.in_reply_to.clone(),
        recipient: row.recipient.clone(),
        subject: rendered.subject,
        text: rendered.text,
        html: rendered.html,
        date: now,
    };
    mailer.send(&mail).await
}

/// What the attempt means for the row.
fn conclude(row: &DueDelivery, delivery: Delivery, now: Timestamp) -> OutboxUpdate {
    let attempts = row.attempts.saturating_add(1);
    let result = match delivery {
        Delivery::Accepted(reply) => DeliveryResult::Sent(reply),
        Delivery::Failed(error) => DeliveryResult::Failed(error),
        Delivery::Retry(error) => {
            match backoff::next_attempt(row.created_at, now, attempts, row.id.unsigned_abs()) {
                Some(next_at) => DeliveryResult::Retry { error, next_at },
                None => DeliveryResult::Failed(format!(
                    "given up after {attempts} attempts in 24 h: {error}"
                )),
            }
        }
    };
    OutboxUpdate {
        id: row.id,
        alert: row.alert,
        recipient: row.recipient.clone(),
        attempts,
        at: now,
        result,
    }
}

fn count(result: &DeliveryResult) {
    let word = match result {
        DeliveryResult::Sent(_) => "sent",
        DeliveryResult::Retry { .. } => "retry",
        DeliveryResult::Failed(_) => "failed",
    };
    metrics::counter!("bellwether_notification_attempts_total", "result" => word).increment(1);
}

/// An attempt that was reported.
struct Landed {
    attempts: u32,
    /// When it is tried again; absent where it is done with.
    next_at: Option<Timestamp>,
}

/// What is remembered of a row while its attempt runs.
#[derive(Clone)]
struct Flight {
    id: i64,
    alert: i64,
    recipient: String,
}

impl Flight {
    fn of(row: &DueDelivery) -> Self {
        Self {
            id: row.id,
            alert: row.alert,
            recipient: row.recipient.clone(),
        }
    }
}

/// Attempts that run, and results that may not be committed yet.
#[derive(Default)]
struct Flights {
    tasks: JoinSet<Option<Landed>>,
    rows: HashMap<Id, Flight>,
    in_flight: HashSet<i64>,
    recipients: HashSet<String>,
    /// Reported rows: the outbox may still show them as they were.
    settling: HashMap<i64, Landed>,
    /// By alert and recipient: the oldest row that waits for a retry.
    waiting: HashMap<(i64, String), (i64, Timestamp)>,
}

impl Flights {
    fn may_start(&self, row: &DueDelivery, now: Timestamp) -> bool {
        if self.in_flight.contains(&row.id) || self.recipients.contains(&row.recipient) {
            return false;
        }
        if let Some(landed) = self.settling.get(&row.id) {
            // Not committed yet. Should a retry's result get lost on its way,
            // the retry is made all the same.
            let stale = row.attempts < landed.attempts;
            if stale && landed.next_at.is_none_or(|next| now < next) {
                return false;
            }
        }
        let thread = (row.alert, row.recipient.clone());
        !matches!(self.waiting.get(&thread), Some((first, _)) if *first < row.id)
    }

    fn landed(&mut self, ended: Result<(Id, Option<Landed>), JoinError>) {
        let (task, landed) = match ended {
            Ok((task, landed)) => (task, landed),
            Err(error) => {
                tracing::error!(%error, "a mail attempt stopped unexpectedly");
                (error.id(), None)
            }
        };
        let Some(flight) = self.rows.remove(&task) else {
            return;
        };
        self.in_flight.remove(&flight.id);
        self.recipients.remove(&flight.recipient);
        let Some(landed) = landed else {
            return;
        };
        let thread = (flight.alert, flight.recipient);
        match landed.next_at {
            Some(next_at) => {
                let first = self.waiting.entry(thread).or_insert((flight.id, next_at));
                if flight.id <= first.0 {
                    *first = (flight.id, next_at);
                }
            }
            None => {
                if self.waiting.get(&thread).is_some_and(|w| w.0 == flight.id) {
                    self.waiting.remove(&thread);
                }
            }
        }
        self.settling.insert(flight.id, landed);
    }

    /// `due` is everything that is due, read after the results in `settling`
    /// were reported: what is missing was committed (or deleted).
    fn forget_committed(&mut self, due: &[DueDelivery], now: Timestamp) {
        let attempts: HashMap<i64, u32> = due.iter().map(|row| (row.id, row.attempts)).collect();
        self.settling.retain(|id, landed| {
            attempts
                .get(id)
                .is_some_and(|shown| *shown < landed.attempts)
        });
        let in_flight = &self.in_flight;
        self.waiting.retain(|_, (id, next_at)| {
            now < *next_at || attempts.contains_key(id) || in_flight.contains(id)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unconfigured_server_is_worth_a_retry_until_the_day_is_over() {
        let row = DueDelivery {
            id: 1,
            idempotency_key: "k".into(),
            alert: 1,
            contact: "oncall".into(),
            recipient: "a@example.org".into(),
            message_id: "m@example.org".into(),
            payload: Arc::new(serde_json::from_value(payload()).unwrap()),
            attempts: 3,
            created_at: Timestamp::from_secs(1_000),
            next_at: Timestamp::from_secs(1_000),
        };
        let at = |seconds: i64| Timestamp::from_secs(1_000 + seconds);
        let day = 24 * 3_600;
        let retry = |now| conclude(&row, Delivery::Retry("refused".into()), now);
        let early = retry(at(10));
        assert_eq!(early.attempts, 4);
        assert!(matches!(early.result, DeliveryResult::Retry { next_at, .. } if next_at > at(10)));
        let late = retry(at(day - 1));
        assert!(matches!(late.result, DeliveryResult::Retry { next_at, .. } if next_at == at(day)));
        let over = retry(at(day)).result;
        assert!(
            matches!(&over, DeliveryResult::Failed(e) if e.contains("refused")),
            "{over:?}"
        );
    }

    fn payload() -> serde_json::Value {
        serde_json::json!({
            "kind": "firing", "alert": 1, "name": "r", "check": null, "node": null,
            "severity": "warning", "labels": {}, "summary": "s", "since": 0, "at": 0,
            "expression": "true", "last_results": [], "tried": [], "in_reply_to": null,
        })
    }
}
