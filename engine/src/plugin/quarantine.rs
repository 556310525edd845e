//! Versions whose runs are refused, except for a trial now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::host::Host;
use super::kind::Kind;
use crate::check::outcome::{Digest, Fault, FaultKind};
use crate::clock::{Clock, Timestamp};

/// A trial whose end was never heard of is made again after this.
const LOST_TRIAL: Duration = Duration::from_secs(300);
/// No trial.
const NEVER: i64 = i64::MAX;

#[derive(Debug)]
struct Held {
    text: String,
    /// Microseconds since the Unix epoch.
    trial_at: AtomicI64,
}

/// The gate before every run.
#[derive(Debug, Default)]
pub(super) struct Gate(RwLock<HashMap<Digest, Held>>);

impl Gate {
    /// The fault of a run that is held back. Probes are let through once when
    /// their trial is due; actions, parsers and notifiers change things or keep
    /// them, and are not tried.
    pub fn admit(&self, digest: &Digest, kind: Kind, clock: &dyn Clock) -> Result<(), Fault> {
        let all = self.0.read();
        let Some(held) = all.get(digest) else {
            return Ok(());
        };
        let (now, due) = (clock.now(), held.trial_at.load(Ordering::Acquire));
        let tried = kind == Kind::Probe
            && now.0 >= due
            && held
                .trial_at
                .compare_exchange(
                    due,
                    (now + LOST_TRIAL).0,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok();
        if tried {
            return Ok(());
        }
        Err(Fault::new(FaultKind::Plugin, held.text.clone()))
    }

    /// The same for a run that somebody looks at, which uses up no trial: only
    /// what is never tried stays out, as a version that nobody trusts.
    pub fn admit_watched(&self, digest: &Digest) -> Result<(), Fault> {
        match self.0.read().get(digest) {
            Some(held) if held.trial_at.load(Ordering::Acquire) == NEVER => {
                Err(Fault::new(FaultKind::Plugin, held.text.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl Host {
    /// Refuses runs of a version with a fault that says `text`, except for one
    /// at `trial_at`.
    pub fn hold(&self, digest: &Digest, text: String, trial_at: Option<Timestamp>) {
        let held = Held {
            text,
            trial_at: AtomicI64::new(trial_at.map_or(NEVER, |at| at.0)),
        };
        let gate = &self.inner.shared.gate;
        gate.0.write().insert(digest.clone(), held);
    }

    /// Lets a version run again.
    pub fn release(&self, digest: &Digest) {
        self.inner.shared.gate.0.write().remove(digest);
    }

    /// Why a version is held back, if it is.
    pub fn held(&self, digest: &Digest) -> Option<Fault> {
        let all = self.inner.shared.gate.0.read();
        all.get(digest)
            .map(|held| Fault::new(FaultKind::Plugin, held.text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;

    #[test]
    fn one_trial_is_let_through_when_it_is_due() {
        let clock = TestClock::new(Timestamp::from_secs(1_000));
        let (gate, digest) = (Gate::default(), Digest("d".into()));
        assert_eq!(gate.admit(&digest, Kind::Probe, &*clock), Ok(()));
        let held = Held {
            text: "held".into(),
            trial_at: AtomicI64::new(Timestamp::from_secs(1_060).0),
        };
        gate.0.write().insert(digest.clone(), held);
        let refused = Err(Fault::new(FaultKind::Plugin, "held"));
        assert_eq!(gate.admit(&digest, Kind::Probe, &*clock), refused);
        assert_eq!(gate.admit_watched(&digest), Ok(()));
        clock.advance(Duration::from_secs(60));
        assert_eq!(gate.admit(&digest, Kind::Action, &*clock), refused);
        assert_eq!(gate.admit(&digest, Kind::Probe, &*clock), Ok(()));
        assert_eq!(gate.admit(&digest, Kind::Probe, &*clock), refused);
        clock.advance(LOST_TRIAL);
        assert_eq!(gate.admit(&digest, Kind::Probe, &*clock), Ok(()));
        let never = Held {
            text: "held".into(),
            trial_at: AtomicI64::new(NEVER),
        };
        gate.0.write().insert(digest.clone(), never);
        assert_eq!(gate.admit_watched(&digest), refused);
    }
}
