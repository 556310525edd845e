//! Calls that block a thread: reading files and the figures of the host.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::run::{Stop, Waits};

/// Threads that may be blocked at the same time. A disk that hangs keeps its
/// threads; beyond this number only those who want it wait.
const THREADS: usize = 32;

/// Room for blocking calls.
#[derive(Clone)]
pub(super) struct Blocking(Arc<Semaphore>);

impl Default for Blocking {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(THREADS)))
    }
}

impl Blocking {
    /// Takes all room, as disks that hang do.
    #[cfg(test)]
    pub async fn occupy(&self) -> tokio::sync::OwnedSemaphorePermit {
        let room = Arc::clone(&self.0);
        room.acquire_many_owned(THREADS as u32).await.unwrap()
    }

    /// Runs a call on a thread for such. Past the run's deadline the call is
    /// left to itself and the run ends as a fault: `what` is no target.
    pub async fn run<T: Send + 'static>(
        &self,
        waits: Waits,
        what: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> wasmtime::Result<T> {
        let room = Arc::clone(&self.0);
        let working = async {
            let permit = room.acquire_owned().await?;
            let done = tokio::task::spawn_blocking(move || {
                let result = work();
                drop(permit);
                result
            });
            Ok::<_, anyhow::Error>(done.await?)
        };
        match timeout_at(waits.deadline, working).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(Stop::Host(format!("{what} was lost: {error}")).into()),
            Err(_) => Err(Stop::Waiting(what, waits.length).into()),
        }
    }
}
