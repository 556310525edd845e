//! Live events for browsers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{Semaphore, broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::extract::Viewer;
use crate::pipeline::changes::Event;

/// Streams that may be open at the same time.
const MAX_STREAMS: usize = 512;
/// After this long a stream ends; the browser comes back by itself and shows
/// its session again, so that a withdrawn one does not watch for ever.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Bounds the event streams that are open; cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
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
    _: Viewer,
    State(events): State<broadcast::Sender<Event>>,
    State(streams): State<Streams>,
    State(stop): State<CancellationToken>,
) -> Result<Sse<impl Stream<Item = std::result::Result<SseEvent, Infallible>>>> {
    let slot = streams
        .0
        .try_acquire_owned()
        .map_err(|_| Error::unavailable(format!("expected at most {MAX_STREAMS} event streams")))?;
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
