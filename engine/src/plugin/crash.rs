//! The request whose run crashed a plugin, kept for replay.
//!
//! Nothing of a secret is kept: values that the run used, and every value that
//! was granted to it, are taken out of all texts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::catalogue::Installed;
use super::host::Shared;
use super::run::Waits;
use super::secrets::{self, Redactor};
use crate::check::outcome::{
    Cause, Digest, Fault, Job, JobSpec, NodeInfo, PluginState, RunLimits, RunLogLine, SeriesId,
    StateEntry,
};
use crate::clock::Timestamp;
use crate::config::input::InputSpec;
use crate::config::spec::{GrantsSpec, SecretSource};

/// Crashes of one version that are kept: at most one in this time.
const EVERY: Duration = Duration::from_secs(1);
/// Crashes that wait to be stored; later ones are dropped.
const WAITING: usize = 64;
/// Longest wait for the granted secrets.
const READING: Duration = Duration::from_secs(2);
/// Greatest request, in bytes of JSON. A larger one is kept without the
/// plugin's state, or not at all.
const MAX_REQUEST: usize = 256 << 10;

/// All that a run was given, as far as it can be given again: what the target
/// answered is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CrashRequest {
    /// Name that the plugin gives itself.
    pub plugin: String,
    pub version: String,
    pub digest: Digest,
    /// Start of the run.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    pub fault: Fault,
    pub check: String,
    pub node: CrashNode,
    /// The check's configuration, templates filled in.
    #[schema(value_type = Object)]
    pub config: Value,
    /// What a command plugin was to be handed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputSpec>,
    pub attempt: u32,
    /// Bound of each wait.
    pub timeout_ms: u64,
    /// Linear memory in bytes.
    pub memory: u64,
    pub grants: GrantsSpec,
    /// The plugin's state before the run.
    pub state: BTreeMap<String, CrashState>,
    /// The state was too large to be kept, or could have held a secret that is
    /// not known now.
    #[serde(default)]
    pub without_state: bool,
    /// The log of the run that crashed, with the guest's stack.
    #[serde(default)]
    pub log: Vec<RunLogLine>,
}

/// A run that crashed its plugin.
#[derive(Clone, Copy)]
pub(super) struct Crash<'a> {
    pub installed: &'a Installed,
    pub job: &'a Job,
    /// Start of the run.
    pub at: Timestamp,
    pub fault: &'a Fault,
    pub log: &'a [RunLogLine],
}

/// The node that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrashNode {
    pub name: String,
    pub address: String,
    pub labels: BTreeMap<String, String>,
}

/// A value of the plugin's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrashState {
    /// Base64.
    pub value: String,
    pub version: u64,
}

impl CrashRequest {
    fn new(crash: &Crash<'_>, redactor: &Redactor) -> Self {
        let Crash {
            installed,
            job,
            at,
            fault,
            log,
        } = *crash;
        let spec = &*job.spec;
        let text = |text: &str| redactor.text(text.to_owned());
        let mut config = serde_json::from_str(&spec.config).unwrap_or(Value::Null);
        redact(&mut config, redactor);
        let input = spec.input.as_deref().and_then(|input| {
            let mut value = serde_json::to_value(input).ok()?;
            redact(&mut value, redactor);
            serde_json::from_value(value).ok()
        });
        let state = job.state.0.iter().map(|(key, entry)| {
            let kept = CrashState {
                value: STANDARD.encode(redactor.bytes(&entry.value)),
                version: entry.version,
            };
            (text(key), kept)
        });
        Self {
            plugin: installed.manifest.name.clone(),
            version: installed.manifest.version.clone(),
            digest: spec.plugin.clone(),
            at,
            fault: Fault {
                text: text(&fault.text),
                ..fault.clone()
            },
            check: spec.check.clone(),
            node: CrashNode {
                name: spec.node.name.clone(),
                address: text(&spec.node.address),
                labels: spec
                    .node
                    .labels
                    .iter()
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect(),
            },
            config,
            input,
            attempt: job.attempt,
            timeout_ms: u64::try_from(spec.limits.timeout.as_millis()).unwrap_or(u64::MAX),
            memory: spec.limits.memory,
            grants: (*spec.grants).clone(),
            state: state.collect(),
            without_state: false,
            log: log
                .iter()
                .map(|line| RunLogLine {
                    message: text(&line.message),
                    ..line.clone()
                })
                .collect(),
        }
    }

