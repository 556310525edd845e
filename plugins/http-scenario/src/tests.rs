use bellwether_plugin::fake::{
    FakeNet, metric, mutations, request, response, schema_problems, undeclared_metrics,
};
use bellwether_plugin::net::{Error, Header, HttpResponse, Phase};
use bellwether_plugin::{Probe as _, ProbeError, Report, State, config};

use crate::template::{Place, Variables, fill, fill_form, fill_json, is_name};
use crate::{Config, HttpScenario, SCHEMA, judge};

fn run(
    json: &str,
    answers: Vec<Result<HttpResponse, Error>>,
) -> (Result<Report, ProbeError>, FakeNet) {
    let net = FakeNet::default();
    net.http.borrow_mut().extend(answers);
    let config = match config::parse::<Config>(json) {
        Ok(config) => config,
        Err(problem) => return (Err(problem.into()), net),
    };
    (judge::check(&request(json), &config, &net), net)
}

fn with_headers(response: HttpResponse, headers: &[(&str, &str)]) -> HttpResponse {
    let header = |(name, value): &(&str, &str)| Header {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    HttpResponse {
        headers: headers.iter().map(header).collect(),
        ..response
    }
}

const LOGIN: &str = r#"{"variables":{"user":"a b"},"steps":[
    {"name":"log in","method":"POST","url":"http://192.0.2.1/login","json_body":{"user":"${user}","n":1},
     "expect_status":[200],"extract":{"token":{"json":"/token"},"id":{"regex":"\"id\":(\\d+)"},"next":{"header":"X-Next"}}},
    {"url":"http://192.0.2.1/orders/${id}?user=${user}&next=${raw:next}","headers":{"Authorization":"Bearer ${token}"},
     "json":[{"pointer":"/0/id","equals":7}]},
    {"name":"log out","method":"POST","url":"http://192.0.2.1/logout","form":{"t":"${token}&"}}]}"#;

