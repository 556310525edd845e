//! The life of an alert: inactive → pending → firing → resolved. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::pipeline::changes::Phase;

/// What becomes of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing changes.
    None,
    /// True for the first time, and has to hold.
    Pend,
    /// Fires now.
    Fire,
    /// False again after it fired.
    Resolve,
    /// False again before it fired.
    Cancel,
}

/// One step: `open` is the phase and begin of the open alert, if there is one;
/// `value` what the expression says now; `hold` how long it must stay true.
pub fn step(
    open: Option<(Phase, Timestamp)>,
    value: bool,
    hold: Duration,
    now: Timestamp,
) -> Transition {
    match (open, value) {
        (None, false) => Transition::None,
        (None, true) if hold.is_zero() => Transition::Fire,
        (None, true) => Transition::Pend,
        (Some((Phase::Pending, since)), true) if now.since(since) >= hold => Transition::Fire,
        (Some((Phase::Pending, _)), false) => Transition::Cancel,
        (Some((Phase::Firing, _)), false) => Transition::Resolve,
        (Some(_), _) => Transition::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    #[test]
    fn without_hold_it_fires_in_the_first_true_step() {
        assert_eq!(step(None, true, Duration::ZERO, NOW), Transition::Fire);
    }

    #[test]
    fn it_fires_once_it_held_long_enough() {
        let hold = Duration::from_secs(30);
        assert_eq!(step(None, true, hold, NOW), Transition::Pend);
        let open = Some((Phase::Pending, NOW));
        assert_eq!(
            step(open, true, hold, NOW + Duration::from_secs(29)),
            Transition::None
        );
        assert_eq!(
            step(open, true, hold, NOW + Duration::from_secs(30)),
            Transition::Fire
        );
        assert_eq!(
            step(open, false, hold, NOW + Duration::from_secs(30)),
            Transition::Cancel
        );
    }

    #[test]
    fn a_firing_alert_resolves_at_the_first_false() {
        let open = Some((Phase::Firing, NOW));
        assert_eq!(step(open, true, Duration::ZERO, NOW), Transition::None);
        assert_eq!(
            step(open, false, Duration::from_secs(30), NOW),
            Transition::Resolve
        );
    }

    proptest! {
        /// Whatever comes, an alert fires only from inactive or pending, after
        /// having been true without a gap for the hold; and each resolve
        /// follows exactly one fire.
        #[test]
        fn fires_and_resolves_alternate(
            values in prop::collection::vec((any::<bool>(), 0u64..20), 1..200),
            hold in 0u64..40,
        ) {
            let hold = Duration::from_secs(hold);
            let mut now = NOW;
            let mut open: Option<(Phase, Timestamp)> = None;
            let mut true_since: Option<Timestamp> = None;
            let mut firing = false;
            for (value, gap) in values {
                now = now + Duration::from_secs(gap);
                true_since = if value { true_since.or(Some(now)) } else { None };
                match step(open, value, hold, now) {
                    Transition::Pend => {
                        prop_assert!(open.is_none() && value);
                        open = Some((Phase::Pending, now));
                    }
                    Transition::Fire => {
                        prop_assert!(!firing && value);
                        prop_assert!(now.since(true_since.unwrap()) >= hold);
                        firing = true;
                        open = Some((Phase::Firing, now));
                    }
                    Transition::Resolve => {
                        prop_assert!(firing && !value);
                        firing = false;
                        open = None;
                    }
                    Transition::Cancel => {
                        prop_assert!(!firing && !value);
                        open = None;
                    }
                    Transition::None => prop_assert_eq!(firing, matches!(open, Some((Phase::Firing, _)))),
                }
                prop_assert!(value || open.is_none());
            }
        }
    }
}
