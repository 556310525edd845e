//! Log sources of the configuration as tasks: followed, parsed by a plugin,
//! recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Core;
use crate::check::outcome::{Digest, RunLimits};
use crate::config::LogSourceDef;
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::LogSourceSpec;
use crate::log::{Follower, FollowerOptions, Source, SourceEvent, Stopped};
use crate::pipeline::Input;
use crate::plugin::SourceParser;
use crate::store::checkpoints;

/// Bound of one batch in the parser.
const PARSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A source that runs.
struct Running {
    spec: Arc<LogSourceSpec>,
    digest: Digest,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Keeps one task per configured source.
pub fn spawn(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn(async move {
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        loop {
            reconcile(&core, &mut running).await;
            tokio::select! {
                () = core.stop.cancelled() => break,
                () = core.log_sources.notified() => {}
            }
        }
    });
}

/// Ends what changed or is gone, starts what is new.
async fn reconcile(core: &Arc<Core>, running: &mut BTreeMap<String, Running>) {
    let config = core.config.read().clone();
    let unchanged = |name: &str, run: &Running| {
        config.log_sources.get(name).is_some_and(|def| {
            *def.spec == *run.spec && def.plugin.digest == run.digest && !run.task.is_finished()
        })
    };
    let ended: Vec<String> = running
        .iter()
        .filter(|(name, run)| !unchanged(name, run))
        .map(|(name, _)| name.clone())
        .collect();
    for name in ended {
        if let Some(run) = running.remove(&name) {
            run.stop.cancel();
            // Its last batch must be with the recorder before the next reader
            // asks for the checkpoint.
            if run.task.await.is_err() {
                tracing::error!(source = %name, "a log source ended by a panic");
            }
        }
    }
    for def in config.log_sources.values() {
        if running.contains_key(&def.spec.name) {
            continue;
        }
        match start(core, def).await {
            Ok(run) => {
                running.insert(def.spec.name.clone(), run);
            }
            Err(error) => {
                tracing::error!(source = %def.spec.name, %error, "a log source does not start");
            }
        }
    }
}

async fn start(core: &Arc<Core>, def: &LogSourceDef) -> Result<Running, crate::store::StoreError> {
    // What an earlier reader queued in this lane is committed when this returns.
    core.recorder
        .background(|_| Box::pin(async { Ok(()) }))
        .await?;
    let mut reader = core.store.reader().await?;
    let known = checkpoints::list(&mut reader, Some(&def.spec.name)).await?;
    drop(reader);
    let follower = Follower::new(&def.spec, known, FollowerOptions::default());
    let config = serde_json::Value::Object(def.spec.config.clone())
        .to_string()
        .into();
    let limits = RunLimits {
        memory: DEFAULT_MEMORY,
        timeout: PARSE_TIMEOUT,
    };
    let parser = SourceParser::new(core.host.clone(), def.plugin.digest.clone(), config, limits);
    let recorder = core.recorder.clone();
    let sink = move |event: SourceEvent| -> BoxFuture<'static, Result<(), Stopped>> {
        let recorder = recorder.clone();
        Box::pin(async move {
            match event {
                SourceEvent::Batch(batch) => {
                    let records = batch.records.len();
                    let input = Input::Logs {
                        source: batch.source,
                        records: batch.records,
                        checkpoints: batch.checkpoints,
                    };
                    recorder
                        .submit_logs(input, records)
                        .await
                        .map_err(|_| Stopped)
                }
                SourceEvent::Fault { source, fault } => {
                    tracing::warn!(%source, kind = fault.kind.as_str(), fault = %fault.text, "a log source has a fault; its lines are kept");
                    metrics::counter!("bellwether_log_source_faults_total", "source" => source.to_string())
                        .increment(1);
                    let input = Input::SourceFaulted { source, fault };
                    recorder.submit(input).await.map_err(|_| Stopped)
                }
                SourceEvent::Sound { source } => {
                    let input = Input::SourceSound { source };
                    recorder.submit(input).await.map_err(|_| Stopped)
                }
            }
        })
    };
    let stop = core.stop.child_token();
    let source = Source::new(follower, parser, sink, core.clock.clone());
    let task = core.tasks.spawn(source.run(stop.clone()));
    Ok(Running {
        spec: def.spec.clone(),
        digest: def.plugin.digest.clone(),
        stop,
        task,
    })
}
