//! Log sources of the configuration as tasks: followed, parsed by a plugin,
//! recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Core;
use crate::check::outcome::{Digest, Fault, RunLimits};
use crate::clock::Timestamp;
use crate::config::LogSourceDef;
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::LogSourceSpec;
use crate::log::{
    Follower, FollowerOptions, LineBatch, LineParser, Parsed, ParsedRecord, Source, SourceEvent,
    Stopped,
};
use crate::pipeline::Input;
use crate::plugin::parser::LineBatch as GuestBatch;
use crate::plugin::{Host, ParserInstance};
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
    core.recorder.background(|_| Box::pin(async { Ok(()) })).await?;
    let mut reader = core.store.reader().await?;
    let known = checkpoints::list(&mut reader, Some(&def.spec.name)).await?;
    drop(reader);
    let follower = Follower::new(&def.spec, known, FollowerOptions::default());
    let parser = GuestParser {
        host: core.host.clone(),
        digest: def.plugin.digest.clone(),
        config: serde_json::Value::Object(def.spec.config.clone()).to_string().into(),
        instance: Mutex::new(None),
    };
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
                    recorder.submit_logs(input, records).await.map_err(|_| Stopped)
                }
                SourceEvent::Fault { source, fault } => {
                    tracing::warn!(%source, kind = fault.kind.as_str(), fault = %fault.text, "a log source has a fault; its lines are kept");
                    metrics::counter!("bellwether_log_source_faults_total", "source" => source.to_string())
                        .increment(1);
                    Ok(())
                }
            }
        })
    };
    let stop = core.stop.child_token();
    let source = Source::new(follower, parser, sink, core.clock.clone());
    let task = core.tasks.spawn(source.run(stop.clone()));
    Ok(Running { spec: def.spec.clone(), digest: def.plugin.digest.clone(), stop, task })
}

/// A log-parser plugin: instances are made when needed and recycled.
struct GuestParser {
    host: Arc<Host>,
    digest: Digest,
    config: Arc<str>,
    /// Behind a lock only so that the source can be shared between threads.
    instance: Mutex<Option<ParserInstance>>,
}

impl GuestParser {
    async fn instance(&mut self) -> Result<&mut ParserInstance, Fault> {
        if self.instance.get_mut().is_none() {
            let limits = RunLimits { memory: DEFAULT_MEMORY, timeout: PARSE_TIMEOUT };
            let made = self.host.new_parser(&self.digest, self.config.clone(), limits).await?;
            *self.instance.get_mut() = Some(made);
        }
        self.instance.get_mut().as_mut().ok_or_else(|| {
            Fault::new(crate::check::outcome::FaultKind::Engine, "the parser was not made")
        })
    }
}

impl LineParser for GuestParser {
    async fn parse(&mut self, batch: &LineBatch) -> Result<Parsed, Fault> {
        let batch = GuestBatch {
            text: batch.text.clone(),
            ends: batch.ends.clone(),
            gap: LineBatch::GAP,
            received: batch.received,
        };
        let parsed = self.instance().await?.parse(batch).await?;
        Ok(taken(parsed))
    }

    async fn flush(&mut self, now: Timestamp) -> Result<Parsed, Fault> {
        match self.instance.get_mut() {
            Some(instance) => instance.flush(now).await.map(taken),
            None => Ok(Parsed::default()),
        }
    }

    fn should_recycle(&self) -> bool {
        self.instance.lock().as_ref().is_some_and(ParserInstance::should_recycle)
    }

    async fn recycle(&mut self) -> Result<(), Fault> {
        *self.instance.get_mut() = None;
        self.instance().await.map(|_| ())
    }
}

fn taken(parsed: crate::plugin::Parsed) -> Parsed {
    Parsed {
        records: parsed
            .records
            .into_iter()
            .map(|one| ParsedRecord { line: one.line, record: one.record })
            .collect(),
        unparsed: parsed.unparsed,
        held: parsed.held,
    }
}
