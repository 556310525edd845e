//! Wiring: which tasks there are, how they begin and how they end.
//!
//! Start: store → plugins → configuration → pipeline's memory → recorder →
//! scheduler, log sources, outbox, HTTP. Stop is two-staged: the first signal
//! ends the sources of work, lets what runs end, and drains the recorder; the
//! second cancels.

pub mod backtest;
mod commands;
pub mod configuration;
mod costs;
mod crashes;
mod effects;
mod logs;
mod maintenance;
mod plugins;
pub mod registry;
pub mod resolve;
mod rule_test;
mod shadow;
mod start;
mod status;
mod windows;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::RwLock;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::check::runner::{Message, RunnerFigures};
use crate::clock::SharedClock;
use crate::config::spec::Spec;
use crate::config::{Config, SmtpTransport};
use crate::demo::Shop;
use crate::http::commands::Commands;
use crate::http::state::{ConfigView, Deps, EngineStatus, Settings, default_url};
use crate::http::uploads::Uploads;
use crate::live::LiveView;
use crate::notify::Outbound;
use crate::pipeline::Input;
use crate::pipeline::changes::Event;
use crate::pipeline::snapshot::Snapshot;
use crate::plugin::Host;
use crate::plugin::resolve::Resolve;
use crate::recorder::{self, Handle};
use crate::store::Store;

use self::registry::Registry;

pub use self::plugins::{builtin_plugins, file_plugins};
pub use self::start::StartError;

/// How an engine is started.
pub struct Options {
    /// Holds all state.
    pub data_dir: PathBuf,
    /// File or folder; absent: only what the UI made.
    pub config: Option<PathBuf>,
    pub listen: SocketAddr,
    pub clock: SharedClock,
    /// Program that compiles plugins as a child: this one.
    pub compiler: PathBuf,
    /// First administrator's password.
    pub admin_password: Option<String>,
    /// The demo's switch.
    pub demo: Option<Shop>,
    /// Answers host names; the system's where absent.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Sizes of the recorder's queues.
    pub recorder: recorder::Limits,
    /// Sends [`Input::Tick`] once a second; tests tick by themselves.
    pub ticking: bool,
}

impl Options {
    /// The defaults of the command line for a data folder.
    pub fn new(data_dir: impl Into<PathBuf>, clock: SharedClock) -> Self {
        Self {
            data_dir: data_dir.into(),
            config: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            clock,
            compiler: std::env::current_exe().unwrap_or_else(|_| "bellwether".into()),
            admin_password: None,
            demo: None,
            resolver: None,
            recorder: recorder::Limits::default(),
            ticking: true,
        }
    }
}

/// What the engine's tasks share. HTTP handlers do not get this.
struct Core {
    clock: SharedClock,
    config_path: Option<PathBuf>,
    /// The file's part of the configuration at the start.
    started: Spec,
    listen: SocketAddr,
    store: Store,
    host: Arc<Host>,
    registry: Registry,
    recorder: Handle<Input>,
    live: LiveView,
    /// Valid configurations whose commit is under way.
    proposed: parking_lot::Mutex<std::collections::BTreeMap<u64, configuration::Candidate>>,
    /// Configuration in force.
    config: RwLock<Arc<Config>>,
    view: watch::Sender<Arc<ConfigView>>,
    status: watch::Sender<EngineStatus>,
    runner: mpsc::Sender<Message>,
    figures: Arc<RunnerFigures>,
    /// Versions that run beside those in use.
    shadows: shadow::Shadows,
    outbound: watch::Sender<Arc<Outbound>>,
    /// Something was queued for delivery.
    deliver: Arc<Notify>,
    /// Told when the log sources changed.
    log_sources: Arc<Notify>,
    uploads: Uploads,
    events: broadcast::Sender<Event>,
    demo: Option<Shop>,
    /// The pipeline's memory; the recorder locks it for each batch.
    snapshot: Arc<parking_lot::Mutex<Snapshot>>,
    /// Serialises changes of the configuration.
    changing: tokio::sync::Mutex<configuration::Generation>,
    /// Backtests that may run at the same time.
    backtests: tokio::sync::Semaphore,
    /// What /metrics shows.
    metrics: PrometheusHandle,
    tasks: TaskTracker,
    /// Ends sources of work.
    stop: CancellationToken,
}

