use bellwether_plugin::fake::{NOW, ReadEntry, batch, read_records, schema_problems};
use bellwether_plugin::{Batch, Level, LogParser, ParseError, RawRecords, Records, config};

use crate::time_format::TimeFormat;
use crate::{Config, RegexParser, SCHEMA};

fn parser(json: &str) -> RegexParser {
    RegexParser::configure(config::parse(json).unwrap()).unwrap()
}

fn feed(parser: &mut RegexParser, batch: &Batch) -> (Vec<ReadEntry>, RawRecords) {
    let mut records = Records::new(&batch.text, batch.ends.len());
    parser.parse(batch, &mut records).unwrap();
    let raw = records.finish();
    (read_records(&batch.text, &raw), raw)
}

fn flush(parser: &mut RegexParser) -> Vec<ReadEntry> {
    let mut records = Records::new("", 0);
    parser.flush(&mut records).unwrap();
    read_records("", &records.finish())
}

fn messages(entries: &[ReadEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.message.as_str()).collect()
}

#[test]
fn the_schema_fits_the_configuration() {
    assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
}

#[test]
fn groups_become_the_record_without_copies() {
    let mut parser = parser(
        r#"{"pattern":"^(?<time>\\S+) (?<level>\\w+) \\[(?<thread>[^\\]]*)\\] (?:user=(?<user>\\w+) )?(?<message>.*)$"}"#,
    );
    let (entries, raw) = feed(
        &mut parser,
        &batch(&[
            "2026-01-01T00:00:00Z WARN [main] user=ann slow quéry",
            "garbage",
            "",
            "2026-01-01T00:00:01Z odd [w-1] done",
        ]),
    );
    assert_eq!(entries[0].time, Some(NOW));
    assert_eq!(
        (entries[0].level, entries[0].message.as_str()),
        (Level::Warning, "slow quéry")
    );
    assert_eq!(
        entries[0].fields,
        [
            ("thread".into(), "main".into()),
            ("user".into(), "ann".into())
        ]
    );
    assert_eq!((entries[1].line, entries[1].level), (3, Level::Unset));
    assert_eq!(
        entries[1].fields,
        [
            ("level".into(), "odd".into()),
            ("thread".into(), "w-1".into())
        ]
    );
    assert_eq!(raw.unparsed, [1]);
    assert_eq!(raw.extra, "");
}

