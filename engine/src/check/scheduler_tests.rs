use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::check::outcome::{Digest, JobSpec, NodeInfo, RunLimits};
use crate::check::schedule::series_hash;
use crate::config::units::Percent;

const T0: Timestamp = Timestamp::from_secs(1_700_000_000);

fn plan(id: i64, every: u64, retry: u64, timeout: u64) -> Plan {
    let job = JobSpec {
        series: SeriesId(id),
        check: format!("check-{id}"),
        node: Arc::new(NodeInfo {
            name: "n".into(),
            address: "127.0.0.1".into(),
            labels: BTreeMap::new(),
        }),
        plugin: Digest("0".repeat(64).into()),
        config: "{}".into(),
        input: None,
        grants: Arc::default(),
        limits: RunLimits {
            memory: 1 << 20,
            timeout: Duration::from_secs(timeout),
        },
    };
    Plan {
        job: Arc::new(job),
        schedule: Arc::new(Schedule::Every {
            every: Duration::from_secs(every),
            spread: Percent(10_000),
            retry: Some(Duration::from_secs(retry)),
        }),
        hash: series_hash(&format!("check-{id}"), "n"),
        paused: false,
    }
}

fn scheduler(plans: impl IntoIterator<Item = Plan>, max_in_flight: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(max_in_flight);
    configure(&mut scheduler, plans, max_in_flight, T0);
    scheduler
}

fn configure(
    scheduler: &mut Scheduler,
    plans: impl IntoIterator<Item = Plan>,
    max_in_flight: usize,
    now: Timestamp,
) {
    let plans = plans
        .into_iter()
        .map(|plan| (plan.job.series, plan, Arc::default()));
    scheduler.configure(plans, max_in_flight, now);
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ids(jobs: &[Job]) -> Vec<i64> {
    let mut ids: Vec<i64> = jobs.iter().map(|job| job.spec.series.0).collect();
    ids.sort_unstable();
    ids
}

/// Ends a run: its capacity is free and its result committed.
fn end(scheduler: &mut Scheduler, id: i64, soft: bool, now: Timestamp) -> Vec<Job> {
    let mut due = scheduler.released();
    let attempt = u32::from(soft);
    due.run
        .extend(scheduler.done(SeriesId(id), soft, attempt, None, now).run);
    due.run
}

/// The first run, by waking when the scheduler asks for it.
fn first_run(scheduler: &mut Scheduler) -> (Timestamp, Job) {
    let wake = scheduler.next_wake().unwrap();
    let mut due = scheduler.tick(wake);
    (wake, due.run.remove(0))
}

#[test]
fn a_sleep_of_an_hour_makes_one_run_of_each_series() {
    let mut scheduler = scheduler((1..=50).map(|id| plan(id, 10, 2, 5)), 1_000);
    let now = T0 + seconds(3_600);
    let due = scheduler.tick(now);
    assert_eq!(ids(&due.run), (1..=50).collect::<Vec<_>>());
    for job in &due.run {
        assert!(
            now.since(job.scheduled) < seconds(10),
            "the latest slot is the one that runs"
        );
    }
    // 360 slots each, of which one runs.
    let missed = scheduler.counters().missed_slots;
    assert!((50 * 358..=50 * 360).contains(&missed), "{missed}");
    for id in 1..=50 {
        assert!(
            end(&mut scheduler, id, false, now).is_empty(),
            "no burst afterwards"
        );
    }
    assert!(scheduler.next_wake().unwrap() > now);
}

#[test]
fn a_run_longer_than_its_interval_skips_slots_and_never_overlaps() {
    let mut scheduler = scheduler([plan(1, 10, 2, 60)], 10);
    let (begun, _) = first_run(&mut scheduler);
    for step in 1..=3 {
        assert!(scheduler.tick(begun + seconds(10 * step)).run.is_empty());
    }
    assert_eq!(scheduler.counters().missed_slots, 3);
    let now = begun + seconds(35);
    assert!(end(&mut scheduler, 1, false, now).is_empty());
    assert_eq!(
        scheduler.next_wake(),
        Some(begun + seconds(40)),
        "back on the grid"
    );
}

#[test]
fn soft_failures_are_retried_sooner_and_then_return_to_the_grid() {
    let mut scheduler = scheduler([plan(1, 60, 2, 1)], 10);
    let (slot, job) = first_run(&mut scheduler);
    assert_eq!((job.attempt, job.scheduled), (1, slot));
    end(&mut scheduler, 1, true, slot + seconds(1));
    let again = slot + seconds(2);
    assert_eq!(scheduler.next_wake(), Some(again));
    let due = scheduler.tick(again);
    assert_eq!(due.run[0].attempt, 2);
    end(&mut scheduler, 1, false, again);
    let before = slot + seconds(60) - Duration::from_millis(1);
    assert_eq!(scheduler.tick(before).run.len(), 0);
    assert_eq!(scheduler.next_wake(), Some(slot + seconds(60)));
}

#[test]
fn a_run_that_is_asked_for_while_busy_follows_at_once() {
    let mut scheduler = scheduler([plan(1, 60, 2, 1)], 10);
    let (slot, _) = first_run(&mut scheduler);
    let due = scheduler
        .run_now(SeriesId(1), Cause::Verify(7), slot)
        .unwrap();
    assert!(due.run.is_empty());
    let next = end(&mut scheduler, 1, false, slot + seconds(1));
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].cause, Cause::Verify(7));
    assert!(
        scheduler
            .run_now(SeriesId(2), Cause::RunNow, slot)
            .is_none(),
        "unknown series"
    );
}

