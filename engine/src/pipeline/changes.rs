//! What a batch changed: the rows of one transaction, and what happens after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::faults::SourceFault;
use super::quarantine::Quarantine;
use crate::check::outcome::{
    ActionJob, Cause, Digest, Fault, LogRecord, NodeInfo, PluginState, SeriesId, State, StateEntry,
};
use crate::check::state::CheckState;
use crate::clock::Timestamp;
use crate::config::spec::Severity;

/// Rows of one transaction, in the order they were decided, and the effects
/// that follow its commit.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub new_series: Vec<SeriesRow>,
    pub new_metrics: Vec<(u32, Arc<str>)>,
    pub results: Vec<ResultRow>,
    /// Newest state of each series that changed.
    pub series_states: BTreeMap<SeriesId, CheckState>,
    pub plugin_state: Vec<(SeriesId, String, Option<StateEntry>)>,
    /// Newest version of each alert that changed.
    pub alerts: BTreeMap<i64, Alert>,
    pub timeline: Vec<TimelineEntry>,
    pub outbox: Vec<OutboxRow>,
    pub outbox_updates: Vec<OutboxUpdate>,
    /// Newest version of each action run that changed.
    pub action_runs: BTreeMap<i64, ActionRun>,
    pub logs: Vec<(Arc<str>, LogRecord)>,
    pub checkpoints: Vec<Checkpoint>,
    /// Plugins that were held back, or released (`None`).
    pub quarantines: BTreeMap<Digest, Option<Quarantine>>,
    /// Faults of log sources that began, went on or ended (`None`). Not stored:
    /// a source tells again after a restart.
    pub source_faults: BTreeMap<Arc<str>, Option<SourceFault>>,
    /// What to do after the commit.
    pub effects: Vec<Effect>,
}

impl Changes {
    /// True where the rows must survive power loss: anything but plain results
    /// and logs.
    pub fn must_survive_power_loss(&self) -> bool {
        !(self.alerts.is_empty()
            && self.timeline.is_empty()
            && self.outbox.is_empty()
            && self.outbox_updates.is_empty()
            && self.action_runs.is_empty()
            && self.quarantines.is_empty()
            && self.new_series.is_empty())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRow {
    pub id: SeriesId,
    pub check: Arc<str>,
    pub node: Arc<str>,
    pub created_at: Timestamp,
}

/// One result. `fault` set: `state` is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    pub ts: Timestamp,
    pub series: SeriesId,
    pub verdict: Result<State, Fault>,
    pub duration_us: u32,
    pub lateness_us: u32,
    /// The report's summary; for a fault its text.
    pub summary: String,
    pub details: Option<String>,
    /// Metric name id and value.
    pub metrics: Vec<(u32, f64)>,
}

/// Phase of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// True, but not yet for long enough.
    Pending,
    Firing,
    Resolved,
    /// Its rule or check was removed while it fired.
    Removed,
    /// Was pending and became false.
    Cancelled,
}

impl Phase {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
            Phase::Removed => "removed",
            Phase::Cancelled => "cancelled",
        }
    }

    /// True while it can still fire or fires.
    pub fn is_open(self) -> bool {
        matches!(self, Phase::Pending | Phase::Firing)
    }
}

/// What an alert is about: a rule, or the faults of a check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum AlertSource {
    Rule {
        name: String,
    },
    /// Engine faults of a check.
    Fault {
        check: String,
    },
    /// Engine faults of a log source.
    #[serde(rename = "log_source")]
    LogSource {
        source: String,
    },
    /// A version of a plugin that is held back.
    Plugin {
        plugin: String,
        digest: Digest,
    },
}

impl AlertSource {
    /// The name in subjects and lists: the rule's, the check's, the log source's
    /// or the plugin's.
    pub fn name(&self) -> &str {
        match self {
            AlertSource::Rule { name } => name,
            AlertSource::Fault { check } => check,
            AlertSource::LogSource { source } => source,
            AlertSource::Plugin { plugin, .. } => plugin,
        }
    }
}

/// An alert and all that was done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub id: i64,
    pub source: AlertSource,
    pub series: Option<SeriesId>,
    pub check: Option<String>,
    pub node: Option<String>,
    pub phase: Phase,
    pub severity: Severity,
    pub labels: BTreeMap<String, String>,
    /// Summary of the result that made it true last.
    pub summary: String,
    pub pending_at: Timestamp,
    pub fired_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Message-ID of the first mail to each recipient.
    pub threads: BTreeMap<String, String>,
    /// Progress of each remediation of the rule.
    pub remedies: BTreeMap<String, RemedyProgress>,
    /// A `[REPAIR FAILED]` mail was sent: once per alert.
    pub escalated: bool,
    /// Parents of its node that were all down when it fired: nobody was told and
    /// nothing was repaired. Empty once people were told.
    #[serde(default)]
    pub suppressed_by: Vec<String>,
}

