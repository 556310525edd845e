use bellwether_plugin::fake::{
    self, FakeConnection, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::{Error, Net};
use bellwether_plugin::{ProbeError, Report, Request, State};

use crate::config::Version;
use crate::packet::{connect, publish, subscribe};
use crate::{Config, Mqtt, judge};

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const CONNACK_5: &[u8] = &[0x20, 3, 0, 0, 0];
const SUBACK: &[u8] = &[0x90, 3, 0, 1, 0];
const TOPIC: &str = r#"{"round_trip_topic":"a/b"}"#;

fn payload() -> Vec<u8> {
    let request = request("{}");
    format!(
        "bellwether {} {} {}",
        request.check, request.node.name, request.now
    )
    .into_bytes()
}

fn without_password(
    request: &Request,
    config: &Config,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    judge::check(request, config, None, net)
}

fn with_password(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    judge::check(request, config, Some("s\"3\\t"), net)
}

fn run(json: &str, bytes: &[u8]) -> Result<Report, ProbeError> {
    fake::run(without_password, json, Ok(FakeConnection::sending(bytes)))
}

fn outcome(json: &str, bytes: &[u8]) -> (State, String) {
    let report = run(json, bytes).unwrap();
    (report.state, report.summary)
}

fn round_trip() -> Vec<u8> {
    let other = publish(Version::V3, "a/b", b"something else");
    let own = publish(Version::V3, "a/b", &payload());
    [CONNACK, SUBACK, &other, &own].concat()
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run(TOPIC, &round_trip()).unwrap();
    assert_eq!(manifest_problems::<Mqtt>(&report), Vec::<String>::new());
}

#[test]
fn packets_are_what_the_protocol_says() {
    assert_eq!(
        connect(Version::V3, "ab", None),
        b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02ab".as_slice()
    );
    assert_eq!(
        connect(Version::V5, "ab", None),
        b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02ab".as_slice()
    );
    assert_eq!(
        connect(Version::V5, "ab", Some(("u", "pw"))),
        b"\x10\x16\0\x04MQTT\x05\xc2\0\x3c\0\0\x02ab\0\x01u\0\x02pw".as_slice()
    );
    assert_eq!(
        subscribe(Version::V3, "t"),
        b"\x82\x06\0\x01\0\x01t\0".as_slice()
    );
    assert_eq!(
        publish(Version::V5, "t", b"x"),
        b"\x30\x05\0\x01t\0x".as_slice()
    );
    assert_eq!(
        publish(Version::V3, "t", &[0; 200])[..3],
        [0x30, 0xcb, 0x01]
    );
}

#[test]
fn a_broker_that_accepts_is_ok() {
    let report = run("{}", CONNACK).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "MQTT 3.1.1 broker ready")
    );
    assert_eq!(metric(&report, "accepted"), Some(1.0));
    assert_eq!(
        outcome(r#"{"version":"5"}"#, CONNACK_5),
        (State::Ok, "MQTT 5 broker ready".to_owned())
    );
}

