//! Prints how long one evaluation of a rule takes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use bellwether::alert::expr::{NoWindows, QuerySet, ResultView, RuleExpr};
use bellwether::check::outcome::{Metric, State};

const ROUNDS: u32 = 5_000_000;

fn main() {
    let labels: BTreeMap<String, String> = [("role", "web"), ("env", "prod"), ("team", "shop")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let metrics: Vec<Metric> = [
        "dns_ms",
        "connect_ms",
        "tls_ms",
        "first_byte_ms",
        "latency_ms",
    ]
    .map(|name| Metric {
        name: name.into(),
        value: 42.0,
    })
    .into();
    let result = ResultView {
        check: "homepage",
        node: "web-1",
        labels: &labels,
        state: State::Critical,
        last_state: State::Ok,
        attempt: 3,
        metrics: &metrics,
        summary: "HTTP 503 in 250 ms",
        duration_ms: 250.0,
    };
    for text in [
        r#"check == "homepage" && state == "critical""#,
        r#"state in ["warning", "critical"] && labels.env == "prod" && attempt >= 3"#,
        r#"metrics["latency_ms"] > 500 || duration_ms > 2000"#,
        r#"labels.missing == "x" || summary.contains("503")"#,
        r#"summary.matches("HTTP 5[0-9]{2}")"#,
        r#"labels.exists(k, labels[k] == "shop")"#,
    ] {
        let expr = RuleExpr::compile(text, &mut QuerySet::default()).expect("a right expression");
        let start = Instant::now();
        let mut held = 0_u32;
        for _ in 0..ROUNDS {
            held += u32::from(black_box(&expr).eval(black_box(&result), &NoWindows));
        }
        let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS);
        println!("{each:6.1} ns  {text}  ({held} held)");
    }
}
