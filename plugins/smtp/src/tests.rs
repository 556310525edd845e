use bellwether_plugin::fake::{
    self, FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::{Error, Net, Phase};
use bellwether_plugin::{ProbeError, Report, Request, State, config};

use crate::{Config, Smtp, judge};

const GOOD: &[&str] = &[
    "220 mail.example.org ESMTP ready\r\n",
    "250-mail.example.org\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
];

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

fn run(json: &str, answer: Result<FakeConnection, Error>) -> Result<Report, ProbeError> {
    fake::run(without_password, json, answer)
}

fn outcome(json: &str, chunks: &[&str]) -> (State, String) {
    let report = run(json, Ok(FakeConnection::reading(chunks))).unwrap();
    (report.state, report.summary)
}

#[test]
fn the_schema_fits_the_configuration() {
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::reading(GOOD)
    };
    let report = run("{}", Ok(connection)).unwrap();
    assert_eq!(manifest_problems::<Smtp>(&report), Vec::<String>::new());
}

#[test]
fn a_good_server_is_ok() {
    let connection = FakeConnection::reading(GOOD);
    let written = connection.written.clone();
    let report = run(r#"{"require":["size","STARTTLS"]}"#, Ok(connection)).unwrap();
    assert_eq!(report.state, State::Ok);
    assert_eq!(report.summary, "mail.example.org ready");
    assert_eq!(metric(&report, "extensions"), Some(2.0));
    assert_eq!(metric(&report, "latency_ms"), Some(12.0));
    assert_eq!(
        String::from_utf8_lossy(&written.borrow()),
        "EHLO bellwether.invalid\r\nQUIT\r\n"
    );
}

#[test]
fn the_port_follows_the_encryption() {
    for (json, port, tls) in [
        ("{}", 25, false),
        (r#"{"tls":"implicit"}"#, 465, true),
        (r#"{"tls":"starttls","port":587}"#, 587, false),
    ] {
        let net = FakeNet::connecting(Err(Error::Refused));
        let report =
            judge::check(&request(json), &config::parse(json).unwrap(), None, &net).unwrap();
        assert_eq!(report, Report::critical("connection refused"));
        let connects = net.connects.borrow();
        assert_eq!(connects[0].0, "192.0.2.1");
        assert_eq!((connects[0].1, connects[0].2.is_some()), (port, tls));
    }
}

#[test]
fn starttls_must_be_offered_and_taken() {
    let starttls = r#"{"tls":"starttls"}"#;
    let (state, text) = outcome(starttls, &["220 a\r\n", "250 a\r\n"]);
    assert_eq!(state, State::Critical);
    assert!(
        text.contains("expected the server to offer STARTTLS, found nothing"),
        "{text}"
    );
    let (state, text) = outcome(starttls, &[GOOD[0], GOOD[1], "454 not now\r\n"]);
    assert_eq!(state, State::Critical);
    assert!(
        text.contains("expected an answer to STARTTLS (220), found \"454 not now\""),
        "{text}"
    );
    let (state, text) = outcome(
        starttls,
        &[
            GOOD[0],
            GOOD[1],
            "220 go\r\n",
            "250-a\r\n250 AUTH PLAIN\r\n",
        ],
    );
    assert_eq!(
        (state, text.as_str()),
        (State::Ok, "mail.example.org ready")
    );
    let refusing = FakeConnection::reading(&[GOOD[0], GOOD[1], "220 go\r\n"]);
    *refusing.tls_error.borrow_mut() = Some(Error::Tls("certificate expired".into()));
    let report = run(starttls, Ok(refusing)).unwrap();
    assert_eq!(report.summary, "TLS failed: certificate expired");
}

#[test]
fn a_trial_recipient_is_judged_without_sending() {
    let json = r#"{"mail_from":"a@example.org","rcpt_to":"b@example.org"}"#;
    let trial = |more: &[&str]| outcome(json, &[GOOD, more].concat());
    assert_eq!(
        trial(&["250 ok\r\n", "250 ok\r\n", "250 ok\r\n"]).0,
        State::Ok
    );
    let (state, text) = trial(&["250 ok\r\n", "550 no such user\r\n"]);
    assert_eq!(
        (state, text.as_str()),
        (
            State::Critical,
            "mail.example.org ready, RCPT TO:<b@example.org> refused: 550 no such user"
        )
    );
    assert_eq!(trial(&["451 later\r\n"]).0, State::Warning);
    let wrong = run("{\"rcpt_to\":\"a>\\r\\nDATA\"}", Err(Error::Refused));
    assert!(matches!(wrong, Err(ProbeError::Config(problem)) if problem.pointer == "/rcpt_to"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (json, chunks, text) in [
        (
            "{}",
            &["SSH-2.0-OpenSSH_9.2\r\n"][..],
            "expected an SMTP greeting (220), found \"SSH-2.0-OpenSSH_9.2\"",
        ),
        ("{}", &["554 go away\r\n"], "found \"554 go away\""),
        (
            "{}",
            &[],
            "connection closed: expected an SMTP greeting (220)",
        ),
        (
            "{}",
            &["220 a\r\n", "502 what\r\n"],
            "expected an answer to EHLO (250), found \"502 what\"",
        ),
        (r#"{"require":["DSN"]}"#, GOOD, "does not offer DSN"),
        (
            r#"{"expect_banner":"postfix"}"#,
            GOOD,
            "expected \"postfix\" in the banner",
        ),
    ] {
        let (state, summary) = outcome(json, chunks);
        assert_eq!(state, State::Critical);
        assert!(summary.contains(text), "{summary}");
    }
    let silent = FakeConnection::default();
    silent
        .incoming
        .borrow_mut()
        .push_back(Err(Error::Timeout(Phase::FirstByte)));
    assert_eq!(
        run("{}", Ok(silent)).unwrap().summary,
        "timed out in first-byte"
    );
}

#[test]
fn no_bytes_make_it_panic() {
    let json = r#"{"tls":"starttls","rcpt_to":"b@example.org"}"#;
    let whole = [
        GOOD,
        &["220 go\r\n", "250 a\r\n", "250 ok\r\n", "250 ok\r\n"],
    ]
    .concat();
    for bytes in mutations(whole.concat().as_bytes()) {
        let report = run(json, Ok(FakeConnection::sending(&bytes))).unwrap();
        assert!(report.summary.len() < 1_000);
    }
}

const LOGIN: &str = r#"{"user":"me","password_secret":"mail"}"#;

/// State, summary and what was written, over TLS.
fn secure(json: &str, chunks: &[&str]) -> (State, String, String) {
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::reading(chunks)
    };
    let written = connection.written.clone();
    let report = fake::run(with_password, json, Ok(connection)).unwrap();
    let written = String::from_utf8_lossy(&written.borrow()).into_owned();
    (report.state, report.summary, written)
}

#[test]
fn a_login_by_plain_or_by_login() {
    for (offered, answers, written) in [
        (
            "250-m\r\n250 AUTH LOGIN PLAIN\r\n",
            "235 yes\r\n",
            "AUTH PLAIN AG1lAHMiM1x0\r\nQUIT\r\n",
        ),
        (
            "250-m\r\n250 auth login cram-md5\r\n",
            "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 yes\r\n",
            "AUTH LOGIN\r\nbWU=\r\ncyIzXHQ=\r\nQUIT\r\n",
        ),
    ] {
        let (state, summary, found) = secure(LOGIN, &["220 m\r\n", offered, answers]);
        assert_eq!(state, State::Ok, "{summary}");
        assert!(found.ends_with(written), "{found}");
    }
}

#[test]
fn a_login_that_fails_is_a_finding() {
    for (offered, answers, state, text) in [
        (
            "250-m\r\n250 AUTH PLAIN\r\n",
            "535 wrong\r\n",
            State::Critical,
            "refuses the login: 535 wrong",
        ),
        (
            "250-m\r\n250 AUTH LOGIN\r\n",
            "454 later\r\n",
            State::Warning,
            "for now: 454 later",
        ),
        (
            "250-m\r\n250 AUTH GSSAPI\r\n",
            "",
            State::Critical,
            "expected AUTH PLAIN or LOGIN, found \"GSSAPI\"",
        ),
        (
            "250-m\r\n250 SIZE\r\n",
            "",
            State::Critical,
            "expected the server to offer AUTH",
        ),
    ] {
        let (found, summary, _) = secure(LOGIN, &["220 m\r\n", offered, answers]);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
    let readable = FakeConnection::reading(&["220 m\r\n", "250-m\r\n250 AUTH PLAIN\r\n"]);
    let refused = fake::run(with_password, LOGIN, Ok(readable));
    assert!(
        matches!(&refused, Err(ProbeError::Config(problem)) if problem.message.contains("allow_plaintext")),
        "{refused:?}"
    );
}
