//! What others hold of the recorder: three bounded lanes into it.

use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::Health;
use crate::pipeline::changes::Event;
use crate::store::{Conn, StoreError};

/// Work on the write connection, inside a transaction. It may be called again
/// after a rollback, so it must leave its captures as they were.
pub(super) trait Operation<I>: Send {
    fn run<'c>(&'c mut self, conn: &'c mut Conn) -> BoxFuture<'c, Result<(), StoreError>>;
    /// The input that the pipeline takes in the same transaction.
    fn input(&mut self) -> Option<I>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

struct Typed<R, F, G> {
    work: F,
    value: Option<R>,
    then: Option<G>,
    reply: oneshot::Sender<Result<R, StoreError>>,
}

impl<I, R, F, G> Operation<I> for Typed<R, F, G>
where
    R: Send,
    F: for<'c> FnMut(&'c mut Conn) -> BoxFuture<'c, Result<R, StoreError>> + Send,
    G: FnOnce(&R) -> I + Send,
{
    fn run<'c>(&'c mut self, conn: &'c mut Conn) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            self.value = Some((self.work)(conn).await?);
            Ok(())
        })
    }

    fn input(&mut self) -> Option<I> {
        let value = self.value.as_ref()?;
        self.then.take().map(|then| then(value))
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let answer = match (result, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(StoreError::Stopped),
            (Err(e), _) => Err(e),
        };
        // Whoever asked may have gone; the work is done all the same.
        let _ = self.reply.send(answer);
    }
}

pub(super) type BoxedOperation<I> = Box<dyn Operation<I>>;

pub(super) enum Background<I> {
    /// Log records for the pipeline, with their number.
    Input(I, usize),
    Operation(BoxedOperation<I>),
}

/// Hands work to the recorder; cheap to clone.
pub struct Handle<I> {
    pub(super) results: mpsc::Sender<I>,
    pub(super) config: mpsc::Sender<BoxedOperation<I>>,
    pub(super) background: mpsc::Sender<Background<I>>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) events: broadcast::Sender<Event>,
}

impl<I> Clone for Handle<I> {
    fn clone(&self) -> Self {
        Self {
            results: self.results.clone(),
            config: self.config.clone(),
            background: self.background.clone(),
            health: self.health.clone(),
            events: self.events.clone(),
        }
    }
}

impl<I> std::fmt::Debug for Handle<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("health", &self.health)
            .finish()
    }
}

impl<I: Send + 'static> Handle<I> {
    /// Queues an input in the lane of results; waits while it is full.
    pub async fn submit(&self, input: I) -> Result<(), StoreError> {
        self.results
            .send(input)
            .await
            .map_err(|_| StoreError::Stopped)
    }

    /// Queues an input, or gives it back where the lane is full or closed.
    pub fn try_submit(&self, input: I) -> Result<(), I> {
        self.results.try_send(input).map_err(|e| e.into_inner())
    }

    /// Queues log records for the pipeline in the third lane; `records` is their
    /// number. Waits while the lane is full: that is the back pressure on the
    /// sources.
    pub async fn submit_logs(&self, input: I, records: usize) -> Result<(), StoreError> {
        self.background
            .send(Background::Input(input, records))
            .await
            .map_err(|_| StoreError::Stopped)
    }

    /// Runs `work` in a transaction of its own in the lane of configuration, and
    /// returns once it is committed so that it survives power loss.
    pub async fn write<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: for<'c> FnMut(&'c mut Conn) -> BoxFuture<'c, Result<R, StoreError>> + Send + 'static,
    {
        let (operation, answer) = typed::<I, R, F, fn(&R) -> I>(work, None);
        self.config
            .send(operation)
            .await
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// As [`Handle::write`], and in the same transaction the pipeline takes the
    /// input that `then` makes of the result. Where `work` fails the pipeline
    /// sees nothing.
    pub async fn write_then<R, F, G>(&self, work: F, then: G) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: for<'c> FnMut(&'c mut Conn) -> BoxFuture<'c, Result<R, StoreError>> + Send + 'static,
        G: FnOnce(&R) -> I + Send + 'static,
    {
        let (operation, answer) = typed(work, Some(then));
        self.config
            .send(operation)
            .await
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Runs a short piece of maintenance (at most ~20 ms of writing) in the third
    /// lane.
    pub async fn background<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: for<'c> FnMut(&'c mut Conn) -> BoxFuture<'c, Result<R, StoreError>> + Send + 'static,
    {
        let (operation, answer) = typed::<I, R, F, fn(&R) -> I>(work, None);
        self.background
            .send(Background::Operation(operation))
            .await
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Whether commits succeed right now.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Changes of the health.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Live events from now on; slow receivers lose the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Inputs that wait in the lane of results.
    pub fn queued_results(&self) -> usize {
        self.results.max_capacity() - self.results.capacity()
    }
}

fn typed<I, R, F, G>(
    work: F,
    then: Option<G>,
) -> (BoxedOperation<I>, oneshot::Receiver<Result<R, StoreError>>)
where
    R: Send + 'static,
    F: for<'c> FnMut(&'c mut Conn) -> BoxFuture<'c, Result<R, StoreError>> + Send + 'static,
    G: FnOnce(&R) -> I + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let operation = Typed {
        work,
        value: None,
        then,
        reply,
    };
    (Box::new(operation), answer)
}
