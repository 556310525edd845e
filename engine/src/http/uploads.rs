//! Progress of plugin uploads: the engine tells it, handlers read it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, broadcast};
use utoipa::ToSchema;

use crate::check::outcome::Digest;
use crate::pipeline::changes::Event;

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UploadPhase {
    Received,
    Compiling,
    Describing,
    Done,
    Failed,
}

impl UploadPhase {
    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            UploadPhase::Received => "received",
            UploadPhase::Compiling => "compiling",
            UploadPhase::Describing => "describing",
            UploadPhase::Done => "done",
            UploadPhase::Failed => "failed",
        }
    }
}

/// An upload, as told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    pub id: String,
    pub phase: UploadPhase,
    /// What happens, or why it failed, in plain words.
    pub message: String,
    /// Present when done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<UploadResult>,
}

/// The plugin that an upload became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UploadResult {
    pub name: String,
    pub version: String,
    pub kind: String,
    pub digest: Digest,
    /// Capabilities that its manifest asks for.
    pub wanted: Vec<String>,
    #[schema(value_type = Object)]
    pub manifest: serde_json::Value,
    /// The version in use until this one is activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replaces {
    pub version: String,
    pub added_capabilities: Vec<String>,
    pub removed_capabilities: Vec<String>,
}

/// The newest uploads.
#[derive(Clone, Debug)]
pub struct Uploads {
    events: broadcast::Sender<Event>,
    newest: Arc<Mutex<VecDeque<Upload>>>,
    places: Arc<Semaphore>,
}

/// Leave to hold one plugin in memory, from its first byte until it is installed
/// or refused.
#[derive(Debug)]
pub struct UploadPlace(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Uploads {
    /// Uploads that are remembered.
    const CAPACITY: usize = 100;
    /// Plugins that are received or wait to be compiled at the same time.
    const AT_ONCE: usize = 4;

    /// Tells progress to `events`, too.
    pub fn new(events: broadcast::Sender<Event>) -> Self {
        Self {
            events,
            newest: Arc::default(),
            places: Arc::new(Semaphore::new(Self::AT_ONCE)),
        }
    }

    /// A place for a plugin, where one is free `within` this time.
    pub async fn place_within(&self, within: Duration) -> Option<UploadPlace> {
        let place = tokio::time::timeout(within, self.place()).await;
        place.ok()?.ok()
    }

    /// A place for a plugin, when one is free.
    ///
    /// # Errors
    /// Never while the engine runs.
    pub async fn place(&self) -> Result<UploadPlace, AcquireError> {
        self.places.clone().acquire_owned().await.map(UploadPlace)
    }

    /// Records where an upload stands.
    pub fn tell(&self, upload: Upload) {
        let event = Event::Upload {
            id: upload.id.clone(),
            phase: upload.phase.as_str().to_owned(),
            message: upload.message.clone(),
        };
        {
            let mut newest = self.newest.lock();
            match newest.iter_mut().find(|known| known.id == upload.id) {
                Some(known) => *known = upload,
                None => {
                    if newest.len() >= Self::CAPACITY {
                        newest.pop_front();
                    }
                    newest.push_back(upload);
                }
            }
        }
        // Nobody may be watching.
        let _ = self.events.send(event);
    }

    /// Records a phase without a result.
    pub fn phase(&self, id: &str, phase: UploadPhase, message: impl Into<String>) {
        self.tell(Upload {
            id: id.to_owned(),
            phase,
            message: message.into(),
            result: None,
        });
    }

    /// Where upload `id` stands.
    pub fn get(&self, id: &str) -> Option<Upload> {
        self.newest
            .lock()
            .iter()
            .find(|known| known.id == id)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_many_as_fit_are_held_in_memory() {
        let uploads = Uploads::new(broadcast::channel(1).0);
        let soon = Duration::from_millis(20);
        let mut held = Vec::new();
        for _ in 0..Uploads::AT_ONCE {
            held.push(uploads.place_within(soon).await.unwrap());
        }
        assert!(uploads.place_within(soon).await.is_none());
        held.pop();
        assert!(uploads.place_within(soon).await.is_some());
    }

    #[test]
    fn the_newest_are_remembered_and_told() {
        let (events, mut watcher) = broadcast::channel(4);
        let uploads = Uploads::new(events);
        uploads.phase("a", UploadPhase::Received, "");
        uploads.phase("a", UploadPhase::Failed, "no component");
        assert_eq!(uploads.get("a").map(|u| u.phase), Some(UploadPhase::Failed));
        assert!(
            matches!(watcher.try_recv(), Ok(Event::Upload { phase, .. }) if phase == "received")
        );
        for i in 0..Uploads::CAPACITY {
            uploads.phase(&i.to_string(), UploadPhase::Received, "");
        }
        assert_eq!(uploads.get("a"), None);
        assert!(uploads.get("99").is_some());
    }
}
