//! Drives the scheduler: sleeps until something is due, hands jobs to the WASM
//! host, and their outcomes to the recorder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::outcome::{Cause, Fault, FaultKind, Job, Outcome, PluginState, SeriesId};
use super::scheduler::{Counters, Due, Plan, Scheduler, planned_in_flight};
use crate::clock::SharedClock;
use crate::pipeline::Input;
use crate::recorder::Handle;

/// Runs one job to its end; never fails, a failure is in the outcome.
pub type RunJob = Arc<dyn Fn(Job) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// Longest sleep: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// What the scheduler's task is told.
#[derive(Debug)]
pub enum Message {
    /// A new configuration.
    Configure {
        plans: Vec<(SeriesId, Plan, Arc<PluginState>)>,
        max_in_flight: usize,
    },
    /// Runs of these series were committed.
    Done(Vec<Done>),
    /// The state of a series changed without a run.
    State {
        series: SeriesId,
        plugin_state: Arc<PluginState>,
    },
    /// Run now; the answer is how many series there were.
    RunNow {
        series: Vec<SeriesId>,
        cause: Cause,
        reply: Option<oneshot::Sender<u32>>,
    },
    /// The clock was moved: look again.
    Wake,
    /// How many series have a run that is not committed yet?
    Busy { reply: oneshot::Sender<usize> },
}

/// A committed run.
#[derive(Debug)]
pub struct Done {
    pub series: SeriesId,
    pub soft: bool,
    pub attempt: u32,
    pub plugin_state: Option<Arc<PluginState>>,
}

/// Figures that others read.
#[derive(Debug, Default)]
pub struct RunnerFigures {
    pub started: AtomicU64,
    pub in_flight: AtomicU64,
    pub missed_slots: AtomicU64,
    pub shed: AtomicU64,
}

/// The task that owns the [`Scheduler`].
pub struct Runner {
    pub scheduler: Scheduler,
    pub run: RunJob,
    /// Where jobs run: the guests' runtime.
    pub run_on: tokio::runtime::Handle,
    pub results: Handle<Input>,
    pub messages: mpsc::Receiver<Message>,
    pub clock: SharedClock,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub figures: Arc<RunnerFigures>,
}

impl Runner {
    /// Serves until it is stopped. Jobs that run then still end and are
    /// recorded: they are tasks of the tracker.
    pub async fn serve(mut self) {
        let (released_tx, mut released) = mpsc::unbounded_channel::<()>();
        loop {
            let now = self.clock.now();
            let due = self.scheduler.tick(now);
            self.begin(due, &released_tx);
            let sleep = self
                .scheduler
                .next_wake()
                .map_or(LONGEST_SLEEP, |at| at.since(self.clock.now()))
                .min(LONGEST_SLEEP);
            tokio::select! {
                () = self.stop.cancelled() => break,
                message = self.messages.recv() => match message {
                    Some(message) => self.handle(message, &released_tx),
                    None => break,
                },
                Some(()) = released.recv() => {
                    let mut due = self.scheduler.released();
                    while released.try_recv().is_ok() {
                        let more = self.scheduler.released();
                        due.run.extend(more.run);
                    }
                    self.begin(due, &released_tx);
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn handle(&mut self, message: Message, released: &mpsc::UnboundedSender<()>) {
        let now = self.clock.now();
        match message {
            Message::Configure {
                plans,
                max_in_flight,
            } => {
                let planned = planned_in_flight(plans.iter().map(|(_, plan, _)| plan));
                if planned > max_in_flight as f64 {
                    tracing::warn!(
                        planned = planned.ceil(),
                        max_in_flight,
                        "if every target hangs, more checks are in flight than engine.max_in_flight allows: \
                         some would be shed as faults; raise it, or lengthen intervals or shorten timeouts"
                    );
                } else {
                    tracing::info!(
                        planned = planned.ceil(),
                        max_in_flight,
                        "checks planned in flight at most"
                    );
                }
                self.scheduler.configure(plans, max_in_flight, now);
            }
            Message::Done(done) => {
                for done in done {
                    let due = self.scheduler.done(
                        done.series,
                        done.soft,
                        done.attempt,
                        done.plugin_state,
                        now,
                    );
                    self.begin(due, released);
                }
            }
            Message::State {
                series,
                plugin_state,
            } => self.scheduler.set_state(series, plugin_state),
            Message::RunNow {
                series,
                cause,
                reply,
            } => {
                let mut found = 0;
                for id in series {
                    if let Some(due) = self.scheduler.run_now(id, cause, now) {
                        found += 1;
                        self.begin(due, released);
                    }
                }
                if let Some(reply) = reply {
                    // Nobody waiting any more is fine.
                    let _ = reply.send(found);
                }
            }
            Message::Wake => {}
            // Nobody waiting any more is fine.
            Message::Busy { reply } => drop(reply.send(self.scheduler.busy())),
        }
    }

    fn begin(&mut self, due: Due, released: &mpsc::UnboundedSender<()>) {
        for job in due.run {
            self.figures.started.fetch_add(1, Ordering::Relaxed);
            let run = (self.run)(job);
            let results = self.results.clone();
            let released = released.clone();
            let job = async move {
                let outcome = run.await;
                // Capacity is free when the run ends; a full recorder holds the
                // outcome here and its series busy.
                let _ = released.send(());
                let input = Input::Checked(Box::new(outcome));
                if results.submit(input).await.is_err() {
                    tracing::error!("a result was dropped: the recorder has stopped");
                }
            };
            self.tasks.spawn_on(job, &self.run_on);
        }
        for job in due.shed {
            let now = self.clock.now();
            let fault = Fault::new(
                FaultKind::Engine,
                "the engine had no capacity for this run before its next slot; \
                 see engine.max_in_flight",
            );
            let outcome = Outcome {
                job,
                started: now,
                finished: now,
                verdict: Err(fault),
                state_writes: Vec::new(),
                log: Vec::new(),
            };
            let results = self.results.clone();
            self.tasks.spawn(async move {
                let _ = results.submit(Input::Checked(Box::new(outcome))).await;
            });
        }
        let Counters { missed_slots, shed } = self.scheduler.counters();
        self.figures
            .missed_slots
            .store(missed_slots, Ordering::Relaxed);
        self.figures.shed.store(shed, Ordering::Relaxed);
        self.figures
            .in_flight
            .store(self.scheduler.in_flight() as u64, Ordering::Relaxed);
    }
}
