//! The one task that writes.
//!
//! Batches of inputs go through the pure pipeline, and what it decides is
//! committed in one transaction; effects follow the commit. Invariants: memory
//! never runs ahead of the disk (a commit that fails is repeated with the same
//! rows until it succeeds), and nothing but SQLite is awaited while a
//! transaction is open.
//!
//! Three bounded lanes: results, then configuration, then logs and compaction.

mod handle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, Timestamp};
use crate::live::LiveView;
use crate::pipeline::changes::{Changes, Effect, Event};
use crate::store::writer::Durability;
use crate::store::{StoreError, Writer};

pub use self::handle::Handle;
use self::handle::{Background, BoxedOperation};

/// Sizes and bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Inputs that wait in the lane of results.
    pub results_queue: usize,
    /// Inputs of one transaction.
    pub results_batch: usize,
    /// Operations that wait in the lane of configuration.
    pub config_queue: usize,
    /// Log batches and maintenance steps that wait in the third lane.
    pub background_queue: usize,
    /// Writing aimed at in one transaction of the third lane.
    pub background_budget: Duration,
    /// Commits that fail, or one that does not end, for this long are reported
    /// as degraded.
    pub degraded_after: Duration,
    /// How long failing commits are repeated after the shutdown began.
    pub shutdown_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            results_queue: 20_000,
            results_batch: 2_000,
            config_queue: 64,
            background_queue: 64,
            background_budget: Duration::from_millis(20),
            degraded_after: Duration::from_secs(60),
            shutdown_patience: Duration::from_secs(10),
        }
    }
}

/// The pipeline: pure, called with a batch and the current time.
pub type Apply<I> = Box<dyn FnMut(Vec<I>, Timestamp) -> Changes + Send>;

/// Gets the effects of a commit, without [`Effect::Event`]s. Must not block.
pub type OnEffects = Box<dyn FnMut(Vec<Effect>) + Send>;

/// Whether commits succeed, and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Since when commits fail; absent while all is well.
    pub failing_since: Option<Timestamp>,
    /// What the last failure said.
    pub error: Option<Arc<str>>,
    /// Failing for so long that people must be told.
    pub degraded: bool,
}

impl Health {
    /// True while commits succeed.
    pub fn healthy(&self) -> bool {
        self.failing_since.is_none()
    }
}

/// Owns the write connection; see [`Recorder::run`].
pub struct Recorder<I> {
    writer: Writer,
    apply: Apply<I>,
    on_effects: OnEffects,
    clock: SharedClock,
    live: LiveView,
    limits: Limits,
    results: mpsc::Receiver<I>,
    config: mpsc::Receiver<BoxedOperation<I>>,
    background: mpsc::Receiver<Background<I>>,
    health: watch::Sender<Health>,
    events: broadcast::Sender<Event>,
    /// Log records whose writing fills the budget, as measured.
    log_records: usize,
    /// When the repetition of failing commits ends; set by the shutdown.
    give_up_at: Option<Instant>,
}

/// A commit that was given up because the engine had to end.
struct GivenUp;

