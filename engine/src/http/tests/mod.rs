//! The router against a store in a temporary folder and an engine that only
//! writes down what it is asked.

mod access;
mod accounts;
mod api;
mod document;
mod history;
mod objects;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::commands::{
    Applied, Command, CommandError, Commands, DryRunReport, ObjectKind, RuleTestReport,
};
use super::state::{ConfigView, Deps, EngineStatus, Origin, Recorder, SeriesRef, Settings};
use super::uploads::Uploads;
use crate::auth::{NewSecret, Role, TOKEN_PREFIX, hash_password};
use crate::check::outcome::{SeriesId, State};
use crate::clock::{Clock, SharedClock, TestClock, Timestamp};
use crate::config::Problem;
use crate::config::spec::{CheckSpec, ContactSpec, NodeSpec, Spec};
use crate::live::LiveView;
use crate::pipeline::Input;
use crate::pipeline::changes::{Changes, Event};
use crate::recorder::Limits;
use crate::store::credentials::{self, Credential, Kind};
use crate::store::{Store, users, write};

/// The password of every account.
const PASSWORD: &str = "correct horse";
/// The start of every test.
const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// The engine's own origin.
const ORIGIN: &str = "http://127.0.0.1:8480";

/// A server with all that it talks to.
struct Bench {
    router: Router,
    clock: Arc<TestClock>,
    recorder: Recorder,
    live: LiveView,
    config: watch::Sender<Arc<ConfigView>>,
    status: watch::Sender<EngineStatus>,
    events: broadcast::Sender<Event>,
    uploads: Uploads,
    /// What the engine was asked.
    asked: Arc<Mutex<Vec<Command>>>,
    /// What it answers to changes of objects, once each; `Ok` when empty.
    answers: Arc<Mutex<Vec<CommandError>>>,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How a request shows who it is from.
#[derive(Clone, Copy)]
enum As<'a> {
    Nobody,
    Token(&'a str),
    /// A browser: cookie and the right origin.
    Browser(&'a str),
}

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    fn field(&self) -> String {
        self.json()["error"]["fields"][0]["path"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }
}

/// Checks `ping` and `homepage` (of the file) on nodes `n0`…; series ids count
/// from 1 in order of check, then node.
fn config(nodes: usize) -> ConfigView {
    let check = |name: &str| CheckSpec {
        name: name.into(),
        plugin: "http".into(),
        nodes: None,
        every: Some("10s".parse().unwrap()),
        cron: None,
        tz: None,
        jitter: None,
        timeout: "5s".parse().unwrap(),
        attempts: 3,
        retry_every: None,
        limits: Default::default(),
        config: Default::default(),
        input: None,
        paused: false,
    };
    let spec = Spec {
        nodes: (0..nodes)
            .map(|n| NodeSpec {
                name: format!("n{n:04}"),
                address: "127.0.0.1".into(),
                labels: [(
                    "role".to_owned(),
                    if n == 0 { "db" } else { "web" }.to_owned(),
                )]
                .into(),
                parents: Vec::new(),
            })
            .collect(),
        checks: vec![check("homepage"), check("ping")],
        contacts: vec![ContactSpec {
            name: "oncall".into(),
            email: vec!["ops@example.org".into()],
            plugin: None,
            config: Default::default(),
            timeout: None,
            group_by: None,
            group_wait: None,
            group_interval: None,
        }],
        ..Spec::default()
    };
    let mut origins = HashMap::new();
    for check in ["homepage", "ping"] {
        origins.insert(
            (ObjectKind::Check, check.to_owned()),
            Origin::Ui { version: 3 },
        );
    }
    let file = Origin::File {
        file: "bellwether.yaml".into(),
    };
    origins.insert((ObjectKind::Check, "homepage".to_owned()), file);
    let mut series = Vec::new();
    for check in ["homepage", "ping"] {
        for node in &spec.nodes {
            series.push(SeriesRef {
                id: SeriesId(series.len() as i64 + 1),
                check: check.into(),
                node: node.name.as_str().into(),
                paused: false,
            });
        }
    }
    ConfigView::new(7, spec, origins, series)
}

impl Bench {
    async fn new() -> Self {
        Self::with(Settings::default(), 3).await
    }

    async fn with(settings: Settings, nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(folder.path()).await.unwrap();
        let clock = TestClock::new(START);
        let shared: SharedClock = clock.clone();
        let live = LiveView::new();
        let (events, _) = broadcast::channel(16);
        let (recorder_task, recorder) = crate::recorder::Recorder::<Input>::new(
            writer,
            Box::new(|_, _| Changes::default()),
            Box::new(|_| {}),
            shared.clone(),
            live.clone(),
            events.clone(),
            Limits::default(),
        );
        let (commands, mut receiver) = Commands::channel();
        let (config, config_out) = watch::channel(Arc::new(config(nodes)));
        let (status, status_out) = watch::channel(EngineStatus {
            ready: true,
            started_at: START,
            ..EngineStatus::default()
        });
        let uploads = Uploads::new(events.clone());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(recorder_task.run(stop.clone()));
        let asked: Arc<Mutex<Vec<Command>>> = Arc::default();
        let answers: Arc<Mutex<Vec<CommandError>>> = Arc::default();
        let (log, replies) = (asked.clone(), answers.clone());
        tasks.spawn(async move {
            while let Some(command) = receiver.recv().await {
                log.lock().extend(answer(command, &replies));
            }
        });
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let router = super::router(Deps {
            settings,
            clock: shared,
            store,
            recorder: recorder.clone(),
            live: live.clone(),
            config: config_out,
            status: status_out,
            commands,
            uploads: uploads.clone(),
            events: events.clone(),
            metrics: metrics.handle(),
            costs: Default::default(),
            stop: stop.clone(),
        });
        Self {
            router,
            clock,
            recorder,
            live,
            config,
            status,
            events,
            uploads,
            asked,
            answers,
            stop,
            folder,
        }
    }

    /// A token with that role.
    async fn token(&self, role: Role) -> String {
        let secret = NewSecret::generate(TOKEN_PREFIX).unwrap();
        let credential = Credential {
            hash: secret.hash,
            kind: Kind::Token,
            user: None,
            name: format!("{}-token", role.as_str()),
            role,
            purpose: String::new(),
            created_at: START,
            expires_at: None,
            used_at: None,
        };
        self.write(move |conn| {
            let credential = credential.clone();
            Box::pin(async move { credentials::insert(conn, &credential).await })
        })
        .await;
        secret.text
    }

    /// An account with that role and [`PASSWORD`].
    async fn user(&self, name: &'static str, role: Role) {
        let hash = hash_password(PASSWORD).unwrap();
        self.write(move |conn| {
            let hash = hash.clone();
            Box::pin(async move {
                users::create(conn, name, Some(&hash), role, START)
                    .await
                    .map(|_| ())
            })
        })
        .await;
    }

    async fn write<F>(&self, work: F)
    where
        F: for<'c> FnMut(
                &'c mut crate::store::Conn,
            ) -> futures_util::future::BoxFuture<
                'c,
                Result<(), crate::store::StoreError>,
            > + Send
            + 'static,
    {
        self.recorder.write(work).await.unwrap();
    }

    /// Commits rows as the recorder would.
    async fn commit(&self, changes: Changes) {
        let changes = Arc::new(changes);
        self.live.apply(&changes);
        self.write(move |conn| {
            let changes = changes.clone();
            Box::pin(async move { write::write(conn, &changes).await })
        })
        .await;
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        // An event stream never ends.
        let stream = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().unwrap_or("").starts_with("text/event-stream"));
        let body = if stream {
            Vec::new()
        } else {
            body.collect().await.unwrap().to_bytes().to_vec()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn call(&self, method: Method, path: &str, who: As<'_>, body: Option<Value>) -> Answer {
        let path = if path.starts_with("/series") || !path.starts_with("/!") {
            format!("/api/v1{path}")
        } else {
            path[2..].to_owned()
        };
        let request = request(method, &path, who);
        let request = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    async fn get(&self, path: &str, who: As<'_>) -> Answer {
        self.call(Method::GET, path, who, None).await
    }

    async fn post(&self, path: &str, who: As<'_>, body: Value) -> Answer {
        self.call(Method::POST, path, who, Some(body)).await
    }

    /// Logs in and returns the cookie.
    async fn log_in(&self, name: &str, password: &str) -> Result<String, Answer> {
        let body = serde_json::json!({ "name": name, "password": password });
        let answer = self.post("/session", As::Nobody, body).await;
        if answer.status == StatusCode::OK {
            Ok(cookie(&answer))
        } else {
            Err(answer)
        }
    }

    fn advance(&self, seconds: u64) -> Timestamp {
        self.clock.advance(Duration::from_secs(seconds))
    }
}

/// `name=value` of the cookie that was set.
fn cookie(answer: &Answer) -> String {
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

fn request(method: Method, path: &str, who: As<'_>) -> axum::http::request::Builder {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:8480");
    match who {
        As::Nobody => request,
        As::Token(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        As::Browser(cookie) => request
            .header(header::COOKIE, cookie)
            .header(header::ORIGIN, ORIGIN),
    }
}

/// Answers a command; gives back what tests look at. Dropping the others' reply
/// is what an engine does that shuts down.
fn answer(command: Command, replies: &Mutex<Vec<CommandError>>) -> Option<Command> {
    match command {
        Command::ApplyObjects {
            changes,
            dry_run,
            actor,
            reply,
        } => {
            let wanted = replies.lock().pop();
            let _ = reply.send(wanted.map_or(Ok(Applied { generation: 8 }), Err));
            let (reply, _) = tokio::sync::oneshot::channel();
            return Some(Command::ApplyObjects {
                changes,
                dry_run,
                actor,
                reply,
            });
        }
        install @ Command::Install { .. } => return Some(install),
        Command::RunNow { reply, .. } => {
            let _ = reply.send(Ok(2));
        }
        Command::TestRule { reply, .. } => {
            let _ = reply.send(Ok(RuleTestReport {
                ok: true,
                ..RuleTestReport::default()
            }));
        }
        Command::DryRun { reply, .. } => {
            let _ = reply.send(Ok(DryRunReport {
                state: Some(State::Ok),
                summary: "fine".into(),
                duration_us: 1,
                ..DryRunReport::default()
            }));
        }
        Command::ValidateConfig { text, reply } => {
            let problems = if text.contains("wrong") {
                vec![Problem::new("checks[0].every", "expected a duration")]
            } else {
                Vec::new()
            };
            let _ = reply.send(Ok(problems));
        }
        _ => {}
    }
    None
}

/// The time of the bench.
fn now(bench: &Bench) -> i64 {
    bench.clock.now().micros()
}
