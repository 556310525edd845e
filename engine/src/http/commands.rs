//! What handlers ask of the engine. They never hold it: they send a command and
//! await the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::backtest::{BacktestAsk, BacktestReport};
use super::error::{Error, FieldError};
use super::shadow::{ShadowView, ShadowWanted};
use super::uploads::UploadPlace;
use crate::auth::{Role, SecretHash};
use crate::check::outcome::{Digest, Fault, Metric, RunLogLine, SeriesId, State};
use crate::config::spec::{GrantsSpec, JsonObject};
use crate::config::{InputSpec, Problem};
use crate::plugin::watch::{HostCall, RunUse};

/// A request does not wait longer for the engine. Dry runs take the longest: up
/// to a minute and their share of compilation.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Kind of a configured object.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    Node,
    Check,
    Rule,
    Contact,
    Remediation,
    LogSource,
    Plugin,
}

impl ObjectKind {
    /// The word in the store, the audit and in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Node => "node",
            ObjectKind::Check => "check",
            ObjectKind::Rule => "rule",
            ObjectKind::Contact => "contact",
            ObjectKind::Remediation => "remediation",
            ObjectKind::LogSource => "log_source",
            ObjectKind::Plugin => "plugin",
        }
    }

    /// The key of its list in the configuration file, and its path in the API.
    pub fn plural(self) -> &'static str {
        match self {
            ObjectKind::Node => "nodes",
            ObjectKind::Check => "checks",
            ObjectKind::Rule => "rules",
            ObjectKind::Contact => "contacts",
            ObjectKind::Remediation => "remediations",
            ObjectKind::LogSource => "log_sources",
            ObjectKind::Plugin => "plugins",
        }
    }
}

/// Who asks, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// User name, or `token:` and the token's name.
    pub name: Arc<str>,
    pub role: Role,
}

/// What must be true of an object before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It does not exist.
    Absent,
    /// It exists with this version.
    Version(i64),
    /// It exists.
    Present,
}

/// One change of an object made in the UI or over the API.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectChange {
    pub kind: ObjectKind,
    pub name: String,
    pub expect: Expect,
    /// The object as in the configuration file; `None` deletes.
    pub spec: Option<serde_json::Value>,
}

/// What an accepted change led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Generation of the configuration that holds it.
    pub generation: u64,
}

/// A configuration file that was read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    pub generation: u64,
    /// Keys that differ from those the engine was started with and hold only
    /// after a restart.
    pub restart: Vec<String>,
}

/// Why a command was not done.
#[derive(Debug)]
pub enum CommandError {
    /// What was sent is not valid. Paths are relative to the object sent, see
    /// [`relative`]; problems that the change makes elsewhere have full paths.
    Invalid(Vec<Problem>),
    /// There is no such thing; the text says what.
    NotFound(String),
    /// It changed meanwhile, or is there already.
    Conflict(String),
    /// It belongs to the file; the text names it.
    ReadOnly(String),
    /// Others refer to it.
    InUse { message: String, users: Vec<String> },
    /// Allowed to nobody, or not to this role.
    Forbidden(String),
    /// Not now: overload, shutting down, not ready.
    Unavailable(String),
    /// An engine fault.
    Internal(anyhow::Error),
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Invalid(problems) => Error::validation(fields(problems)),
            CommandError::NotFound(message) => {
                Error::new(StatusCode::NOT_FOUND, "not_found", message)
            }
            CommandError::Conflict(message) => Error::conflict("conflict", message),
            CommandError::ReadOnly(message) => Error::conflict("read_only", message),
            CommandError::InUse { message, users } => {
                Error::conflict("in_use", format!("{message}: {}", users.join(", ")))
            }
            CommandError::Forbidden(message) => Error::forbidden(message),
            CommandError::Unavailable(message) => Error::unavailable(message),
            CommandError::Internal(cause) => Error::internal(cause),
        }
    }
}

