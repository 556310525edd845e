//! The start, in order; each step names what stops it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::configuration::Generation;
use super::plugins::{builtin_plugins, file_plugins};
use super::registry::Registry;
use super::shadow::{self, Shadows};
use super::{Core, Engine, Options, commands, crashes, effects, logs, maintenance, status};
use crate::check::outcome::SeriesId;
use crate::check::runner::{Runner, RunnerFigures};
use crate::check::scheduler::Scheduler;
use crate::clock::Timestamp;
use crate::config::{self, Config, Problem};
use crate::http::commands::{Commands, ObjectKind};
use crate::http::setup::{FirstLogin, first_login};
use crate::http::uploads::Uploads;
use crate::live::LiveView;
use crate::notify::{Dispatcher, Outbound};
use crate::pipeline::changes::{ActionRun, RunStatus, VerifyStatus};
use crate::pipeline::snapshot::{Loaded, NextIds, Series, Snapshot};
use crate::pipeline::{Input, apply};
use crate::plugin::{CompilerConfig, Host, HostConfig, Settings};
use crate::recorder::Recorder;
use crate::remedy::envelope::PastRun;
use crate::store::load::SnapshotParts;
use crate::store::{Conn, OpenError, Store, StoreError, load, meta, objects, outbox, results};

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration, every problem of it.
    #[error("the configuration is not valid:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configuration(Vec<Problem>),
    /// The plugin host.
    #[error("{0}")]
    Host(String),
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    /// The address is open to others and nothing protects it.
    #[error(
        "refusing to listen on {0}: passwords would cross the network in the clear; \
         listen on 127.0.0.1 behind a proxy with TLS, or set web.allow_plain_http: true"
    )]
    Exposed(std::net::SocketAddr),
    /// Preparing the first login failed.
    #[error("cannot prepare the first login: {0}")]
    Login(String),
}

/// How far back the newest result of a series is looked for.
const NEWEST: Duration = Duration::from_secs(24 * 3600);
/// Concurrent deliveries.
const DELIVERIES: usize = 16;
/// Messages that wait for the scheduler's task.
const RUNNER_QUEUE: usize = 1_024;
/// Live events kept for a slow browser.
const EVENTS: usize = 1_024;

