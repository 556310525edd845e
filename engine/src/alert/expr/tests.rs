use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::check::outcome::{Metric, State};

/// Windows with fixed answers.
struct Fixed;

impl Windows for Fixed {
    fn aggregate(
        &self,
        f: Agg,
        metric: &str,
        window: Duration,
        check: Option<&str>,
        node: Option<&str>,
    ) -> Option<f64> {
        match (f, metric, check, node) {
            (Agg::Count, "none", ..) => Some(0.0),
            (_, "none", ..) => None,
            (Agg::Avg, "latency_ms", None, None) => Some(window.as_secs_f64()),
            (Agg::Avg, "latency_ms", Some("other"), None) => Some(1.0),
            (Agg::Avg, "latency_ms", Some("other"), Some("web-2")) => Some(2.0),
            _ => Some(7.0),
        }
    }

    fn log_count(&self, query: usize, _window: Duration) -> u64 {
        21 + query as u64
    }
}

fn labels() -> BTreeMap<String, String> {
    [("role", "web"), ("env", "prod"), ("zone", "a-1")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
}

fn metrics() -> Vec<Metric> {
    [("latency_ms", 250.0), ("errors", 3.0), ("ratio", 0.25)]
        .map(|(name, value)| Metric {
            name: name.into(),
            value,
        })
        .into()
}

fn with_result<T>(f: impl FnOnce(&ResultView<'_>) -> T) -> T {
    let (labels, metrics) = (labels(), metrics());
    f(&ResultView {
        check: "homepage",
        node: "web-1",
        labels: &labels,
        state: State::Critical,
        last_state: State::Ok,
        attempt: 3,
        metrics: &metrics,
        summary: "HTTP 503 in 250 ms – überlastet",
        duration_ms: 250.5,
    })
}

fn holds(text: &str) -> bool {
    let mut queries = QuerySet::default();
    let expr = RuleExpr::compile(text, &mut queries).unwrap_or_else(|e| panic!("{text}: {e}"));
    with_result(|result| expr.eval(result, &Fixed))
}

fn facts(text: &str) -> Facts {
    RuleExpr::compile(text, &mut QuerySet::default())
        .unwrap()
        .facts()
        .clone()
}

fn error(text: &str) -> ExprError {
    match RuleExpr::compile(text, &mut QuerySet::default()) {
        Ok(_) => panic!("{text:?} was accepted"),
        Err(e) => e,
    }
}

#[test]
fn what_a_rule_sees() {
    for text in [
        r#"check == "homepage" && state == "critical""#,
        r#"node == "web-1" && last_state == "ok" && attempt == 3"#,
        r#"metrics["latency_ms"] > 200"#,
        r#"metrics.latency_ms / 1000 >= 0.25"#,
        r#"labels.role == "web" && labels["env"] in ["prod", "stage"]"#,
        r#"summary.contains("503") && summary.startsWith("HTTP") && summary.endsWith("lastet")"#,
        r#"summary.matches("^HTTP 5[0-9]{2}")"#,
        "duration_ms > 250 && duration_ms < 251",
        "has(labels.role) && !has(labels.missing) && has(metrics.errors)",
        r#""role" in labels && !("missing" in metrics)"#,
        r#"state in ["warning", "critical"] && state != "ok""#,
        r#"labels.exists(k, k.startsWith("zo") && labels[k] == "a-1")"#,
        "metrics.all(m, metrics[m] > 0)",
        r#"labels.exists_one(k, labels[k] == "web")"#,
        "size(labels) == 3 && metrics.size() == 3 && size(summary) == 31",
        r#"avg("latency_ms", "5m") == 300"#,
        r#"avg("latency_ms", "5m", "other") == 1.0"#,
        r#"avg("latency_ms", "5m", "other", "web-2") == 2.0"#,
        r#"avg("latency_ms", "5m") > 2 * avg("latency_ms", "1m")"#,
        r#"log_count("level:error source:app", "5m") > 20"#,
        r#"log_count("a", "1m") / log_count("b", "1m") > 0.9"#,
        r#"(attempt > 2 ? "x" : "y") == "x""#,
        r#"(state == "critical") == (attempt == 3)"#,
        r#"node + "/" + check == "web-1/homepage""#,
        "attempt % 2 == 1 && -attempt < 0",
        r#"count("none", "5m") == 0"#,
        "attempt in [1, 2, 3]",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn what_is_missing_makes_the_expression_false() {
    for text in [
        r#"labels.missing == "x""#,
        r#"labels.missing != "x""#,
        r#"!(labels.missing == "x")"#,
        "metrics.missing > 0",
        "!(metrics.missing > 0)",
        r#"metrics["missing"] > 0 ? true : true"#,
        r#"avg("none", "5m") < 1"#,
        r#"!(avg("none", "5m") < 1)"#,
        "attempt / 0 == 1",
        "attempt % 0 == 1",
        "9223372036854775807 + attempt > 0",
        "metrics.exists_one(m, metrics.missing > 0)",
        r#"labels.missing == "x" && true"#,
        r#"labels.missing in ["x"] || false"#,
    ] {
        assert!(!holds(text), "{text}");
    }
    // `||` and `&&` decide without it where they can, on either side.
    assert!(holds(r#"labels.missing == "x" || state == "critical""#));
    assert!(holds(r#"state == "critical" || labels.missing == "x""#));
    assert!(holds(r#"!(labels.missing == "x" && state == "ok")"#));
    assert!(holds(
        r#"labels.exists(k, labels.missing == "x" || k == "role")"#
    ));
}

#[test]
fn mistakes_have_a_position_and_a_suggestion() {
    let cases: &[(&str, &str, Option<&str>)] = &[
        (
            r#"chek == "homepage""#,
            "1:1 of the expression: unknown variable \"chek\"",
            Some("check"),
        ),
        (r#"check == "a" && stat == "ok""#, "1:17", Some("state")),
        ("attempt > 1 &&\n  stat == \"ok\"", "2:3", Some("state")),
        ("check == critical", "1:10", Some("\"critical\"")),
        (r#"state == "critcal""#, "1:10", Some("critical")),
        (r#"state in ["ok", "warn"]"#, "1:17", None),
        (
            r#"avrg("latency_ms", "5m") > 1"#,
            "1:1 of the expression: unknown function \"avrg\"",
            Some("avg"),
        ),
        (
            r#"summary.contain("x")"#,
            "unknown function \"contain\"",
            Some("contains"),
        ),
        (r#"avg("latency_ms") > 1"#, "found 1 arguments", None),
        (
            r#"avg("latency_ms", "5 minutes") > 1"#,
            "expected a duration",
            None,
        ),
        (r#"avg("latency_ms", "30d") > 1"#, "1s to 7d", None),
        (r#"avg(check, "5m") > 1"#, "literal string", None),
        (
            r#"log_count("level:eror", "5m") > 1"#,
            "did you mean error",
            None,
        ),
        (
            r#"log_count("\"open", "5m") > 1"#,
            "closing quotation",
            None,
        ),
        (r#"summary.matches("(")"#, "regular expression", None),
        ("summary.matches(check)", "literal pattern", None),
        (r#"attempt == "3""#, "an int and a string", None),
        ("check > 3", "a string and an int", None),
        (
            "attempt",
            "expected a condition (a bool), found an int",
            None,
        ),
        ("metrics", "found a map", None),
        (
            "check && true",
            "1:1 of the expression: expected a bool, found a string",
            None,
        ),
        ("check.role == 1", "labels or metrics before the dot", None),
        ("labels == labels", "a map and a map", None),
        (
            "labels.map(k, k)",
            "expected exists, all or exists_one",
            None,
        ),
        (
            "[1, 2].exists(x, x > 1)",
            "labels or metrics before exists",
            None,
        ),
        (
            "labels.exists(k, labels.exists(j, j == k))",
            "inside another",
            None,
        ),
        ("labels.exists(check, check == \"a\")", "another name", None),
        (r#"{"a": 1}.a == 1"#, "map or message literal", None),
        ("labels.x == null", "has(labels.x)", None),
        ("state == ", "1:", None),
        ("state == \"ok\" &&& true", "syntax error", None),
        ("", "found nothing", None),
        ("address == \"x\"", "unknown variable \"address\"", None),
    ];
    for (text, part, suggestion) in cases {
        let e = error(text);
        assert!(e.to_string().contains(part), "{text}: {e}");
        if suggestion.is_some() {
            assert_eq!(e.suggestion.as_deref(), *suggestion, "{text}: {e}");
        }
    }
}

#[test]
fn size_is_bounded() {
    let long = vec!["attempt == 1"; 200].join(" || ");
    assert!(error(&long).to_string().contains("at most 500 nodes"));
    assert!(
        error(&" ".repeat(MAX_LENGTH + 1))
            .to_string()
            .contains("nothing")
    );
    assert!(
        error(&format!("true{}", " ".repeat(MAX_LENGTH)))
            .to_string()
            .contains("bytes")
    );
    let deep = format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000));
    assert!(error(&deep).to_string().contains("expected"));
}

#[test]
fn chains_end_in_an_error_and_not_at_the_end_of_the_stack() {
    let chains = || {
        let link = [
            ("labels", ".a", "== \"\""),
            ("1", "+1", "== 1"),
            ("1", "-1", "== 1"),
            ("1", "*1", "== 1"),
            ("1", "<1", ""),
            ("labels", "[\"a\"]", "== \"\""),
            ("true", "&&true", ""),
            ("true", "?true:true", ""),
            ("", "(", "true"),
            ("", "[", "1"),
            ("", "{1:", "1"),
            ("", "f(", "1"),
        ];
        // An even number of them says nothing.
        for sign in ["!", "-"] {
            for count in [MAX_LENGTH - 10, 3_990, 1_000] {
                let _ = NodeExpr::compile(&format!("{}true", sign.repeat(count)));
            }
        }
        for (begin, more, end) in link {
            // As long as may be, and as many words as the parser is given.
            let room = (MAX_LENGTH - begin.len() - end.len() - 1) / more.len();
            for count in [room, 4_000, 2_000, 1_990, 1_330, 1_000, 800, 660, 499] {
                let text = format!("{begin}{}{end}", more.repeat(count.min(room)));
                assert!(
                    NodeExpr::compile(&text).is_err(),
                    "{begin}{more}…{end}, {count} links"
                );
                let _ = RuleExpr::compile(&text, &mut QuerySet::default());
            }
        }
    };
    // As large as the stack of a thread that serves requests.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(chains).unwrap().join().unwrap();
}

#[test]
fn facts_tell_identity_needs_and_the_check() {
    assert_eq!(
        facts(r#"check == "a" && state == "critical""#)
            .check_filter
            .as_deref(),
        Some("a")
    );
    assert_eq!(
        facts(r#"attempt > 1 && ("a" == check && true)"#)
            .check_filter
            .as_deref(),
        Some("a")
    );
    assert_eq!(
        facts(r#"check == "a" || state == "critical""#).check_filter,
        None
    );
    assert_eq!(facts(r#"!(check == "a")"#).check_filter, None);
    assert!(facts("attempt > 1").per_result);
    assert!(facts("has(labels.x)").per_result);
    assert!(
        facts(r#"avg("m", "5m") > 1"#).per_result,
        "over the series at hand"
    );
    assert!(!facts(r#"avg("m", "5m", "a") > 1"#).per_result);
    assert!(!facts(r#"log_count("x", "5m") > 1"#).per_result);
    assert!(facts(r#"log_count("x", "5m") > 1 && state == "ok""#).per_result);
    let found =
        facts(r#"avg("m", "5m") > 1 && p95("m", "1h", "a", "n") > 1 && avg("m", "5m") < 9"#);
    let need = |window: u64, check: Option<&str>, node: Option<&str>| MetricNeed {
        metric: "m".into(),
        window: Duration::from_secs(window),
        check: check.map(Into::into),
        node: node.map(Into::into),
    };
    assert_eq!(
        found.metrics,
        [need(300, None, None), need(3600, Some("a"), Some("n"))]
    );
    assert_eq!(*found.checks, ["a".into()]);

    let mut queries = QuerySet::default();
    for text in [
        r#"log_count("level:error", "5m") > log_count("boom", "1m")"#,
        r#"log_count("level:err", "10m") > 1"#,
    ] {
        RuleExpr::compile(text, &mut queries).unwrap();
    }
    assert_eq!(queries.list().len(), 2, "one counter for the same query");
    assert_eq!(queries.list()[0].window, Duration::from_secs(600));
}

#[test]
fn node_selectors() {
    let node = NodeInfo {
        name: "web-1".into(),
        address: "10.0.0.1".into(),
        labels: labels(),
    };
    for (text, expected) in [
        (r#"labels.role == "web""#, true),
        (r#"labels.missing == "web""#, false),
        (
            r#"name.startsWith("web-") && address.startsWith("10.")"#,
            true,
        ),
        (r#"name in ["web-2"]"#, false),
        ("true", true),
    ] {
        assert_eq!(
            NodeExpr::compile(text).unwrap().matches(&node),
            expected,
            "{text}"
        );
    }
    let e = NodeExpr::compile(r#"lables.role == "web""#).unwrap_err();
    assert_eq!(e.suggestion.as_deref(), Some("labels"));
    assert!(NodeExpr::compile(r#"state == "ok""#).is_err());
    assert!(NodeExpr::compile(r#"avg("m", "5m") > 1"#).is_err());
}

/// The same expression in the `cel` crate's own interpreter; an error is false.
fn reference(text: &str, result: &ResultView<'_>) -> bool {
    let program = cel::Program::compile(text).unwrap();
    let mut context = cel::Context::default();
    context.add_variable_from_value("check", result.check.to_owned());
    context.add_variable_from_value("node", result.node.to_owned());
    context.add_variable_from_value("state", result.state.as_str().to_owned());
    context.add_variable_from_value("last_state", result.last_state.as_str().to_owned());
    context.add_variable_from_value("summary", result.summary.to_owned());
    context.add_variable_from_value("attempt", i64::from(result.attempt));
    context.add_variable_from_value("duration_ms", result.duration_ms);
    let labels: HashMap<String, String> = result.labels.clone().into_iter().collect();
    context.add_variable_from_value("labels", labels);
    let metrics: HashMap<String, f64> = result
        .metrics
        .iter()
        .map(|m| (m.name.to_string(), m.value))
        .collect();
    context.add_variable_from_value("metrics", metrics);
    matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
}

#[test]
fn the_compiled_form_means_what_cel_means() {
    let texts = [
        r#"check == "homepage" && state == "critical""#,
        r#"check == "homepage" && state == "ok""#,
        r#"check != "homepage" || state != "critical""#,
        r#"!(state in ["ok", "warning"])"#,
        r#"labels.role == "web" ? attempt > 2 : attempt > 5"#,
        r#"labels["env"] == "prod" && labels.zone.startsWith("a")"#,
        r#"has(labels.missing) || has(labels.role)"#,
        r#"has(labels.missing) && labels.missing == "x""#,
        r#"labels.missing == "x""#,
        r#"labels.missing == "x" || attempt == 3"#,
        r#"attempt == 3 || labels.missing == "x""#,
        r#"labels.missing == "x" && attempt == 3"#,
        r#"!(labels.missing == "x" && attempt == 4)"#,
        r#"metrics["latency_ms"] > 200.0"#,
        r#"metrics.latency_ms > 200"#,
        r#"metrics.latency_ms == 250"#,
        r#"metrics.ratio * 4.0 == 1.0"#,
        r#"metrics.latency_ms / 0.0 > 1.0"#,
        r#"metrics.latency_ms - metrics.errors >= 247.0"#,
        r#""errors" in metrics"#,
        r#""nothing" in metrics"#,
        r#"attempt + 1 == 4 && attempt * 2 - 1 == 5 && 7 / attempt == 2 && 7 % attempt == 1"#,
        r#"-7 / 2 == -3 && -7 % 2 == -1"#,
        "attempt / 0 == 1",
        "9223372036854775807 + attempt > 0",
        r#"attempt in [1, 2]"#,
        r#"attempt in []"#,
        r#"size(summary) == 31"#,
        r#"size(labels) == 3 && size("äöü") == 3"#,
        r#"summary.size() > 10"#,
        r#"summary.contains("über") && !summary.contains("ÜBER")"#,
        r#"summary.matches("5[0-9]+ in")"#,
        r#"labels.exists(k, labels[k] == "web")"#,
        r#"labels.all(k, size(k) < 5)"#,
        r#"labels.all(k, labels.missing == "x")"#,
        r#"labels.exists_one(k, k.startsWith("z"))"#,
        r#"labels.exists_one(k, size(k) == 4)"#,
        r#"metrics.exists(m, metrics[m] > 249.0)"#,
        r#"metrics.all(m, metrics[m] > 1.0)"#,
        r#""a" < "b" && "b" <= "b" && "Z" < "a" && "ä" > "z""#,
        r#"duration_ms >= 250.5 && duration_ms != 250.0"#,
        r#"node + "." + check == "web-1.homepage""#,
        r#"(attempt == 3) == (state == "critical")"#,
        r#"(attempt == 3) != (state == "critical")"#,
        r#"true || false && false"#,
        r#"(attempt > 1 ? labels.missing : labels.role) == "web""#,
        r#"(attempt > 5 ? labels.missing : labels.role) == "web""#,
        r#"1.0 / 0.0 > 0.0 && 0.0 / 0.0 != 0.0 / 0.0"#,
    ];
    with_result(|result| {
        for text in texts {
            let expr = RuleExpr::compile(text, &mut QuerySet::default())
                .unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                expr.eval(result, &NoWindows),
                reference(text, result),
                "{text}"
            );
        }
    });
}

fn any_condition() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just("check".to_owned()),
        Just("node".to_owned()),
        Just("summary".to_owned()),
        Just("labels.role".to_owned()),
        Just("labels.missing".to_owned()),
        Just("\"web\"".to_owned()),
        Just("\"homepage\"".to_owned()),
    ];
    let number = prop_oneof![
        Just("attempt".to_owned()),
        (0i64..5).prop_map(|n| n.to_string()),
        Just("size(summary)".to_owned()),
        Just("(attempt / 0)".to_owned()),
    ];
    let double = prop_oneof![
        Just("metrics.errors".to_owned()),
        Just("metrics.missing".to_owned()),
        Just("duration_ms".to_owned()),
        (0i32..400).prop_map(|n| format!("{n}.0")),
    ];
    let cmp = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (text.clone(), cmp.clone(), text.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (number.clone(), cmp.clone(), number.clone())
            .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (double.clone(), cmp.clone(), double).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (number.clone(), cmp, number).prop_map(|(a, op, b)| format!("{a} + 1 {op} {b} * 2")),
        text.prop_map(|a| format!("{a}.startsWith(\"w\")")),
        Just("has(labels.env)".to_owned()),
        Just("\"missing\" in labels".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) == ({b})")),
            inner
                .clone()
                .prop_map(|a| format!("labels.exists(k, ({a}) && k != \"x\")")),
        ]
    })
}

proptest! {
    #[test]
    fn any_condition_means_what_cel_means(text in any_condition()) {
        match RuleExpr::compile(&text, &mut QuerySet::default()) {
            Ok(expr) => with_result(|result| {
                prop_assert_eq!(expr.eval(result, &NoWindows), reference(&text, result), "{}", text);
                Ok(())
            })?,
            // Comprehensions inside each other are the one thing refused here.
            Err(e) => prop_assert!(e.message.contains("inside another"), "{}: {}", text, e),
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\PC{0,60}") {
        let _ = RuleExpr::compile(&text, &mut QuerySet::default());
    }

    #[test]
    fn no_likely_text_does_either(
        parts in prop::collection::vec(prop::sample::select(vec![
            "check", "state", "labels", ".", "role", "[", "]", "(", ")", "\"a\"", "\"", "'", "==", "&&", "||", "!",
            "?", ":", ",", "{", "}", "1", "-", "1.5", "1u", "b\"x\"", "null", "has", "exists", "k", "in", "avg", "\"5m\"",
            "log_count", "metrics", "`", "\\", "\n", "@", "//", "r\"", "\"\"\"", "0x", "9999999999999999999", "1e999", ".matches", "é",
        ]), 0..16),
        gap in prop::sample::select(vec!["", " "]),
    ) {
        let _ = RuleExpr::compile(&parts.join(gap), &mut QuerySet::default());
    }
}
