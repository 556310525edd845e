use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::check::outcome::NodeInfo;

const AT: Timestamp = Timestamp::from_secs(1_795_413_582);

fn notification() -> Notification {
    let result = |ago: i64, state: &str, ms: u32, summary: &str| ResultLine {
        ts: Timestamp::from_secs(AT.secs() - ago),
        state: state.into(),
        duration_us: ms * 1_000 + 300,
        summary: summary.into(),
    };
    Notification {
        kind: NotificationKind::Firing,
        alert: 42,
        name: "homepage-down".into(),
        check: Some("homepage".into()),
        node: Some(NodeInfo {
            name: "web-1".into(),
            address: "192.0.2.10".into(),
            labels: BTreeMap::new(),
        }),
        severity: Severity::Critical,
        labels: [("team", "shop"), ("env", "prod")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        summary: "HTTP 500 from /health, expected 200".into(),
        since: Timestamp::from_secs(AT.secs() - 34),
        at: AT,
        expression: "check == \"homepage\" && state == \"critical\"".into(),
        last_results: vec![
            result(0, "critical", 12, "HTTP 500 from /health, expected 200"),
            result(2, "critical", 11, "HTTP 500 from /health, expected 200"),
            result(4, "critical", 5000, "timed out in connect"),
            result(14, "ok", 4, "HTTP 200 in 4 ms"),
            result(24, "ok", 5, "HTTP 200 in 5 ms"),
        ],
        tried: vec!["restart-web: ran, exit code 0 after 1.2 s".into()],
        in_reply_to: None,
    }
}

fn render(n: &Notification) -> Rendered {
    Renderer::new().render(n, "https://mon.example.org/")
}

#[test]
fn a_firing_alert_reads_well() {
    let mail = render(&notification());
    insta::assert_snapshot!("firing_subject", mail.subject);
    insta::assert_snapshot!("firing_text", mail.text);
    insta::assert_snapshot!("firing_html", mail.html);
}

#[test]
fn a_resolved_alert_says_how_long_it_was() {
    let mut n = notification();
    n.kind = NotificationKind::Resolved;
    n.at = n.since + Duration::from_secs(7_530);
    n.summary = "HTTP 200 in 4 ms".into();
    n.last_results.drain(..3);
    let mail = render(&n);
    assert_eq!(
        mail.subject,
        "[RESOLVED] homepage-down on web-1: HTTP 200 in 4 ms"
    );
    insta::assert_snapshot!("resolved_text", mail.text);
}

#[test]
fn a_rule_wide_alert_names_no_node() {
    let mut n = notification();
    n.name = "many-errors".into();
    (n.node, n.check) = (None, None);
    (n.last_results, n.tried) = (Vec::new(), Vec::new());
    n.labels.clear();
    n.summary = "31 records match".into();
    let mail = render(&n);
    assert_eq!(mail.subject, "[FIRING] many-errors: 31 records match");
    insta::assert_snapshot!("rule_wide_text", mail.text);
}

#[test]
fn every_kind_has_its_prefix() {
    for (kind, prefix) in [
        (NotificationKind::Firing, "[FIRING] homepage-down on web-1:"),
        (
            NotificationKind::Resolved,
            "[RESOLVED] homepage-down on web-1:",
        ),
        (
            NotificationKind::RepairFailed,
            "[REPAIR FAILED] homepage-down on web-1:",
        ),
        (NotificationKind::Fault, "[FAULT] homepage-down on web-1:"),
        (
            NotificationKind::FaultResolved,
            "[RESOLVED] homepage-down on web-1:",
        ),
    ] {
        let mut n = notification();
        n.kind = kind;
        let mail = render(&n);
        assert!(mail.subject.starts_with(prefix), "{}", mail.subject);
        assert!(mail.text.contains("https://mon.example.org/alerts/42\n"));
        assert!(
            mail.html
                .contains("href=\"https://mon.example.org/alerts/42\"")
        );
    }
}

#[test]
fn an_empty_summary_leaves_no_colon() {
    let mut n = notification();
    n.summary = " \r\n ".into();
    assert_eq!(render(&n).subject, "[FIRING] homepage-down on web-1");
}

#[test]
fn line_breaks_cannot_add_headers_or_facts() {
    let mut n = notification();
    n.summary = "x\r\nBcc: all@example.org\r\n\r\nbody\u{0}\u{1b}[31m\u{202e}evil".into();
    n.labels.insert("a\nb".into(), "c\r\nd".into());
    n.tried = vec!["one\n  - two".into()];
    let mail = render(&n);
    assert_eq!(
        mail.subject,
        "[FIRING] homepage-down on web-1: x Bcc: all@example.org body [31mevil"
    );
    assert!(
        !mail
            .text
            .lines()
            .any(|l| l.starts_with("Bcc:") || l.trim() == "- two")
    );
    assert!(mail.text.contains("  a b = c d\n"));
    assert!(!mail.text.contains(['\r', '\u{0}', '\u{1b}', '\u{202e}']));
}

#[test]
fn markup_and_template_syntax_stay_text() {
    let mut n = notification();
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=y>{{ link }}{% if x %}";
    n.name = evil.into();
    n.summary = evil.into();
    n.expression = evil.into();
    n.tried = vec![evil.into()];
    n.labels.insert(evil.into(), evil.into());
    n.last_results[0].summary = evil.into();
    n.last_results[0].state = evil.into();
    if let Some(node) = &mut n.node {
        node.name = evil.into();
        node.address = evil.into();
    }
    let mail = Renderer::new().render(&n, "https://mon.example.org/\"><script>");
    assert!(!mail.html.contains("<script") && !mail.html.contains("<img"));
    assert!(mail.html.contains("&lt;script&gt;"));
    assert!(mail.text.contains("{{ link }}{% if x %}"));
}

#[test]
fn huge_input_gives_a_bounded_mail() {
    let mut n = notification();
    let huge = "&".repeat(1 << 16);
    n.summary = huge.clone();
    n.expression = huge.clone();
    n.tried = vec![huge.clone(); 500];
    n.labels = (0..500).map(|i| (i.to_string(), huge.clone())).collect();
    n.last_results = vec![
        ResultLine {
            summary: huge.clone(),
            ..n.last_results[0].clone()
        };
        500
    ];
    let mail = render(&n);
    assert_eq!(mail.subject.chars().count(), MAX_SUBJECT);
    assert!(mail.subject.ends_with("..."));
    assert!(mail.text.len() < MAX_OUTPUT && mail.html.len() < MAX_OUTPUT);
    // Not the fall-back: the table is there.
    assert!(mail.html.contains("LAST RESULTS") && mail.text.contains("Last results"));
}

#[test]
fn spans_show_their_two_largest_units() {
    for (seconds, text) in [
        (0, "0 s"),
        (59, "59 s"),
        (192, "3 min 12 s"),
        (7_530, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ] {
        assert_eq!(format_span(Duration::from_secs(seconds)), text);
    }
}

proptest! {
    #[test]
    fn any_text_becomes_one_bounded_line(text in "\\PC*|(?s).*", max in 0usize..80) {
        let line = one_line(&text, max);
        prop_assert!(line.chars().count() <= max);
        prop_assert!(!line.chars().any(char::is_control));
        prop_assert_eq!(one_line(&line, max), line);
    }

    #[test]
    fn any_summary_keeps_the_subjects_shape(summary in "(?s).*", name in "[a-z-]{1,30}") {
        let mut n = notification();
        n.summary = summary;
        n.name = name.clone();
        let mail = render(&n);
        let start = format!("[FIRING] {name} on web-1");
        prop_assert!(mail.subject.starts_with(&start));
        prop_assert!(mail.subject.chars().count() <= MAX_SUBJECT);
    }
}
