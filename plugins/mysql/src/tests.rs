use bellwether_plugin::fake::{
    self, FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::{Error, Net};
use bellwether_plugin::{ProbeError, Report, Request, State, config};

use crate::auth::{CACHING_SHA2, NATIVE, proof};
use crate::protocol::{Greeting, Refusal, packet, statistic};
use crate::rows::columns;
use crate::{Config, Mysql, judge};

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

fn without_password(
    request: &Request,
    config: &Config,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    judge::check(request, config, None, net)
}

fn with_password(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    judge::check(request, config, Some("secret"), net)
}

fn run(json: &str, bytes: &[u8]) -> Result<Report, ProbeError> {
    fake::run(without_password, json, Ok(FakeConnection::sending(bytes)))
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
    judge::check(&request(json), &config::parse(json).unwrap(), None, &net).unwrap();
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
    let refused = fake::run(without_password, "{}", Err(Error::Refused));
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
    let report = fake::run(without_password, require, Ok(connection)).unwrap();
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

const OK: &[u8] = b"\0\0\0\x02\0\0\0";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(texts: &[Option<&str>]) -> Vec<u8> {
    let mut payload = Vec::new();
    for text in texts {
        match text {
            Some(text) => {
                payload.push(text.len() as u8);
                payload.extend(text.as_bytes());
            }
            None => payload.push(0xfb),
        }
    }
    payload
}

/// The packets of an answer with one row.
fn rows(names: &[&str], values: &[Option<&str>]) -> Vec<u8> {
    const END: &[u8] = b"\xfe\0\0\x02\0";
    let mut payloads = vec![vec![names.len() as u8]];
    for name in names {
        payloads.push(texts(&[
            Some("def"),
            None,
            None,
            None,
            Some(name),
            Some(""),
        ]));
    }
    payloads.push(END.to_vec());
    if !values.is_empty() {
        payloads.push(texts(values));
    }
    payloads.push(END.to_vec());
    let packets = payloads.iter().zip(1..);
    packets
        .flat_map(|(payload, sequence)| packet(sequence, payload))
        .collect()
}

#[test]
fn proofs_are_those_of_the_protocol() {
    let greeting = Greeting::read(&greeting("8.0.40", true)[4..]).unwrap();
    assert_eq!(greeting.scramble, b"scramblerest of it..");
    assert_eq!(greeting.method, NATIVE);
    // Made with another implementation of the hashes.
    assert_eq!(
        hex(&proof(NATIVE, "secret", &greeting.scramble).unwrap()),
        "cb337fdb40f2aa87852a15f096b0463d2d627089"
    );
    assert_eq!(
        hex(&proof(CACHING_SHA2, "secret", &greeting.scramble).unwrap()),
        "e66e9a89970b6824575939c2e9704c47c379f5a7ed235fcf94e90449747992e0"
    );
    assert_eq!(proof("client_ed25519", "secret", &greeting.scramble), None);
}

/// The report and what was written, over TLS.
fn secure(json: &str, bytes: &[u8]) -> (Report, Vec<u8>) {
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::sending(bytes)
    };
    let written = connection.written.clone();
    let report = fake::run(with_password, json, Ok(connection)).unwrap();
    let written = written.borrow().clone();
    (report, written)
}

const LOGIN: &str = r#"{"tls":"require","password_secret":"db"}"#;

fn most_connections() -> Vec<u8> {
    rows(&["@@GLOBAL.max_connections"], &[Some("70")])
}

#[test]
fn the_method_of_the_user_counts() {
    let switch = [
        b"\xfecaching_sha2_password\0",
        b"12345678901234567890\0".as_slice(),
    ]
    .concat();
    let bytes = [
        greeting("8.4.0", true),
        packet(3, &switch),
        packet(5, b"\x01\x04"),
        packet(7, OK),
        packet(1, STATISTICS),
        most_connections(),
    ]
    .concat();
    let (report, written) = secure(LOGIN, &bytes);
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert_eq!(metric(&report, "connections_percent"), Some(10.0));
    let proof = proof(CACHING_SHA2, "secret", b"12345678901234567890").unwrap();
    for expected in [packet(4, &proof), packet(6, b"secret\0")] {
        assert!(
            written
                .windows(expected.len())
                .any(|bytes| bytes == expected),
            "{expected:?}"
        );
    }
    let unknown = [
        greeting("11.4.0-MariaDB", true),
        packet(3, b"\xfeclient_ed25519\0abcdefgh"),
    ]
    .concat();
    let (report, _) = secure(LOGIN, &unknown);
    assert_eq!(report.state, State::Unknown);
    assert!(
        report.summary.contains("client_ed25519"),
        "{}",
        report.summary
    );
}

#[test]
fn a_proof_needs_tls_and_the_password_too() {
    for (json, bytes) in [
        (r#"{"password_secret":"db"}"#, greeting("8.4.0", true)),
        (
            r#"{"password_secret":"db","allow_plaintext":true}"#,
            [greeting("8.4.0", true), packet(2, b"\x01\x04")].concat(),
        ),
    ] {
        let connection = FakeConnection::sending(&bytes);
        let written = connection.written.clone();
        let refused = fake::run(with_password, json, Ok(connection));
        assert!(
            matches!(&refused, Err(ProbeError::Config(problem)) if problem.message.contains("tls")),
            "{refused:?}"
        );
        assert!(!written.borrow().windows(6).any(|bytes| bytes == b"secret"));
    }
}

#[test]
fn a_password_that_is_refused_is_critical() {
    let (report, _) = secure(LOGIN, &[greeting("8.4.0", true), denied()].concat());
    assert_eq!(report.state, State::Critical);
    assert!(
        report.summary.contains("refuses the login: Access denied"),
        "{}",
        report.summary
    );
}

#[test]
fn a_number_and_a_replica_are_judged() {
    let judged = |json: &str, more: &[Vec<u8>]| outcome(json, &[session(), more.concat()].concat());
    let ok = || packet(1, OK);
    let query = r#"{"query":"SELECT 5","warn_above":4}"#;
    let (state, summary) = judged(query, &[ok(), ok(), rows(&["5"], &[Some("5")])]);
    assert_eq!(state, State::Warning);
    assert!(summary.contains("value 5, above 4"), "{summary}");
    let (state, summary) = judged(query, &[ok(), ok(), rows(&["5"], &[None])]);
    assert_eq!(state, State::Unknown);
    assert!(summary.contains("found NULL"), "{summary}");
    let lag = r#"{"lag_warn_s":10,"lag_critical_s":100}"#;
    let syntax = || packet(1, b"\xff\x28\x04#42000You have an error");
    let status = |io, sql, behind| {
        rows(
            &[
                "Slave_IO_Running",
                "Slave_SQL_Running",
                "Last_SQL_Error",
                "Seconds_Behind_Master",
            ],
            &[Some(io), Some(sql), Some("no table"), behind],
        )
    };
    for (answer, state, text) in [
        (status("Yes", "Yes", Some("0")), State::Ok, "ready"),
        (
            status("Yes", "Yes", Some("11")),
            State::Warning,
            "seconds behind 11, above 10",
        ),
        (
            status("Yes", "Yes", Some("101")),
            State::Critical,
            "seconds behind 101, above 100",
        ),
        (
            status("Yes", "No", None),
            State::Critical,
            "no longer replays: no table",
        ),
        (
            status("Connecting", "Yes", None),
            State::Critical,
            "no longer receives",
        ),
        (rows(&["a"], &[]), State::Critical, "expected a replica"),
        (
            packet(1, b"\xff\xcb\x04#42000Access denied"),
            State::Unknown,
            "not readable: Access denied (1227)",
        ),
    ] {
        let (found, summary) = judged(lag, &[syntax(), answer]);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
}

#[test]
fn no_answer_to_a_query_makes_it_panic() {
    let sample = rows(&["a", "b"], &[Some("1"), None]);
    for bytes in mutations(&sample) {
        let bytes = [session(), packet(1, OK), packet(1, OK), bytes].concat();
        let _ = run(r#"{"query":"SELECT 1"}"#, &bytes);
    }
    for bytes in mutations(&texts(&[Some("a"), None])) {
        let _ = columns(&bytes);
    }
}
