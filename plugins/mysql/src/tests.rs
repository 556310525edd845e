use bellwether_plugin::fake::{
    self, FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::Error;
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::protocol::{Greeting, Refusal, packet, statistic};
use crate::{Mysql, judge};

const STATISTICS: &[u8] = b"Uptime: 4242  Threads: 7  Questions: 99  Slow queries: 2  Opens: 17  \
    Open tables: 10  Queries per second avg: 0.023";

fn greeting(version: &str, tls: bool) -> Vec<u8> {
    let low: [u8; 2] = if tls { [0xff, 0xff] } else { [0xff, 0xf7] };
    let payload = [
        b"\x0a",
        version.as_bytes(),
        b"\0\x01\0\0\0scramble\0",
        &low,
        b"\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\0\0\0\0rest of it..\0mysql_native_password\0",
    ]
    .concat();
    packet(0, &payload)
}

fn denied() -> Vec<u8> {
    packet(
        2,
        b"\xff\x15\x04#28000Access denied for user 'bellwether'@'192.0.2.1'",
    )
}

fn session() -> Vec<u8> {
    let ok = packet(2, b"\0\0\0\x02\0\0\0");
    [
        greeting("5.5.5-10.11.6-MariaDB-0+deb12u1", true),
        ok,
        packet(1, STATISTICS),
    ]
    .concat()
}

fn run(json: &str, bytes: &[u8]) -> Result<Report, ProbeError> {
    fake::run(judge::check, json, Ok(FakeConnection::sending(bytes)))
}

fn outcome(json: &str, bytes: &[u8]) -> (State, String) {
    let report = run(json, bytes).unwrap();
    (report.state, report.summary)
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", &session()).unwrap();
    assert_eq!(manifest_problems::<Mysql>(&report), Vec::<String>::new());
}

#[test]
fn a_session_is_ok_with_metrics() {
    let report = run("{}", &session()).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "10.11.6-MariaDB-0+deb12u1 ready, connections 7")
    );
    for (name, value) in [
        ("ready", 1.0),
        ("uptime_s", 4242.0),
        ("threads", 7.0),
        ("questions", 99.0),
        ("slow_queries", 2.0),
        ("queries_per_second", 0.023),
    ] {
        assert_eq!(metric(&report, name), Some(value), "{name}");
    }
    let (state, summary) = outcome(r#"{"threads_warn":6}"#, &session());
    assert_eq!(state, State::Warning);
    assert!(summary.contains("connections 7, above 6"), "{summary}");
    let (state, summary) = outcome(r#"{"expect_version":"11."}"#, &session());
    assert_eq!(state, State::Critical);
    assert!(summary.contains("expected version \"11.\""), "{summary}");
}

#[test]
fn the_login_is_what_the_protocol_says() {
    let connection = FakeConnection::sending(&[greeting("8.0.36", false), denied()].concat());
    let written = connection.written.clone();
    let net = FakeNet::connecting(Ok(connection));
    let json = r#"{"user":"probe"}"#;
    judge::check(&request(json), &config::parse(json).unwrap(), &net).unwrap();
    let written = written.borrow();
    assert_eq!(written[..8], [61, 0, 0, 1, 0x01, 0xa2, 0x08, 0x00]);
    assert!(written.ends_with(b"probe\0\0mysql_native_password\0"));
    assert_eq!(written.len(), 65);
}

#[test]
fn a_server_that_asks_for_a_login_is_up() {
    let switch = packet(2, b"\xfecaching_sha2_password\0salt\0");
    let greeting = greeting("8.0.36", false);
    for (answer, text) in [
        (
            denied(),
            "MySQL 8.0.36 takes connections, refuses the login: Access denied",
        ),
        (
            [switch.clone(), denied()].concat(),
            "refuses the login: Access denied",
        ),
        (
            [switch, packet(4, b"\x01\x04")].concat(),
            "MySQL 8.0.36 takes connections, asks for a password",
        ),
    ] {
        let bytes = [greeting.clone(), answer].concat();
        let (state, summary) = outcome("{}", &bytes);
        assert_eq!(state, State::Ok, "{summary}");
        assert!(summary.contains(text), "{summary}");
        let (state, summary) = outcome(r#"{"require_session":true}"#, &bytes);
        assert_eq!(state, State::Unknown);
        assert!(
            summary.contains("no session without a password"),
            "{summary}"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (bytes, state, text) in [
        (
            packet(0, b"\xff\x10\x04Too many connections"),
            State::Critical,
            "Too many connections (1040)",
        ),
        (
            packet(
                0,
                b"\xff\x69\x04Host is blocked because of many connection errors",
            ),
            State::Critical,
            "Host is blocked because of many connection errors (1129)",
        ),
        (
            packet(0, b"\xff\x6a\x04Host is not allowed to connect"),
            State::Warning,
            "Host is not allowed to connect (1130)",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            State::Critical,
            "expected a MySQL greeting, found \"SSH-2.0-OpenSSH_9.2",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            State::Critical,
            "found \"HTTP/1.1 400",
        ),
        (
            packet(0, b"\x09old"),
            State::Critical,
            "expected a MySQL greeting, found \"\\told\"",
        ),
        (
            [greeting("8.0.36", false), packet(2, b"\x77")].concat(),
            State::Critical,
            "expected an answer to the login, found \"w\"",
        ),
        (Vec::new(), State::Critical, "connection closed"),
    ] {
        let (found, summary) = outcome("{}", &bytes);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
    let refused = fake::run(judge::check, "{}", Err(Error::Refused));
    assert_eq!(refused, Ok(Report::critical("connection refused")));
}

#[test]
fn tls_is_asked_for_as_configured() {
    let require = r#"{"tls":"require"}"#;
    let (state, summary) = outcome(require, &greeting("8.0.36", false));
    assert_eq!(state, State::Critical);
    assert!(summary.contains("does not offer TLS"), "{summary}");
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::sending(&session())
    };
    let written = connection.written.clone();
    let report = fake::run(judge::check, require, Ok(connection)).unwrap();
    assert_eq!(report.state, State::Ok);
    assert_eq!(metric(&report, "cert_days"), Some(90.0));
    // The request for TLS is the head of the login, which comes second.
    assert_eq!(written.borrow()[..8], [32, 0, 0, 1, 0x01, 0xaa, 0x08, 0x00]);
    assert_eq!(written.borrow()[36..40], [66, 0, 0, 2]);
}

#[test]
fn no_bytes_make_it_panic() {
    for bytes in mutations(&session()) {
        let report = run("{}", &bytes).unwrap();
        assert!(report.summary.len() < 1_000);
        let _ = Greeting::read(&bytes);
        let _ = Refusal::read(&bytes);
        let _ = statistic(&String::from_utf8_lossy(&bytes), "Threads");
    }
    for bytes in mutations(STATISTICS) {
        let _ = statistic(&String::from_utf8_lossy(&bytes), "Threads");
    }
}
