use bellwether_plugin::fake::{
    FakeNet, FakeStore, NOW, certificate, manifest_problems, metric, mutations, request, response,
};
use bellwether_plugin::net::{Error, HttpResponse};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::text::sample;
use crate::{Config, Prometheus, judge};

const BODY: &str = "# HELP up whether it is\n# TYPE up gauge\nup 1\n\
    http_requests_total{code=\"200\",method=\"get\"} 90 1395066363000\n\
    http_requests_total{code=\"500\",method=\"get\"} 7\n\
    http_requests_total{code=\"503\",method=\"post\"} 3\n\
    fs_avail{mount=\"/\"} 2.5e+09\nfs_size{mount=\"/\"} 1e10\n\
    odd{path=\"C:\\\\\\\"x\\\"\\n\",empty=\"\",} NaN\n\
    latency_bucket{le=\"+Inf\"} +Inf\n\n";

fn run_at(
    rules: &str,
    answer: Result<HttpResponse, Error>,
    now: i64,
    store: &FakeStore,
) -> Result<Report, ProbeError> {
    let json = format!(r#"{{"url":"http://192.0.2.1:9100/metrics","rules":[{rules}]}}"#);
    let config = config::parse::<Config>(&json)?;
    let mut request = request(&json);
    request.now = now;
    judge::check(&request, &config, &FakeNet::answering(answer), store)
}

fn run(rules: &str, body: &str) -> Report {
    run_at(rules, Ok(response(200, body)), NOW, &FakeStore::default()).unwrap()
}

#[test]
fn the_schema_fits_the_configuration() {
    let answer = HttpResponse {
        certificate: Some(certificate(90)),
        ..response(200, BODY)
    };
    let report = run_at("", Ok(answer), NOW, &FakeStore::default()).unwrap();
    assert_eq!(
        manifest_problems::<Prometheus>(&report),
        Vec::<String>::new()
    );
}

#[test]
fn a_scrape_without_rules_counts_samples() {
    let report = run("", BODY);
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "8 samples in 12 ms")
    );
    assert_eq!(metric(&report, "samples"), Some(8.0));
}

#[test]
fn samples_are_read_as_prometheus_does() {
    let odd = r#"odd { path = "C:\\\"x\"\n" , empty="", } NaN 12"#;
    let read = sample(odd).unwrap();
    assert_eq!(
        (read.name, read.label("path"), read.label("empty")),
        ("odd", "C:\\\"x\"\n", "")
    );
    assert!(read.value.is_nan());
    assert_eq!(sample("a:b_c 1").unwrap().name, "a:b_c");
    assert_eq!(sample("a{} +Inf").unwrap().value, f64::INFINITY);
    assert_eq!(sample("a\t-1.5e-3").unwrap().value, -0.0015);
    let labels = |count| format!("a{{{}}} 1", "b=\"\",".repeat(count));
    assert_eq!(sample(&labels(1_000)).unwrap().value, 1.0);
    assert_eq!(sample(&labels(1_001)), None);
    for wrong in [
        "",
        "a",
        "a b",
        "1a 2",
        "a{b} 1",
        "a{b=c} 1",
        "a{b=\"c} 1",
        "a{b=\"c\" d=\"e\"} 1",
        "a{b=\"c\"",
        "<html> 1",
        "a{b=\"\\",
        "HTTP/1.1 200",
    ] {
        assert_eq!(sample(wrong), None, "{wrong}");
    }
}

