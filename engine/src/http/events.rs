//! Live events for browsers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::extract::Viewer;
use super::sessions::Sessions;
use crate::auth::SecretHash;
use crate::pipeline::changes::Event;

/// Streams that may be open at the same time.
const MAX_STREAMS: usize = 512;
/// Streams of one session or token: nobody keeps others from watching.
const PER_CREDENTIAL: usize = 32;
/// When to try again where there are too many.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// After this long a stream ends; the browser comes back by itself and shows
/// its session again, so that one that has expired does not watch for ever.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Bounds the event streams that are open; cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams {
    all: Arc<Semaphore>,
    by_credential: Arc<Mutex<HashMap<SecretHash, usize>>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_STREAMS)),
            by_credential: Arc::default(),
        }
    }
}

impl Streams {
    fn open(&self, credential: SecretHash) -> Result<Slot> {
        let all = self.all.clone().try_acquire_owned().map_err(|_| {
            let text = format!("expected at most {MAX_STREAMS} event streams");
            Error::busy(text, TRY_AGAIN)
        })?;
        let mut by_credential = self.by_credential.lock();
        let open = by_credential.entry(credential).or_default();
        if *open >= PER_CREDENTIAL {
            let text =
                format!("expected at most {PER_CREDENTIAL} event streams of one session or token");
            return Err(Error::too_many(text, TRY_AGAIN));
        }
        *open += 1;
        drop(by_credential);
        Ok(Slot {
            streams: self.clone(),
            credential,
            _all: all,
        })
    }
}

/// A place among the open streams.
struct Slot {
    streams: Streams,
    credential: SecretHash,
    _all: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_credential = self.streams.by_credential.lock();
        if let Some(open) = by_credential.get_mut(&self.credential) {
            *open -= 1;
            if *open == 0 {
                by_credential.remove(&self.credential);
            }
        }
    }
}

/// What changed, as it happens
///
/// `change` events carry an `Event`; `resync` says that some were missed and
/// everything shown is to be loaded again.
#[utoipa::path(
    get, path = "/events", tag = "live",
    responses((status = 200, body = Event, content_type = "text/event-stream")),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn events(
    Viewer(caller): Viewer,
    State(sessions): State<Sessions>,
    State(events): State<broadcast::Sender<Event>>,
    State(streams): State<Streams>,
    State(stop): State<CancellationToken>,
) -> Result<Sse<impl Stream<Item = std::result::Result<SseEvent, Infallible>>>> {
    let slot = streams.open(caller.secret)?;
    let changes = BroadcastStream::new(events.subscribe()).map(move |event| {
        let _held = &slot;
        Ok(match event {
            Ok(event) => to_sse(&event),
            // Too slow: what was missed is gone, so the page loads afresh.
            Err(_) => SseEvent::default().event("resync").data("{}"),
        })
    });
    let hello = stream::once(async {
        Ok(SseEvent::default()
            .comment("connected")
            .retry(Duration::from_secs(3)))
    });
    let end = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LIFETIME) => {}
            () = sessions.ended(&caller) => {}
        }
    };
    let keep_alive = KeepAlive::new()
        .interval(Duration::from_secs(15))
        .text("ping");
    Ok(Sse::new(hello.chain(changes).take_until(Box::pin(end))).keep_alive(keep_alive))
}

fn to_sse(event: &Event) -> SseEvent {
    match SseEvent::default().event("change").json_data(event) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(%error, "an event cannot be written as JSON");
            SseEvent::default().event("resync").data("{}")
        }
    }
}