#[test]
fn a_paused_series_runs_only_when_asked() {
    let mut paused = plan(1, 1, 1, 1);
    paused.paused = true;
    let mut scheduler = scheduler([paused], 10);
    assert!(scheduler.tick(T0 + seconds(100)).run.is_empty());
    let due = scheduler
        .run_now(SeriesId(1), Cause::RunNow, T0 + seconds(100))
        .unwrap();
    assert_eq!(ids(&due.run), [1]);
}

#[test]
fn without_capacity_jobs_wait_and_are_shed_when_their_slot_is_lost() {
    let mut scheduler = scheduler((1..=3).map(|id| plan(id, 10, 2, 5)), 1);
    let now = T0 + seconds(10);
    let due = scheduler.tick(now);
    assert_eq!((due.run.len(), due.shed.len()), (1, 0));
    assert_eq!(scheduler.in_flight(), 1);
    // Nothing ends; the deadline is timeout + 20% = 6 s, the next slot within 10 s.
    let due = scheduler.tick(now + seconds(30));
    assert!(due.run.is_empty());
    assert_eq!(due.shed.len(), 2);
    assert_eq!(scheduler.counters().shed, 2);
}

#[test]
fn removed_series_stop_and_kept_ones_keep_their_slot() {
    let mut scheduler = scheduler([plan(1, 60, 2, 5), plan(2, 60, 2, 5)], 10);
    let wake = scheduler.next_wake();
    configure(
        &mut scheduler,
        [plan(1, 60, 2, 5), plan(2, 60, 2, 5)],
        10,
        T0 + seconds(1),
    );
    assert_eq!(scheduler.next_wake(), wake);
    configure(&mut scheduler, [plan(2, 60, 2, 5)], 10, T0 + seconds(1));
    let due = scheduler.tick(T0 + seconds(120));
    assert_eq!(ids(&due.run), [2]);
}

#[test]
fn a_removed_series_that_comes_back_while_it_runs_does_not_overlap_with_itself() {
    let mut scheduler = scheduler([plan(1, 1, 1, 60)], 10);
    let (slot, _) = first_run(&mut scheduler);
    configure(&mut scheduler, [], 10, slot);
    configure(&mut scheduler, [plan(1, 1, 1, 60)], 10, slot);
    assert!(
        scheduler.tick(slot + seconds(5)).run.is_empty(),
        "the old run has not ended"
    );
    end(&mut scheduler, 1, false, slot + seconds(5));
    assert_eq!(ids(&scheduler.tick(slot + seconds(7)).run), [1]);
}

