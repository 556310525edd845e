//! State of a series: soft and hard, attempts, staleness. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::outcome::{Fault, State};
use crate::clock::Timestamp;

/// What is known of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckState {
    /// Last state that was confirmed; absent until the first report.
    pub hard: Option<State>,
    /// Since when.
    #[schema(value_type = i64)]
    pub hard_since: Timestamp,
    /// State of the last report.
    pub last: Option<State>,
    /// Failures in a row that led to the last report; 0 after an ok.
    pub attempt: u32,
    /// Faults in a row.
    pub faults: u32,
    /// First of those faults.
    #[schema(value_type = Option<i64>)]
    pub faulty_since: Option<Timestamp>,
    /// The last of them.
    pub fault: Option<Fault>,
}

/// What a step changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The hard state before, where it changed.
    pub hard_changed: Option<Option<State>>,
    /// The last report's state or the attempt changed: the row is written.
    pub changed: bool,
    /// A run of faults began.
    pub became_faulty: bool,
    /// A run of faults ended.
    pub recovered_from_fault: bool,
}

impl CheckState {
    /// True while failures have not been confirmed.
    pub fn is_soft(&self) -> bool {
        match (self.last, self.hard) {
            (None | Some(State::Ok), _) => false,
            (last, hard) => last != hard,
        }
    }

    /// True while the state is older than the last runs because they faulted.
    pub fn is_stale(&self) -> bool {
        self.faults > 0
    }

    /// Takes a report. Failures become hard after `attempts` in a row (at least
    /// one); a recovery is hard at once. A change among failing states of a
    /// series that is already hard in failure is hard at once, too: the target
    /// was confirmed to be in trouble.
    pub fn step(&mut self, reported: State, attempts: u32, now: Timestamp) -> Step {
        let mut step = Step {
            recovered_from_fault: self.faults > 0,
            ..Step::default()
        };
        self.faults = 0;
        self.faulty_since = None;
        self.fault = None;
        let before = (self.hard, self.last, self.attempt);
        let becomes_hard = if reported == State::Ok {
            self.attempt = 0;
            true
        } else {
            let confirmed = matches!(self.hard, Some(hard) if hard != State::Ok);
            self.attempt = self.attempt.saturating_add(1).min(attempts.max(1));
            confirmed || self.attempt >= attempts.max(1)
        };
        self.last = Some(reported);
        if becomes_hard && self.hard != Some(reported) {
            step.hard_changed = Some(self.hard);
            self.hard = Some(reported);
            self.hard_since = now;
        }
        step.changed = step.recovered_from_fault || before != (self.hard, self.last, self.attempt);
        step
    }

    /// Takes a fault: the state stays as it was and is stale.
    pub fn fault(&mut self, fault: Fault, now: Timestamp) -> Step {
        let became_faulty = self.faults == 0;
        self.faults = self.faults.saturating_add(1);
        self.faulty_since.get_or_insert(now);
        let changed = became_faulty || self.faults == 3 || self.fault.as_ref() != Some(&fault);
        self.fault = Some(fault);
        Step {
            changed,
            became_faulty,
            ..Step::default()
        }
    }

    /// Faults alert after three in a row or after 60 s.
    pub fn fault_alerts(&self, now: Timestamp) -> bool {
        self.faults >= 3
            || self
                .faulty_since
                .is_some_and(|since| now.since(since) >= std::time::Duration::from_secs(60))
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