fn answers() -> Vec<Result<HttpResponse, Error>> {
    let login = with_headers(
        response(200, r#"{"token":"s3/cret","id":42}"#),
        &[
            ("x-next", "a/b"),
            ("Set-Cookie", "sid=1; Path=/; HttpOnly"),
            ("Set-Cookie", "old=2; Max-Age=0"),
        ],
    );
    vec![
        Ok(login),
        Ok(response(200, r#"[{"id":7}]"#)),
        Ok(response(204, "")),
    ]
}

#[test]
fn the_schema_fits_the_configuration() {
    assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    let report = run(LOGIN, answers()).0.unwrap();
    let undeclared = undeclared_metrics(&HttpScenario::describe(), &report);
    assert_eq!(
        undeclared,
        ["step_log_in_ms", "step_2_ms", "step_log_out_ms"]
    );
}

#[test]
fn values_travel_from_step_to_step() {
    let (report, net) = run(LOGIN, answers());
    let report = report.unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "3 of 3 steps in 36 ms")
    );
    assert_eq!(metric(&report, "latency_ms"), Some(36.0));
    assert_eq!(metric(&report, "step_log_in_ms"), Some(12.0));
    assert_eq!(metric(&report, "steps_ok"), Some(3.0));
    let sent = net.requests.borrow();
    assert_eq!(
        sent[0].body.as_deref(),
        Some(br#"{"n":1,"user":"a b"}"#.as_slice())
    );
    assert!(!sent[0].has_header("Cookie"));
    assert_eq!(
        sent[1].url,
        "http://192.0.2.1/orders/42?user=a%20b&next=a/b"
    );
    let header = |name: &str| {
        let mut headers = sent[1].headers.iter();
        headers
            .find(|header| header.name == name)
            .map(|header| header.value.as_str())
    };
    assert_eq!(header("Authorization"), Some("Bearer s3/cret"));
    assert_eq!(header("Cookie"), Some("sid=1"));
    assert_eq!(sent[2].body.as_deref(), Some(b"t=s3%2Fcret%26".as_slice()));
    assert!(
        sent[2]
            .headers
            .iter()
            .any(|header| header.value == "application/x-www-form-urlencoded")
    );
}

#[test]
fn the_first_failure_ends_it_and_is_named() {
    for (first, text) in [
        (
            Ok(response(500, "broken")),
            "0 of 3 steps in 12 ms, step 1 (log in): HTTP 500, expected 200",
        ),
        (
            Ok(response(200, "{}")),
            "step 1 (log in): HTTP 200, id: the body does not match \"id\":(\\d+), next: no header X-Next, token: /token is missing",
        ),
        (
            Err(Error::Timeout(Phase::Connect)),
            "0 of 3 steps in 0.0 ms, step 1 (log in): timed out in connect",
        ),
    ] {
        let (report, net) = run(LOGIN, vec![first]);
        let report = report.unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(text), "{}", report.summary);
        assert_eq!(net.requests.borrow().len(), 1);
        assert_eq!(metric(&report, "steps_ok"), Some(0.0));
    }
    let mut second = answers();
    second[1] = Ok(response(200, "[]"));
    let report = run(LOGIN, second).0.unwrap();
    assert!(
        report
            .summary
            .contains("1 of 3 steps in 24 ms, step 2: HTTP 200, /0/id is missing"),
        "{}",
        report.summary
    );
    // A value of the target's made it impossible to send.
    let mut invalid = answers();
    invalid[1] = Err(Error::Invalid("bad header".into()));
    let report = run(LOGIN, invalid).0.unwrap();
    assert!(
        report
            .summary
            .contains("step 2: invalid request: bad header"),
        "{}",
        report.summary
    );
}

#[test]
fn a_cookie_or_value_of_the_target_is_no_fault_of_the_configuration() {
    let two = |first: &str| {
        format!(
            r#"{{"variables":{{"a":"1"}},"steps":[{{"url":"http://192.0.2.1/"{first}}},{{"url":"http://192.0.2.1/"}}]}}"#
        )
    };
    let invalid = || Err(Error::Invalid("bad header".into()));
    let cookie = with_headers(response(200, "x"), &[("Set-Cookie", "a=\u{fffd}")]);
    let plain = two("");
    // The second one replaces a variable of the configuration.
    let replacing = two(r#","extract":{"a":{"regex":"x"}}"#);
    for (json, first) in [(&plain, cookie), (&replacing, response(200, "x"))] {
        let report = run(json, vec![Ok(first), invalid()]).0.unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(
            report
                .summary
                .contains("step 2: invalid request: bad header"),
            "{}",
            report.summary
        );
    }
    let own = run(&plain, vec![Ok(response(200, "x")), invalid()]).0;
    assert!(matches!(own, Err(ProbeError::Config(problem)) if problem.pointer == "/steps/1"));
}

#[test]
fn bodies_and_times_are_judged() {
    let one = |more: &str| {
        let json = format!(r#"{{"steps":[{{"url":"http://192.0.2.1/"{more}}}]}}"#);
        let report = run(&json, vec![Ok(response(200, "hello"))]).0.unwrap();
        (report.state, report.summary)
    };
    assert_eq!(one("").0, State::Ok);
    for (more, state, text) in [
        (
            r#","body_regex":"^bye""#,
            State::Critical,
            "the body does not match ^bye",
        ),
        (
            r#","body_not_regex":"hell""#,
            State::Critical,
            "the body matches hell",
        ),
        (
            r#","json":[{"pointer":"/a"}]"#,
            State::Critical,
            "the body is not JSON",
        ),
        (
            r#","warn_ms":5"#,
            State::Warning,
            "step 1: slower than 5.0 ms",
        ),
        (
            r#","warn_ms":5,"critical_ms":6"#,
            State::Critical,
            "slower than 6.0 ms",
        ),
    ] {
        let (found, summary) = one(more);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
    let total = LOGIN.replacen('{', r#"{"warn_ms":30,"#, 1);
    let report = run(&total, answers()).0.unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Warning, "3 of 3 steps in 36 ms, slower than 30 ms")
    );
}

#[test]
fn configuration_problems_come_before_the_first_request() {
    let step = |more: &str| format!(r#"{{"steps":[{{"url":"http://a/"{more}}}]}}"#);
    for (json, pointer) in [
        (r#"{"steps":[]}"#.to_owned(), "/steps"),
        (
            r#"{"steps":[{"url":"http://a/${token}"}]}"#.to_owned(),
            "/steps/0/url",
        ),
        (step(r#","headers":{"A":"${b}"}"#), "/steps/0/headers"),
        (step(r#","body":"${b}""#), "/steps/0/body"),
        (step(r#","json_body":{"a":["${b}"]}"#), "/steps/0/json_body"),
        (step(r#","form":{"a":"${b}"}"#), "/steps/0/form"),
        (step(r#","body":"a","form":{}"#), "/steps/0"),
        (step(r#","body_regex":"(""#), "/steps/0/body_regex"),
        (
            step(r#","json":[{"pointer":"a"}]"#),
            "/steps/0/json/0/pointer",
        ),
        (step(r#","extract":{"a":{}}"#), "/steps/0/extract/a"),
        (
            step(r#","extract":{"a-b":{"json":""}}"#),
            "/steps/0/extract/a-b",
        ),
        (
            step(r#","extract":{"a":{"json":"b"}}"#),
            "/steps/0/extract/a/json",
        ),
        (
            step(r#","extract":{"a":{"regex":"["}}"#),
            "/steps/0/extract/a/regex",
        ),
        (
            r#"{"steps":[{"name":"a b","url":"http://a"},{"name":"A-b","url":"http://a"}]}"#
                .to_owned(),
            "/steps/1/name",
        ),
        (
            r#"{"variables":{"1":"a"},"steps":[{"url":"http://a"}]}"#.to_owned(),
            "/variables/1",
        ),
    ] {
        let (found, net) = run(&json, vec![]);
        match found {
            Err(ProbeError::Config(problem)) => assert_eq!(problem.pointer, pointer, "{json}"),
            other => panic!("{json}: {other:?}"),
        }
        assert!(net.requests.borrow().is_empty());
    }
    let denied = run(&step(""), vec![Err(Error::Denied("net a:80".into()))]).0;
    assert_eq!(denied, Err(ProbeError::Denied("net a:80".into())));
}

#[test]
fn templates_are_filled_in() {
    let variables: Variables = [("a", "x/y"), ("b", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for (text, url, plain) in [
        ("", "", ""),
        ("no", "no", "no"),
        ("${a}-${b}", "x%2Fy-1", "x/y-1"),
        ("${raw:a}", "x/y", "x/y"),
        ("$${a} $5 $", "${a} $5 $", "${a} $5 $"),
        ("${a", "${a", "${a"),
        ("ä${b}ö", "ä1ö", "ä1ö"),
    ] {
        assert_eq!(
            fill(text, Place::Url, &variables).as_deref(),
            Ok(url),
            "{text}"
        );
        assert_eq!(
            fill(text, Place::Plain, &variables).as_deref(),
            Ok(plain),
            "{text}"
        );
    }
    assert_eq!(fill("${c}", Place::Plain, &variables), Err("c".to_owned()));
    let json = serde_json::json!({"${a}": ["${a}", 1, null, {"b": "${b}"}]});
    assert_eq!(
        fill_json(&json, &variables),
        Ok(serde_json::json!({"${a}": ["x/y", 1, null, {"b": "1"}]}))
    );
    let form = [("k&".to_owned(), "${a} ü".to_owned())].into();
    assert_eq!(
        fill_form(&form, &variables).as_deref(),
        Ok("k%26=x%2Fy%20%C3%BC")
    );
    assert!(is_name("a_1") && !is_name("1a") && !is_name("") && !is_name("a-b"));
}

#[test]
fn no_answer_makes_it_panic() {
    for bytes in mutations(br#"{"token":"s3cret","id":42}"#) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let answer = with_headers(
            HttpResponse {
                body: bytes,
                ..response(200, "")
            },
            &[("x-next", "a"), ("set-cookie", &text)],
        );
        let report = run(LOGIN, vec![Ok(answer)]).0.unwrap();
        assert!(report.summary.len() < 1_000, "{}", report.summary);
    }
}