/// Where a remediation stands for one alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemedyProgress {
    /// Action runs so far, refusals not counted.
    pub runs: u32,
    /// The run that has no outcome or no verification yet.
    pub in_flight: Option<i64>,
    /// When it may run again.
    pub next_at: Option<Timestamp>,
    /// Verified, or stopped by a limit: it does not run again for this alert.
    pub done: bool,
    /// What was last decided, for mails.
    pub last: String,
}

/// One line of "why was I (not) alerted?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    #[schema(value_type = i64)]
    pub ts: Timestamp,
    #[schema(value_type = Option<i64>)]
    pub series: Option<SeriesId>,
    pub alert: Option<i64>,
    #[serde(flatten)]
    pub event: TimelineEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TimelineEvent {
    /// A check changed its state.
    StateChanged {
        from: Option<State>,
        to: State,
        hard: bool,
        attempt: u32,
        summary: String,
    },
    /// Faults of a check began; its state is stale from here.
    FaultBegan {
        fault: Fault,
    },
    /// The check reports again.
    FaultEnded,
    AlertPending {
        rule: String,
        until: i64,
    },
    AlertFired {
        rule: String,
        severity: Severity,
        summary: String,
    },
    /// It fired while every parent of its node was down: nobody is told.
    AlertSuppressed {
        parents: Vec<String>,
    },
    /// People are told after all, and why.
    AlertUnsuppressed {
        reason: String,
    },
    AlertResolved {
        summary: String,
    },
    /// Was pending and became false before it fired.
    AlertCancelled,
    AlertRemoved {
        reason: String,
    },
    NotificationQueued {
        outbox: i64,
        kind: NotificationKind,
        contact: String,
        recipient: String,
        /// When it leaves, where it waits for others of its group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leaves_at: Option<i64>,
    },
    /// Nobody was told, and why.
    NotificationSkipped {
        kind: NotificationKind,
        reason: String,
    },
    NotificationSent {
        outbox: i64,
        recipient: String,
        reply: String,
    },
    NotificationRetry {
        outbox: i64,
        recipient: String,
        error: String,
        next_at: i64,
        attempts: u32,
    },
    NotificationFailed {
        outbox: i64,
        recipient: String,
        error: String,
    },
    RemediationStarted {
        run: i64,
        remediation: String,
        attempt: u32,
        dry_run: bool,
    },
    /// An envelope limit held it back.
    RemediationRefused {
        remediation: String,
        reason: String,
    },
    RemediationFinished {
        run: i64,
        remediation: String,
        ok: bool,
        summary: String,
        output: String,
        duration_us: u64,
    },
    /// The engine stopped while it ran; it is not repeated blindly.
    RemediationInterrupted {
        run: i64,
        remediation: String,
    },
    RemediationVerified {
        run: i64,
        remediation: String,
        ok: bool,
        summary: String,
    },
    /// People were told that the repair failed.
    RemediationEscalated {
        remediation: String,
        reason: String,
    },
}

impl TimelineEvent {
    /// The word in the `kind` column: the serde tag.
    pub fn kind(&self) -> &'static str {
        match self {
            TimelineEvent::StateChanged { .. } => "state_changed",
            TimelineEvent::FaultBegan { .. } => "fault_began",
            TimelineEvent::FaultEnded => "fault_ended",
            TimelineEvent::AlertPending { .. } => "alert_pending",
            TimelineEvent::AlertFired { .. } => "alert_fired",
            TimelineEvent::AlertSuppressed { .. } => "alert_suppressed",
            TimelineEvent::AlertUnsuppressed { .. } => "alert_unsuppressed",
            TimelineEvent::AlertResolved { .. } => "alert_resolved",
            TimelineEvent::AlertCancelled => "alert_cancelled",
            TimelineEvent::AlertRemoved { .. } => "alert_removed",
            TimelineEvent::NotificationQueued { .. } => "notification_queued",
            TimelineEvent::NotificationSkipped { .. } => "notification_skipped",
            TimelineEvent::NotificationSent { .. } => "notification_sent",
            TimelineEvent::NotificationRetry { .. } => "notification_retry",
            TimelineEvent::NotificationFailed { .. } => "notification_failed",
            TimelineEvent::RemediationStarted { .. } => "remediation_started",
            TimelineEvent::RemediationRefused { .. } => "remediation_refused",
            TimelineEvent::RemediationFinished { .. } => "remediation_finished",
            TimelineEvent::RemediationInterrupted { .. } => "remediation_interrupted",
            TimelineEvent::RemediationVerified { .. } => "remediation_verified",
            TimelineEvent::RemediationEscalated { .. } => "remediation_escalated",
        }
    }
}

/// Kind of a notification, as in the subject's brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    Firing,
    Resolved,
    RepairFailed,
    Fault,
    FaultResolved,
}

/// Everything a mail says; rendered when it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    pub kind: NotificationKind,
    pub alert: i64,
    /// Rule, or check for faults.
    pub name: String,
    pub check: Option<String>,
    pub node: Option<NodeInfo>,
    pub severity: Severity,
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    /// When the trouble began.
    pub since: Timestamp,
    /// When this transition happened.
    pub at: Timestamp,
    /// The rule's expression.
    pub expression: String,
    /// Newest first.
    pub last_results: Vec<ResultLine>,
    /// What remediations did, oldest first.
    pub tried: Vec<String>,
    /// Message-ID of the first mail of the alert to this recipient, for
    /// In-Reply-To and References; absent in the first.
    pub in_reply_to: Option<String>,
}

