//! The outbox worker: takes rows that are due and delivers them.
//!
//! Invariants: a row is never in flight twice; a row whose result was reported
//! is not taken again before that result is committed; at most one mail to a
//! recipient is in flight, so one slow recipient holds one connection;
//! recipients whose last attempt failed hold at most half of the connections
//! together, and come after the others; and a later mail of an alert does not
//! overtake an earlier one that waits for its retry. Rows that share a slot, a
//! recipient and a number of attempts leave as one mail, and its result is
//! reported for all of them at once. It holds no database handle and shares no
//! task with checks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::mail::Mailer;
use super::tell::{Notifier, Renderers, RunNotifier, attempt, conclude};
use super::together::MAX_TOGETHER;
use crate::clock::{SharedClock, Timestamp};
use crate::pipeline::changes::{DeliveryResult, OutboxRow, OutboxUpdate};
use crate::store::outbox::MAX_DUE;

/// A queued row of the outbox whose `next_at` has come.
pub type DueDelivery = OutboxRow;

/// What reading the outbox answers.
pub type DueResult = Result<Vec<DueDelivery>, Box<dyn std::error::Error + Send + Sync>>;

/// How often the outbox is read without being woken.
const POLL: Duration = Duration::from_secs(1);

/// How long attempts in flight may go on after cancellation.
const GRACE: Duration = Duration::from_secs(5);

/// Most rows read at once: as many as the store gives, so that fewer rows than
/// were asked for are everything that is due.
const MAX_LISTING: usize = MAX_DUE as usize;

/// What deliveries need of the configuration; replaced on reload.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// Absent where the configuration has no `smtp`.
    pub mailer: Option<Arc<Mailer>>,
    /// Notifiers of contacts, by the recipient in the outbox.
    pub notifiers: HashMap<String, Arc<Notifier>>,
    /// What links in mails start with.
    pub public_url: String,
}

/// The worker; [`run`](Self::run) is its only task.
pub struct Dispatcher<S> {
    source: S,
    report: mpsc::Sender<Vec<OutboxUpdate>>,
    outbound: watch::Receiver<Arc<Outbound>>,
    clock: SharedClock,
    wake: Arc<Notify>,
    concurrency: usize,
    renderers: Arc<Renderers>,
    run: Option<RunNotifier>,
}

impl<S> Dispatcher<S>
where
    S: Fn(Timestamp, usize) -> BoxFuture<'static, DueResult> + Send + Sync + 'static,
{
    /// `source(now, limit)` reads queued rows with `next_at <= now`: at most
    /// `limit`, from all recipients in turn and of each the oldest, and only where
    /// that many are found, after them those that share a slot with one. `report`
    /// takes results to the recorder: of one mail at a time. `wake` is notified
    /// when something was queued. At most `concurrency` attempts run at the same
    /// time.
    pub fn new(
        source: S,
        report: mpsc::Sender<Vec<OutboxUpdate>>,
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
            renderers: Arc::default(),
            run: None,
        }
    }

    /// Runs the notifiers of contacts with `run`; without it they wait.
    #[must_use]
    pub fn with_notifiers(mut self, run: RunNotifier) -> Self {
        self.run = Some(run);
        self
    }

    /// Delivers until cancelled or until nobody takes results any more. After
    /// cancellation attempts in flight get a grace period; what is cut off
    /// stays queued and is sent again with the same Message-ID.
    pub async fn run(self, cancel: CancellationToken) {
        let mut flights = Flights::new(self.concurrency);
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
        let mut limit = (4 * self.concurrency).min(MAX_LISTING);
        while flights.tasks.len() < self.concurrency {
            let mut due = match (self.source)(now, limit).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the outbox; trying again");
                    return;
                }
            };
            let complete = due.len() < limit;
            let everybody = complete || is_second_turn(&due[..limit]);
            flights.forget_committed(&due, limit, now);
            due.sort_by_key(|row| (flights.troubled.contains(&row.recipient), row.id));
            for index in 0..due.len() {
                if flights.tasks.len() >= self.concurrency {
                    return;
                }
                let row = &due[index];
                if flights.may_start(row, now) {
                    let rows = together(&due[index..], |row| flights.may_start(row, now));
                    self.start(flights, rows);
                }
            }
            // Room is left. More rows are of use where some recipients were not
            // seen yet, or where those that may not start hide others of theirs.
            let hidden = !everybody || due.iter().any(|row| flights.has_room(&row.recipient));
            if complete || !hidden || limit >= MAX_LISTING {
                return;
            }
            limit = (limit * 4).min(MAX_LISTING);
        }
    }

    /// Starts an attempt for rows of one mail.
    fn start(&self, flights: &mut Flights, mut rows: Vec<DueDelivery>) {
        let outbound = Arc::clone(&self.outbound.borrow());
        let (clock, renderers) = (Arc::clone(&self.clock), Arc::clone(&self.renderers));
        let (report, run) = (self.report.clone(), self.run.clone());
        for row in &mut rows {
            // The outbox may still show it as it was before its last attempt.
            if let Some((landed, _)) = flights.settling.get(&row.id) {
                row.attempts = row.attempts.max(landed.attempts);
            }
            flights.recipients.insert(row.recipient.clone());
            flights.in_flight.insert(row.id);
        }
        let keys = rows.iter().map(Flight::of).collect();
        let task = flights.tasks.spawn(async move {
            let told = attempt(&rows, &outbound, run.as_ref(), &renderers, clock.now()).await;
            let updates = conclude(&rows, told, clock.now());
            let landed = updates.first().map(|update| Landed {
                attempts: update.attempts,
                next_at: match update.result {
                    DeliveryResult::Retry { next_at, .. } => Some(next_at),
                    _ => None,
                },
            });
            for update in &updates {
                count(&update.result);
            }
            // Waits while the recorder is busy: the rows stay in flight.
            report.send(updates).await.ok().and(landed)
        });
        flights.rows.insert(task.id(), keys);
    }
}