    /// Within the limit, or nothing.
    fn bounded(mut self) -> Option<Self> {
        let fits = |request: &Self| {
            serde_json::to_vec(request).is_ok_and(|bytes| bytes.len() <= MAX_REQUEST)
        };
        if !fits(&self) {
            self.state.clear();
            self.without_state = true;
        }
        fits(&self).then_some(self)
    }

    /// The run again, of the version with this digest.
    pub fn job(&self, digest: Digest, now: Timestamp) -> Job {
        let state = self.state.iter().map(|(key, entry)| {
            let value = STANDARD.decode(&entry.value).unwrap_or_default();
            let entry = StateEntry {
                value,
                version: entry.version,
            };
            (key.clone(), entry)
        });
        let spec = JobSpec {
            series: SeriesId(0),
            check: self.check.clone(),
            node: Arc::new(NodeInfo {
                name: self.node.name.clone(),
                address: self.node.address.clone(),
                labels: self.node.labels.clone(),
            }),
            plugin: digest,
            config: self.config.to_string().into(),
            input: self.input.clone().map(Arc::new),
            grants: Arc::new(self.grants.clone()),
            limits: RunLimits {
                memory: self.memory,
                timeout: Duration::from_millis(self.timeout_ms),
            },
        };
        Job {
            spec: Arc::new(spec),
            scheduled: now,
            attempt: self.attempt,
            cause: Cause::RunNow,
            state: Arc::new(PluginState(state.collect())),
        }
    }
}

/// Adds the value of every secret that a run may use; false where one is not
/// known.
async fn add_granted(shared: &Shared, grants: &GrantsSpec, redactor: &mut Redactor) -> bool {
    let settings = shared.settings();
    let names = grants.secrets.iter().chain(&grants.read_secrets);
    let sources: Vec<Option<SecretSource>> = names
        .map(|name| settings.secrets.get(name).cloned())
        .collect();
    if sources.is_empty() {
        return true;
    }
    let reading = move || -> Vec<Option<String>> {
        let read = |source: Option<SecretSource>| secrets::read(&source?).ok();
        sources.into_iter().map(read).collect()
    };
    let waits = Waits {
        timeout: READING,
        deadline: Instant::now() + READING,
        length: READING,
    };
    let values = shared.blocking.run(waits, "a secret", reading).await;
    let values = values.unwrap_or_else(|_| vec![None]);
    let known = values.iter().all(Option::is_some);
    for value in values.iter().flatten() {
        redactor.add(value);
    }
    known
}

