use bellwether_plugin::fake::{FakeNet, NOW, certificate, request, response, schema_problems};
use bellwether_plugin::net::{Error, HttpResponse, Phase};
use bellwether_plugin::{Probe, ProbeError, Report, State, config};

use crate::{Config, Http, SCHEMA, judge};

const URL: &str = r#""url":"http://192.0.2.1/""#;

fn run(more: &str, answer: Result<HttpResponse, Error>) -> Result<Report, ProbeError> {
    let json = format!("{{{URL}{more}}}");
    let config = config::parse::<Config>(&json)?;
    judge::check(&request(&json), &config, &FakeNet::answering(answer))
}

fn summary(more: &str, answer: HttpResponse) -> (State, String) {
    let report = run(more, Ok(answer)).unwrap();
    (report.state, report.summary)
}

fn metric(report: &Report, name: &str) -> Option<f64> {
    report
        .metrics
        .iter()
        .find(|metric| metric.name == name)
        .map(|metric| metric.value)
}

#[test]
fn the_schema_fits_the_configuration() {
    assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    let manifest = Http::describe();
    let report = run(
        "",
        Ok(HttpResponse {
            certificate: Some(certificate(90)),
            ..response(200, "")
        }),
    );
    for metric in &report.unwrap().metrics {
        assert!(
            manifest.metrics.iter().any(|spec| spec.name == metric.name),
            "{}",
            metric.name
        );
    }
}

#[test]
fn a_good_answer_is_ok_with_metrics() {
    let report = run("", Ok(response(204, "hello"))).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "HTTP 204 in 12 ms")
    );
    assert_eq!(metric(&report, "latency_ms"), Some(12.0));
    assert_eq!(metric(&report, "dns_ms"), Some(1.0));
    assert_eq!(metric(&report, "first_byte_ms"), Some(8.0));
    assert_eq!(metric(&report, "status"), Some(204.0));
    assert_eq!(metric(&report, "size_bytes"), Some(5.0));
    assert_eq!(metric(&report, "tls_ms"), None);
    assert_eq!(metric(&report, "cert_days"), None);
}

