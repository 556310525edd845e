use bellwether_plugin::fake::{FakeConnection, FakeNet, certificate, request, schema_problems};
use bellwether_plugin::net::{Error, Phase};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::config::unescape;
use crate::{Config, SCHEMA, judge};

fn run(json: &str, net: &FakeNet) -> Result<Report, ProbeError> {
    judge::check(&request(json), &config::parse::<Config>(json)?, net)
}

fn outcome(json: &str, connection: FakeConnection) -> (State, String) {
    let report = run(json, &FakeNet::connecting(Ok(connection))).unwrap();
    (report.state, report.summary)
}

#[test]
fn the_schema_fits_the_configuration() {
    assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
}

#[test]
fn an_open_port_is_ok_and_the_node_is_the_default() {
    let net = FakeNet::connecting(Ok(FakeConnection::default()));
    let report = run(r#"{"port":25}"#, &net).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "port 25 open in 12 ms")
    );
    assert_eq!(report.metrics[0].value, 12.0);
    assert_eq!(net.connects.borrow()[0], ("192.0.2.1".to_owned(), 25, None));
    let net = FakeNet::connecting(Ok(FakeConnection::default()));
    run(
        r#"{"port":465,"host":"a.example","tls":true,"server_name":"b.example","verify":false}"#,
        &net,
    )
    .unwrap();
    let (host, _, tls) = net.connects.borrow()[0].clone();
    let tls = tls.unwrap();
    assert_eq!(
        (host.as_str(), tls.server_name.as_deref(), tls.verify),
        ("a.example", Some("b.example"), false)
    );
}

#[test]
fn a_closed_port_is_critical_and_a_missing_grant_is_not() {
    let run = |error| run(r#"{"port":25}"#, &FakeNet::connecting(Err(error)));
    let report = run(Error::Timeout(Phase::Connect)).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Critical, "timed out in connect")
    );
    assert_eq!(run(Error::Refused).unwrap().summary, "connection refused");
    assert_eq!(
        run(Error::Denied("x".into())),
        Err(ProbeError::Denied("x".into()))
    );
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    let connection = FakeConnection::reading(&["2", "20 mail", ".example\r\n", "never read"]);
    let written = connection.written.clone();
    let net = FakeNet::connecting(Ok(connection));
    let report = run(
        r#"{"port":25,"send":"EHLO me\\r\\n","expect":"example\\r\\n"}"#,
        &net,
    )
    .unwrap();
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert_eq!(*written.borrow(), b"EHLO me\r\n");
    assert!(
        report.details.ends_with("220 mail.example\\r\\n"),
        "{}",
        report.details
    );
    let (state, _) = outcome(
        r#"{"port":25,"expect_regex":"^220[ -]"}"#,
        FakeConnection::reading(&["220 x"]),
    );
    assert_eq!(state, State::Ok);
}

#[test]
fn a_wrong_answer_is_shown() {
    let (state, text) = outcome(
        r#"{"port":25,"expect":"220 "}"#,
        FakeConnection::reading(&["554 no\r\n"]),
    );
    assert_eq!(state, State::Critical);
    assert_eq!(
        text,
        "port 25 open in 12 ms, expected \"220 \", found \"554 no\\r\\n\""
    );
    let (_, text) = outcome(r#"{"port":25,"expect":"220 "}"#, FakeConnection::default());
    assert_eq!(
        text,
        "port 25 open in 12 ms, expected \"220 \", found nothing"
    );
    let connection = FakeConnection::reading(&["half"]);
    connection
        .incoming
        .borrow_mut()
        .push_back(Err(Error::Timeout(Phase::Receive)));
    let (state, text) = outcome(r#"{"port":25,"expect":"220 "}"#, connection);
    assert_eq!(state, State::Critical);
    assert_eq!(
        text,
        "port 25 open in 12 ms, timed out in receive, expected \"220 \", found \"half\""
    );
}

#[test]
fn latency_and_certificate_have_limits() {
    let (state, text) = outcome(
        r#"{"port":25,"warn_ms":5,"critical_ms":50}"#,
        FakeConnection::default(),
    );
    assert_eq!(
        (state, text.as_str()),
        (State::Warning, "port 25 open in 12 ms, slower than 5.0 ms")
    );
    let with = |days| FakeConnection {
        certificate: Some(certificate(days)),
        ..FakeConnection::default()
    };
    assert_eq!(outcome(r#"{"port":465,"tls":true}"#, with(20)).0, State::Ok);
    assert_eq!(
        outcome(r#"{"port":465,"tls":true}"#, with(10)).0,
        State::Warning
    );
    assert_eq!(
        outcome(r#"{"port":465,"tls":true}"#, with(1)).0,
        State::Critical
    );
    assert_eq!(
        outcome(r#"{"port":465,"tls":true,"verify":false}"#, with(1)).0,
        State::Ok
    );
}

#[test]
fn escapes_are_decoded_or_refused() {
    assert_eq!(
        unescape(r"a\r\n\x00\xFf\\ä"),
        Ok(b"a\r\n\0\xff\\\xc3\xa4".to_vec())
    );
    for wrong in [r"\", r"\q", r"\x1", r"\xgg"] {
        assert!(unescape(wrong).is_err(), "{wrong}");
    }
    match run(r#"{"port":25,"send":"\\q"}"#, &FakeNet::default()) {
        Err(ProbeError::Config(problem)) => assert_eq!(problem.pointer, "/send"),
        other => panic!("{other:?}"),
    }
}