pub(super) async fn start(options: Options) -> Result<Engine, StartError> {
    let file = match &options.config {
        Some(path) => config::load(path).map_err(StartError::Configuration)?,
        None => config::load_str("(none)", "{}", std::path::Path::new("."))
            .map_err(StartError::Configuration)?,
    };
    let exposed = !options.listen.ip().is_loopback()
        && !file.spec.web.allow_plain_http
        && file.spec.web.trusted_proxies.is_empty();
    if exposed {
        return Err(StartError::Exposed(options.listen));
    }
    let (store, mut writer) = Store::open(&options.data_dir).await?;
    let now = options.clock.now();
    let conn = writer.connection().await?;
    let installation = meta::installation_id(conn, &fresh_installation()).await?;
    let parts = load::snapshot_parts(conn, now).await?;
    let ui = stored_objects(conn).await?;
    let live = LiveView::new();
    live.load(
        results::newest(conn, now - NEWEST).await?,
        parts.states.iter().cloned(),
    );
    let interrupted = interrupted_runs(&parts);
    let held = parts.quarantines.clone();
    let snapshot = snapshot(parts, installation, &live);

    let host = host(&options, &file.spec)?;
    for quarantine in held {
        host.hold(&quarantine.digest, quarantine.text(), quarantine.trial_at);
    }
    let listener =
        TcpListener::bind(options.listen)
            .await
            .map_err(|source| StartError::Listen {
                address: options.listen,
                source,
            })?;
    let address = listener.local_addr().unwrap_or(options.listen);

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (recorder_stop, recorder_tasks) = (CancellationToken::new(), TaskTracker::new());
    let (events, _) = broadcast::channel(EVENTS);
    let (effects_tx, effects_rx) = mpsc::unbounded_channel();
    let snapshot = Arc::new(Mutex::new(snapshot));
    let pipeline = snapshot.clone();
    let (recorder_task, recorder) = Recorder::new(
        writer,
        Box::new(move |batch, now| apply(&mut pipeline.lock(), batch, now)),
        Box::new(move |effects| {
            // The receiver lives as long as the recorder.
            let _ = effects_tx.send(effects);
        }),
        options.clock.clone(),
        live.clone(),
        events.clone(),
        options.recorder,
    );
    let (runner_tx, runner_rx) = mpsc::channel(RUNNER_QUEUE);
    let (commands_tx, commands_rx) = Commands::channel();
    let figures = Arc::new(RunnerFigures::default());
    let core = Arc::new(Core {
        clock: options.clock.clone(),
        config_path: options.config.clone(),
        started: file.spec.clone(),
        listen: address,
        store: store.clone(),
        host: host.clone(),
        registry: Registry::default(),
        recorder: recorder.clone(),
        live: live.clone(),
        proposed: Mutex::default(),
        config: RwLock::new(Arc::new(Config::empty())),
        view: watch::channel(Arc::default()).0,
        status: watch::channel(status::starting(now)).0,
        runner: runner_tx,
        figures: figures.clone(),
        shadows: Shadows::default(),
        outbound: watch::channel(Arc::new(Outbound::default())).0,
        deliver: Arc::new(Notify::new()),
        log_sources: Arc::new(Notify::new()),
        uploads: Uploads::new(events.clone()),
        events: events.clone(),
        demo: options.demo,
        changing: tokio::sync::Mutex::new(Generation {
            number: 0,
            file: Arc::new(file),
            ui: Arc::new(ui),
        }),
        snapshot,
        backtests: tokio::sync::Semaphore::new(1),
        metrics: status::metrics(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    });

    // Plugins and configuration: everything that can be wrong is found before
    // anything runs.
    builtin_plugins(&host, &core.registry, now)
        .await
        .map_err(StartError::Host)?;
    core.load_uploaded_plugins().await?;
    let first = {
        let mut current = core.changing.lock().await;
        file_plugins(&host, &core.registry, &current.file, now)
            .await
            .map_err(StartError::Configuration)?;
        current.number = 1;
        let candidate = core
            .candidate(current.clone(), &core.registry)
            .map_err(StartError::Configuration)?;
        core.load_referenced(&candidate.config)
            .await
            .map_err(StartError::Configuration)?;
        core.preload_windows(&candidate.config).await?;
        core.propose(candidate)
    };

    recorder_tasks.spawn(recorder_task.run(recorder_stop.clone()));
    recorder_tasks.spawn(effects::serve(core.clone(), effects_rx));
    let run = shadow::run_job(
        host.clone(),
        core.shadows.clone(),
        figures.clone(),
        tasks.clone(),
        stop.clone(),
    );
    let runner = Runner {
        scheduler: Scheduler::new(1),
        run,
        run_on: host.handle().clone(),
        results: recorder.clone(),
        messages: runner_rx,
        clock: options.clock.clone(),
        tasks: tasks.clone(),
        stop: stop.clone(),
        figures,
    };
    tasks.spawn(runner.serve());
    core.list_own_plugins().await?;
    recorder.submit(first).await?;
    for run in interrupted {
        recorder.submit(Input::ActionInterrupted { run }).await?;
    }
    core.in_force(1).await;

    let password = options.admin_password.as_deref();
    let login = first_login(&recorder, &options.clock, password)
        .await
        .map_err(|error| StartError::Login(format!("{error:#}")))?;
    let login_link = match login {
        FirstLogin::Link { token } => Some(format!("/login#token={token}")),
        FirstLogin::Nothing | FirstLogin::PasswordSet => None,
    };
    spawn_deliveries(&core);
    logs::spawn(&core);
    maintenance::spawn(&core, options.ticking);
    status::spawn(&core);
    crashes::spawn(&core);
    tasks.spawn(commands::serve(core.clone(), commands_rx));
    let router = crate::http::router(core.http_deps(commands_tx));
    let (serving, connections) = (stop.clone(), tasks.clone());
    tasks.spawn(async move {
        if let Err(error) = crate::http::serve(listener, router, connections, serving).await {
            tracing::error!(%error, "the web server stopped");
        }
    });
    Ok(Engine {
        core,
        address,
        login_link,
        recorder_stop,
        recorder_tasks,
    })
}

fn host(options: &Options, spec: &config::spec::Spec) -> Result<Arc<Host>, StartError> {
    let host = Host::new(HostConfig {
        data_dir: options.data_dir.clone(),
        cache_dir: options.data_dir.join("cache"),
        compiler: CompilerConfig {
            exe: options.compiler.clone(),
            timeout: spec.engine.compile_timeout.0,
            max_size: spec.engine.max_plugin_size.0,
        },
        // Shadow runs take nothing from the scheduler.
        max_in_flight: spec.engine.max_in_flight.saturating_add(shadow::MOST),
        max_memory: spec.engine.max_memory.0,
        settings: Settings::from_spec(spec).unwrap_or_default(),
        resolver: options.resolver.clone(),
        extra_roots: Vec::new(),
        clock: options.clock.clone(),
    });
    host.map(Arc::new).map_err(StartError::Host)
}

fn fresh_installation() -> String {
    let mut bytes = [0_u8; 6];
    // Without randomness the name is the same everywhere; Message-IDs still
    // differ by the sender's domain and the row.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

pub(super) async fn stored_objects(
    conn: &mut Conn,
) -> Result<BTreeMap<(ObjectKind, String), (serde_json::Value, i64)>, StoreError> {
    let mut all = BTreeMap::new();
    for object in objects::list(conn, None).await? {
        let word = serde_json::Value::String(object.kind.clone());
        match serde_json::from_value::<ObjectKind>(word).ok() {
            Some(kind) => {
                all.insert((kind, object.name), (object.spec, object.version));
            }
            None => {
                tracing::error!(kind = %object.kind, name = %object.name, "unknown kind of stored object")
            }
        }
    }
    Ok(all)
}

/// Runs without an outcome from before the restart, and those whose
/// verification was lost with it.
fn interrupted_runs(parts: &SnapshotParts) -> Vec<i64> {
    let lost =
        |run: &&ActionRun| run.status == RunStatus::Running || run.verify == VerifyStatus::Waiting;
    parts
        .open_runs
        .iter()
        .filter(lost)
        .map(|run| run.id)
        .collect()
}

fn snapshot(parts: SnapshotParts, installation: String, live: &LiveView) -> Snapshot {
    let mut states: BTreeMap<SeriesId, _> = parts.states.into_iter().collect();
    let mut plugin_states = parts.plugin_states;
    let series = parts
        .series
        .into_iter()
        .map(|row| Series {
            id: row.id,
            check: row.check,
            node_name: row.node,
            state: states.remove(&row.id).unwrap_or_default(),
            recent: live
                .get(row.id)
                .and_then(|live| live.newest)
                .map(|newest| crate::pipeline::changes::ResultLine {
                    ts: newest.ts,
                    state: newest
                        .verdict
                        .map_or("fault", |state| state.as_str())
                        .into(),
                    duration_us: newest.duration_us,
                    summary: newest.summary.to_string(),
                })
                .into_iter()
                .collect::<VecDeque<_>>(),
            plugin_state: Arc::new(plugin_states.remove(&row.id).unwrap_or_default()),
            node: None,
            sound: None,
            heard: false,
        })
        .collect();
    let ids = parts.last_ids;
    Snapshot::new(Loaded {
        series,
        metrics: parts.metrics,
        alerts: parts.open_alerts,
        action_runs: parts.open_runs,
        history: parts
            .recent_runs
            .into_iter()
            .filter(|run| {
                !matches!(
                    run.status,
                    RunStatus::AwaitingApproval | RunStatus::Cancelled
                )
            })
            .map(|run| {
                let past = PastRun {
                    at: run.created_at,
                    node: run.node.map(Into::into),
                };
                (run.remediation, past)
            })
            .collect(),
        quarantines: parts.quarantines,
        groups: parts.groups,
        next: NextIds {
            series: ids.series + 1,
            metric: ids.metric + 1,
            alert: ids.alert + 1,
            outbox: ids.outbox + 1,
            action_run: ids.action_run + 1,
        },
        installation,
    })
}

/// The outbox's worker, on tasks of its own.
fn spawn_deliveries(core: &Arc<Core>) {
    let (report, mut reports) = mpsc::channel(64);
    let (store, host) = (core.store.clone(), core.host.clone());
    let source =
        move |now: Timestamp, limit: usize| -> futures_util::future::BoxFuture<'static, _> {
            let store = store.clone();
            Box::pin(async move {
                let mut reader = store.reader().await?;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                let due = outbox::due(&mut reader, now, limit).await?;
                Ok(due.into_iter().map(|delivery| delivery.row).collect())
            })
        };
    let dispatcher = Dispatcher::new(
        source,
        report,
        core.outbound.subscribe(),
        core.clock.clone(),
        core.deliver.clone(),
        DELIVERIES,
    )
    .with_notifiers(Arc::new(move |job| {
        let host = host.clone();
        Box::pin(async move { host.notify(job).await })
    }));
    core.tasks.spawn(dispatcher.run(core.stop.clone()));
    let recorder = core.recorder.clone();
    core.tasks.spawn(async move {
        while let Some(updates) = reports.recv().await {
            if recorder.submit(Input::Delivered(updates)).await.is_err() {
                break;
            }
        }
    });
}
