//! A host on temporary folders, jobs, and servers that behave as told.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether::check::outcome::{
    Cause, Digest, Fault, Job, JobSpec, NodeInfo, Outcome, PluginState, Report, RunLimits, SeriesId,
};
use bellwether::clock::{SystemClock, Timestamp};
use bellwether::config::InputSpec;
use bellwether::config::spec::GrantsSpec;
use bellwether::plugin::resolve::{Resolve, ResolveError, Resolving};
use bellwether::plugin::{CompilerConfig, Host, HostConfig, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A component that `plugins/build.sh` made.
pub fn plugin(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins/dist")
        .join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run plugins/build.sh", path.display()))
}

/// Names that a test makes up.
pub struct Names(pub BTreeMap<&'static str, Vec<IpAddr>>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            self.0
                .get(name)
                .cloned()
                .ok_or_else(|| ResolveError::Name("no such name".into()))
        })
    }
}

/// A host and the folder it lives in.
pub struct TestHost {
    pub host: Arc<Host>,
    pub dir: tempfile::TempDir,
}

impl std::ops::Deref for TestHost {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.host
    }
}

/// The compiler child of the binary under test.
pub fn compiler() -> CompilerConfig {
    CompilerConfig {
        exe: env!("CARGO_BIN_EXE_bellwether").into(),
        timeout: Duration::from_secs(60),
        max_size: 64 << 20,
    }
}

pub fn host_with(change: impl FnOnce(&mut HostConfig)) -> TestHost {
    let dir = tempfile::tempdir().unwrap();
    // Compiled code is shared between tests; bytes and results are not.
    let cache_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code");
    let mut config = HostConfig {
        data_dir: dir.path().to_owned(),
        cache_dir,
        compiler: compiler(),
        max_in_flight: 500,
        max_memory: 256 << 20,
        settings: Settings::default(),
        resolver: None,
        extra_roots: Vec::new(),
        clock: Arc::new(SystemClock),
    };
    change(&mut config);
    TestHost {
        host: Arc::new(Host::new(config).unwrap()),
        dir,
    }
}

pub fn host() -> TestHost {
    host_with(|_| {})
}

/// A job under construction.
pub struct JobBuilder(JobSpec, PluginState);

pub fn job(plugin: &Digest, config: serde_json::Value) -> JobBuilder {
    JobBuilder(
        JobSpec {
            series: SeriesId(1),
            check: "check".into(),
            node: Arc::new(NodeInfo {
                name: "node-1".into(),
                address: "127.0.0.1".into(),
                labels: BTreeMap::new(),
            }),
            plugin: plugin.clone(),
            config: config.to_string().into(),
            input: None,
            grants: Arc::default(),
            limits: RunLimits {
                memory: 64 << 20,
                timeout: Duration::from_secs(2),
            },
        },
        PluginState::default(),
    )
}

impl JobBuilder {
    pub fn grants(mut self, change: impl FnOnce(&mut GrantsSpec)) -> Self {
        change(Arc::make_mut(&mut self.0.grants));
        self
    }

    pub fn net(self, grants: &[&str]) -> Self {
        self.grants(|g| g.net = grants.iter().map(|g| (*g).to_owned()).collect())
    }

    pub fn node(mut self, address: &str) -> Self {
        Arc::make_mut(&mut self.0.node).address = address.into();
        self
    }

    pub fn timeout(mut self, ms: u64) -> Self {
        self.0.limits.timeout = Duration::from_millis(ms);
        self
    }

    pub fn memory(mut self, bytes: u64) -> Self {
        self.0.limits.memory = bytes;
        self
    }

    pub fn input(mut self, input: InputSpec) -> Self {
        self.0.input = Some(Arc::new(input));
        self
    }

    pub fn state(mut self, state: PluginState) -> Self {
        self.1 = state;
        self
    }

    pub fn build(self) -> Job {
        Job {
            spec: Arc::new(self.0),
            scheduled: Timestamp::default(),
            attempt: 1,
            cause: Cause::Schedule,
            state: Arc::new(self.1),
        }
    }

    pub async fn run(self, host: &Host) -> Outcome {
        host.run_probe(self.build()).await
    }

    /// The report of a run that must give one.
    pub async fn report(self, host: &Host) -> Report {
        let outcome = self.run(host).await;
        outcome
            .verdict
            .unwrap_or_else(|fault| panic!("expected a report, found {fault:?}"))
    }

    /// The fault of a run that must end in one.
    pub async fn fault(self, host: &Host) -> Fault {
        match self.run(host).await.verdict {
            Err(fault) => fault,
            Ok(report) => panic!("expected a fault, found {report:?}"),
        }
    }
}

/// Installs a plugin of `plugins/dist`.
pub async fn install(host: &Host, name: &str) -> Digest {
    host.install(plugin(name), |_| {})
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .digest
}

/// A server whose connections are served by `serve`.
pub async fn serve<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn(serve(stream));
        }
    });
    address
}

/// An HTTP server that answers each request with the bytes that `answer` makes
/// of the request's head.
pub async fn http<F>(answer: F) -> SocketAddr
where
    F: Fn(&str) -> String + Clone + Send + Sync + 'static,
{
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            let head = read_head(&mut stream).await;
            let _ = stream.write_all(answer(&head).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// A response with a body.
pub fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// Reads until the empty line.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => head.extend_from_slice(&chunk[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that accepts and never says a word.
pub async fn silent() -> SocketAddr {
    serve(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await
}
