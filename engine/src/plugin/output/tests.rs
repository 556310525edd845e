use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Option<Perfdata> {
    let output = parse(format!("OK | {text}").as_bytes());
    assert_eq!(output.perfdata.len() + output.malformed, 1, "{text}");
    output.perfdata.into_iter().next()
}

#[test]
fn text_and_perfdata_over_several_lines() {
    let output = parse(
        b"DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n",
    );
    assert_eq!(output.summary, "DISK OK - free space: / 3326 MB (56%);");
    assert_eq!(
        output.details,
        "/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);"
    );
    let labels: Vec<&str> = output.perfdata.iter().map(|p| p.label.as_str()).collect();
    assert_eq!(labels, ["/", "/boot", "/home"]);
    assert_eq!(output.perfdata[1].value, Some(68e6));
    assert_eq!(output.malformed, 0);
}

#[test]
fn texts() {
    let cases: [(&str, &str, &str); 9] = [
        ("", "", ""),
        ("\n\n", "", ""),
        ("OK", "OK", ""),
        ("OK\r\n", "OK", ""),
        ("\n  OK  \nmore\n\n", "OK", "more"),
        ("OK\n\nmore", "OK", "\nmore"),
        ("| a=1", "", ""),
        ("OK\n| a=1", "OK", ""),
        ("OK\n  indented\n|", "OK", "  indented"),
    ];
    for (text, summary, details) in cases {
        let output = parse(text.as_bytes());
        assert_eq!(
            (output.summary.as_str(), output.details.as_str()),
            (summary, details),
            "{text:?}"
        );
    }
    assert_eq!(parse(b"\xff ok").summary, "\u{fffd} ok");
}

#[test]
fn labels() {
    let cases: [(&str, Option<&str>, Option<&str>); 14] = [
        ("time=1", Some("time"), Some("time")),
        ("'free space'=1", Some("free space"), Some("free_space")),
        ("'it''s'=1", Some("it's"), Some("it_s")),
        ("'a=b'=1", Some("a=b"), Some("a_b")),
        ("''''=1", Some("'"), Some("_")),
        ("''=1", Some(""), None),
        ("/=1", Some("/"), Some("_")),
        ("/var/log=1", Some("/var/log"), Some("_var_log")),
        ("5min=1", Some("5min"), Some("_5min")),
        ("'% über 9'=1", Some("% über 9"), Some("_ber_9")),
        ("a.b:c-d=1", Some("a.b:c-d"), Some("a.b:c-d")),
        ("-a=1", Some("-a"), Some("_-a")),
        ("=1", None, None),
        ("word", None, None),
    ];
    for (text, label, name) in cases {
        let found = one(text);
        assert_eq!(found.as_ref().map(|p| p.label.as_str()), label, "{text}");
        let metric = found.and_then(|p| p.metric_name());
        assert_eq!(metric.as_deref(), name, "{text}");
    }
    let long = one(&format!("{}=1", "x".repeat(400))).unwrap();
    assert_eq!(long.metric_name().unwrap().len(), MAX_NAME);
    let long = one(&format!("{}ä=1", "1".repeat(127))).unwrap();
    assert!(long.metric_name().unwrap().len() <= MAX_NAME);
}

