//! When a failed delivery is tried again.

use std::time::Duration;

use crate::clock::Timestamp;

/// Greatest age of a notification that is still tried.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Centre of the first pause.
const FIRST: Duration = Duration::from_secs(5);

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Pause after the `attempt`-th failure (1 for the first): doubles from 5 s to
/// 15 min, and is shortened by up to half so that many rows that failed
/// together do not come back together. The same `seed` and `attempt` give the
/// same pause.
pub fn backoff(attempt: u32, seed: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let random = mix(seed ^ (u64::from(attempt) << 32));
    // The upper 32 bits as a share of one.
    let share = (random >> 32) as f64 / f64::from(u32::MAX);
    full.mul_f64(0.5 + 0.5 * share)
}

/// When a delivery created at `created` is tried again after its `attempt`-th
/// failure at `now`; `None` where it is given up. The last try is made when it
/// is exactly [`GIVE_UP_AFTER`] old.
pub fn next_attempt(
    created: Timestamp,
    now: Timestamp,
    attempt: u32,
    seed: u64,
) -> Option<Timestamp> {
    let end = created + GIVE_UP_AFTER;
    (now < end).then(|| (now + backoff(attempt, seed)).min(end))
}

/// The finalizer of splitmix64: spreads neighbouring seeds.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour() {
        assert!(backoff(1, 7) <= Duration::from_secs(5));
        assert!(backoff(4, 7) >= Duration::from_secs(20));
        assert!(backoff(30, 7) >= LONGEST / 2);
        assert!(backoff(u32::MAX, 7) <= LONGEST);
    }

    #[test]
    fn seeds_spread_the_pauses() {
        let pauses: std::collections::BTreeSet<_> = (0..100).map(|seed| backoff(5, seed)).collect();
        assert!(pauses.len() > 95, "{}", pauses.len());
    }

    proptest! {
        #[test]
        fn a_pause_is_between_half_and_all_of_its_step(attempt in 0u32..200, seed: u64) {
            let step = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST);
            let pause = backoff(attempt, seed);
            prop_assert!(pause >= step / 2 && pause <= step, "{pause:?} of {step:?}");
            prop_assert_eq!(pause, backoff(attempt, seed));
        }

        #[test]
        fn every_delivery_ends_within_a_day(seed: u64, created in 0i64..4_000_000_000_000_000) {
            let created = Timestamp(created);
            let (mut now, mut attempt) = (created, 1);
            while let Some(next) = next_attempt(created, now, attempt, seed) {
                prop_assert!(next > now);
                prop_assert!(next.since(created) <= GIVE_UP_AFTER);
                (now, attempt) = (next, attempt + 1);
            }
            // The last try comes when the day is over, not long before.
            prop_assert_eq!(now, created + GIVE_UP_AFTER);
            prop_assert!((90..250).contains(&attempt), "{}", attempt);
        }
    }
}