/// Takes the values out of every text of a JSON value.
fn redact(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => *text = redactor.text(std::mem::take(text)),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, redactor)),
        Value::Object(fields) => {
            for (key, mut value) in std::mem::take(fields) {
                redact(&mut value, redactor);
                fields.insert(redactor.text(key), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<CrashRequest>,
    /// When a crash of a version was last kept.
    newest: HashMap<Digest, Timestamp>,
}

/// Crashes on their way into the store.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    waiting: Arc<Mutex<Waiting>>,
    arrived: Arc<Notify>,
}

impl Crashes {
    /// The next crash, once there is one.
    pub async fn next(&self) -> CrashRequest {
        loop {
            if let Some(request) = self.waiting.lock().queue.pop_front() {
                return request;
            }
            self.arrived.notified().await;
        }
    }

    /// True, and noted, where a crash of this version is worth keeping now.
    fn wants(&self, digest: &Digest, now: Timestamp) -> bool {
        let mut waiting = self.waiting.lock();
        let soon = |at: &Timestamp| now.since(*at) < EVERY && now >= *at;
        if waiting.queue.len() >= WAITING || waiting.newest.get(digest).is_some_and(soon) {
            return false;
        }
        if waiting.newest.len() >= WAITING {
            waiting.newest.retain(|_, at| soon(at));
        }
        waiting.newest.insert(digest.clone(), now);
        true
    }

    /// Keeps the request of a run that crashed.
    pub(super) async fn keep(&self, shared: &Shared, crash: Crash<'_>, mut redactor: Redactor) {
        let spec = &crash.job.spec;
        if !self.wants(&spec.plugin, crash.at) {
            return;
        }
        // What earlier runs were given may be in the state.
        let known = add_granted(shared, &spec.grants, &mut redactor).await;
        let mut request = CrashRequest::new(&crash, &redactor);
        if !known && !request.state.is_empty() {
            request.state.clear();
            request.without_state = true;
        }
        if let Some(request) = request.bounded() {
            self.waiting.lock().queue.push_back(request);
            self.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::outcome::FaultKind;

    fn request() -> CrashRequest {
        CrashRequest {
            plugin: "nasty".into(),
            version: "1.0.0".into(),
            digest: Digest("aa".into()),
            at: Timestamp(5),
            fault: Fault::new(FaultKind::Trap, "unreachable"),
            check: "c".into(),
            node: CrashNode {
                name: "n".into(),
                address: "192.0.2.1".into(),
                labels: BTreeMap::new(),
            },
            config: serde_json::json!({"a": 1}),
            input: None,
            attempt: 2,
            timeout_ms: 1_500,
            memory: 1 << 20,
            grants: GrantsSpec::default(),
            state: BTreeMap::from([(
                "k".into(),
                CrashState {
                    value: STANDARD.encode(b"\x00v"),
                    version: 3,
                },
            )]),
            without_state: false,
            log: Vec::new(),
        }
    }

    #[test]
    fn a_request_becomes_the_same_run_again() {
        let job = request().job(Digest("bb".into()), Timestamp(9));
        assert_eq!(&*job.spec.config, r#"{"a":1}"#);
        assert_eq!(job.spec.plugin, Digest("bb".into()));
        assert_eq!(job.spec.limits.timeout, Duration::from_millis(1_500));
        assert_eq!((job.attempt, job.scheduled), (2, Timestamp(9)));
        assert_eq!(job.state.0["k"].value, b"\x00v");
    }

    #[test]
    fn values_are_taken_out_of_keys_and_texts() {
        let mut redactor = Redactor::default();
        redactor.add("hush\"");
        let mut value = serde_json::json!({"hush\"": ["x hush\" y", {"k": "hush\""}], "n": 1});
        redact(&mut value, &redactor);
        let expected = serde_json::json!({"***": ["x *** y", {"k": "***"}], "n": 1});
        assert_eq!(value, expected);
    }

    #[tokio::test]
    async fn granted_secrets_are_known_or_not() {
        let test = super::super::host::tests::inner();
        let shared = &test.inner.shared;
        let dir = tempfile::tempdir().unwrap();
        let (there, gone) = (dir.path().join("there"), dir.path().join("gone"));
        std::fs::write(&there, "hush").unwrap();
        let file = |path: &std::path::Path| SecretSource::File(path.display().to_string());
        let mut settings = (*shared.settings()).clone();
        settings.secrets.insert("there".into(), file(&there));
        settings.secrets.insert("gone".into(), file(&gone));
        test.reconfigure(settings);
        for (secrets, read_secrets, expected) in [
            (vec![], vec![], true),
            (vec!["there"], vec![], true),
            (vec![], vec!["there"], true),
            (vec!["there"], vec!["gone"], false),
            (vec!["unheard-of"], vec![], false),
        ] {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let grants = GrantsSpec {
                secrets: names(&secrets),
                read_secrets: names(&read_secrets),
                ..GrantsSpec::default()
            };
            let mut redactor = Redactor::default();
            let known = add_granted(shared, &grants, &mut redactor).await;
            assert_eq!(known, expected, "{secrets:?} {read_secrets:?}");
            if expected && !(secrets.is_empty() && read_secrets.is_empty()) {
                assert_eq!(redactor.text("so hush".into()), "so ***");
            }
        }
    }

    #[test]
    fn requests_are_bounded() {
        let mut large = request();
        large.state.insert(
            "big".into(),
            CrashState {
                value: "x".repeat(MAX_REQUEST),
                version: 1,
            },
        );
        let kept = large.bounded().unwrap();
        assert!(kept.state.is_empty() && kept.without_state);
        let mut larger = request();
        larger.config = Value::String("x".repeat(MAX_REQUEST));
        assert_eq!(larger.bounded(), None);
    }

    #[test]
    fn one_crash_a_second_is_kept() {
        let (crashes, digest) = (Crashes::default(), Digest("aa".into()));
        let at = |ms: i64| Timestamp(ms * 1_000);
        assert!(crashes.wants(&digest, at(1_000)));
        assert!(!crashes.wants(&digest, at(1_900)));
        assert!(crashes.wants(&Digest("bb".into()), at(1_900)));
        assert!(crashes.wants(&digest, at(2_000)));
    }
}
