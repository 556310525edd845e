//! The runtime on which guests run, apart from everything else of the engine.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::task::TaskTracker;

/// The way onto the guests' threads; tasks end with the host.
#[derive(Clone)]
pub(super) struct Guests {
    handle: Handle,
    tracker: TaskTracker,
}

impl Guests {
    pub fn new(handle: Handle) -> Self {
        Self {
            handle,
            tracker: TaskTracker::new(),
        }
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// True on a task of the guests' runtime.
    pub fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.handle.id())
    }

    /// Runs on the guests' threads; absent where they have ended or the work
    /// panicked. A caller that gives up takes the work with it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        if self.is_here() {
            return Some(work.await);
        }
        let mut task = AbortOnDrop(self.tracker.spawn_on(work, &self.handle));
        match (&mut task.0).await {
            Ok(value) => Some(value),
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a plugin run panicked in the host");
                }
                None
            }
        }
    }
}

/// Where the background parts of one connection run. They end with its
/// [`Background`], and nothing begins after that.
#[derive(Clone)]
pub(super) struct Tasks {
    guests: Guests,
    running: Arc<Mutex<Option<Vec<AbortHandle>>>>,
}

/// Owns the background parts of a connection. Tasks hold clones of [`Tasks`]
/// and never of this, so that the connection's user decides when they end: a
/// peer that stops reading would keep them for ever.
pub(super) struct Background(Tasks);

impl Background {
    pub fn new(guests: &Guests) -> Self {
        Self(Tasks {
            guests: guests.clone(),
            running: Arc::new(Mutex::new(Some(Vec::new()))),
        })
    }

    /// For whoever starts them.
    pub fn tasks(&self) -> Tasks {
        self.0.clone()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let running = self.0.running.lock().take();
        for task in running.into_iter().flatten() {
            task.abort();
        }
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let Guests { handle, tracker } = &self.guests;
        if let Some(running) = &mut *self.running.lock() {
            running.retain(|task| !task.is_finished());
            running.push(tracker.spawn_on(future, handle).abort_handle());
        }
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::rt::Executor as _;

    use super::*;

    #[tokio::test]
    async fn background_parts_end_with_their_connection() {
        let guests = Guests::new(Handle::current());
        let background = Background::new(&guests);
        let tasks = background.tasks();
        let held = Arc::new(());
        let endless = |held: Arc<()>| async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        tasks.execute(async {});
        tasks.execute(endless(Arc::clone(&held)));
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(background);
        // A part that has not heard of it yet begins another one.
        tasks.execute(endless(Arc::clone(&held)));
        let alone = async {
            while Arc::strong_count(&held) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), alone).await;
        assert!(ended.is_ok(), "a part of the connection goes on");
    }
}
