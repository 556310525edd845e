use super::*;
use crate::check::outcome::LogLevel;

const MINUTE: Duration = Duration::from_secs(60);

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn filled(values: &[(i64, f64)]) -> MetricRings {
    let mut rings = MetricRings::new([("m", MINUTE)]);
    for (at, value) in values {
        rings.push(SeriesId(1), "m", t(*at), *value);
    }
    rings
}

#[test]
fn aggregates_of_one_series() {
    let values: Vec<(i64, f64)> = (1..=100).map(|i| (i, i as f64)).collect();
    let rings = filled(&values);
    // Samples 41 to 100.
    let get = |f| {
        rings
            .aggregate([SeriesId(1)], f, "m", MINUTE, t(100))
            .unwrap()
    };
    assert_eq!(get(Agg::Count), 60.0);
    assert_eq!(get(Agg::Min), 41.0);
    assert_eq!(get(Agg::Max), 100.0);
    assert_eq!(get(Agg::Sum), 60.0 * 70.5);
    assert_eq!(get(Agg::Avg), 70.5);
    assert_eq!(get(Agg::P50), 70.0);
    assert_eq!(get(Agg::P95), 97.0);
    assert_eq!(get(Agg::P99), 100.0);
    assert_eq!(get(Agg::Last), 100.0);
    // From sample 40 on.
    assert_eq!(get(Agg::Increase), 60.0);
    assert_eq!(get(Agg::Rate), 1.0);
    assert_eq!(
        rings.aggregate([SeriesId(1)], Agg::Age, "m", MINUTE, t(130)),
        Some(30.0)
    );
}

#[test]
fn no_sample_is_no_value_but_a_count_of_zero() {
    let rings = filled(&[(1, 1.0)]);
    for (series, metric, now) in [(1, "m", 100), (2, "m", 1), (1, "other", 1)] {
        let get = |f| rings.aggregate([SeriesId(series)], f, metric, MINUTE, t(now));
        assert_eq!(get(Agg::Avg), None);
        assert_eq!(get(Agg::P99), None);
        assert_eq!(get(Agg::Rate), None);
        assert_eq!(get(Agg::Count), Some(0.0));
    }
    assert_eq!(
        rings.aggregate([SeriesId(1)], Agg::Rate, "m", MINUTE, t(1)),
        None,
        "one sample"
    );
}

#[test]
fn silence_has_an_age_however_long_it_lasts() {
    let rings = filled(&[(1, 1.0)]);
    let age = |series, now| rings.aggregate([SeriesId(series)], Agg::Age, "m", MINUTE, t(now));
    assert_eq!(age(1, 31), Some(30.0));
    assert_eq!(age(1, 10_001), Some(10_000.0));
    assert_eq!(age(2, 10_001), None);
}

#[test]
fn a_counter_that_is_read_seldom_grows_between_two_windows() {
    let rings = filled(&[(0, 0.0), (300, 100.0), (600, 200.0)]);
    let grown = |f, now| rings.aggregate([SeriesId(1)], f, "m", MINUTE, t(now));
    assert_eq!(grown(Agg::Increase, 610), Some(100.0));
    assert_eq!(grown(Agg::Rate, 610), Some(100.0 / 300.0));
    assert_eq!(grown(Agg::Increase, 700), None);
}

#[test]
fn counters_may_reset() {
    let rings = filled(&[(0, 100.0), (10, 110.0), (20, 5.0), (30, 15.0)]);
    let get = |f| {
        rings
            .aggregate([SeriesId(1)], f, "m", MINUTE, t(30))
            .unwrap()
    };
    assert_eq!(get(Agg::Increase), 25.0);
    assert_eq!(get(Agg::Rate), 25.0 / 30.0);
}

#[test]
fn several_series_count_together() {
    let mut rings = filled(&[(1, 1.0), (11, 3.0)]);
    rings.push(SeriesId(2), "m", t(2), 10.0);
    rings.push(SeriesId(2), "m", t(12), 20.0);
    let get = |f| {
        rings
            .aggregate([SeriesId(1), SeriesId(2)], f, "m", MINUTE, t(12))
            .unwrap()
    };
    assert_eq!(get(Agg::Count), 4.0);
    assert_eq!(get(Agg::Last), 20.0);
    assert_eq!(get(Agg::Increase), 12.0);
    assert!((get(Agg::Rate) - 1.2).abs() < 1e-9);
}

#[test]
fn memory_is_bounded_and_late_samples_find_their_place() {
    let mut rings = MetricRings::new([("m", MINUTE), ("long", Duration::from_secs(864_000))]);
    for i in 0..10_000 {
        rings.push(SeriesId(1), "m", t(i), 0.0);
        rings.push(SeriesId(1), "unwanted", t(i), 0.0);
    }
    for i in 0..(MAX_SAMPLES as i64 + 100) {
        rings.push(SeriesId(1), "long", t(i), 0.0);
    }
    assert_eq!(rings.rings.len(), 2);
    let sizes: Vec<usize> = rings.rings.values().map(VecDeque::len).collect();
    assert!(sizes.iter().all(|n| *n <= MAX_SAMPLES), "{sizes:?}");
    assert!(sizes.iter().any(|n| *n <= 63), "{sizes:?}");

    let mut rings = filled(&[(10, 1.0), (30, 3.0)]);
    rings.push(SeriesId(1), "m", t(20), 2.0);
    assert_eq!(
        rings.aggregate([SeriesId(1)], Agg::Last, "m", MINUTE, t(25)),
        Some(2.0)
    );
    rings.retain(|id| id != SeriesId(1));
    assert_eq!(
        rings.aggregate([SeriesId(1)], Agg::Last, "m", MINUTE, t(25)),
        None
    );
}