#[test]
fn a_message_goes_round() {
    let connection = FakeConnection::sending(&round_trip());
    let written = connection.written.clone();
    let report = fake::run(without_password, TOPIC, Ok(connection)).unwrap();
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert!(metric(&report, "round_trip_ms").is_some());
    let own = publish(Version::V3, "a/b", &payload());
    assert!(
        written
            .borrow()
            .windows(own.len())
            .any(|window| window == own)
    );
    // 23 characters are what every broker takes.
    assert_eq!(written.borrow()[12..14], [0, 23]);

    let refused = [CONNACK, &[0x90, 3, 0, 1, 0x80]].concat();
    let (state, text) = outcome(TOPIC, &refused);
    assert_eq!(state, State::Critical);
    assert!(
        text.contains("the broker refuses a subscription to \"a/b\""),
        "{text}"
    );
    let (state, text) = outcome(TOPIC, &[CONNACK, SUBACK].concat());
    assert_eq!(state, State::Critical);
    assert!(text.contains("expected the published message"), "{text}");
    let (_, text) = outcome(TOPIC, &[CONNACK, SUBACK, &[0xe0, 1, 0x8b]].concat());
    assert!(text.contains("the broker says code 139"), "{text}");
    for topic in ["", "a/#", "+"] {
        let wrong = run(&format!(r#"{{"round_trip_topic":"{topic}"}}"#), CONNACK);
        assert!(
            matches!(wrong, Err(ProbeError::Config(problem)) if problem.pointer == "/round_trip_topic")
        );
    }
}

#[test]
fn refusals_are_told_apart() {
    for (json, bytes, state, text) in [
        (
            "{}",
            &[0x20, 2, 0, 5][..],
            State::Ok,
            "asks for a login (not authorized)",
        ),
        (
            TOPIC,
            &[0x20, 2, 0, 4],
            State::Unknown,
            "no round trip without a login",
        ),
        (
            "{}",
            &[0x20, 2, 0, 3],
            State::Critical,
            "refuses connections: server unavailable (code 3)",
        ),
        (
            r#"{"version":"5"}"#,
            &[0x20, 3, 0, 0x87, 0],
            State::Ok,
            "asks for a login",
        ),
        (
            r#"{"version":"5"}"#,
            &[0x20, 3, 0, 0x89, 0],
            State::Critical,
            "server busy (code 137)",
        ),
    ] {
        let (found, summary) = outcome(json, bytes);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (bytes, text) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            "expected an MQTT answer to CONNECT (CONNACK), found \"HT",
        ),
        (
            b"SSH-2.0-OpenSSH\r\n",
            "expected an MQTT answer to CONNECT (CONNACK), found \"SS",
        ),
        (&[0x90, 3, 0, 1, 0], "expected an MQTT answer to CONNECT"),
        (&[0x20, 0], "expected an MQTT answer to CONNECT"),
        (
            &[0x20, 0xff, 0xff, 0xff, 0xff, 1],
            "expected an MQTT answer to CONNECT",
        ),
        (b"", "connection closed"),
    ] {
        let (state, summary) = outcome("{}", bytes);
        assert_eq!(state, State::Critical);
        assert!(summary.contains(text), "{summary}");
    }
    let refused = fake::run(without_password, "{}", Err(Error::Refused));
    assert_eq!(refused, Ok(Report::critical("connection refused")));
}

#[test]
fn no_bytes_make_it_panic() {
    for bytes in mutations(&round_trip()) {
        for json in [TOPIC, r#"{"version":"5","round_trip_topic":"a/b"}"#] {
            let report = run(json, &bytes).unwrap();
            assert!(report.summary.len() < 1_000);
        }
    }
}

#[test]
fn a_login_goes_with_the_connection() {
    let json = r#"{"user":"me","password_secret":"broker","tls":true}"#;
    let run = |bytes: &[u8]| {
        let connection = FakeConnection {
            certificate: Some(fake::certificate(90)),
            ..FakeConnection::sending(bytes)
        };
        let written = connection.written.clone();
        let report = fake::run(with_password, json, Ok(connection)).unwrap();
        let written = written.borrow().clone();
        (report.state, report.summary, written)
    };
    let (state, summary, written) = run(CONNACK);
    assert_eq!(state, State::Ok, "{summary}");
    let login = b"\0\x02me\0\x05s\"3\\t";
    assert!(written.windows(login.len()).any(|bytes| bytes == login));
    let (state, summary, _) = run(&[0x20, 2, 0, 5]);
    assert_eq!(
        (state, summary.as_str()),
        (
            State::Critical,
            "refuses the login: not authorized (code 5)"
        )
    );
    let readable = fake::run(with_password, json, Ok(FakeConnection::sending(CONNACK)));
    assert!(
        matches!(&readable, Err(ProbeError::Config(problem)) if problem.message.contains("allow_plaintext")),
        "{readable:?}"
    );
}