#[test]
fn an_access_log_with_its_time_format() {
    let mut parser = parser(
        r#"{"pattern":"^(?<client>\\S+) \\S+ \\S+ \\[(?<at>[^\\]]+)\\] \"(?<message>[^\"]*)\" (?<status>\\d+)","time_group":"at","time_format":"%d/%b/%Y:%H:%M:%S %z"}"#,
    );
    let (entries, _) = feed(
        &mut parser,
        &batch(&[r#"192.0.2.7 - - [01/Jan/2026:01:00:00 +0100] "GET / HTTP/1.1" 200 12"#]),
    );
    assert_eq!(entries[0].time, Some(NOW));
    assert_eq!(entries[0].message, "GET / HTTP/1.1");
    assert_eq!(entries[0].field("status"), Some("200"));
    assert_eq!(entries[0].field("client"), Some("192.0.2.7"));
}

#[test]
fn without_a_message_group_the_record_is_the_message() {
    let mut parser = parser(r#"{"pattern":"code=(?<code>\\d+)"}"#);
    let (entries, _) = feed(&mut parser, &batch(&["a code=7 b"]));
    assert_eq!(
        (entries[0].message.as_str(), entries[0].field("code")),
        ("a code=7 b", Some("7"))
    );
}

const JAVA: &str = r#"{"pattern":"(?s)^(?<time>\\S+) (?<level>\\w+) (?<message>.*)$","multiline_start":"^\\d{4}-"}"#;

#[test]
fn records_of_several_lines_are_slices_of_the_batch() {
    let mut parser = parser(JAVA);
    let (entries, raw) = feed(
        &mut parser,
        &batch(&[
            "2026-01-01T00:00:00Z ERROR boom",
            "  at a",
            "  at b",
            "2026-01-01T00:00:01Z INFO next",
            "2026-01-01T00:00:02Z INFO last",
        ]),
    );
    assert_eq!(messages(&entries), ["boom\n  at a\n  at b", "next"]);
    assert_eq!((entries[0].line, entries[1].line), (2, 3));
    assert_eq!((raw.held, raw.extra.as_str()), (1, ""));
    let rest = flush(&mut parser);
    assert_eq!(messages(&rest), ["last"]);
    assert_eq!(rest[0].level, Level::Info);
    assert!(flush(&mut parser).is_empty());
}

#[test]
fn records_go_on_over_batches() {
    let mut parser = parser(JAVA);
    let (entries, raw) = feed(
        &mut parser,
        &batch(&["2026-01-01T00:00:00Z ERROR boom", "  at a"]),
    );
    assert_eq!((entries.len(), raw.held), (0, 2));
    let (entries, raw) = feed(&mut parser, &batch(&["  at b", "  at c"]));
    assert_eq!((entries.len(), raw.held), (0, 2));
    let (entries, raw) = feed(
        &mut parser,
        &batch(&["  at d", "2026-01-01T00:00:01Z INFO next"]),
    );
    assert_eq!(messages(&entries), ["boom\n  at a\n  at b\n  at c\n  at d"]);
    assert_eq!((entries[0].line, raw.held), (0, 1));
    let (entries, raw) = feed(&mut parser, &batch(&["2026-01-01T00:00:02Z INFO more"]));
    assert_eq!((messages(&entries), raw.held), (vec!["next"], 1));
    assert_eq!(messages(&flush(&mut parser)), ["more"]);
}

#[test]
fn however_it_is_cut_the_records_are_the_same() {
    let lines = [
        "orphan",
        "2026-01-01T00:00:00Z ERROR a",
        " 1",
        " 2",
        "2026-01-01T00:00:01Z INFO b",
        "2026-01-01T00:00:02Z INFO c",
        "",
        " 3",
        "2026-01-01T00:00:03Z INFO d",
    ];
    let read = |size: usize| {
        let mut parser = parser(JAVA);
        let mut read = Vec::new();
        for chunk in lines.chunks(size) {
            let batch = batch(chunk);
            let (entries, raw) = feed(&mut parser, &batch);
            let spoken = chunk.len() as u32 - raw.held;
            read.extend(
                entries
                    .into_iter()
                    .map(|entry| (entry.message, entry.level)),
            );
            for line in raw.unparsed {
                assert!(line < spoken);
                read.push((chunk[line as usize].to_owned(), Level::Unset));
            }
        }
        read.extend(
            flush(&mut parser)
                .into_iter()
                .map(|entry| (entry.message, entry.level)),
        );
        read.sort_by(|left, right| left.0.cmp(&right.0));
        read
    };
    let expected = read(lines.len());
    assert_eq!(expected.len(), 5);
    for size in 1..lines.len() {
        assert_eq!(read(size), expected, "batches of {size}");
    }
}

#[test]
fn a_record_without_end_is_cut() {
    let mut parser =
        parser(r#"{"pattern":"(?s)^(?<message>.*)$","multiline_start":"^never$","max_lines":3}"#);
    let lines = ["a"; 8];
    let (entries, raw) = feed(&mut parser, &batch(&lines));
    assert_eq!(
        (messages(&entries), raw.held),
        (vec!["a\na\na", "a\na\na"], 2)
    );
    let long = "x".repeat(200 * 1024);
    let (entries, _) = feed(&mut parser, &batch(&[&long, &long]));
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].message.len(), 4 + long.len());
}

#[test]
fn line_breaks_of_two_bytes_do_not_shift_anything() {
    let mut parser = parser(JAVA);
    let text = "2026-01-01T00:00:00Z ERROR boom\r\n  at a\r\n2026-01-01T00:00:01Z INFO x\r\n";
    let ends = text
        .match_indices("\r\n")
        .map(|(at, _)| at as u32)
        .collect();
    let (entries, raw) = feed(
        &mut parser,
        &Batch {
            text: text.to_owned(),
            ends,
            gap: 2,
            received: NOW,
        },
    );
    assert_eq!((messages(&entries), raw.held), (vec!["boom\r\n  at a"], 1));
}

#[test]
fn configuration_problems_point_at_the_value() {
    for (json, pointer) in [
        (r#"{"pattern":"("}"#, "/pattern"),
        (r#"{"pattern":"a","level_group":"l"}"#, "/level_group"),
        (
            r#"{"pattern":"(?<time>a)","time_format":"%Q"}"#,
            "/time_format",
        ),
        (r#"{"pattern":"a","time_format":"%Y"}"#, "/time_format"),
        (r#"{"pattern":"a","time_offset":"one"}"#, "/time_offset"),
        (
            r#"{"pattern":"a","multiline_start":"["}"#,
            "/multiline_start",
        ),
    ] {
        match RegexParser::configure(config::parse(json).unwrap()) {
            Err(ParseError::Config(problem)) => assert_eq!(problem.pointer, pointer, "{json}"),
            Err(other) => panic!("{json}: {other:?}"),
            Ok(_) => panic!("{json}: accepted"),
        }
    }
}

#[test]
fn times_in_strftime_words() {
    let parse = |format: &str, text: &str| TimeFormat::read(format).unwrap().parse(text, 0, NOW);
    let second = 1_000_000;
    for (format, text, expected) in [
        ("%Y-%m-%d %H:%M:%S", "2026-01-01 00:00:00", NOW),
        ("%F %T%.f", "2026-01-01 00:00:01.5", NOW + 3 * second / 2),
        ("%F %T%.3f", "2026-01-01 00:00:01", NOW + second),
        ("%F %T,%f", "2026-01-01 00:00:00,25", NOW + second / 4),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Jan/2026:01:30:00 +0130", NOW),
        ("%a %b %e %H:%M:%S %Y", "Thu Jan  1 00:00:00 2026", NOW),
        (
            "%A, %d-%B-%y %I:%M:%S %p",
            "Thursday, 01-January-26 12:00:07 AM",
            NOW + 7 * second,
        ),
        (
            "%m/%d/%Y %l:%M %p",
            "12/31/2025 12:30 pm",
            NOW - 41_400 * second,
        ),
        ("%Y%m%dT%H%M%S%Z", "20260101T000002UTC", NOW + 2 * second),
        ("%Y-%j %H", "2025-365 23", NOW - 3_600 * second),
        ("%s.%f", "1767225600.000001", NOW + 1),
        ("%H:%M:%S", "00:00:03", NOW + 3 * second),
        // No year: the nearest to the time of receiving.
        ("%b %e %H:%M:%S", "Jan  1 00:00:09", NOW + 9 * second),
        ("%b %d %H:%M:%S", "Dec 31 23:59:59", NOW - second),
        ("100%% %Y-%m-%d", "100% 2026-01-01", NOW),
    ] {
        assert_eq!(parse(format, text), Some(expected), "{format} {text}");
    }
    for (format, text) in [
        ("%F", "2026-13-01"),
        ("%F", "2026-02-29"),
        ("%F", "2026-01-01 x"),
        ("%F", "26-01-01"),
        ("%T", "25:00:00"),
        ("%F %Z", "2026-01-01 CET"),
        ("%F %z", "2026-01-01 "),
        ("%b %e", "Foo 1"),
        ("%I %p", "13 pm"),
        ("%Y-%j", "2025-366"),
        ("%s", "99999999999999999999"),
        ("%F", "é"),
    ] {
        assert_eq!(parse(format, text), None, "{format} {text}");
    }
    let offset = TimeFormat::read("%F %T")
        .unwrap()
        .parse("2026-01-01 02:00:00", 7_200, NOW);
    assert_eq!(offset, Some(NOW));
    for format in ["", "%", "%Q", "%.3S"] {
        assert!(TimeFormat::read(format).is_err(), "{format}");
    }
}
