//! A run that is watched: what it asked of the host, how long each call took,
//! and what it used of its limits. For people who try a plugin; scheduled runs
//! are not watched and pay one test of an absent option a call.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::bindings::bellwether::plugin::net::{self, Error as NetError, Timings};
use super::log::clip;
use super::net_http::micros;
use super::replay::Replay;
use super::run::{RunData, phase_name};
use super::secrets::Redactor;
use super::state::QUOTA;

/// Calls that are kept; later ones are counted.
const MAX_CALLS: usize = 200;
/// Bytes of what a call asked and was answered.
const MAX_TEXT: usize = 300;

/// A call of the host by a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostCall {
    /// Interface and function, such as `net.http`.
    pub call: String,
    /// What it was asked, such as `GET http://192.0.2.1/`.
    pub asked: String,
    /// What came of it; absent where the run ended in it.
    pub answer: Option<String>,
    /// True where the answer is an error.
    pub failed: bool,
    /// Microseconds from the run's start.
    pub at_us: u64,
    /// Microseconds it took, or had taken when the run ended in it.
    pub took_us: u64,
    /// Microseconds of each phase of a call of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<CallPhase>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallPhase {
    pub phase: String,
    pub took_us: u64,
}

/// What a run used of what it may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunUse {
    /// Microseconds on a guest thread: the guest's own code and the host's work
    /// for it, without waits.
    pub cpu_us: u64,
    /// Microseconds from start to end, and after how many it would have ended.
    pub ran_us: u64,
    pub deadline_us: u64,
    /// Bytes of linear memory.
    pub memory: u64,
    pub memory_limit: u64,
    /// Bytes of state that would be kept.
    pub state: u64,
    pub state_limit: u64,
    /// Calls of the host, those included that are not listed.
    pub host_calls: u64,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of the run; set by its first call.
    begun: Option<Instant>,
    calls: Vec<HostCall>,
    used: RunUse,
}

/// Eyes on one run; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    /// After the run: its calls in order, and what it used.
    pub fn seen(&self) -> (Vec<HostCall>, RunUse) {
        let seen = self.0.lock();
        (seen.calls.clone(), seen.used.clone())
    }

    pub(super) fn begin(&self) {
        self.0.lock().begun = Some(Instant::now());
    }

    /// Notes the beginning of a call; its number.
    pub(super) fn called(&self, call: &'static str, asked: String) -> Watching {
        let now = Instant::now();
        let mut seen = self.0.lock();
        let begun = *seen.begun.get_or_insert(now);
        let number = (seen.calls.len() < MAX_CALLS).then(|| {
            seen.calls.push(HostCall {
                call: call.to_owned(),
                asked: clip(&asked, MAX_TEXT).to_owned(),
                at_us: micros(now - begun),
                ..HostCall::default()
            });
            seen.calls.len() - 1
        });
        drop(seen);
        Watching(number.map(|number| (self.clone(), number, now)))
    }

    /// The run's end: no text may show a secret, and a call that never came back
    /// took until now.
    pub(super) fn end(&self, redactor: &Redactor, used: RunUse) {
        let mut seen = self.0.lock();
        let ran = seen.begun.map_or(0, |begun| micros(begun.elapsed()));
        // A text of full length was cut off, perhaps within a secret.
        let clean = |text: String| match text.len() + 4 > MAX_TEXT {
            true => redactor.whole(text),
            false => redactor.text(text),
        };
        for call in &mut seen.calls {
            call.asked = clean(std::mem::take(&mut call.asked));
            match call.answer.take() {
                Some(answer) => call.answer = Some(clean(answer)),
                None => call.took_us = ran.saturating_sub(call.at_us),
            }
        }
        seen.used = RunUse {
            ran_us: ran,
            ..used
        };
    }
}

/// What goes along with a run that somebody looks at.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Answers in the place of the network, or keeps what it answers.
    pub replay: Option<Replay>,
    pub watch: Option<Watch>,
}

/// A call that goes on. Dropped without an answer it ended the run.
pub(super) struct Watching(Option<(Watch, usize, Instant)>);

/// What came of a call, in words.
pub(super) struct Answer {
    pub text: String,
    pub failed: bool,
    pub phases: Option<Timings>,
}

