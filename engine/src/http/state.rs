//! What handlers get. Each asks for the part it needs; none gets the engine.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::FromRef;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::commands::{Commands, ObjectKind};
use super::events::Streams;
use super::overview::OverviewCache;
use super::reports::ReportLimiter;
use super::sessions::Sessions;
use super::uploads::Uploads;
use crate::check::outcome::SeriesId;
use crate::clock::{SharedClock, Timestamp};
use crate::config::spec::{Spec, WebSpec};
use crate::live::LiveView;
use crate::pipeline::changes::Event;
use crate::plugin::Costs;
use crate::store::Store;

/// The write side: the recorder's handle.
pub type Recorder = crate::recorder::Handle<crate::pipeline::Input>;

/// What does not change while the engine runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address under which people reach the UI.
    pub public_url: Url,
    /// Address the server is bound to.
    pub listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Serves /metrics without a token.
    pub open_metrics: bool,
    /// This is the demo.
    pub demo: bool,
    /// Folder into which mails are written, where they are not sent.
    pub mailbox: Option<PathBuf>,
    /// Greatest size of an uploaded plugin in bytes.
    pub max_plugin_size: u64,
    /// Version of the engine.
    pub version: &'static str,
}

impl Default for Settings {
    /// The defaults of the command line.
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8480));
        Self {
            public_url: default_url(listen),
            listen,
            trusted_proxies: Vec::new(),
            open_metrics: false,
            demo: false,
            mailbox: None,
            max_plugin_size: 64 << 20,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Whether the engine may listen on `listen`. Passwords and cookies travel in
/// the clear, so anything beyond loopback needs a proxy that adds TLS, or a word
/// that this is meant.
///
/// # Errors
/// What to change, for people.
pub fn check_exposure(listen: SocketAddr, web: &WebSpec) -> Result<(), String> {
    let is_local = listen.ip().to_canonical().is_loopback();
    if is_local || web.allow_plain_http || !web.trusted_proxies.is_empty() {
        return Ok(());
    }
    Err(format!(
        "expected a loopback address to listen on, found {listen}: put a proxy with TLS in front \
         and name it in web.trusted_proxies, or set web.allow_plain_http to true"
    ))
}

/// The URL of an engine that has no `public_url`: its listen address.
///
/// # Panics
/// Never: every socket address makes a URL.
pub fn default_url(listen: SocketAddr) -> Url {
    let text = format!("http://{listen}/");
    Url::parse(&text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// How the engine is, for the overview and /readyz.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStatus {
    /// Migrations, configuration and compilation are done.
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// What does not work, for a banner.
    pub degraded: Option<String>,
    pub checks_per_s: f64,
    pub lateness_p99_ms: f64,
    /// Faults since the start.
    pub faults: u64,
    pub started_at: Timestamp,
}

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Defined in this file: read-only here.
    File { file: Arc<str> },
    /// Made in the UI or over the API.
    Ui { version: i64 },
}

/// A series of the configuration in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRef {
    pub id: SeriesId,
    pub check: Arc<str>,
    pub node: Arc<str>,
    /// Its schedule is held.
    pub paused: bool,
}

/// The configuration in use, as handlers need it.
#[derive(Clone, Debug, Default)]
pub struct ConfigView {
    /// Counts configurations since the start.
    pub generation: u64,
    /// File and UI merged.
    pub spec: Spec,
    /// Of every object in `spec`.
    origins: HashMap<(ObjectKind, String), Origin>,
    /// In order of check, then node.
    series: Vec<SeriesRef>,
    /// Positions in `series`.
    by_node: HashMap<Arc<str>, Vec<usize>>,
}

impl ConfigView {
    /// A configuration with whose each object is and the series it makes.
    pub fn new(
        generation: u64,
        spec: Spec,
        origins: HashMap<(ObjectKind, String), Origin>,
        mut series: Vec<SeriesRef>,
    ) -> Self {
        series.sort_by(|a, b| (&a.check, &a.node).cmp(&(&b.check, &b.node)));
        let mut by_node: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (position, one) in series.iter().enumerate() {
            by_node.entry(one.node.clone()).or_default().push(position);
        }
        Self {
            generation,
            spec,
            origins,
            series,
            by_node,
        }
    }

    /// Whose `name` is; objects without an entry came with the engine.
    pub fn origin(&self, kind: ObjectKind, name: &str) -> Option<&Origin> {
        self.origins.get(&(kind, name.to_owned()))
    }