#[test]
fn rules_select_aggregate_and_judge() {
    for (rule, state, value, text) in [
        (
            r#"{"metric":"up","critical_below":1}"#,
            State::Ok,
            Some(("up", 1.0)),
            "up = 1",
        ),
        (
            r#"{"metric":"http_requests_total"}"#,
            State::Ok,
            Some(("http_requests_total", 100.0)),
            "= 100",
        ),
        (
            r#"{"metric":"http_requests_total","aggregate":"max","warn_above":80}"#,
            State::Warning,
            Some(("http_requests_total", 90.0)),
            "http_requests_total 90, above 80",
        ),
        (
            r#"{"metric":"http_requests_total","aggregate":"min","critical_below":5}"#,
            State::Critical,
            Some(("http_requests_total", 3.0)),
            "3, below 5",
        ),
        (
            r#"{"name":"n","metric":"http_requests_total","aggregate":"count"}"#,
            State::Ok,
            Some(("n", 3.0)),
            "n = 3",
        ),
        (
            r#"{"name":"errors","metric":"http_requests_total","labels_regex":{"code":"5.."},"critical_above":9}"#,
            State::Critical,
            Some(("errors", 10.0)),
            "errors 10, above 9",
        ),
        (
            r#"{"name":"e","metric":"http_requests_total","labels":{"method":"get"},"aggregate":"avg"}"#,
            State::Ok,
            Some(("e", 48.5)),
            "e = 48.5",
        ),
        (
            r#"{"name":"none","metric":"up","labels":{"job":""}}"#,
            State::Ok,
            Some(("none", 1.0)),
            "none = 1",
        ),
        (
            r#"{"name":"free","metric":"fs_avail","divide_by":{"metric":"fs_size"},"times":100,"warn_below":30}"#,
            State::Warning,
            Some(("free", 25.0)),
            "free 25, below 30",
        ),
        (
            r#"{"metric":"gone"}"#,
            State::Unknown,
            None,
            "gone: no sample of gone fits",
        ),
        (
            r#"{"metric":"gone","missing":"ok"}"#,
            State::Ok,
            None,
            "8 samples",
        ),
        (
            r#"{"metric":"gone","missing":"critical"}"#,
            State::Critical,
            None,
            "no sample of gone fits",
        ),
        (
            r#"{"metric":"gone","aggregate":"count","critical_above":0}"#,
            State::Ok,
            Some(("gone", 0.0)),
            "gone = 0",
        ),
        (
            r#"{"metric":"up","divide_by":{"metric":"gone"}}"#,
            State::Unknown,
            None,
            "no sample of gone fits",
        ),
        (r#"{"metric":"odd"}"#, State::Unknown, None, "odd is NaN"),
        (
            r#"{"metric":"latency_bucket"}"#,
            State::Unknown,
            None,
            "latency_bucket is inf",
        ),
    ] {
        let report = run(rule, BODY);
        assert_eq!(report.state, state, "{rule}: {}", report.summary);
        assert!(report.summary.contains(text), "{rule}: {}", report.summary);
        if let Some((name, value)) = value {
            assert_eq!(metric(&report, name), Some(value), "{rule}");
        }
    }
}

#[test]
fn rates_need_two_runs() {
    let rules = r#"{"name":"rps","metric":"c","rate":true,"warn_above":5},
        {"name":"errors","metric":"e","rate":true,"divide_by":{"metric":"c"},"times":100}"#;
    let store = FakeStore::default();
    let scrape = |body: &str, seconds: i64| {
        run_at(
            rules,
            Ok(response(200, body)),
            NOW + seconds * 1_000_000,
            &store,
        )
        .unwrap()
    };
    let first = scrape("c 100\ne 0\n", 0);
    assert_eq!((first.state, metric(&first, "rps")), (State::Ok, None));
    let second = scrape("c 160\ne 6\n", 10);
    assert_eq!(
        (second.state, metric(&second, "rps")),
        (State::Warning, Some(6.0))
    );
    assert_eq!(metric(&second, "errors"), Some(10.0));
    // Began anew.
    let third = scrape("c 20\ne 6\n", 20);
    assert_eq!(metric(&third, "rps"), Some(2.0));
    assert_eq!(metric(&third, "errors"), Some(0.0));
    // Nothing happened.
    let fourth = scrape("c 20\ne 6\n", 30);
    assert_eq!(
        (metric(&fourth, "rps"), metric(&fourth, "errors")),
        (Some(0.0), None)
    );
    assert_eq!(fourth.state, State::Ok);
}

#[test]
fn what_is_wrong_is_named() {
    let report = run("", "<!doctype html>\n<title>hello</title>");
    assert_eq!(report.state, State::Critical);
    assert!(
        report
            .summary
            .starts_with("expected metrics in Prometheus' text format, found \"<!doctype"),
        "{}",
        report.summary
    );
    let down = |answer| run_at("", answer, NOW, &FakeStore::default()).unwrap();
    assert_eq!(
        down(Err(Error::Refused)),
        Report::critical("connection refused")
    );
    let report = down(Ok(response(503, BODY)));
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Critical, "HTTP 503 in 12 ms, expected HTTP 200")
    );
    let cut = HttpResponse {
        truncated: true,
        ..response(200, "up 1\nup 2")
    };
    let report = run_at(r#"{"metric":"up"}"#, Ok(cut), NOW, &FakeStore::default()).unwrap();
    assert_eq!(
        (report.state, metric(&report, "up")),
        (State::Unknown, Some(1.0))
    );
    for (rules, pointer) in [
        (
            r#"{"metric":"a","labels_regex":{"b":"("}}"#,
            "/rules/0/labels_regex/b",
        ),
        (
            r#"{"metric":"a","labels_regex":{"b":")("}}"#,
            "/rules/0/labels_regex/b",
        ),
        (
            r#"{"metric":"a"},{"name":"a","metric":"b"}"#,
            "/rules/1/name",
        ),
        (r#"{"metric":"a","warn":1}"#, "/rules/0/warn"),
    ] {
        match run_at(rules, Err(Error::Refused), NOW, &FakeStore::default()) {
            Err(ProbeError::Config(problem)) => assert_eq!(problem.pointer, pointer, "{rules}"),
            other => panic!("{rules}: {other:?}"),
        }
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let rules = r#"{"metric":"http_requests_total","labels_regex":{"code":"5.."}},{"name":"r","metric":"up","rate":true}"#;
    for bytes in mutations(BODY.as_bytes()) {
        let answer = HttpResponse {
            body: bytes,
            ..response(200, "")
        };
        let report = run_at(rules, Ok(answer), NOW, &FakeStore::default()).unwrap();
        assert!(report.summary.len() < 1_000);
    }
    // What another version, or nobody, stored.
    for value in mutations(br#"[1767225600000000,{"r":1.0}]"#) {
        let store = FakeStore::default();
        let entry = bellwether_plugin::state::Entry { value, version: 3 };
        store
            .entries
            .borrow_mut()
            .insert("counters".to_owned(), entry);
        let answer = Ok(response(200, BODY));
        run_at(rules, answer, NOW, &store).unwrap();
        assert_eq!(store.entries.borrow()["counters"].version, 4);
    }
}