#[test]
fn a_wrong_status_names_both() {
    let (state, text) = summary(r#","expect_status":[200]"#, response(503, "broken"));
    assert_eq!(
        (state, text.as_str()),
        (State::Critical, "HTTP 503 in 12 ms, expected 200")
    );
    let (state, text) = summary("", response(404, ""));
    assert_eq!(
        (state, text.as_str()),
        (State::Critical, "HTTP 404 in 12 ms, expected 200-399")
    );
    assert_eq!(
        summary(r#","expect_status":["4xx"]"#, response(404, "")).0,
        State::Ok
    );
    let report = run(r#","expect_status":[200]"#, Ok(response(503, " broken \n"))).unwrap();
    assert!(report.details.ends_with("broken"), "{}", report.details);
}

#[test]
fn a_target_that_is_down_is_critical() {
    for (error, text) in [
        (Error::Timeout(Phase::Connect), "timed out in connect"),
        (Error::Timeout(Phase::FirstByte), "timed out in first-byte"),
        (Error::Refused, "connection refused"),
        (
            Error::Resolve("no such name".into()),
            "name does not resolve: no such name",
        ),
        (Error::Tls("expired".into()), "TLS failed: expired"),
        (Error::Closed("reset".into()), "connection closed: reset"),
    ] {
        let report = run("", Err(error)).unwrap();
        assert_eq!(
            (report.state, report.summary.as_str()),
            (State::Critical, text)
        );
        assert!(report.metrics.is_empty());
    }
}

#[test]
fn what_is_not_granted_or_wrong_is_no_judgement() {
    let denied = run("", Err(Error::Denied("net 192.0.2.1:80".into())));
    assert_eq!(denied, Err(ProbeError::Denied("net 192.0.2.1:80".into())));
    assert!(matches!(
        run("", Err(Error::Invalid("bad url".into()))),
        Err(ProbeError::Config(_))
    ));
}

#[test]
fn configuration_problems_point_at_the_value_and_come_before_the_answer() {
    for (more, pointer) in [
        (r#","expect_status":["ok"]"#, "/expect_status"),
        (r#","body_regex":"(""#, "/body_regex"),
        (r#","json":[{"pointer":"status"}]"#, "/json/0/pointer"),
        (
            r#","json":[{"pointer":""},{"pointer":"/a","matches":"["}]"#,
            "/json/1/matches",
        ),
        (r#","warn":3"#, "/warn"),
    ] {
        match run(more, Err(Error::Refused)) {
            Err(ProbeError::Config(problem)) => assert_eq!(problem.pointer, pointer, "{more}"),
            other => panic!("{more}: {other:?}"),
        }
    }
}

#[test]
fn the_body_is_matched() {
    assert_eq!(
        summary(r#","body_regex":"^he.lo$""#, response(200, "hello")).0,
        State::Ok
    );
    let (state, text) = summary(r#","body_regex":"^bye""#, response(200, "hello"));
    assert_eq!(state, State::Critical);
    assert_eq!(text, "HTTP 200 in 12 ms, the body does not match ^bye");
    let (state, text) = summary(r#","body_not_regex":"(?i)HELL""#, response(200, "hello"));
    assert_eq!(state, State::Critical);
    assert_eq!(text, "HTTP 200 in 12 ms, the body matches (?i)HELL");
}

#[test]
fn json_values_are_compared() {
    let body = r#"{"status":"up","queue":{"length":7,"full":false},"none":null}"#;
    let cases = [
        (r#"{"pointer":"/status","equals":"up"}"#, None),
        (r#"{"pointer":"/queue/length","equals":7.0}"#, None),
        (
            r#"{"pointer":"/queue","equals":{"full":false,"length":7.0}}"#,
            None,
        ),
        (r#"{"pointer":"/none","equals":null}"#, None),
        (r#"{"pointer":"/none","exists":true}"#, None),
        (r#"{"pointer":"/gone","exists":false}"#, None),
        (
            r#"{"pointer":"/queue/length","gt":6,"lt":8,"ge":7,"le":7}"#,
            None,
        ),
        (r#"{"pointer":"/status","matches":"^u"}"#, None),
        (r#"{"pointer":"/status","not_equals":"down"}"#, None),
        (
            r#"{"pointer":"/status","equals":"down"}"#,
            Some("/status is \"up\", expected \"down\""),
        ),
        (
            r#"{"pointer":"/queue/length","lt":7}"#,
            Some("/queue/length is 7, expected below 7"),
        ),
        (
            r#"{"pointer":"/status","gt":1}"#,
            Some("/status is \"up\", expected above 1"),
        ),
        (
            r#"{"pointer":"/gone","equals":1}"#,
            Some("/gone is missing"),
        ),
        (
            r#"{"pointer":"/status","exists":false}"#,
            Some("/status is \"up\", expected none"),
        ),
        (
            r#"{"pointer":"/status","matches":"^x"}"#,
            Some("/status is \"up\", expected to match ^x"),
        ),
        (
            r#"{"pointer":"/status","not_equals":"up"}"#,
            Some("/status is \"up\", expected another value"),
        ),
    ];
    for (assertion, wrong) in cases {
        let (state, text) = summary(&format!(r#","json":[{assertion}]"#), response(200, body));
        match wrong {
            None => assert_eq!(state, State::Ok, "{assertion}: {text}"),
            Some(wrong) => {
                assert_eq!(state, State::Critical, "{assertion}");
                assert_eq!(text, format!("HTTP 200 in 12 ms, {wrong}"));
            }
        }
    }
    let (state, text) = summary(r#","json":[{"pointer":"/a"}]"#, response(200, "<html>"));
    assert_eq!(state, State::Critical);
    assert!(
        text.starts_with("HTTP 200 in 12 ms, the body is not JSON: "),
        "{text}"
    );
}

#[test]
fn slow_answers_are_warned_of() {
    assert_eq!(
        summary(r#","warn_ms":12,"critical_ms":12"#, response(200, "")).0,
        State::Ok
    );
    let (state, text) = summary(r#","warn_ms":11"#, response(200, ""));
    assert_eq!(
        (state, text.as_str()),
        (State::Warning, "HTTP 200 in 12 ms, slower than 11 ms")
    );
    let (state, text) = summary(r#","warn_ms":1,"critical_ms":2"#, response(200, ""));
    assert_eq!(
        (state, text.as_str()),
        (State::Critical, "HTTP 200 in 12 ms, slower than 2.0 ms")
    );
}

#[test]
fn certificates_near_their_end_are_warned_of() {
    let aged = |days| HttpResponse {
        certificate: Some(certificate(days)),
        ..response(200, "")
    };
    assert_eq!(summary("", aged(15)).0, State::Ok);
    let (state, text) = summary("", aged(13));
    assert_eq!(state, State::Warning);
    assert_eq!(
        text,
        "HTTP 200 in 12 ms, the certificate expires in 13.0 days"
    );
    assert_eq!(summary("", aged(2)).0, State::Critical);
    assert_eq!(
        summary(r#","cert_critical_days":1"#, aged(2)).0,
        State::Warning
    );
    assert_eq!(summary(r#","verify_tls":false"#, aged(-5)).0, State::Ok);
    let (state, text) = summary(r#","verify_tls":false,"cert_critical_days":0"#, aged(-5));
    assert_eq!(state, State::Critical);
    assert_eq!(
        text,
        "HTTP 200 in 12 ms, the certificate expired 5.0 days ago"
    );
    let report = run("", Ok(aged(30))).unwrap();
    assert_eq!(metric(&report, "cert_days"), Some(30.0));
    assert_eq!(certificate(1).not_after, NOW + 86_400_000_000);
}

#[test]
fn the_request_says_what_was_configured() {
    let json = r#"{"url":"https://a.example/","method":"POST","headers":{"X-A":"1","user-agent":"me"},
        "secret_headers":{"Authorization":{"secret":"t","prefix":"Bearer "},"X-Key":"k"},
        "body":"ping","max_redirects":0,"verify_tls":false,"server_name":"b.example"}"#;
    let net = FakeNet::answering(Ok(response(200, "")));
    judge::check(&request(json), &config::parse(json).unwrap(), &net).unwrap();
    let sent = net.requests.borrow()[0].clone();
    assert_eq!(
        (sent.method.as_str(), sent.url.as_str()),
        ("POST", "https://a.example/")
    );
    assert_eq!(sent.headers.len(), 2);
    assert_eq!(sent.secret_headers[0].prefix, "Bearer ");
    assert_eq!(sent.secret_headers[1].secret, "k");
    assert_eq!(sent.body.as_deref(), Some(b"ping".as_slice()));
    assert_eq!(sent.max_redirects, 0);
    let tls = sent.tls.unwrap();
    assert_eq!(
        (tls.server_name.as_deref(), tls.verify),
        (Some("b.example"), false)
    );
}
