use proptest::prelude::*;

use super::*;
use crate::check::outcome::FaultKind;

const T0: Timestamp = Timestamp::from_secs(1_000);

fn at(seconds: u64) -> Timestamp {
    T0 + std::time::Duration::from_secs(seconds)
}

fn fault(message: &str) -> Fault {
    Fault::new(FaultKind::Trap, message)
}

/// Steps through reports a second apart; hard state and attempt after each.
fn walk(attempts: u32, reports: &[State]) -> Vec<(Option<State>, u32)> {
    let mut state = CheckState::default();
    let steps = reports.iter().zip(0..);
    steps
        .map(|(report, second)| {
            state.step(*report, attempts, at(second));
            (state.hard, state.attempt)
        })
        .collect()
}

use State::{Critical, Ok as Fine, Unknown, Warning};

#[test]
fn a_failure_is_soft_until_the_last_attempt() {
    let steps = walk(3, &[Fine, Critical, Critical, Critical, Critical]);
    let expected = [
        (Some(Fine), 0),
        (Some(Fine), 1),
        (Some(Fine), 2),
        (Some(Critical), 3),
        (Some(Critical), 3),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_recovery_is_hard_at_once_and_starts_the_count_again() {
    let steps = walk(
        2,
        &[Critical, Critical, Fine, Critical, Fine, Critical, Critical],
    );
    let expected = [
        (None, 1),
        (Some(Critical), 2),
        (Some(Fine), 0),
        (Some(Fine), 1),
        (Some(Fine), 0),
        (Some(Fine), 1),
        (Some(Critical), 2),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn different_failures_count_together_and_the_last_one_decides() {
    let steps = walk(3, &[Warning, Unknown, Critical]);
    assert_eq!(steps.last(), Some(&(Some(Critical), 3)));
}

#[test]
fn among_hard_failures_a_change_is_hard_at_once() {
    let steps = walk(3, &[Critical, Critical, Critical, Warning]);
    assert_eq!(steps.last(), Some(&(Some(Warning), 3)));
}

#[test]
fn one_attempt_and_zero_attempts_mean_at_once() {
    for attempts in [0, 1] {
        assert_eq!(walk(attempts, &[Critical]), [(Some(Critical), 1)]);
    }
}

#[test]
fn the_time_of_the_hard_state_is_that_of_its_first_report() {
    let mut state = CheckState::default();
    state.step(Critical, 2, at(0));
    let step = state.step(Critical, 2, at(7));
    assert_eq!(step.hard_changed, Some(None));
    state.step(Critical, 2, at(9));
    assert_eq!(state.hard_since, at(7));
}

#[test]
fn a_fault_leaves_the_state_and_makes_it_stale() {
    let mut state = CheckState::default();
    state.step(Critical, 3, at(0));
    let before = (state.hard, state.last, state.attempt);
    let step = state.fault(fault("trap"), at(1));
    assert!(step.became_faulty && step.changed);
    assert_eq!(step.hard_changed, None);
    assert!(state.is_stale());
    assert_eq!((state.hard, state.last, state.attempt), before);

    let step = state.step(Critical, 3, at(2));
    assert!(step.recovered_from_fault && step.changed);
    assert!(!state.is_stale());
    assert_eq!(state.attempt, 2, "attempts go on where they were");
}

#[test]
fn faults_alert_after_three_in_a_row_or_a_minute() {
    let mut state = CheckState::default();
    state.fault(fault("a"), at(0));
    state.fault(fault("a"), at(1));
    assert!(!state.fault_alerts(at(59)));
    assert!(state.fault_alerts(at(60)));
    state.fault(fault("a"), at(2));
    assert!(state.fault_alerts(at(2)));
    state.step(Fine, 1, at(3));
    assert!(!state.fault_alerts(at(100)));
}

#[test]
fn a_repeated_result_changes_nothing_that_must_be_written() {
    let mut state = CheckState::default();
    state.step(Fine, 3, at(0));
    assert!(!state.step(Fine, 3, at(1)).changed);
    for second in 2..5 {
        assert!(state.step(Critical, 3, at(second)).changed);
    }
    assert!(!state.step(Critical, 3, at(6)).changed);
}

fn reports() -> impl Strategy<Value = Vec<Option<State>>> {
    let one = prop_oneof![
        4 => Just(Some(Fine)),
        2 => Just(Some(Warning)),
        4 => Just(Some(Critical)),
        1 => Just(Some(Unknown)),
        2 => Just(None),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    /// Against a model that looks at the whole history instead of counting.
    #[test]
    fn agrees_with_the_history(attempts in 1_u32..6, history in reports()) {
        let mut state = CheckState::default();
        let mut seen: Vec<State> = Vec::new();
        let mut hard = None;
        for (item, second) in history.into_iter().zip(0..) {
            let Some(report) = item else {
                let before = (state.hard, state.last, state.attempt, state.hard_since);
                let step = state.fault(fault("f"), at(second));
                prop_assert_eq!(step.hard_changed, None);
                prop_assert_eq!(before, (state.hard, state.last, state.attempt, state.hard_since));
                continue;
            };
            seen.push(report);
            let failures = seen.iter().rev().take_while(|state| **state != Fine).count();
            let in_trouble = hard.is_some_and(|hard| hard != Fine);
            let before = hard;
            if report == Fine || in_trouble || failures >= attempts as usize {
                hard = Some(report);
            }
            let step = state.step(report, attempts, at(second));
            prop_assert_eq!(state.hard, hard);
            prop_assert_eq!(step.hard_changed, (before != hard).then_some(before));
            prop_assert_eq!(state.attempt as usize, failures.min(attempts as usize));
            prop_assert_eq!(state.is_soft(), report != Fine && hard != Some(report));
            prop_assert!(!state.is_stale());
        }
    }
}
