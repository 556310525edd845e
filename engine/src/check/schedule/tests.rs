use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp(
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_micros(),
    )
}

fn cron(text: &str, tz: &str) -> CronTable {
    CronTable::parse(text, tz.parse().unwrap()).unwrap()
}

fn slots(text: &str, tz: &str, from: &str, n: usize) -> Vec<String> {
    let schedule = Schedule::Cron {
        cron: Box::new(cron(text, tz)),
        retry: None,
    };
    next_n(&schedule, 0, at(from), n)
        .iter()
        .map(|t| t.to_rfc3339().replace(".000Z", "Z"))
        .collect()
}

fn every(seconds: u64, percent: u32, retry: Option<u64>) -> Schedule {
    Schedule::Every {
        every: Duration::from_secs(seconds),
        spread: Percent(percent * 100),
        retry: retry.map(Duration::from_secs),
    }
}

#[test]
fn five_and_six_fields_names_and_words() {
    let from = "2026-01-01T00:00:00Z"; // a Thursday
    let first = |text: &str| slots(text, "UTC", from, 1).remove(0);
    assert_eq!(first("*/5 * * * *"), "2026-01-01T00:05:00Z");
    assert_eq!(first("*/10 * * * * *"), "2026-01-01T00:00:10Z");
    assert_eq!(first("30 6 * * mon-fri"), "2026-01-01T06:30:00Z");
    assert_eq!(first("30 6 * * MON"), "2026-01-05T06:30:00Z");
    assert_eq!(first("0 0 1 feb *"), "2026-02-01T00:00:00Z");
    assert_eq!(first("0 0 29 2 *"), "2028-02-29T00:00:00Z");
    assert_eq!(first("5/20 * * * *"), "2026-01-01T00:05:00Z");
    assert_eq!(first("@weekly"), "2026-01-04T00:00:00Z");
    assert_eq!(first("@hourly"), "2026-01-01T01:00:00Z");
}

#[test]
fn weekdays_0_and_7_are_sunday_and_1_is_monday() {
    let from = "2026-01-01T00:00:00Z";
    for sunday in ["0", "7", "sun", "SUN"] {
        let found = slots(&format!("0 0 * * {sunday}"), "UTC", from, 2);
        assert_eq!(
            found,
            ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"],
            "{sunday}"
        );
    }
    assert_eq!(slots("0 0 * * 1", "UTC", from, 1), ["2026-01-05T00:00:00Z"]);
    assert_eq!(slots("0 0 * * 6", "UTC", from, 1), ["2026-01-03T00:00:00Z"]);
    assert_eq!(
        slots("0 0 * * fri-sun", "UTC", from, 3),
        slots("0 0 * * 5-7", "UTC", from, 3)
    );
    assert_eq!(
        slots("0 0 * * 5-7", "UTC", from, 3),
        [
            "2026-01-02T00:00:00Z",
            "2026-01-03T00:00:00Z",
            "2026-01-04T00:00:00Z"
        ]
    );
}

#[test]
fn wrong_expressions_say_what_was_expected() {
    let error = |text: &str| CronTable::parse(text, Tz::UTC).unwrap_err();
    for (text, part) in [
        ("* * * *", "found 4"),
        ("* * * * * * *", "found 7"),
        ("60 * * * *", "expected 0 to 59 for the minute"),
        ("* 24 * * *", "for the hour"),
        ("* * 0 * *", "expected 1 to 31 for the day of month"),
        ("* * * 13 *", "or jan to dec"),
        ("* * * jna *", "did you mean jan?"),
        ("* * * * 8", "expected 0 to 7"),
        ("*/0 * * * *", "expected a step"),
        ("10-5 * * * *", "range that goes up"),
        ("+5 * * * *", "for the minute"),
        ("", "found 0"),
        ("0 0 1 * 1", "expected a day of month or a weekday"),
        ("0 0 30 2 *", "never"),
        ("@reboot", "@hourly"),
    ] {
        assert!(error(text).contains(part), "{text:?}: {}", error(text));
    }
}