/// A result in a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    pub ts: Timestamp,
    /// State word, or `fault`.
    pub state: String,
    pub duration_us: u32,
    pub summary: String,
}

/// A notification to one recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    pub id: i64,
    pub idempotency_key: String,
    pub alert: i64,
    pub contact: String,
    /// Mailbox, or the notifier of a contact.
    pub recipient: String,
    pub message_id: String,
    pub payload: Arc<Notification>,
    pub attempts: u32,
    pub created_at: Timestamp,
    pub next_at: Timestamp,
    /// The mail that it shares with others; absent where it leaves alone.
    pub slot: Option<Slot>,
}

/// A mail that holds several notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Message-ID of its first row.
    pub id: String,
    /// What its notifications have in common, as JSON.
    pub group: String,
    /// When it leaves.
    pub at: Timestamp,
}

/// How a delivery attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxUpdate {
    pub id: i64,
    pub alert: i64,
    pub recipient: String,
    pub attempts: u32,
    pub at: Timestamp,
    pub result: DeliveryResult,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryResult {
    /// Accepted; the server's reply.
    Sent(String),
    /// To be tried again.
    Retry { error: String, next_at: Timestamp },
    /// Given up.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Committed before it is handed to the action; without an outcome after a
    /// restart it is `Interrupted`.
    Running,
    AwaitingApproval,
    Succeeded,
    Failed,
    DryRun,
    Interrupted,
    Cancelled,
}

impl RunStatus {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::AwaitingApproval => "awaiting_approval",
            RunStatus::Succeeded => "succeeded",
            RunStatus::Failed => "failed",
            RunStatus::DryRun => "dry_run",
            RunStatus::Interrupted => "interrupted",
            RunStatus::Cancelled => "cancelled",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyStatus {
    None,
    Waiting,
    Ok,
    Failed,
}

impl VerifyStatus {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            VerifyStatus::None => "none",
            VerifyStatus::Waiting => "waiting",
            VerifyStatus::Ok => "ok",
            VerifyStatus::Failed => "failed",
        }
    }
}

/// One run of a remediation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRun {
    pub id: i64,
    pub alert: i64,
    pub remediation: String,
    pub series: Option<SeriesId>,
    pub node: Option<String>,
    pub attempt: u32,
    pub status: RunStatus,
    pub verify: VerifyStatus,
    /// Faults met while verifying.
    pub verify_faults: u32,
    pub idempotency_key: String,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub summary: String,
    pub output: String,
}

/// How far a file of a log source was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub source: Arc<str>,
    /// `device:inode`.
    pub file_key: String,
    pub path: String,
    pub offset: u64,
    /// JSON of the reader: fingerprint of the first bytes.
    pub state: String,
    pub updated_at: Timestamp,
    /// The file is gone and was read to its end: the row is deleted.
    pub removed: bool,
}

/// A series that the configuration selects.
#[derive(Clone, Debug)]
pub struct ActiveSeries {
    pub id: SeriesId,
    pub check: Arc<str>,
    pub node: Arc<str>,
    pub plugin_state: Arc<PluginState>,
}

/// What follows the commit.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A run of a series ended (recorded); `soft` asks for the retry interval.
    SeriesDone {
        series: SeriesId,
        soft: bool,
        attempt: u32,
        /// The plugin's state after the run, where the run changed it.
        plugin_state: Option<Arc<PluginState>>,
    },
    /// The plugin's state of a series changed without a run.
    State {
        series: SeriesId,
        plugin_state: Arc<PluginState>,
    },
    /// A configuration is in force: the series it selects.
    Configured {
        generation: u64,
        series: Vec<ActiveSeries>,
    },
    /// Run a check outside its schedule.
    RunNow { series: SeriesId, cause: Cause },
    /// Something was queued for delivery.
    Deliver,
    /// Hand this intent to its action.
    RunAction(Box<ActionJob>),
    /// A check makes up more names of metrics than are kept.
    TooManyMetrics { check: Arc<str> },
    /// Refuse runs of a plugin.
    Held(Box<Quarantine>),
    /// Let a plugin run again.
    Released(Digest),
    /// Tell watchers.
    Event(Event),
}

/// What the UI is told, live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The state of a series changed.
    Series {
        check: String,
        node: String,
        state: Option<State>,
        soft: bool,
        stale: bool,
    },
    /// An alert changed its phase or its timeline.
    Alert { id: i64, name: String, phase: Phase },
    /// A delivery changed.
    Outbox { id: i64 },
    /// Log records arrived.
    Logs { source: String, count: u64 },
    /// Objects of the configuration changed.
    Config { generation: u64 },
    /// Plugins changed.
    Plugins { digest: Digest },
    /// Progress of an upload.
    Upload {
        id: String,
        phase: String,
        message: String,
    },
}
