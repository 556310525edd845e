//! `serve` and `demo`: the same engine, until a signal ends it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{SharedClock, SystemClock};
use crate::demo::Shop;
use crate::engine::{Engine, Options};

/// Runs the engine.
pub async fn serve(
    config: Option<PathBuf>,
    data_dir: PathBuf,
    listen: SocketAddr,
) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(data_dir, Arc::new(SystemClock));
    options.config = config;
    options.listen = listen;
    options.admin_password = admin_password();
    until_signal(options).await
}

/// Runs the engine with the shop and the configuration that watches it.
pub async fn demo(data_dir: Option<PathBuf>, listen: SocketAddr) -> anyhow::Result<ExitCode> {
    let clock: SharedClock = Arc::new(SystemClock);
    // A fresh folder each time, so that the story begins at its beginning.
    let temporary = match &data_dir {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("bellwether-demo-")
                .tempdir()?,
        ),
    };
    let folder = match (&data_dir, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => unreachable!("one of them was made above"),
    };
    // The shop puts its files beside the database.
    crate::store::folder::claim(&folder)?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let shop = Shop::start(&folder, clock.clone(), &tasks, stop.clone()).await?;
    let config = shop.write_configuration(&folder, &format!("http://{listen}"))?;
    let mut options = Options::new(folder, clock);
    options.config = Some(config);
    options.listen = listen;
    options.admin_password = admin_password();
    options.demo = Some(shop);
    let code = until_signal(options).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    drop(temporary);
    code
}

fn admin_password() -> Option<String> {
    std::env::var("BELLWETHER_ADMIN_PASSWORD")
        .ok()
        .filter(|password| !password.is_empty())
}

async fn until_signal(options: Options) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let engine = Engine::start(options).await?;
    announce(&engine);
    let mut code = ExitCode::SUCCESS;
    loop {
        tokio::select! {
            () = ended(&mut interrupt, &mut terminate) => break,
            () = engine.failed() => {
                tracing::error!("the recorder has ended: stopping");
                code = ExitCode::FAILURE;
                break;
            }
            _ = hangup.recv() => match engine.reload().await {
                Ok(generation) => tracing::info!(generation, "configuration read again"),
                Err(problems) => {
                    tracing::error!("the old configuration stays in force:\n{problems}");
                }
            },
        }
    }
    tracing::info!("stopping: letting runs end; a second signal stops at once");
    engine.stop(ended(&mut interrupt, &mut terminate)).await;
    Ok(code)
}

async fn ended(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn announce(engine: &Engine) {
    let url = engine.public_url();
    let login = match engine.login_link() {
        Some(link) => format!("Log in once with {url}{link}"),
        None => format!("Log in at {url}/login"),
    };
    // A closed pipe does not end an engine.
    let _ = writeln!(std::io::stdout(), "Bellwether listens on {url}\n{login}");
}