#[test]
fn a_new_configuration_keeps_what_is_still_needed() {
    let mut rings = MetricRings::new([("a", MINUTE), ("b", MINUTE)]);
    rings.push(SeriesId(1), "a", t(1), 1.0);
    rings.push(SeriesId(1), "b", t(1), 2.0);
    rings.set_needs([("c", MINUTE), ("b", MINUTE), ("b", MINUTE * 2)]);
    rings.push(SeriesId(1), "c", t(2), 3.0);
    let get = |metric| rings.aggregate([SeriesId(1)], Agg::Last, metric, MINUTE, t(2));
    assert_eq!((get("a"), get("b"), get("c")), (None, Some(2.0), Some(3.0)));
}

fn record(time: i64, received: i64, message: &str) -> LogRecord {
    LogRecord {
        time: t(time),
        received: t(received),
        level: LogLevel::Error,
        message: message.into(),
        fields: Vec::new(),
    }
}

#[test]
fn log_windows_use_the_time_of_the_record() {
    let mut queries = QuerySet::default();
    let errors = queries.intern("level:error", MINUTE).unwrap();
    let boom = queries.intern("boom", MINUTE).unwrap();
    assert_eq!(queries.intern("LEVEL:error", MINUTE).unwrap(), 2);
    let mut counters = LogCounters::new(&queries);
    assert_eq!(
        counters.add(&queries, &record(1_000, 1_000, "boom"), "app"),
        [errors, boom]
    );
    assert_eq!(
        counters.add(&queries, &record(950, 1_000, "late"), "app"),
        [errors]
    );
    assert_eq!(counters.count(errors, MINUTE, t(1_000)), 2);
    assert_eq!(counters.count(errors, MINUTE, t(1_020)), 1);
    assert_eq!(counters.count(boom, MINUTE, t(1_059)), 1);
    assert_eq!(counters.count(boom, MINUTE, t(1_060)), 0);
    // Ten minutes ahead: counted when it was received. Two: at its time.
    counters.add(&queries, &record(2_600, 2_000, "boom"), "app");
    counters.add(&queries, &record(2_120, 2_000, "boom"), "app");
    assert_eq!(counters.count(boom, MINUTE, t(2_000)), 2);
    assert_eq!(counters.count(boom, MINUTE, t(2_100)), 1);
    counters.expire(t(9_999));
    assert!(counters.counters.iter().all(|c| c.seconds.is_empty()));
}

#[test]
fn queries_that_stay_keep_their_counts() {
    let mut old = QuerySet::default();
    old.intern("a", MINUTE).unwrap();
    old.intern("b", MINUTE).unwrap();
    let mut counters = LogCounters::new(&old);
    counters.add(&old, &record(10, 10, "a b"), "app");
    let mut new = QuerySet::default();
    new.intern("b", MINUTE).unwrap();
    new.intern("c", MINUTE).unwrap();
    assert_eq!(counters.set_queries(&new), [1]);
    assert_eq!(counters.count(0, MINUTE, t(10)), 1);
    assert_eq!(counters.count(1, MINUTE, t(10)), 0);
}

#[test]
fn the_past_of_a_window_may_come_late_and_twice() {
    let mut rings = filled(&[(50, 5.0), (60, 6.0)]);
    for (at, value) in [(40, 4.0), (50, 5.0), (55, 5.5), (60, 6.0)] {
        rings.push(SeriesId(1), "m", t(at), value);
    }
    let get = |f| rings.aggregate([SeriesId(1)], f, "m", MINUTE, t(60));
    assert_eq!(get(Agg::Count), Some(4.0));
    assert_eq!(get(Agg::Sum), Some(20.5));
    assert!(rings.covers("m", MINUTE) && !rings.covers("m", 2 * MINUTE));
    assert!(!rings.covers("other", MINUTE));
}

#[test]
fn counts_that_are_read_again_are_added_once() {
    let mut queries = QuerySet::default();
    queries.intern("boom", MINUTE).unwrap();
    queries.intern("kept", MINUTE).unwrap();
    let mut counters = LogCounters::new(&queries);
    assert!(counters.covers("boom", MINUTE) && !counters.covers("boom", 2 * MINUTE));
    counters.add(&queries, &record(100, 100, "boom kept"), "app");
    // What was counted is stored by now, and counts as what is read.
    counters.restart(&["boom".into()], 7);
    assert_eq!(counters.count(0, MINUTE, t(100)), 0);
    assert_eq!(counters.count(1, MINUTE, t(100)), 1);
    counters.add(&queries, &record(101, 101, "boom"), "app");
    let mut past = LogCounters::new(&queries);
    past.add(&queries, &record(90, 90, "boom kept"), "app");
    past.add(&queries, &record(100, 100, "boom kept"), "app");
    // One that was asked for by an older configuration is too late.
    counters.fill(&past, 6);
    assert_eq!(counters.count(0, MINUTE, t(101)), 1);
    counters.set_queries(&queries);
    for _ in 0..2 {
        counters.fill(&past, 7);
        assert_eq!(counters.count(0, MINUTE, t(101)), 3);
        assert_eq!(counters.count(1, MINUTE, t(101)), 1);
    }
}