/// A running engine.
pub struct Engine {
    core: Arc<Core>,
    /// Where it listens; the port is chosen where 0 was asked for.
    address: SocketAddr,
    /// Path and fragment that signs the first administrator in, once.
    login_link: Option<String>,
    recorder_stop: CancellationToken,
    recorder_tasks: TaskTracker,
}

/// How long runs may go on after the first signal.
const DRAIN: Duration = Duration::from_secs(10);

impl Engine {
    /// Starts everything; returns when it serves.
    ///
    /// # Errors
    /// What was wrong with the data folder, the configuration or the address.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        start::start(options).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The one-time link of the first start: what to put behind
    /// [`public_url`](Self::public_url).
    pub fn login_link(&self) -> Option<&str> {
        self.login_link.as_deref()
    }

    /// The URL under which people reach it.
    pub fn public_url(&self) -> String {
        let config = self.core.config.read().clone();
        let url = config.public_url.as_ref().map(ToString::to_string);
        url.unwrap_or_else(|| format!("http://{}", self.address))
            .trim_end_matches('/')
            .to_owned()
    }

    /// Reads the configuration file again (SIGHUP).
    ///
    /// # Errors
    /// The problems, one per line; the old configuration stays in force.
    pub async fn reload(&self) -> Result<u64, String> {
        let reloaded = self.core.reload().await;
        reloaded.map(|done| done.generation).map_err(|problems| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    /// The test clock was moved: tick the pipeline, look for due checks.
    pub async fn wake(&self) {
        // A stopped recorder or runner has nothing to look at.
        let _ = self.core.recorder.submit(Input::Tick).await;
        let _ = self.core.runner.send(Message::Wake).await;
        self.core.deliver.notify_one();
    }

    /// Completes when no run is under way and every result is committed. With a
    /// clock that runs by itself the next run may have begun by then.
    pub async fn settled(&self) {
        loop {
            let (reply, busy) = oneshot::channel();
            let asked = self.core.runner.send(Message::Busy { reply }).await;
            // A stopped runner is not busy.
            if asked.is_err() || busy.await.unwrap_or(0) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Completes when a task that must not end has ended.
    pub async fn failed(&self) {
        let mut health = self.core.recorder.watch_health();
        // The sender lives in the recorder's task.
        while health.changed().await.is_ok() {}
    }

    /// Ends it: no new work, what runs may end, the recorder drains. `now`
    /// completes when waiting is to be cut short (the second signal).
    pub async fn stop(self, now: impl Future<Output = ()>) {
        self.core.stop.cancel();
        self.core.tasks.close();
        tokio::select! {
            () = self.core.tasks.wait() => {}
            () = tokio::time::sleep(DRAIN) => {
                tracing::warn!("some runs did not end in time; they are not recorded");
            }
            () = now => tracing::warn!("stopping at once: runs in flight are not recorded"),
        }
        self.recorder_stop.cancel();
        self.recorder_tasks.close();
        self.recorder_tasks.wait().await;
        self.core.host.shutdown();
        self.core.store.close().await;
    }
}

impl Core {
    /// What HTTP handlers get.
    fn http_deps(&self, commands: Commands) -> Deps {
        let config = self.config.read().clone();
        let mailbox = match config.smtp.as_ref().map(|smtp| &smtp.transport) {
            Some(SmtpTransport::Folder(folder)) => Some(folder.clone()),
            _ => None,
        };
        Deps {
            settings: Settings {
                public_url: config
                    .public_url
                    .clone()
                    .unwrap_or_else(|| default_url(self.listen)),
                listen: self.listen,
                trusted_proxies: config
                    .spec
                    .web
                    .trusted_proxies
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .collect(),
                open_metrics: config.spec.web.open_metrics,
                demo: self.demo.is_some(),
                mailbox,
                max_plugin_size: config.spec.engine.max_plugin_size.0,
                version: env!("CARGO_PKG_VERSION"),
            },
            clock: self.clock.clone(),
            store: self.store.clone(),
            recorder: self.recorder.clone(),
            live: self.live.clone(),
            config: self.view.subscribe(),
            status: self.status.subscribe(),
            commands,
            uploads: self.uploads.clone(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
            costs: self.host.costs(),
            stop: self.stop.clone(),
        }
    }
}
