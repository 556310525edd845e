//! The runtime on which guests run, apart from everything else of the engine.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
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

/// Background parts of connections.
impl<F> hyper::rt::Executor<F> for Guests
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.tracker.spawn_on(future, &self.handle);
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
