//! Keeps the requests that crashed plugins.

use std::sync::Arc;

use super::Core;
use crate::store::crashes;

/// Starts the task.
pub fn spawn(core: &Arc<Core>) {
    let core_of_task = core.clone();
    core.tasks.spawn(async move {
        let (core, arriving) = (core_of_task.clone(), core_of_task.host.crashes());
        loop {
            let request = tokio::select! {
                () = core.stop.cancelled() => break,
                request = arriving.next() => request,
            };
            let request = Arc::new(request);
            let stored = core
                .recorder
                .write(move |conn| {
                    let request = request.clone();
                    Box::pin(async move { crashes::insert(conn, &request).await })
                })
                .await;
            if let Err(error) = stored {
                tracing::warn!(%error, "the request that crashed a plugin is not kept");
            }
        }
    });
}