#[test]
fn a_slot_in_the_gap_runs_at_its_end_once() {
    // Europe/Berlin: 2026-03-29, 02:00 CET becomes 03:00 CEST at 01:00 UTC.
    assert_eq!(
        slots("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
        [
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z"
        ]
    );
    // Four swallowed slots and that of 03:00 are one run.
    assert_eq!(
        slots("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:40:00Z", 3),
        [
            "2026-03-29T00:45:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:15:00Z"
        ]
    );
    // A gap of half an hour, and one of a whole day.
    assert_eq!(
        slots(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            1
        ),
        ["2026-10-03T15:30:00Z"]
    );
    assert_eq!(
        slots("0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", 1),
        ["2011-12-30T10:00:00Z"]
    );
}

#[test]
fn a_slot_in_the_repeated_hour_runs_once() {
    // Europe/Berlin: 2026-10-25, 03:00 CEST becomes 02:00 CET at 01:00 UTC.
    assert_eq!(
        slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // Started in the second pass, the slot is over.
    assert_eq!(
        slots("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
        ["2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        slots("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:50:00Z", 4),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T02:30:00Z"
        ]
    );
}

#[test]
fn missed_slots_are_one_catch_up_run() {
    let schedule = every(10, 0, None);
    let due = next_due(
        &schedule,
        7,
        Some(at("2026-01-01T00:00:00Z")),
        at("2026-01-01T01:00:05Z"),
        false,
    );
    assert_eq!(
        due,
        Some(Due {
            at: at("2026-01-01T01:00:00Z"),
            missed: 359
        })
    );
    let next = next_due(
        &schedule,
        7,
        Some(due.unwrap().at),
        at("2026-01-01T01:00:05Z"),
        false,
    );
    assert_eq!(
        next,
        Some(Due {
            at: at("2026-01-01T01:00:10Z"),
            missed: 0
        })
    );

    let schedule = Schedule::Cron {
        cron: Box::new(cron("*/5 * * * *", "UTC")),
        retry: None,
    };
    let due = next_due(
        &schedule,
        7,
        Some(at("2026-01-01T00:00:00Z")),
        at("2026-01-01T00:12:00Z"),
        false,
    );
    assert_eq!(
        due,
        Some(Due {
            at: at("2026-01-01T00:10:00Z"),
            missed: 1
        })
    );
    let secondly = Schedule::Cron {
        cron: Box::new(cron("* * * * * *", "UTC")),
        retry: None,
    };
    let due = next_due(
        &secondly,
        7,
        Some(at("2025-01-01T00:00:00Z")),
        at("2026-01-01T00:00:00Z"),
        false,
    );
    assert_eq!(
        due,
        Some(Due {
            at: at("2026-01-01T00:00:00Z"),
            missed: MAX_COUNTED
        })
    );
}

#[test]
fn retries_run_in_between_and_the_grid_stays() {
    let schedule = every(10, 0, Some(2));
    let last = at("2026-01-01T00:00:10Z");
    let due =
        |last: Timestamp, soft: bool| next_due(&schedule, 1, Some(last), last, soft).unwrap().at;
    let first = due(last, true);
    assert_eq!(first, at("2026-01-01T00:00:12Z"));
    let second = due(first, true);
    assert_eq!(second, at("2026-01-01T00:00:14Z"));
    assert_eq!(due(second, false), at("2026-01-01T00:00:20Z"));
    // One in the middle of a long interval does not.
    let hourly = every(3_600, 0, Some(10));
    let last = at("2026-01-01T00:35:00Z");
    let next = next_due(&hourly, 1, Some(last), last, false).unwrap();
    assert_eq!(next.at, at("2026-01-01T01:00:00Z"));
    // A retry shortly before the next slot takes its place.
    assert_eq!(
        due(at("2026-01-01T00:00:18Z"), false),
        at("2026-01-01T00:00:30Z")
    );
    // Cron: a slot is not pushed back by retries.
    let schedule = Schedule::Cron {
        cron: Box::new(cron("* * * * *", "UTC")),
        retry: Some(Duration::from_secs(50)),
    };
    let due = next_due(
        &schedule,
        1,
        Some(at("2026-01-01T00:00:50Z")),
        at("2026-01-01T00:00:51Z"),
        true,
    );
    assert_eq!(due.unwrap().at, at("2026-01-01T00:01:00Z"));
}

#[test]
fn a_new_check_with_a_long_interval_is_looked_at_soon() {
    let now = at("2026-01-01T00:00:00Z");
    for hash in [0, 1 << 40, u64::MAX / 2, u64::MAX] {
        let due = next_due(&every(86_400, 100, None), hash, None, now, false).unwrap();
        assert!(due.at >= now && due.at <= now + FIRST_LOOK, "{due:?}");
    }
}

#[test]
fn a_clock_set_back_does_not_silence_a_check() {
    let now = at("2026-01-01T00:00:00Z");
    let ahead = at("2026-06-01T00:00:00Z");
    for schedule in [
        every(10, 100, None),
        Schedule::Cron {
            cron: Box::new(cron("* * * * *", "UTC")),
            retry: None,
        },
    ] {
        let due = next_due(&schedule, 9, Some(ahead), now, false).unwrap();
        assert!(due.at <= now + Duration::from_secs(60), "{due:?}");
    }
}

#[test]
fn slots_spread_over_the_share_that_jitter_says() {
    let now = at("2026-01-01T00:00:00Z");
    for (percent, first, last) in [(100, 0, 9), (10, 0, 0), (50, 0, 4)] {
        let mut per_second = [0u32; 10];
        for i in 0..10_000 {
            let hash = series_hash("check", &format!("node-{i}"));
            let due = next_due(&every(10, percent, None), hash, None, now, false).unwrap();
            per_second[((due.at.0 - now.0) / 1_000_000 % 10) as usize] += 1;
        }
        let used = &per_second[first..=last];
        let fair = 10_000 / used.len() as u32;
        assert!(
            used.iter().all(|n| n.abs_diff(fair) <= fair / 5),
            "{percent}%: {per_second:?}"
        );
        assert_eq!(
            used.iter().sum::<u32>(),
            10_000,
            "{percent}%: {per_second:?}"
        );
    }
}

proptest! {
    #[test]
    fn intervals_never_drift_and_always_move_on(
        seconds in 1u64..100_000,
        percent in 0u32..=100,
        hash: u64,
        start in 0i64..4_000_000_000_000_000,
        late in proptest::collection::vec(0i64..5_000_000, 1..20),
    ) {
        let schedule = every(seconds, percent, None);
        let step = seconds as i64 * 1_000_000;
        // A first slot on the grid, whatever the first look did.
        let mut last = next_n(&schedule, hash, Timestamp(start), 1)[0];
        for late in late {
            let now = Timestamp(last.0 + late);
            let due = next_due(&schedule, hash, Some(last), now, false).unwrap();
            prop_assert!(due.at > last);
            prop_assert_eq!((due.at.0 - last.0) % step, 0, "on the grid");
            prop_assert!(due.at.0 > now.0 - step, "not older than the latest slot");
            prop_assert_eq!(due.missed as i64, (due.at.0 - last.0) / step - 1);
            last = due.at;
        }
    }

    #[test]
    fn cron_always_moves_on_by_whole_seconds(
        start in 0i64..4_000_000_000,
        minute in 0u32..60,
        zone in 0usize..chrono_tz::TZ_VARIANTS.len(),
    ) {
        let tz = chrono_tz::TZ_VARIANTS[zone];
        let table = CronTable::parse(&format!("{minute} * * * *"), tz).unwrap();
        let mut last = Timestamp::from_secs(start);
        for _ in 0..30 {
            let next = table.after(last).unwrap();
            prop_assert!(next > last);
            prop_assert!(next.0 - last.0 <= 27 * 3_600_000_000, "a slot a day at least");
            prop_assert_eq!(table.at_or_before(next), Some(next));
            last = next;
        }
    }

    #[test]
    fn cron_text_never_panics(text in "[-@*/,?0-9a-z ]{0,30}") {
        let _ = CronTable::parse(&text, Tz::UTC);
    }
}
