use bellwether_plugin::fake::{ReadEntry, batch, read_records, schema_problems};
use bellwether_plugin::{Level, LogParser, RawRecords, Records, config};

use crate::{Config, JsonLines, SCHEMA};

fn parse(lines: &[&str]) -> (Vec<ReadEntry>, RawRecords) {
    let mut parser = JsonLines::configure(config::parse("{}").unwrap()).unwrap();
    let batch = batch(lines);
    let mut records = Records::new(&batch.text, batch.ends.len());
    parser.parse(&batch, &mut records).unwrap();
    let raw = records.finish();
    (read_records(&batch.text, &raw), raw)
}

#[test]
fn the_schema_fits_the_configuration() {
    assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
}

#[test]
fn known_keys_become_the_record_and_the_rest_fields() {
    let (entries, raw) = parse(&[
        r#"{"time":"2026-01-01T00:00:00Z","level":"warn","msg":"slow","ms":1.50e3,"ok":false,"none":null}"#,
        r#" {"ts":1767225600.25,"severity":"ERROR","message":"bröken","ms":2} "#,
    ]);
    assert_eq!(entries[0].time, Some(1_767_225_600_000_000));
    assert_eq!(
        (entries[0].level, entries[0].message.as_str()),
        (Level::Warning, "slow")
    );
    assert_eq!(
        entries[0].fields,
        [
            ("ms".into(), "1.50e3".into()),
            ("ok".into(), "false".into())
        ]
    );
    assert_eq!(entries[1].time, Some(1_767_225_600_250_000));
    assert_eq!(
        (entries[1].level, entries[1].message.as_str()),
        (Level::Error, "bröken")
    );
    assert_eq!((entries[1].line, entries[1].field("ms")), (1, Some("2")));
    assert_eq!(raw.extra, "", "values without escapes must not be copied");
    assert_eq!(raw.names, ["ms", "ok"]);
}

#[test]
fn every_time_unit_is_read() {
    for time in [
        "1767225600",
        "1767225600000",
        "1767225600000000",
        "1767225600000000000",
        "\"1767225600\"",
        "\"2026-01-01 01:00:00+01:00\"",
    ] {
        for key in ["time", "ts", "timestamp", "@timestamp"] {
            let (entries, _) = parse(&[&format!(r#"{{"{key}":{time},"msg":"x"}}"#)]);
            assert_eq!(entries[0].time, Some(1_767_225_600_000_000), "{key} {time}");
            assert!(entries[0].fields.is_empty());
        }
    }
}

#[test]
fn what_is_no_time_or_level_stays_a_field() {
    let (entries, _) =
        parse(&[r#"{"time":"noon","level":"loud","msg":"x","ts":1767225600,"message":"y"}"#]);
    assert_eq!(entries[0].time, Some(1_767_225_600_000_000));
    assert_eq!(entries[0].level, Level::Unset);
    assert_eq!(
        entries[0].fields,
        [
            ("time".into(), "noon".into()),
            ("level".into(), "loud".into()),
            ("message".into(), "y".into())
        ]
    );
}

#[test]
fn nested_objects_are_flattened_and_arrays_kept() {
    let (entries, _) = parse(&[
        r#"{"msg":"x","http":{"status":500,"req":{"id":"a\tb","level":"error"}},"tags":["a",{"b":1}],"e":{}}"#,
    ]);
    assert_eq!(
        entries[0].fields,
        [
            ("http.status".into(), "500".into()),
            ("http.req.id".into(), "a\tb".into()),
            ("http.req.level".into(), "error".into()),
            ("tags".into(), r#"["a",{"b":1}]"#.into()),
        ]
    );
    assert_eq!(
        entries[0].level,
        Level::Unset,
        "only the top level names the level"
    );
}

#[test]
fn depth_and_fields_are_bounded() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let (entries, _) = parse(&[&deep]);
    let (name, value) = &entries[0].fields[0];
    assert_eq!(name, "a.a.a.a.a.a.a.a.a");
    assert!(value.starts_with(r#"{"a":"#));
    let wide: Vec<String> = (0..1_000)
        .map(|number| format!("\"k{number}\":1"))
        .collect();
    let (entries, _) = parse(&[&format!("{{{}}}", wide.join(","))]);
    assert_eq!(entries[0].fields.len(), 256);
    // Deeper than any stack: refused, not a trap.
    let (entries, raw) = parse(&[&format!(
        "{}1{}",
        r#"{"a":"#.repeat(100_000),
        "}".repeat(100_000)
    )]);
    assert_eq!(entries.len() + raw.unparsed.len(), 1);
}

#[test]
fn escapes_are_decoded_in_keys_and_values() {
    let (entries, raw) =
        parse(&[r#"{"msg":"a \"b\" \u00e4\n","k\u0065y":"v\\","half":"\ud800 x"}"#]);
    assert_eq!(entries[0].message, "a \"b\" ä\n");
    assert_eq!(entries[0].field("key"), Some("v\\"));
    assert_eq!(entries[0].field("half"), Some(r"\ud800 x"));
    assert_eq!(raw.extra, "a \"b\" ä\nv\\");
}

#[test]
fn what_is_no_object_is_left_to_the_host() {
    let (entries, raw) = parse(&[
        "plain text",
        "",
        "[1]",
        "{\"a\":1",
        "{\"msg\":\"ok\"}",
        "{} x",
        "  ",
        "\"s\"",
        "{'a':1}",
    ]);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].line, 4);
    assert_eq!(raw.unparsed, [0, 2, 3, 5, 7, 8]);
}

#[test]
fn without_a_message_the_line_is_the_message() {
    let (entries, raw) = parse(&[r#"{"event":"login","user":"ann"}"#]);
    assert_eq!(entries[0].message, r#"{"event":"login","user":"ann"}"#);
    assert_eq!(entries[0].field("user"), Some("ann"));
    assert_eq!(raw.extra, "");
}

#[test]
fn keys_can_be_chosen() {
    let config =
        config::parse(r#"{"time_keys":["t"],"level_keys":["l"],"message_keys":["event"]}"#);
    let mut parser = JsonLines::configure(config.unwrap()).unwrap();
    let batch = batch(&[r#"{"t":1767225600,"l":"I","event":"login","msg":"y"}"#]);
    let mut records = Records::new(&batch.text, 1);
    parser.parse(&batch, &mut records).unwrap();
    let entries = read_records(&batch.text, &records.finish());
    assert_eq!(
        (entries[0].level, entries[0].message.as_str()),
        (Level::Info, "login")
    );
    assert!(entries[0].time.is_some());
    assert_eq!(entries[0].field("msg"), Some("y"));
}