impl Answer {
    pub fn ok(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            failed: false,
            phases: None,
        }
    }

    pub fn failed(text: impl Into<String>) -> Self {
        Self {
            failed: true,
            ..Self::ok(text)
        }
    }

    pub fn timed(self, phases: Timings) -> Self {
        Self {
            phases: Some(phases),
            ..self
        }
    }

    /// Of a call of `net`.
    pub fn net<T>(result: &Result<T, NetError>, fine: impl FnOnce(&T) -> Answer) -> Self {
        match result {
            Ok(found) => fine(found),
            Err(error) => Self::failed(net_error(error)),
        }
    }

    /// Of another call, whose errors read well by themselves.
    pub fn of<T, E: std::fmt::Debug>(
        result: &Result<T, E>,
        fine: impl FnOnce(&T) -> String,
    ) -> Self {
        match result {
            Ok(found) => Self::ok(fine(found)),
            Err(error) => Self::failed(words(&format!("{error:?}"))),
        }
    }
}

impl Watching {
    pub fn answered(self, answer: impl FnOnce() -> Answer) {
        let Some((watch, number, begun)) = self.0 else {
            return;
        };
        let took = micros(begun.elapsed());
        let answer = answer();
        if let Some(call) = watch.0.lock().calls.get_mut(number) {
            call.took_us = took;
            call.answer = Some(clip(&answer.text, MAX_TEXT).to_owned());
            call.failed = answer.failed;
            call.phases = answer.phases.map(phases).unwrap_or_default();
        }
    }
}

impl RunData {
    /// Notes a call where the run is watched.
    pub(super) fn watch(&self, call: &'static str, asked: impl FnOnce() -> String) -> Watching {
        match &self.watch {
            Some(watch) => watch.called(call, asked()),
            None => Watching(None),
        }
    }

    /// Takes along what goes with the run.
    pub(super) fn go_with(&mut self, beside: Beside) {
        self.replay = beside.replay;
        self.watch = beside.watch;
    }

    /// Ends the watch, if there is one; before its calls are counted elsewhere.
    pub(super) fn watched(&self, busy: Duration) {
        let Some(watch) = &self.watch else {
            return;
        };
        let used = RunUse {
            cpu_us: micros(busy),
            ran_us: 0,
            deadline_us: micros(self.waits.length),
            memory: self.limiter.used(),
            memory_limit: self.limiter.limit(),
            state: self.state.size() as u64,
            state_limit: QUOTA as u64,
            host_calls: self.host_calls,
        };
        watch.end(&self.redactor, used);
    }
}

fn phases(times: Timings) -> Vec<CallPhase> {
    [
        ("resolve", times.resolve),
        ("connect", times.connect),
        ("tls", times.tls),
        ("first byte", times.first_byte),
    ]
    .into_iter()
    .filter_map(|(phase, took)| {
        Some(CallPhase {
            phase: phase.to_owned(),
            took_us: took?,
        })
    })
    .collect()
}

/// An error of `net` in words.
pub(super) fn net_error(error: &NetError) -> String {
    match error {
        NetError::Denied(what) => format!("denied: {what}"),
        NetError::Timeout(phase) => format!("timed out in {}", phase_name(*phase)),
        NetError::Resolve(text) => format!("does not resolve: {text}"),
        NetError::Refused => "connection refused".into(),
        NetError::Unreachable(text) => format!("unreachable: {text}"),
        NetError::Closed(text) => format!("closed: {text}"),
        NetError::Tls(text) => format!("TLS failed: {text}"),
        NetError::Protocol(text) => format!("protocol error: {text}"),
        NetError::TooLarge(limit) => format!("larger than {limit} bytes"),
        NetError::Invalid(text) => format!("invalid: {text}"),
    }
}

/// `Denied("what")` as `denied: what`, `Conflict` as `conflict`.
fn words(debug: &str) -> String {
    let name = debug.rsplit("::").next().unwrap_or(debug);
    match name.split_once('(') {
        Some((name, text)) => {
            let text = text.trim_end_matches(')').trim_matches('"');
            format!("{}: {text}", name.to_lowercase())
        }
        None => name.to_lowercase(),
    }
}

/// Bytes, for people.
pub(super) fn bytes(count: usize) -> String {
    match count {
        1 => "1 byte".into(),
        count => format!("{count} bytes"),
    }
}

/// Whom a name server's question is about.
pub(super) fn question(query: &net::DnsQuery) -> String {
    match &query.server {
        Some(server) => format!("{} {} at {server}", query.record_type, query.name),
        None => format!("{} {}", query.record_type, query.name),
    }
}
