//! What time brings: ticks of the pipeline, compaction, retention.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::pipeline::Input;
use crate::store::{compact, retention};

const TICK: Duration = Duration::from_secs(1);

/// Starts the tasks.
pub fn spawn(core: &Arc<Core>, ticking: bool) {
    if ticking {
        let ticker = core.clone();
        core.tasks.spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = ticker.stop.cancelled() => break,
                    _ = interval.tick() => {
                        if ticker.recorder.submit(Input::Tick).await.is_err() {
                            break;
                        }
                    }
                }
            }
        });
    }
    let keeper = core.clone();
    core.tasks.spawn(retention::run(
        core.store.clone(),
        core.recorder.clone(),
        compact::Settings::default(),
        move || keeper.config.read().spec.retention.clone(),
        core.clock.clone(),
        core.stop.clone(),
    ));
}
