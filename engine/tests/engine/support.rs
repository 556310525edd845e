//! What the tests of the whole engine stand on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bellwether::clock::{SharedClock, SystemClock, TestClock, Timestamp};
use bellwether::engine::{Engine, Options};
use bellwether::store::Store;

use crate::api::{Api, PASSWORD};
use crate::smtp::SmtpServer;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP service that can be broken, and whose repair can be refused.
pub struct Service {
    pub address: SocketAddr,
    pub broken: Arc<AtomicBool>,
    pub stubborn: Arc<AtomicBool>,
    pub repairs: Arc<AtomicUsize>,
}

impl Service {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server ends with its runtime"
    )]
    pub async fn start() -> Self {
        let broken = Arc::new(AtomicBool::new(false));
        let stubborn = Arc::new(AtomicBool::new(false));
        let repairs = Arc::new(AtomicUsize::new(0));
        let (health, mend) = (
            broken.clone(),
            (broken.clone(), stubborn.clone(), repairs.clone()),
        );
        let router = Router::new()
            .route(
                "/health",
                get(move || {
                    let broken = health.load(Ordering::SeqCst);
                    async move {
                        if broken {
                            StatusCode::SERVICE_UNAVAILABLE
                        } else {
                            StatusCode::OK
                        }
                    }
                }),
            )
            .route(
                "/repair",
                post(move || {
                    let (broken, stubborn, repairs) = mend.clone();
                    async move {
                        repairs.fetch_add(1, Ordering::SeqCst);
                        if !stubborn.load(Ordering::SeqCst) {
                            broken.store(false, Ordering::SeqCst);
                        }
                        "repaired"
                    }
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            broken,
            stubborn,
            repairs,
        }
    }
}

/// A data folder with a configuration, and engines that run on it one after
/// another.
pub struct World {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl World {
    pub fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bellwether.yaml");
        std::fs::write(&config, yaml).unwrap();
        Self { folder, config }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A path beside the configuration file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration file anew.
    pub fn configure(&self, yaml: &str) {
        std::fs::write(&self.config, yaml).unwrap();
    }

    pub async fn start(&self) -> Engine {
        Engine::start(self.options(Arc::new(SystemClock)))
            .await
            .unwrap()
    }

    /// What is wrong, where it does not start.
    pub async fn start_fails(&self) -> String {
        let started = Engine::start(self.options(Arc::new(SystemClock))).await;
        started.err().expect("a reason").to_string()
    }

    fn options(&self, clock: SharedClock) -> Options {
        let mut options = Options::new(self.data(), clock);
        options.config = Some(self.config.clone());
        options.listen = "127.0.0.1:0".parse().unwrap();
        options.compiler = PathBuf::from(env!("CARGO_BIN_EXE_bellwether"));
        options.admin_password = Some(PASSWORD.into());
        options
    }

    /// Timeline events in order, once the engine is stopped.
    pub async fn timeline(&self) -> Vec<String> {
        let (store, writer) = Store::open(&self.data()).await.unwrap();
        let mut reader = store.reader().await.unwrap();
        let mut entries = bellwether::store::timeline::recent(&mut reader, None, 1_000)
            .await
            .unwrap();
        entries.reverse();
        drop(reader);
        assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new());
        writer.close().await.unwrap();
        store.close().await;
        entries
            .iter()
            .map(|entry| entry.entry.event.kind().to_owned())
            .collect()
    }
}

pub async fn stop(engine: Engine) {
    engine.stop(std::future::pending()).await;
}

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "waited in vain: {what}"
    );
}

pub fn subjects(server: &SmtpServer) -> Vec<String> {
    server
        .mails()
        .iter()
        .map(|mail| mail.header("Subject").unwrap_or_default())
        .collect()
}

/// An engine whose time passes only when told.
pub struct TestApp {
    pub world: World,
    clock: Arc<TestClock>,
    engine: Engine,
}

impl TestApp {
    pub async fn start(yaml: &str) -> Self {
        // A Tuesday; nothing depends on it.
        let clock = TestClock::new(Timestamp::from_secs(1_767_700_800));
        let world = World::new(yaml);
        let engine = Self::engine(&world, &clock).await;
        Self {
            world,
            clock,
            engine,
        }
    }

    async fn engine(world: &World, clock: &Arc<TestClock>) -> Engine {
        let mut options = world.options(clock.clone());
        options.ticking = false;
        Engine::start(options).await.unwrap()
    }

    /// Lets time pass second by second; what is due is run and committed
    /// before the next second begins.
    pub async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.jump(Duration::from_secs(1)).await;
        }
    }

    /// Time is gone at once, as after a sleep of the machine.
    pub async fn jump(&self, time: Duration) {
        self.clock.advance(time);
        self.settle().await;
    }

    /// Sets the clock back.
    pub async fn back(&self, time: Duration) {
        use bellwether::clock::Clock as _;
        self.clock.set(self.clock.now() - time);
        self.settle().await;
    }

    async fn settle(&self) {
        self.engine.wake().await;
        let settled = tokio::time::timeout(PATIENCE, self.engine.settled()).await;
        assert!(settled.is_ok(), "runs do not end");
    }

    /// Stops the engine in good order and starts it again on the same data.
    pub async fn restart(self) -> Self {
        stop(self.engine).await;
        let engine = Self::engine(&self.world, &self.clock).await;
        Self {
            world: self.world,
            clock: self.clock,
            engine,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.engine.address()
    }

    pub async fn api(&self) -> Api {
        Api::log_in(self.engine.address()).await
    }

    /// Stops it.
    pub async fn stop(self) -> World {
        stop(self.engine).await;
        self.world
    }
}

/// A built plugin, by its path below `plugins/dist`.
pub fn plugin_file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins/dist")
        .join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run plugins/build.sh", path.display()))
}

/// Accepts connections and never says a word.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with its runtime"
)]
pub async fn silent_target() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

/// A port that was free a moment ago, for a program that is told its port.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