    /// Every series, in order of check, then node.
    pub fn series(&self) -> &[SeriesRef] {
        &self.series
    }

    /// Series of a check, in order of node.
    pub fn series_of_check(&self, check: &str) -> &[SeriesRef] {
        let from = self.series.partition_point(|one| *one.check < *check);
        let to = self.series.partition_point(|one| *one.check <= *check);
        &self.series[from..to]
    }

    /// Series on a node, in order of check.
    pub fn series_of_node(&self, node: &str) -> impl Iterator<Item = &SeriesRef> {
        let positions = self.by_node.get(node).map_or(&[][..], Vec::as_slice);
        positions.iter().map(|position| &self.series[*position])
    }

    /// One series.
    pub fn find_series(&self, check: &str, node: &str) -> Option<&SeriesRef> {
        let of_check = self.series_of_check(check);
        let position = of_check
            .binary_search_by(|one| (*one.node).cmp(node))
            .ok()?;
        Some(&of_check[position])
    }
}

/// The configuration as handlers read it.
#[derive(Clone, Debug)]
pub struct ConfigHandle(pub watch::Receiver<Arc<ConfigView>>);

impl ConfigHandle {
    /// The configuration in use now.
    pub fn get(&self) -> Arc<ConfigView> {
        self.0.borrow().clone()
    }
}

/// How the engine is, as handlers read it.
#[derive(Clone, Debug)]
pub struct StatusHandle(pub watch::Receiver<EngineStatus>);

impl StatusHandle {
    /// The status now.
    pub fn get(&self) -> EngineStatus {
        self.0.borrow().clone()
    }
}

/// Everything the engine hands to the server.
pub struct Deps {
    pub settings: Settings,
    pub clock: SharedClock,
    pub store: Store,
    pub recorder: Recorder,
    pub live: LiveView,
    pub config: watch::Receiver<Arc<ConfigView>>,
    pub status: watch::Receiver<EngineStatus>,
    pub commands: Commands,
    pub uploads: Uploads,
    pub events: broadcast::Sender<Event>,
    /// Renders /metrics.
    pub metrics: PrometheusHandle,
    pub costs: Costs,
    /// Ends event streams at shutdown.
    pub stop: CancellationToken,
}

/// State of the router; handlers take its parts.
#[derive(Clone, FromRef)]
pub(super) struct App {
    pub settings: Arc<Settings>,
    pub clock: SharedClock,
    pub store: Store,
    pub recorder: Recorder,
    pub live: LiveView,
    pub config: ConfigHandle,
    pub status: StatusHandle,
    pub commands: Commands,
    pub uploads: Uploads,
    pub events: broadcast::Sender<Event>,
    pub metrics: PrometheusHandle,
    pub costs: Costs,
    pub stop: CancellationToken,
    pub sessions: Sessions,
    pub overview: OverviewCache,
    pub streams: Streams,
    pub reports: Arc<ReportLimiter>,
}

impl From<Deps> for App {
    fn from(deps: Deps) -> Self {
        let sessions = Sessions::new(
            deps.store.clone(),
            deps.recorder.clone(),
            deps.clock.clone(),
        );
        Self {
            settings: Arc::new(deps.settings),
            clock: deps.clock,
            store: deps.store,
            recorder: deps.recorder,
            live: deps.live,
            config: ConfigHandle(deps.config),
            status: StatusHandle(deps.status),
            commands: deps.commands,
            uploads: deps.uploads,
            events: deps.events,
            metrics: deps.metrics,
            costs: deps.costs,
            stop: deps.stop,
            sessions,
            overview: OverviewCache::default(),
            streams: Streams::default(),
            reports: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_beyond_loopback_must_be_meant() {
        let check = |listen: &str, web: &WebSpec| check_exposure(listen.parse().unwrap(), web);
        let plain = WebSpec::default();
        assert!(check("127.0.0.1:8480", &plain).is_ok());
        assert!(check("[::1]:8480", &plain).is_ok());
        assert!(check("0.0.0.0:8480", &plain).is_err());
        assert!(check("192.0.2.1:8480", &plain).is_err());
        let meant = WebSpec {
            allow_plain_http: true,
            ..WebSpec::default()
        };
        assert!(check("0.0.0.0:8480", &meant).is_ok());
        let behind = WebSpec {
            trusted_proxies: vec!["10.0.0.1/32".into()],
            ..WebSpec::default()
        };
        assert!(check("0.0.0.0:8480", &behind).is_ok());
    }
}
