//! How long a guest had nothing to compute.
//!
//! Time until the guest is woken, and not until it gets a processor again: one
//! that computes beside many others waits for none of its targets.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Time that a run waited.
#[derive(Debug, Default)]
pub(super) struct Waited(AtomicU64);

impl Waited {
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    /// Runs to the end and counts the waits of it.
    pub async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut idle = None;
        poll_fn(|context| {
            let rung = bell.listen(context.waker());
            if let Some(since) = idle.take() {
                let until = rung.unwrap_or_else(Instant::now);
                self.add(until.saturating_duration_since(since));
            }
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_pending() {
                idle = Some(Instant::now());
            }
            polled
        })
        .await
    }
}

/// Wakes the task, and notes when that was.
#[derive(Default)]
struct Bell(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    task: Option<Waker>,
    rung: Option<Instant>,
}

impl Bell {
    /// Wakes this task from now on; when it was last rung, if it was.
    fn listen(&self, task: &Waker) -> Option<Instant> {
        let mut heard = self.0.lock();
        if !heard
            .task
            .as_ref()
            .is_some_and(|known| known.will_wake(task))
        {
            heard.task = Some(task.clone());
        }
        heard.rung.take()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut heard = self.0.lock();
        heard.rung.get_or_insert_with(Instant::now);
        let task = heard.task.clone();
        drop(heard);
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    /// Lets others have the processor, as a guest does at each tick.
    async fn turn() {
        let mut begun = false;
        poll_fn(|context| {
            if std::mem::replace(&mut begun, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[tokio::test]
    async fn waits_count_and_turns_for_the_processor_do_not() {
        let waited = Waited::default();
        let computing = waited.during(async {
            for _ in 0..10 {
                turn().await;
            }
        });
        let others = async {
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(10));
                turn().await;
            }
        };
        tokio::join!(computing, others);
        assert!(waited.total() < Duration::from_millis(50), "{waited:?}");
        waited
            .during(tokio::time::sleep(Duration::from_millis(60)))
            .await;
        assert!(waited.total() >= Duration::from_millis(50), "{waited:?}");
    }
}
