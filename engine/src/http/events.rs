//! Live events for browsers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast;
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

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Counts an open stream as long as it lives.
struct Slot;

impl Slot {
    fn take() -> Option<Self> {
        let taken = OPEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < MAX_STREAMS).then_some(open + 1)
            })
            .is_ok();
        taken.then_some(Self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
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
    State(stop): State<CancellationToken>,
) -> Result<Sse<impl Stream<Item = std::result::Result<SseEvent, Infallible>>>> {
    let slot = Slot::take().map(Arc::new).ok_or_else(|| {
        Error::unavailable(format!("expected at most {MAX_STREAMS} event streams"))
    })?;
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
