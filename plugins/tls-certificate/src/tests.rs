use bellwether_plugin::fake::{
    FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::Error;
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::config::Starttls;
use crate::judge::{ask_for_tls, covers};
use crate::{Config, TlsCertificate, judge};

fn run(json: &str, answers: Vec<Result<FakeConnection, Error>>) -> Result<Report, ProbeError> {
    let net = FakeNet::default();
    net.tcp.borrow_mut().extend(answers);
    judge::check(&request(json), &config::parse::<Config>(json)?, &net)
}

fn showing(days: i64) -> FakeConnection {
    FakeConnection {
        certificate: Some(certificate(days)),
        ..FakeConnection::default()
    }
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", vec![Ok(showing(90))]).unwrap();
    assert_eq!(
        manifest_problems::<TlsCertificate>(&report),
        Vec::<String>::new()
    );
}

#[test]
fn days_left_are_judged() {
    for (json, days, state, summary) in [
        ("{}", 90, State::Ok, "example.org: 90.0 days left"),
        (
            "{}",
            10,
            State::Warning,
            "example.org, the certificate expires in 10.0 days",
        ),
        (
            "{}",
            3,
            State::Critical,
            "example.org, the certificate expires in 3.0 days",
        ),
        (
            r#"{"verify":false}"#,
            -2,
            State::Critical,
            "example.org, the certificate expired 2.0 days ago",
        ),
        (
            r#"{"warn_days":100}"#,
            90,
            State::Warning,
            "example.org, the certificate expires in 90.0 days",
        ),
    ] {
        let report = run(json, vec![Ok(showing(days))]).unwrap();
        assert_eq!((report.state, report.summary.as_str()), (state, summary));
        assert_eq!(metric(&report, "cert_days"), Some(days as f64));
        assert_eq!(metric(&report, "validity_days"), Some(days as f64 + 1.0));
    }
}

#[test]
fn an_untrusted_certificate_is_shown_all_the_same() {
    let wrong = || Err(Error::Tls("invalid peer certificate: UnknownIssuer".into()));
    let report = run("{}", vec![wrong(), Ok(showing(90))]).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (
            State::Critical,
            "example.org: 90.0 days left, not trusted: invalid peer certificate: UnknownIssuer"
        )
    );
    assert_eq!(metric(&report, "trusted"), Some(0.0));
    assert_eq!(metric(&report, "cert_days"), Some(90.0));
    let report = run("{}", vec![wrong(), Ok(FakeConnection::default())]).unwrap();
    assert_eq!(
        report,
        Report::critical(
            "not trusted: invalid peer certificate: UnknownIssuer, the server showed no certificate that can be read"
        )
    );
    let report = run("{}", vec![wrong(), Err(Error::Refused)]).unwrap();
    assert_eq!(
        report.summary,
        "TLS failed: invalid peer certificate: UnknownIssuer"
    );
}

#[test]
fn names_issuer_and_fingerprint_are_judged() {
    for (json, text) in [
        (
            r#"{"names":["example.org","www.example.org"]}"#,
            "not valid for www.example.org, only for \"example.org\"",
        ),
        (
            r#"{"issuer":"Let's Encrypt"}"#,
            "expected an issuer with \"Let's Encrypt\", found \"CN=Test CA\"",
        ),
        (
            &format!(r#"{{"fingerprints":["{}"]}}"#, "ab".repeat(32)),
            "none of the expected fingerprints",
        ),
    ] {
        let report = run(json, vec![Ok(showing(90))]).unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(text), "{}", report.summary);
    }
    let good = format!(
        r#"{{"names":["EXAMPLE.org"],"issuer":"test ca","fingerprints":["{}"]}}"#,
        vec!["00"; 32].join(":")
    );
    assert_eq!(run(&good, vec![Ok(showing(90))]).unwrap().state, State::Ok);
}

#[test]
fn a_wildcard_stands_for_one_label() {
    for (known, wanted, right) in [
        ("*.example.org", "www.example.org", true),
        ("*.example.org", "a.b.example.org", false),
        ("*.example.org", "example.org", false),
        ("*.org", "example.org", false),
        ("Example.org.", "example.ORG", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("*.example.org", ".example.org", false),
    ] {
        assert_eq!(covers(known, wanted), right, "{known} {wanted}");
    }
}

const CONVERSATIONS: [(Starttls, &str, &[&str], &str); 4] = [
    (
        Starttls::Smtp,
        "smtp",
        &["220 a ESMTP\r\n", "250-a\r\n250 STARTTLS\r\n", "220 go\r\n"],
        "EHLO bellwether.invalid\r\nSTARTTLS\r\n",
    ),
    (
        Starttls::Imap,
        "imap",
        &["* OK [CAPABILITY IMAP4rev1] ready\r\n", "a OK begin\r\n"],
        "a STARTTLS\r\n",
    ),
    (
        Starttls::Pop3,
        "pop3",
        &["+OK ready\r\n", "+OK begin\r\n"],
        "STLS\r\n",
    ),
    (
        Starttls::Ftp,
        "ftp",
        &["220 FTP\r\n", "234 go\r\n"],
        "AUTH TLS\r\n",
    ),
];

#[test]
fn tls_is_asked_for_in_each_protocol() {
    for (_, word, chunks, said) in CONVERSATIONS {
        let connection = FakeConnection {
            certificate: Some(certificate(90)),
            ..FakeConnection::reading(chunks)
        };
        let written = connection.written.clone();
        let report = run(&format!(r#"{{"starttls":"{word}"}}"#), vec![Ok(connection)]).unwrap();
        assert_eq!(report.state, State::Ok, "{}", report.summary);
        assert_eq!(String::from_utf8_lossy(&written.borrow()), said);
    }
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::reading(&["S"])
    };
    let report = run(r#"{"starttls":"postgres"}"#, vec![Ok(connection)]).unwrap();
    assert_eq!(report.state, State::Ok);
}

#[test]
fn whoever_does_not_speak_it_is_named() {
    for (word, chunk, text) in [
        (
            "smtp",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "expected an SMTP greeting (220), found \"SSH-2.0-OpenSSH_9.2\"",
        ),
        (
            "smtp",
            "554 no\r\n",
            "expected an SMTP greeting (220), found \"554 no\"",
        ),
        (
            "imap",
            "220 a\r\n",
            "expected an IMAP greeting (* OK), found \"220 a\"",
        ),
        (
            "pop3",
            "-ERR busy\r\n",
            "expected a POP3 greeting (+OK), found \"-ERR busy\"",
        ),
        ("postgres", "N", "does without TLS"),
        ("postgres", "HTTP/1.1 400", "found \"HTTP/1.1 400\""),
    ] {
        let json = format!(r#"{{"starttls":"{word}"}}"#);
        let report = run(&json, vec![Ok(FakeConnection::reading(&[chunk]))]).unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(text), "{}", report.summary);
    }
}

#[test]
fn no_bytes_make_it_panic() {
    for (protocol, _, chunks, _) in CONVERSATIONS {
        for bytes in mutations(chunks.concat().as_bytes()) {
            let _ = ask_for_tls(protocol, &FakeConnection::sending(&bytes));
        }
    }
}

#[test]
fn what_is_down_is_critical_and_what_is_denied_no_judgement() {
    let report = run("{}", vec![Err(Error::Refused)]).unwrap();
    assert_eq!(report, Report::critical("connection refused"));
    assert_eq!(
        run("{}", vec![Err(Error::Denied("net a:443".into()))]),
        Err(ProbeError::Denied("net a:443".into()))
    );
}