/// Problems with paths made relative to the object at `prefix` (such as
/// `checks[3]`, see [`Merged::path_of`](crate::config::Merged::path_of)): what
/// [`CommandError::Invalid`] carries. Problems elsewhere keep their full path.
pub fn relative(problems: Vec<Problem>, prefix: &str) -> Vec<Problem> {
    problems
        .into_iter()
        .map(|mut problem| {
            if let Some(path) = problem.path_within(prefix) {
                problem.path = path.to_owned();
            }
            problem
        })
        .collect()
}

/// Problems as fields of what was sent.
pub fn fields(problems: Vec<Problem>) -> Vec<FieldError> {
    problems
        .into_iter()
        .map(|problem| FieldError {
            path: problem.path,
            message: problem.message,
            suggestion: problem.suggestion,
        })
        .collect()
}

/// How the engine answers.
pub type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// A run that is not recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DryRunReport {
    /// Absent for a fault.
    pub state: Option<State>,
    pub summary: String,
    pub details: String,
    pub metrics: Vec<Metric>,
    /// What the plugin wrote to its log.
    pub log: Vec<RunLogLine>,
    pub fault: Option<Fault>,
    pub duration_us: u64,
    /// What it asked of the host, in order; 200 calls at most.
    pub calls: Vec<HostCall>,
    pub used: RunUse,
}

/// What a rule says now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleTestReport {
    /// The expression is valid.
    pub ok: bool,
    /// What is wrong with it, with `path` = `when`.
    pub fields: Vec<FieldError>,
    /// Variables and functions that it reads.
    pub reads: Vec<String>,
    /// One alert per series, or one per rule.
    pub per_series: bool,
    /// What it is for each series; at most 20.
    pub results: Vec<RuleTestResult>,
    /// Series it was evaluated for.
    pub total: u64,
    /// Series for which it is true.
    pub matching: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleTestResult {
    /// Absent for a rule over logs alone.
    pub check: Option<String>,
    pub node: Option<String>,
    pub value: bool,
    /// Why there is no value, such as a missing metric; it counts as false.
    pub error: Option<String>,
}

