//! What follows a commit: the scheduler hears of runs, actions begin, mails go
//! out.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Core, resolve, shadow};
use crate::check::runner::{Done, Message};
use crate::pipeline::Input;
use crate::pipeline::changes::{ActiveSeries, Effect};

/// Hands effects on until the recorder ends.
pub async fn serve(core: Arc<Core>, mut effects: mpsc::UnboundedReceiver<Vec<Effect>>) {
    while let Some(batch) = effects.recv().await {
        let mut done = Vec::new();
        for effect in batch {
            match effect {
                Effect::SeriesDone {
                    series,
                    soft,
                    attempt,
                    plugin_state,
                } => {
                    done.push(Done {
                        series,
                        soft,
                        attempt,
                        plugin_state,
                    });
                }
                Effect::State {
                    series,
                    plugin_state,
                } => {
                    // In the order of the commit: a run before it may have left
                    // an older state.
                    if !done.is_empty() {
                        let runs = std::mem::take(&mut done);
                        let _ = core.runner.send(Message::Done(runs)).await;
                    }
                    let message = Message::State {
                        series,
                        plugin_state,
                    };
                    let _ = core.runner.send(message).await;
                }
                Effect::Configured { generation, series } => {
                    configured(&core, generation, &series).await;
                }
                Effect::RunNow { series, cause } => {
                    let message = Message::RunNow {
                        series: vec![series],
                        cause,
                        reply: None,
                    };
                    let _ = core.runner.send(message).await;
                }
                Effect::Deliver => core.deliver.notify_one(),
                Effect::RunAction(job) => {
                    let core_of_run = core.clone();
                    core.tasks.spawn(async move {
                        let outcome = core_of_run.host.run_action(*job).await;
                        let input = Input::ActionFinished(Box::new(outcome));
                        if core_of_run.recorder.submit(input).await.is_err() {
                            tracing::error!("an action's outcome was not recorded: it is interrupted at the next start");
                        }
                    });
                }
                Effect::TooManyMetrics { check } => {
                    tracing::warn!(%check, "the check makes up names of metrics: further ones are not kept");
                }
                Effect::Held(held) => {
                    tracing::error!(plugin = %held.plugin, version = %held.version, reason = %held.reason, "a plugin is quarantined");
                    core.host.hold(&held.digest, held.text(), held.trial_at);
                }
                Effect::Released(digest) => core.host.release(&digest),
                // The recorder tells these by itself.
                Effect::Event(_) => {}
            }
        }
        if !done.is_empty() {
            let _ = core.runner.send(Message::Done(done)).await;
        }
    }
}

/// A configuration and its series are committed: now they can run.
async fn configured(core: &Arc<Core>, generation: u64, series: &[ActiveSeries]) {
    let Some(adopted) = core.adopt(generation, series) else {
        return;
    };
    let config = adopted.config;
    let plans = resolve::plans(&config, series);
    let wanted = config.spec.engine.max_in_flight as usize;
    let room = core.host.capacity().saturating_sub(shadow::MOST).max(1);
    let max_in_flight = wanted.min(room as usize);
    core.shadows.configure(max_in_flight);
    // The runner ends only when everything ends.
    let _ = core
        .runner
        .send(Message::Configure {
            plans,
            max_in_flight,
        })
        .await;
    // Last: who sees the new configuration can run its checks.
    core.view.send_replace(adopted.view);
    core.log_sources.notify_one();
    if !adopted.filling.is_empty() {
        let filled = core.clone();
        core.tasks.spawn(async move {
            filled
                .fill_windows(generation, &config, &adopted.filling)
                .await;
        });
    }
}