#[test]
fn a_clock_that_is_set_back_stops_no_check() {
    let mut scheduler = scheduler([plan(1, 10, 2, 5)], 10);
    let (slot, _) = first_run(&mut scheduler);
    end(&mut scheduler, 1, false, slot);
    let earlier = T0 - seconds(3_600);
    scheduler.tick(earlier);
    let wake = scheduler.next_wake().unwrap();
    assert!(wake.since(earlier) <= seconds(10));
    assert_eq!(ids(&scheduler.tick(wake).run), [1]);
}

/// What happens in a simulated step of 250 ms.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes: so many quarter seconds.
    Pass(u32),
    /// The oldest run ends, soft or not.
    End(bool),
    RunNow(i64),
    /// Only series up to this number stay.
    Configure(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (1_u32..8).prop_map(Step::Pass),
        1 => (100_u32..2_000).prop_map(Step::Pass),
        10 => any::<bool>().prop_map(Step::End),
        2 => (1_i64..10).prop_map(Step::RunNow),
        1 => (1_i64..10).prop_map(Step::Configure),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn invariants_hold_whatever_happens(
        steps in steps(),
        max_in_flight in 1_usize..6,
        every in 1_u64..15,
    ) {
        let mut scheduler = scheduler((1..=9).map(|id| plan(id, every, 1, 3)), max_in_flight);
        let mut now = T0;
        let mut running: Vec<i64> = Vec::new();
        for step in steps {
            let due = match step {
                Step::Pass(quarters) => {
                    now = now + Duration::from_millis(250) * quarters;
                    let due = scheduler.tick(now);
                    prop_assert!(scheduler.next_wake().is_none_or(|wake| wake > now), "would spin");
                    due
                }
                Step::End(soft) if !running.is_empty() => {
                    let id = running.remove(0);
                    let run = end(&mut scheduler, id, soft, now);
                    Due { run, shed: Vec::new() }
                }
                Step::End(_) => continue,
                Step::RunNow(id) => {
                    scheduler.run_now(SeriesId(id), Cause::RunNow, now).unwrap_or_default()
                }
                Step::Configure(last) => {
                    configure(&mut scheduler, (1..=last).map(|id| plan(id, every, 1, 3)), max_in_flight, now);
                    continue;
                }
            };
            for job in &due.shed {
                // What the driver does: it records a fault, which ends the run.
                let more = scheduler.done(job.spec.series, false, 0, None, now);
                prop_assert!(more.shed.is_empty());
                running.extend(more.run.iter().map(|job| job.spec.series.0));
            }
            for job in due.run {
                let id = job.spec.series.0;
                prop_assert!(job.scheduled <= now, "before its slot");
                prop_assert!(!running.contains(&id), "series {id} runs twice at a time");
                running.push(id);
            }
            prop_assert!(running.len() <= max_in_flight);
            prop_assert_eq!(running.len(), scheduler.in_flight());
        }
    }

    /// With room enough every slot of the grid runs once, exactly on time.
    #[test]
    fn nothing_drifts(every in 1_u64..30, busy_ms in 0_u64..900) {
        let mut scheduler = scheduler([plan(1, every, 1, 1)], 10);
        let mut slots = Vec::new();
        for _ in 0..50 {
            let (wake, job) = first_run(&mut scheduler);
            prop_assert_eq!(job.scheduled, wake);
            slots.push(wake);
            end(&mut scheduler, 1, false, wake + Duration::from_millis(busy_ms));
        }
        for pair in slots.windows(2) {
            prop_assert_eq!(pair[1].since(pair[0]), seconds(every));
        }
        prop_assert_eq!(scheduler.counters(), Counters::default());
    }
}
