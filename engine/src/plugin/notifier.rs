//! Runs of notifiers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentType, Lower};

use super::bindings::exports::bellwether::plugin::notifier::{
    Kind as WitKind, NotifyError, Receipt,
};
use super::catalogue::{Entry, Ran};
use super::host::Inner;
use super::kind::Kind;
use super::probe::{NodeArg, config_fault, millis, one_line};
use super::run::{End, HOSTCALL_FUEL, RunData, RunSetup, ended, phase_name};
use crate::check::outcome::{Digest, Fault, FaultKind, NodeInfo, RunLimits};
use crate::clock::Timestamp;
use crate::config::spec::GrantsSpec;

/// Longest text taken from a notifier, in bytes.
const MAX_TEXT: usize = 4 << 10;

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationKind {
    Firing,
    Resolved,
    RepairFailed,
    Fault,
    Test,
}

/// One notification to be sent.
#[derive(Clone, Debug)]
pub struct NotifyJob {
    pub plugin: Digest,
    pub kind: NotificationKind,
    pub alert: String,
    pub rule: String,
    pub severity: String,
    pub title: String,
    pub text: String,
    pub check: Option<String>,
    pub node: Option<Arc<NodeInfo>>,
    pub labels: BTreeMap<String, String>,
    pub since: Timestamp,
    pub link: String,
    /// The contact's configuration as JSON text.
    pub config: Arc<str>,
    pub grants: Arc<GrantsSpec>,
    pub limits: RunLimits,
    pub idempotency_key: String,
    pub attempt: u32,
}

/// Why a notification was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum NotifyFailure {
    /// Worth another try, after that long if the receiver said so.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    /// Sending again would not help.
    Fail(String),
    /// The plugin or the engine failed.
    Fault(Fault),
}

/// What the receiving side calls the message, or why it has none.
pub type NotifyOutcome = Result<String, NotifyFailure>;

/// `notifier.notification`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct NotificationArg<'a> {
    kind: WitKind,
    alert: &'a str,
    rule: &'a str,
    severity: &'a str,
    title: &'a str,
    text: &'a str,
    check: Option<&'a str>,
    node: Option<NodeArg<'a>>,
    labels: Vec<(&'a str, &'a str)>,
    since: i64,
    link: &'a str,
    config: &'a str,
    #[component(name = "idempotency-key")]
    idempotency_key: &'a str,
    attempt: u32,
    now: i64,
    deadline: i64,
    #[component(name = "timeout-ms")]
    timeout_ms: u32,
}

pub(super) type NotifyResult = (Result<Receipt, NotifyError>,);

impl Inner {
    /// Sends a notification to its end.
    pub async fn notify(&self, job: NotifyJob) -> NotifyOutcome {
        let entry = self.entry(&job.plugin, Kind::Notifier);
        let Entry::Plugin(loaded) = entry.map_err(NotifyFailure::Fault)? else {
            let fault = Fault::new(FaultKind::Plugin, "a command cannot be a notifier");
            return Err(NotifyFailure::Fault(fault));
        };
        let (now, length) = (self.shared.clock.now().micros(), job.limits.deadline());
        let store = self.store(RunSetup {
            timeout: job.limits.timeout,
            length,
            memory: job.limits.memory,
            grants: Arc::clone(&job.grants),
            node: job.node.clone(),
            state: None,
            dry_run: false,
            fuel: HOSTCALL_FUEL,
        });
        let notification = NotificationArg {
            kind: match job.kind {
                NotificationKind::Firing => WitKind::Firing,
                NotificationKind::Resolved => WitKind::Resolved,
                NotificationKind::RepairFailed => WitKind::RepairFailed,
                NotificationKind::Fault => WitKind::Fault,
                NotificationKind::Test => WitKind::Test,
            },
            alert: &job.alert,
            rule: &job.rule,
            severity: &job.severity,
            title: &job.title,
            text: &job.text,
            check: job.check.as_deref(),
            node: job.node.as_deref().map(NodeArg::new),
            labels: job
                .labels
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect(),
            since: job.since.micros(),
            link: &job.link,
            config: &job.config,
            idempotency_key: &job.idempotency_key,
            attempt: job.attempt,
            now,
            deadline: now.saturating_add(length.as_micros() as i64),
            timeout_ms: millis(job.limits.timeout),
        };
        let Ran {
            result,
            mut data,
            busy,
        } = loaded
            .run::<_, NotifyResult>(store, 1, (notification,))
            .await;
        let text = |data: &RunData, text: &str| one_line(data.redactor.clip(text, MAX_TEXT));
        let verdict = match data.unless_own_fault(result, |(answer,)| answer.is_ok()) {
            Ok((Ok(receipt),)) => Ok(text(&data, &receipt.id)),
            Ok((Err(NotifyError::Config(problem)),)) => {
                let fault = config_fault(&problem, &data.redactor);
                Err(NotifyFailure::Fault(Fault {
                    text: one_line(fault.text),
                    ..fault
                }))
            }
            Ok((Err(NotifyError::Retry(retry)),)) => Err(NotifyFailure::Retry {
                reason: text(&data, &retry.reason),
                after: retry.after_ms.map(Duration::from_millis),
            }),
            Ok((Err(NotifyError::Fail(reason)),)) => Err(NotifyFailure::Fail(text(&data, &reason))),
            Err(error) => Err(match ended(&error, &mut data) {
                End::Target(phase) => NotifyFailure::Retry {
                    reason: format!("timed out in {}", phase_name(phase)),
                    after: None,
                },
                End::Fault(fault) => NotifyFailure::Fault(Fault {
                    text: text(&data, &fault.text),
                    ..fault
                }),
            }),
        };
        let fault = match &verdict {
            Err(NotifyFailure::Fault(fault)) => Some(fault.kind),
            _ => None,
        };
        loaded.cost.add(busy, &mut data, fault);
        verdict
    }
}