/// Whether a recipient is among the rows twice: then everybody with a row that
/// is due is among them.
fn is_second_turn(rows: &[DueDelivery]) -> bool {
    let mut seen = HashSet::new();
    !rows.iter().all(|row| seen.insert(&row.recipient))
}

/// The first of `due` and those that leave with it. In one mail are rows with as
/// many attempts: what was in an attempt before stays together, under the same
/// Message-ID.
fn together(due: &[DueDelivery], may_start: impl Fn(&DueDelivery) -> bool) -> Vec<DueDelivery> {
    let Some((first, others)) = due.split_first() else {
        return Vec::new();
    };
    let mut rows = vec![first.clone()];
    if let Some(slot) = &first.slot {
        let mates = others.iter().filter(|row| {
            row.slot.as_ref().is_some_and(|other| other.id == slot.id)
                && row.recipient == first.recipient
                && row.attempts == first.attempts
                && may_start(row)
        });
        rows.extend(mates.take(MAX_TOGETHER - 1).cloned());
    }
    rows
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
#[derive(Clone, Copy)]
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
    /// Most attempts at the same time.
    slots: usize,
    tasks: JoinSet<Option<Landed>>,
    rows: HashMap<Id, Vec<Flight>>,
    in_flight: HashSet<i64>,
    /// To whom they go.
    recipients: HashSet<String>,
    /// To whom the last attempt failed and is repeated: likely to hang again.
    troubled: HashSet<String>,
    /// Reported rows, with their recipient: the outbox may still show them as
    /// they were.
    settling: HashMap<i64, (Landed, String)>,
    /// By alert and recipient: the oldest row that waits for a retry.
    waiting: HashMap<(i64, String), (i64, Timestamp)>,
}

impl Flights {
    fn new(slots: usize) -> Self {
        Self {
            slots,
            ..Self::default()
        }
    }

    /// Whether another mail to a recipient may begin now. However many of them
    /// hang, half of the slots are left to those that do not.
    fn has_room(&self, recipient: &str) -> bool {
        if self.recipients.contains(recipient) {
            return false;
        }
        if !self.troubled.contains(recipient) {
            return true;
        }
        let in_trouble = self.recipients.intersection(&self.troubled).count();
        in_trouble * 2 < self.slots
    }

    fn may_start(&self, row: &DueDelivery, now: Timestamp) -> bool {
        if self.in_flight.contains(&row.id) || !self.has_room(&row.recipient) {
            return false;
        }
        if let Some((landed, _)) = self.settling.get(&row.id) {
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
        for flight in self.rows.remove(&task).unwrap_or_default() {
            self.ended(flight, landed);
        }
    }

    fn ended(&mut self, flight: Flight, landed: Option<Landed>) {
        self.in_flight.remove(&flight.id);
        self.recipients.remove(&flight.recipient);
        let Some(landed) = landed else {
            return;
        };
        let recipient = flight.recipient.clone();
        let thread = (flight.alert, flight.recipient);
        match landed.next_at {
            Some(next_at) => {
                self.troubled.insert(recipient.clone());
                let first = self.waiting.entry(thread).or_insert((flight.id, next_at));
                if flight.id <= first.0 {
                    *first = (flight.id, next_at);
                }
            }
            None => {
                self.troubled.remove(&recipient);
                if self.waiting.get(&thread).is_some_and(|w| w.0 == flight.id) {
                    self.waiting.remove(&thread);
                }
            }
        }
        self.settling.insert(flight.id, (landed, recipient));
    }

    /// `due` was read after the results in `settling` were reported, its first
    /// `limit` rows in turn: a row that is missing where it would have been was
    /// committed (or deleted).
    fn forget_committed(&mut self, due: &[DueDelivery], limit: usize, now: Timestamp) {
        let complete = due.len() < limit;
        let attempts: HashMap<i64, u32> = due.iter().map(|row| (row.id, row.attempts)).collect();
        // Of each recipient, all that are older than the newest were read.
        let mut newest: HashMap<&str, i64> = HashMap::new();
        for row in due.iter().take(limit) {
            let last = newest.entry(&row.recipient).or_insert(row.id);
            *last = row.id.max(*last);
        }
        let gone = |recipient: &str, id: i64| {
            let read = complete || newest.get(recipient).is_some_and(|last| id < *last);
            read && !attempts.contains_key(&id)
        };
        self.settling.retain(|id, (landed, recipient)| {
            let committed = |shown: &u32| *shown >= landed.attempts;
            !attempts.get(id).is_some_and(committed) && !gone(recipient, *id)
        });
        let in_flight = &self.in_flight;
        self.waiting.retain(|(_, recipient), (id, next_at)| {
            now < *next_at || in_flight.contains(id) || !gone(recipient, *id)
        });
    }
}
