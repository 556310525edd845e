use bellwether_plugin::fake::{
    self, FakeConnection, certificate, manifest_problems, metric, mutations,
};
use bellwether_plugin::net::{Error, Net};
use bellwether_plugin::{ProbeError, Report, Request, State, config};

use crate::{Config, MailAccess, judge};

const IMAP: &[&str] = &[
    "* OK [CAPABILITY IMAP4rev1 IDLE] Dovecot ready.\r\n",
    "* CAPABILITY IMAP4rev1 IDLE STARTTLS\r\na1 OK done\r\n",
];
const POP3: &[&str] = &[
    "+OK Dovecot ready.\r\n",
    "+OK\r\nUIDL\r\nSTLS\r\nSASL PLAIN LOGIN\r\n.\r\n",
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
        ..FakeConnection::reading(IMAP)
    };
    let report = run(r#"{"protocol":"imap"}"#, Ok(connection)).unwrap();
    assert_eq!(
        manifest_problems::<MailAccess>(&report),
        Vec::<String>::new()
    );
}

#[test]
fn good_servers_are_ok() {
    for (json, chunks, summary, count) in [
        (
            r#"{"protocol":"imap","require":["idle"],"expect_banner":"dovecot"}"#,
            IMAP,
            "IMAP ready, 3 capabilities",
            3.0,
        ),
        (
            r#"{"protocol":"pop3","require":["SASL"]}"#,
            POP3,
            "POP3 ready, 3 capabilities",
            3.0,
        ),
    ] {
        let report = run(json, Ok(FakeConnection::reading(chunks))).unwrap();
        assert_eq!(
            (report.state, report.summary.as_str()),
            (State::Ok, summary)
        );
        assert_eq!(metric(&report, "capabilities"), Some(count));
    }
    let old = outcome(r#"{"protocol":"pop3"}"#, &["+OK hi\r\n", "-ERR what\r\n"]);
    assert_eq!(old, (State::Ok, "POP3 ready, 0 capabilities".to_owned()));
}

#[test]
fn the_port_follows_protocol_and_encryption() {
    for (json, port) in [
        (r#"{"protocol":"imap"}"#, 143),
        (r#"{"protocol":"imap","tls":"starttls"}"#, 143),
        (r#"{"protocol":"imap","tls":"implicit"}"#, 993),
        (r#"{"protocol":"pop3"}"#, 110),
        (r#"{"protocol":"pop3","tls":"implicit"}"#, 995),
        (r#"{"protocol":"pop3","port":1110}"#, 1110),
    ] {
        assert_eq!(
            config::parse::<Config>(json).map(|config| config.endpoint(config.usual_port()).port),
            Ok(port)
        );
    }
}

#[test]
fn the_upgrade_is_asked_for() {
    let imap = [
        IMAP,
        &[
            "a2 OK begin\r\n",
            "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na3 OK\r\n",
        ],
    ]
    .concat();
    let connection = FakeConnection::reading(&imap);
    let written = connection.written.clone();
    let json = r#"{"protocol":"imap","tls":"starttls","require":["AUTH=PLAIN"]}"#;
    assert_eq!(run(json, Ok(connection)).unwrap().state, State::Ok);
    assert_eq!(
        String::from_utf8_lossy(&written.borrow()),
        "a1 CAPABILITY\r\na2 STARTTLS\r\na3 CAPABILITY\r\na4 LOGOUT\r\n"
    );
    let pop3 = [POP3, &["+OK go\r\n", "+OK\r\nUSER\r\n.\r\n"]].concat();
    let json = r#"{"protocol":"pop3","tls":"starttls","require":["USER"]}"#;
    assert_eq!(outcome(json, &pop3).0, State::Ok);
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let (imap, pop3) = (r#"{"protocol":"imap"}"#, r#"{"protocol":"pop3"}"#);
    for (json, chunks, text) in [
        (
            imap,
            &["* BYE too many connections\r\n"][..],
            "expected an IMAP greeting (* OK), found \"* BYE too many connections\"",
        ),
        (
            imap,
            POP3,
            "expected an IMAP greeting (* OK), found \"+OK Dovecot ready.\"",
        ),
        (pop3, IMAP, "expected a POP3 greeting (+OK), found \"* OK"),
        (pop3, &["+OKAY\r\n"], "found \"+OKAY\""),
        (
            imap,
            &["* OK hi\r\n", "a1 BAD what\r\n"],
            "expected an answer to CAPABILITY (a1 OK), found \"a1 BAD what\"",
        ),
        (imap, &[], "connection closed"),
        (
            r#"{"protocol":"imap","require":["QUOTA"]}"#,
            IMAP,
            "does not offer QUOTA",
        ),
        (
            r#"{"protocol":"pop3","tls":"starttls"}"#,
            &["+OK\r\n", "+OK\r\nTOP\r\n.\r\n"],
            "expected the server to offer STLS, found \"TOP\"",
        ),
    ] {
        let (state, summary) = outcome(json, chunks);
        assert_eq!(state, State::Critical);
        assert!(summary.contains(text), "{summary}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    for (json, chunks) in [
        (r#"{"protocol":"imap","tls":"starttls"}"#, IMAP),
        (r#"{"protocol":"pop3","tls":"starttls"}"#, POP3),
    ] {
        for bytes in mutations(chunks.concat().as_bytes()) {
            let report = run(json, Ok(FakeConnection::sending(&bytes))).unwrap();
            assert!(report.summary.len() < 1_000, "{}", report.summary.len());
        }
    }
}

/// State, summary, messages and what was written, over TLS.
fn secure(protocol: &str, chunks: &[&str]) -> (State, String, Option<f64>, String) {
    let json = format!(r#"{{"protocol":"{protocol}","user":"me","password_secret":"mail"}}"#);
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::reading(chunks)
    };
    let written = connection.written.clone();
    let report = fake::run(with_password, &json, Ok(connection)).unwrap();
    let written = String::from_utf8_lossy(&written.borrow()).into_owned();
    let messages = metric(&report, "messages");
    (report.state, report.summary, messages, written)
}

const OPEN: &str = "* OK hello\r\n";

#[test]
fn a_login_counts_the_inbox() {
    let inbox = "* CAPABILITY IMAP4rev1 QUOTA\r\na6 OK\r\n\
        * STATUS INBOX (MESSAGES 3)\r\na7 OK done\r\n";
    for (capabilities, answer, written) in [
        (
            "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na1 OK\r\n",
            "+ \r\na5 OK in\r\n",
            "a5 AUTHENTICATE PLAIN\r\nAG1lAHMiM1x0\r\n",
        ),
        (
            "* CAPABILITY IMAP4rev1\r\na1 OK\r\n",
            "* 1 EXISTS\r\na5 OK in\r\n",
            "a5 LOGIN \"me\" \"s\\\"3\\\\t\"\r\n",
        ),
    ] {
        let (state, summary, messages, found) =
            secure("imap", &[OPEN, capabilities, answer, inbox]);
        assert_eq!((state, messages), (State::Ok, Some(3.0)), "{summary}");
        assert_eq!(summary, "IMAP ready, 2 capabilities, 3 messages");
        assert!(found.contains(written), "{found}");
    }
    let (state, summary, messages, found) = secure(
        "pop3",
        &[
            "+OK hi\r\n",
            "+OK\r\nUIDL\r\n.\r\n",
            "+OK\r\n+OK\r\n+OK 5 1024\r\n",
        ],
    );
    assert_eq!((state, messages), (State::Ok, Some(5.0)), "{summary}");
    assert!(
        found.contains("USER me\r\nPASS s\"3\\t\r\nSTAT\r\n"),
        "{found}"
    );
}

#[test]
fn a_login_that_fails_is_critical() {
    let plain = "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na1 OK\r\n";
    for (protocol, chunks, text) in [
        (
            "imap",
            [OPEN, plain, "+ \r\na5 NO [AUTHENTICATIONFAILED] wrong\r\n"],
            "refuses the login: [AUTHENTICATIONFAILED] wrong",
        ),
        (
            "imap",
            [
                OPEN,
                "* CAPABILITY IMAP4rev1 LOGINDISABLED\r\na1 OK\r\n",
                "",
            ],
            "expected AUTH=PLAIN or LOGIN",
        ),
        (
            "pop3",
            [
                "+OK hi\r\n",
                "+OK\r\nUIDL\r\n.\r\n",
                "+OK\r\n-ERR wrong\r\n",
            ],
            "refuses the login: wrong",
        ),
        (
            "pop3",
            [
                "+OK hi\r\n",
                "+OK\r\nUIDL\r\n.\r\n",
                "+OK\r\n+OK\r\n+OK many\r\n",
            ],
            "expected the number of messages",
        ),
    ] {
        let (state, summary, messages, _) = secure(protocol, &chunks);
        assert_eq!((state, messages), (State::Critical, None), "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
    let json = r#"{"protocol":"imap","user":"me","password_secret":"mail"}"#;
    let refused = fake::run(
        with_password,
        json,
        Ok(FakeConnection::reading(&[OPEN, plain])),
    );
    assert!(
        matches!(&refused, Err(ProbeError::Config(problem)) if problem.message.contains("allow_plaintext")),
        "{refused:?}"
    );
}

#[test]
fn no_answer_to_a_login_makes_it_panic() {
    let sample = b"* OK x\r\n* CAPABILITY A AUTH=PLAIN\r\na1 OK\r\n+\r\na5 OK\r\n\
        * CAPABILITY A\r\na6 OK\r\n* STATUS INBOX (MESSAGES 3)\r\na7 OK\r\n";
    let json = r#"{"protocol":"imap","user":"me","password_secret":"m","allow_plaintext":true}"#;
    for bytes in mutations(sample) {
        let _ = fake::run(with_password, json, Ok(FakeConnection::sending(&bytes)));
    }
}