/// One thing asked of the engine. Where an actor is named, the engine writes the
/// audit row in the transaction of the change.
#[derive(Debug)]
pub enum Command {
    /// Run a check now, on one node or all it selects; the answer is how many.
    RunNow {
        check: String,
        node: Option<String>,
        actor: Actor,
        reply: Reply<u32>,
    },
    /// Hold a check's schedule, or let it go.
    Pause {
        check: String,
        paused: bool,
        actor: Actor,
        reply: Reply<()>,
    },
    /// Compile, describe and store a plugin. Progress and the end are told to
    /// [`Uploads`](super::uploads::Uploads) under `upload`.
    Install {
        upload: String,
        /// Name to give it; its own where absent.
        name: Option<String>,
        /// Name of the file sent.
        file_name: Option<String>,
        bytes: Bytes,
        /// Detached signature, base64.
        signature: Option<String>,
        /// Given back when it is done.
        place: UploadPlace,
        actor: Actor,
    },
    /// Replace what a plugin may do.
    Grant {
        plugin: String,
        grants: GrantsSpec,
        actor: Actor,
        reply: Reply<Applied>,
    },
    /// Make a stored version the one a bare name means.
    Activate {
        plugin: String,
        digest: Digest,
        actor: Actor,
        reply: Reply<Applied>,
    },
    /// Pull a plugin from a registry and store it, as [`Command::Install`].
    Pull {
        upload: String,
        name: Option<String>,
        reference: String,
        signature: Option<String>,
        actor: Actor,
    },
    /// Run a version beside the one in use.
    StartShadow {
        plugin: String,
        wanted: ShadowWanted,
        actor: Actor,
        reply: Reply<()>,
    },
    /// End that.
    EndShadow {
        plugin: String,
        actor: Actor,
        reply: Reply<()>,
    },
    /// How the two compare.
    Shadow {
        plugin: String,
        reply: Reply<Option<Box<ShadowView>>>,
    },
    /// Tell a series what was reported from outside.
    Report {
        series: SeriesId,
        /// Keys and values of the plugin's state.
        entries: Vec<(String, Vec<u8>)>,
        reply: Reply<()>,
    },
    /// Make the secret of a series' report URL, or take it back.
    ReportKey {
        check: String,
        node: String,
        /// What is stored of the new one; `None` takes it back.
        key: Option<SecretHash>,
        actor: Actor,
        reply: Reply<()>,
    },
    /// Let a version that is held back run again.
    ReleasePlugin {
        plugin: String,
        digest: Digest,
        actor: Actor,
        reply: Reply<()>,
    },
    /// Remove a plugin, or one version of it.
    RemovePlugin {
        plugin: String,
        digest: Option<Digest>,
        actor: Actor,
        reply: Reply<()>,
    },
    /// Merge, validate, commit with audit rows, and use; or only validate.
    ApplyObjects {
        changes: Vec<ObjectChange>,
        dry_run: bool,
        actor: Actor,
        reply: Reply<Applied>,
    },
    /// Run a plugin once, recording nothing.
    DryRun {
        plugin: String,
        /// Absent for what needs none, such as a log parser.
        node: Option<String>,
        config: JsonObject,
        /// What a command plugin is handed.
        input: Option<InputSpec>,
        timeout: Option<Duration>,
        actor: Actor,
        reply: Reply<DryRunReport>,
    },
    /// Run a stored crash again, recording nothing.
    ReplayCrash {
        plugin: String,
        id: i64,
        /// Another version than the one that crashed.
        digest: Option<Digest>,
        reply: Reply<DryRunReport>,
    },
    /// Evaluate an expression over what is known now.
    TestRule {
        when: String,
        check: Option<String>,
        node: Option<String>,
        reply: Reply<RuleTestReport>,
    },
    /// Evaluate a rule over what is stored.
    Backtest {
        ask: BacktestAsk,
        reply: Reply<BacktestReport>,
    },
    /// Queue a failed delivery again.
    RetryDelivery {
        outbox: i64,
        actor: Actor,
        reply: Reply<()>,
    },
    /// A person's word on a repair that waits for approval.
    DecideRepair {
        run: i64,
        approve: bool,
        actor: Actor,
        reply: Reply<()>,
    },
    /// Break or mend the demo's target.
    SetDemoBroken { broken: bool, reply: Reply<()> },
    /// Whether the demo's target is broken.
    DemoBroken { reply: Reply<bool> },
    /// Check a whole configuration, using nothing of it.
    ValidateConfig {
        text: String,
        reply: Reply<Vec<Problem>>,
    },
    /// Read the configuration file again.
    Reload {
        actor: Actor,
        reply: Reply<Reloaded>,
    },
}

/// The sending side.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::Sender<Command>);

impl Commands {
    /// Requests that may wait; more are refused, not queued.
    const CAPACITY: usize = 256;

    /// Both ends: handlers get the first, the engine's task serves the second.
    pub fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(Self::CAPACITY);
        (Self(sender), receiver)
    }

    /// Sends a command without awaiting an answer.
    ///
    /// # Errors
    /// 503 where the engine is overloaded or gone.
    pub fn send(&self, command: Command) -> Result<(), Error> {
        self.0.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::unavailable("the engine is busy; try again in a moment")
            }
            mpsc::error::TrySendError::Closed(_) => {
                Error::unavailable("the engine is shutting down")
            }
        })
    }

    /// Sends what `command` makes of a reply channel, and awaits the answer.
    ///
    /// # Errors
    /// What the engine answers, or 503.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        self.ask_raw(command).await?.map_err(Error::from)
    }

    /// Like [`ask`](Self::ask), with the engine's own error.
    ///
    /// # Errors
    /// 503 where the engine does not answer.
    pub async fn ask_raw<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Result<T, CommandError>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer.map_err(|_| Error::unavailable("the engine is shutting down")),
            Err(_) => Err(Error::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                format!(
                    "the engine did not answer within {} s",
                    ANSWER_WITHIN.as_secs()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_to_the_object() {
        let problems = [
            "checks[3].config.url",
            "checks[3]",
            "checks[31].every",
            "rules[0].when",
        ]
        .map(|path| Problem::new(path, "wrong"));
        let paths: Vec<String> = relative(problems.into(), "checks[3]")
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            ["config.url", "", "checks[31].every", "rules[0].when"]
        );
    }
}
