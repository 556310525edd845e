//! Jobs and outcomes: plain values that name everything a run needs and says.
//!
//! Invariant: the runner holds no database handle and no configuration. A job
//! could be carried to another machine as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::config::input::InputSpec;
use crate::config::spec::GrantsSpec;

/// A check on a node: the unit that is scheduled, stored and alerted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub i64);

/// SHA-256 of a plugin's bytes, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Digest(pub Arc<str>);

/// The judgement of a check.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum State {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl State {
    /// The word used in rules, API and mails.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Critical => "critical",
            State::Unknown => "unknown",
        }
    }

    /// The state with that number, as stored.
    pub fn from_code(code: i64) -> Option<State> {
        Some(match code {
            0 => State::Ok,
            1 => State::Warning,
            2 => State::Critical,
            3 => State::Unknown,
            _ => return None,
        })
    }
}

/// A node as plugins and rules see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub name: String,
    pub address: String,
    pub labels: BTreeMap<String, String>,
}

/// What one run may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// Linear memory in bytes.
    pub memory: u64,
    /// Bound of each wait on the target.
    pub timeout: Duration,
}

impl RunLimits {
    /// The run's own deadline: `timeout` + max(500 ms, 20%).
    pub fn deadline(&self) -> Duration {
        self.timeout + Duration::from_millis(500).max(self.timeout / 5)
    }
}

/// The part of a job that stays the same between runs of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    pub series: SeriesId,
    pub check: String,
    pub node: Arc<NodeInfo>,
    pub plugin: Digest,
    /// The plugin's configuration as JSON text, templates filled in.
    pub config: Arc<str>,
    /// What is fetched for a command plugin before it runs, templates filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<InputSpec>>,
    /// Everything granted to this run: the operator's grants plus, for
    /// first-party plugins, the targets that the configuration names.
    pub grants: Arc<GrantsSpec>,
    pub limits: RunLimits,
}

/// One run to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub spec: Arc<JobSpec>,
    /// The slot this run is for.
    pub scheduled: Timestamp,
    /// 1 for the first run of an incident, then counting.
    pub attempt: u32,
    /// Why it runs outside its schedule, if it does.
    pub cause: Cause,
    /// State of the plugin for this series, read before the run.
    pub state: Arc<PluginState>,
}

/// What made a run due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    #[default]
    Schedule,
    /// A person asked for it.
    RunNow,
    /// Proves the repair of this action run.
    Verify(i64),
}

/// Key-value state of a plugin for one series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginState(pub BTreeMap<String, StateEntry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    pub value: Vec<u8>,
    pub version: u64,
}

/// A metric value by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metric {
    #[schema(value_type = String)]
    pub name: Arc<str>,
    pub value: f64,
}

/// What a plugin reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub state: State,
    pub summary: String,
    pub details: String,
    pub metrics: Vec<Metric>,
}

/// Why a run gave no judgement. Never a target's DOWN.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FaultKind {
    /// The plugin refused its configuration.
    Config = 1,
    /// A capability was needed and not granted.
    Denied = 2,
    /// The plugin gave up by itself.
    Failed = 3,
    /// The guest trapped (panic, unreachable, stack overflow, bad memory access).
    Trap = 4,
    /// Memory, table, output or another limit was exceeded.
    Limit = 5,
    /// The guest computed beyond its deadline.
    Deadline = 6,
    /// The plugin is not there or does not load.
    Plugin = 7,
    /// The engine itself: overload, lock error, lost worker.
    Engine = 8,
}

impl FaultKind {
    /// The word used in API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Config => "config",
            FaultKind::Denied => "denied",
            FaultKind::Failed => "failed",
            FaultKind::Trap => "trap",
            FaultKind::Limit => "limit",
            FaultKind::Deadline => "deadline",
            FaultKind::Plugin => "plugin",
            FaultKind::Engine => "engine",
        }
    }

    /// The kind with that number, as stored.
    pub fn from_code(code: i64) -> Option<FaultKind> {
        Some(match code {
            1 => FaultKind::Config,
            2 => FaultKind::Denied,
            3 => FaultKind::Failed,
            4 => FaultKind::Trap,
            5 => FaultKind::Limit,
            6 => FaultKind::Deadline,
            7 => FaultKind::Plugin,
            8 => FaultKind::Engine,
            _ => return None,
        })
    }
}

/// An engine or plugin fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    pub kind: FaultKind,
    /// What happened and what to do, for people.
    pub text: String,
}

impl Fault {
    /// A fault with its text.
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

/// A line that a plugin wrote to its run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunLogLine {
    pub level: String,
    pub message: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub job: Job,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub verdict: Result<Report, Fault>,
    /// Changes of the plugin's state: `None` deletes. Committed with the result.
    pub state_writes: Vec<(String, Option<StateEntry>)>,
    pub log: Vec<RunLogLine>,
}

impl Outcome {
    /// How long the run took.
    pub fn duration(&self) -> Duration {
        self.finished.since(self.started)
    }

    /// How late the run began.
    pub fn lateness(&self) -> Duration {
        self.started.since(self.job.scheduled)
    }
}

/// A run of a remediation's action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionJob {
    /// Row of the intent.
    pub id: i64,
    pub remediation: String,
    pub alert: i64,
    pub rule: String,
    pub severity: String,
    pub summary: String,
    pub labels: BTreeMap<String, String>,
    pub check: Option<String>,
    pub node: Option<Arc<NodeInfo>>,
    pub plugin: Digest,
    pub config: Arc<str>,
    pub grants: Arc<GrantsSpec>,
    pub limits: RunLimits,
    pub attempt: u32,
    pub dry_run: bool,
    pub idempotency_key: String,
}

/// How an action run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionOutcome {
    pub id: i64,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// Summary and output, or why it failed.
    pub verdict: Result<ActionReport, ActionFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionReport {
    pub summary: String,
    pub details: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ActionFailure {
    /// The action ran and says it failed.
    Failed(String),
    /// The plugin or the engine failed.
    Fault(Fault),
}

/// A record parsed from a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When it happened, or when it was received where it does not say.
    pub time: Timestamp,
    pub received: Timestamp,
    pub level: LogLevel,
    pub message: String,
    pub fields: Vec<(Arc<str>, String)>,
}

#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum LogLevel {
    #[default]
    Unset = 0,
    Trace = 1,
    Debug = 2,
    Info = 3,
    Notice = 4,
    Warning = 5,
    Error = 6,
    Critical = 7,
}

impl LogLevel {
    /// The word used in queries and API; empty for none.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Unset => "",
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Notice => "notice",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
        }
    }
}