impl<I: Send + 'static> Recorder<I> {
    /// A recorder and the handle to it. Live events go to `events`.
    pub fn new(
        writer: Writer,
        apply: Apply<I>,
        on_effects: OnEffects,
        clock: SharedClock,
        live: LiveView,
        events: broadcast::Sender<Event>,
        limits: Limits,
    ) -> (Self, Handle<I>) {
        let (results_in, results) = mpsc::channel(limits.results_queue.max(1));
        let (config_in, config) = mpsc::channel(limits.config_queue.max(1));
        let (background_in, background) = mpsc::channel(limits.background_queue.max(1));
        let (health, health_out) = watch::channel(Health::default());
        let handle = Handle {
            results: results_in,
            config: config_in,
            background: background_in,
            health: health_out,
            events: events.clone(),
        };
        let recorder = Self {
            writer,
            apply,
            on_effects,
            clock,
            live,
            limits,
            results,
            config,
            background,
            health,
            events,
            log_records: 1_000,
            give_up_at: None,
        };
        (recorder, handle)
    }

    /// Records until `stop` is cancelled, then takes what is queued, commits it
    /// and closes the database.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut inputs = Vec::new();
        let mut rounds = 0_u32;
        let batch = self.limits.results_batch.max(1);
        let mut work = Ok(());
        while work.is_ok() {
            tokio::select! {
                biased;
                () = stop.cancelled(), if self.give_up_at.is_none() => {
                    // Nothing new comes in; what is queued is still taken below.
                    self.results.close();
                    self.config.close();
                    self.background.close();
                    self.give_up_at = Some(Instant::now() + self.limits.shutdown_patience);
                }
                _ = self.results.recv_many(&mut inputs, batch), if has_work(&self.results) => {
                    if !inputs.is_empty() {
                        work = self.record(std::mem::take(&mut inputs), &stop).await;
                    }
                    // A steady stream of results must not starve the others.
                    rounds = rounds.wrapping_add(1);
                    if work.is_ok() && let Ok(operation) = self.config.try_recv() {
                        work = self.operate(operation, Durability::Power, &stop).await;
                    }
                    if work.is_ok() && rounds.is_multiple_of(8)
                        && let Ok(item) = self.background.try_recv() {
                        work = self.background_batch(item, &stop).await;
                    }
                }
                Some(operation) = self.config.recv(), if has_work(&self.config) => {
                    work = self.operate(operation, Durability::Power, &stop).await;
                }
                Some(item) = self.background.recv(), if has_work(&self.background) => {
                    work = self.background_batch(item, &stop).await;
                }
                else => break,
            }
        }
        if work.is_err() {
            tracing::error!(
                queued = self.results.len(),
                "commits kept failing during the shutdown: queued results are lost"
            );
        }
        if let Err(e) = self.writer.close().await {
            tracing::warn!(error = %e, "closing the database failed; it is repaired at the next start");
        }
    }

    /// One batch of inputs through the pipeline and to the disk.
    async fn record(&mut self, inputs: Vec<I>, stop: &CancellationToken) -> Result<(), GivenUp> {
        let changes = (self.apply)(inputs, self.clock.now());
        self.commit(changes, None, stop).await
    }

    /// Commits until it succeeds, then lets the effects go.
    async fn commit(
        &mut self,
        changes: Changes,
        mut operation: Option<&mut BoxedOperation<I>>,
        stop: &CancellationToken,
    ) -> Result<(), GivenUp> {
        let durability = match operation {
            Some(_) => Durability::Power,
            None => Durability::of(&changes),
        };
        let mut pause = Duration::from_millis(50);
        loop {
            let (began, since) = (Instant::now(), self.clock.now());
            let transaction = self.writer.transaction(
                durability,
                (&changes, operation.as_deref_mut()),
                |conn, (changes, operation)| {
                    Box::pin(async move {
                        if let Some(operation) = operation {
                            operation.run(conn).await?;
                        }
                        crate::store::write::write(conn, changes).await
                    })
                },
            );
            let after = self.limits.degraded_after;
            let done = watched(transaction, &self.health, since, after).await;
            let Err(error) = done else {
                metrics::histogram!("bellwether_commit_seconds").record(began.elapsed());
                metrics::counter!("bellwether_results_total")
                    .increment(changes.results.len() as u64);
                self.succeeded();
                break;
            };
            metrics::counter!("bellwether_commit_errors_total").increment(1);
            self.failed(&error, since);
            if self.give_up_at.is_some_and(|at| Instant::now() >= at) {
                return Err(GivenUp);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled(), if self.give_up_at.is_none() => {
                    self.give_up_at = Some(Instant::now() + self.limits.shutdown_patience);
                    self.results.close();
                    self.config.close();
                    self.background.close();
                }
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        self.follow(changes);
        Ok(())
    }

    /// Shows what was committed and hands over its effects.
    fn follow(&mut self, changes: Changes) {
        self.live.apply(&changes);
        let mut rest = Vec::with_capacity(changes.effects.len());
        for effect in changes.effects {
            match effect {
                // Without watchers there is nobody to tell.
                Effect::Event(event) => {
                    let _ = self.events.send(event);
                }
                other => rest.push(other),
            }
        }
        if !rest.is_empty() {
            (self.on_effects)(rest);
        }
    }

    /// One operation of the configuration lane or of maintenance.
    async fn operate(
        &mut self,
        mut operation: BoxedOperation<I>,
        durability: Durability,
        stop: &CancellationToken,
    ) -> Result<(), GivenUp> {
        // The operation runs before the pipeline sees anything: where it fails,
        // everything is rolled back and memory is as it was.
        let mut moved = None;
        let now = self.clock.now();
        let transaction = self.writer.transaction(
            durability,
            (&mut operation, &mut self.apply, &mut moved),
            |conn, (operation, apply, moved)| {
                Box::pin(async move {
                    operation.run(conn).await?;
                    let Some(input) = operation.input() else {
                        return Ok(());
                    };
                    let changes = moved.insert(apply(vec![input], now));
                    crate::store::write::write(conn, changes).await
                })
            },
        );
        let after = self.limits.degraded_after;
        let first = watched(transaction, &self.health, now, after).await;
        match (first, moved) {
            (Ok(()), Some(changes)) => {
                self.succeeded();
                self.follow(changes);
                operation.finish(Ok(()));
            }
            // The pipeline has moved: its rows must get to the disk.
            (Err(error), Some(changes)) => {
                self.failed(&error, now);
                self.commit(changes, Some(&mut operation), stop).await?;
                operation.finish(Ok(()));
            }
            (result, None) => {
                // Whoever asked hears of a failure; what it was about is not
                // repeated, so it says nothing about the commits to come.
                if result.is_ok() {
                    self.succeeded();
                }
                operation.finish(result);
            }
        }
        Ok(())
    }

    /// Logs until the budget is full, or one step of maintenance.
    async fn background_batch(
        &mut self,
        first: Background<I>,
        stop: &CancellationToken,
    ) -> Result<(), GivenUp> {
        let mut next = Some(first);
        let mut inputs = Vec::new();
        let mut records = 0;
        let operation = loop {
            match next.take() {
                Some(Background::Input(input, count)) => {
                    inputs.push(input);
                    records += count.max(1);
                }
                Some(Background::Operation(operation)) => break Some(operation),
                None => break None,
            }
            if records >= self.log_records {
                break None;
            }
            next = self.background.try_recv().ok();
        };
        if !inputs.is_empty() {
            let began = Instant::now();
            self.record(inputs, stop).await?;
            self.learn(records, began.elapsed());
        }
        match operation {
            Some(operation) => self.operate(operation, Durability::Process, stop).await,
            None => Ok(()),
        }
    }

    /// Adjusts how many log records fill the budget.
    fn learn(&mut self, records: usize, took: Duration) {
        let budget = self.limits.background_budget.as_secs_f64();
        let fits = records as f64 * budget / took.as_secs_f64().max(1e-6);
        // Small batches are dominated by the commit itself and say little.
        if took >= self.limits.background_budget || records >= self.log_records {
            let smooth = (self.log_records as f64 * 0.7) + (fits * 0.3);
            self.log_records = (smooth as usize).clamp(100, 20_000);
        }
    }

    fn succeeded(&mut self) {
        if !self.health.borrow().healthy() {
            tracing::info!("commits succeed again");
            self.health.send_replace(Health::default());
        }
    }

    /// A transaction that began at `began` failed.
    fn failed(&mut self, error: &StoreError, began: Timestamp) {
        let now = self.clock.now();
        let after = self.limits.degraded_after;
        self.health.send_modify(|health| {
            let since = *health.failing_since.get_or_insert(began);
            let text = error.to_string();
            if health.error.as_deref() != Some(&text) {
                tracing::error!(error = %text, "a commit failed and is repeated");
                health.error = Some(text.into());
            }
            if !health.degraded && now.since(since) >= after {
                tracing::error!("commits have failed for too long: the engine is degraded");
                health.degraded = true;
            }
        });
    }
}

/// Waits for a transaction that began at `since`. One that neither succeeds nor
/// fails for as long as `after`, as on a disk that hangs, degrades the engine
/// while it is still waited for.
async fn watched<T>(
    transaction: impl Future<Output = T>,
    health: &watch::Sender<Health>,
    since: Timestamp,
    after: Duration,
) -> T {
    let mut transaction = std::pin::pin!(transaction);
    tokio::select! {
        biased;
        done = &mut transaction => return done,
        () = tokio::time::sleep(after) => {}
    }
    health.send_if_modified(|health| {
        if health.degraded {
            return false;
        }
        tracing::error!("a commit does not end: the engine is degraded");
        health.failing_since.get_or_insert(since);
        let text = || "a commit does not end: the disk or the database hangs".into();
        health.error.get_or_insert_with(text);
        health.degraded = true;
        true
    });
    transaction.await
}

/// True until the lane is closed and empty.
fn has_work<T>(lane: &mpsc::Receiver<T>) -> bool {
    !(lane.is_closed() && lane.is_empty())
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