#[test]
fn values_and_units() {
    type Read = Option<(Option<f64>, &'static str)>;
    let cases: [(&str, Read); 27] = [
        ("a=1", Some((Some(1.0), ""))),
        ("a=-1.5", Some((Some(-1.5), ""))),
        ("a=+.5", Some((Some(0.5), ""))),
        ("a=5.", Some((Some(5.0), ""))),
        ("a=1,5s", Some((Some(1.5), "s"))),
        ("a=1e3", Some((Some(1000.0), ""))),
        ("a=1.5E-3s", Some((Some(0.0015), "s"))),
        ("a=12ms", Some((Some(0.012), "s"))),
        ("a=1500us", Some((Some(0.0015), "s"))),
        ("a=1500µs", Some((Some(0.0015), "s"))),
        ("a=7ns", Some((Some(7e-9), "s"))),
        ("a=56%", Some((Some(56.0), "%"))),
        ("a=3B", Some((Some(3.0), "B"))),
        ("a=3KB", Some((Some(3e3), "B"))),
        ("a=2643MB", Some((Some(2643e6), "B"))),
        ("a=1GB", Some((Some(1e9), "B"))),
        ("a=1TB", Some((Some(1e12), "B"))),
        ("a=2KiB", Some((Some(2048.0), "B"))),
        ("a=1MiB", Some((Some(1_048_576.0), "B"))),
        ("a=99c", Some((Some(99.0), "c"))),
        ("a=4lines", Some((Some(4.0), "lines"))),
        ("a=1e", Some((Some(1.0), "e"))),
        ("a=U", Some((None, ""))),
        ("a=", None),
        ("a=x", None),
        ("a=1.2.3", None),
        ("a=nan", None),
    ];
    for (text, expected) in cases {
        let found = one(text);
        let found = found.as_ref().map(|p| (p.value, p.unit.as_str()));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn thresholds() {
    const INF: f64 = f64::INFINITY;
    // range, start, end, inside, a value it alerts on, one it does not
    let cases: [(&str, f64, f64, bool, f64, f64); 7] = [
        ("10", 0.0, 10.0, false, 11.0, 10.0),
        ("10:", 10.0, INF, false, 9.0, 1e9),
        ("~:10", -INF, 10.0, false, 10.5, -1e9),
        ("10:20", 10.0, 20.0, false, 21.0, 15.0),
        ("@10:20", 10.0, 20.0, true, 10.0, 9.0),
        (":5", 0.0, 5.0, false, -1.0, 3.0),
        ("-5:-1", -5.0, -1.0, false, 0.0, -2.0),
    ];
    for (text, start, end, inside, alerts, quiet) in cases {
        let range = Range::parse(text).unwrap();
        assert_eq!(range, Range { start, end, inside }, "{text}");
        assert!(range.alerts(alerts) && !range.alerts(quiet), "{text}");
    }
    for bad in ["", "@", "~", "20:10", "a", "1:b", "1:2:3", "10s"] {
        assert_eq!(Range::parse(bad), None, "{bad}");
    }
    let disk = one("/=2643MB;5948;@0:5958MB;0;5968").unwrap();
    assert_eq!(
        disk.warning.map(|r| (r.end, r.inside)),
        Some((5948e6, false))
    );
    assert_eq!(
        disk.critical.map(|r| (r.end, r.inside)),
        Some((5958e6, true))
    );
    assert_eq!((disk.min, disk.max), (Some(0.0), Some(5968e6)));
    // Thresholds that are none leave the value alone.
    let odd = one("a=1;x;;;9").unwrap();
    assert_eq!(
        (odd.value, odd.warning, odd.max),
        (Some(1.0), None, Some(9.0))
    );
}

#[test]
fn what_does_not_fit_is_counted() {
    let output = parse(b"OK | a=1 junk b=x 'c d'=2 'open=3 e=4");
    let labels: Vec<&str> = output.perfdata.iter().map(|p| p.label.as_str()).collect();
    assert_eq!((labels, output.malformed), (vec!["a", "c d"], 3));

    let output = parse(b"OK | a=1 a=2 'a b'=3 a_b=4 c=U d=5 e=6");
    let (metrics, dropped) = output.metrics(3);
    let names: Vec<&str> = metrics.iter().map(|metric| &*metric.name).collect();
    assert_eq!((names, dropped), (vec!["a", "a_b", "d"], 4));
}

#[test]
fn states() {
    let cases = [
        ("OK - fine", Some(State::Ok)),
        ("WARNING: late", Some(State::Warning)),
        ("DISK CRITICAL - full", Some(State::Critical)),
        ("UNKNOWN", Some(State::Unknown)),
        ("critical failure", None),
        ("it is OK", None),
        ("OKAY", None),
        ("", None),
    ];
    for (text, state) in cases {
        assert_eq!(leading_state(text), state, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let output = parse(&bytes);
        let (metrics, dropped) = output.metrics(1_000);
        prop_assert_eq!(metrics.len() + dropped, output.perfdata.len());
        prop_assert!(metrics.iter().all(|metric| is_metric_name(&metric.name)));
        prop_assert!(!output.summary.contains('\n'));
    }

    #[test]
    fn no_text_panics(text in "[a-c='| \\n;:@~,.0-9eUµ%MsB-]{0,120}") {
        let output = parse(text.as_bytes());
        let (metrics, _) = output.metrics(1_000);
        prop_assert!(metrics.iter().all(|metric| metric.value.is_finite()));
    }

    #[test]
    fn what_was_written_is_read(label in "[a-zA-Z ='|/]{1,20}", value in -1e12..1e12_f64) {
        // A bar in a label of the first line ends nothing.
        let quoted = label.replace('\'', "''");
        let output = parse(format!("OK | '{quoted}'={value}").as_bytes());
        prop_assert_eq!(output.malformed, 0);
        prop_assert_eq!(&output.perfdata[0].label, &label);
        prop_assert_eq!(output.perfdata[0].value, Some(value));
    }
}
