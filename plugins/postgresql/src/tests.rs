use bellwether_plugin::fake::{
    self, FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::{Error, Net};
use bellwether_plugin::{ProbeError, Report, Request, State, config};

use crate::auth::{client_final, md5_proof};
use crate::load::Load;
use crate::protocol::{Refusal, Start, columns, query, read_start, startup};
use crate::{Config, Postgresql, judge};

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 4;
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn refusal(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

fn ready(standby: &str) -> Vec<u8> {
    [
        message(b'R', &[0, 0, 0, 0]),
        message(b'S', b"server_version\x0015.18\0"),
        message(b'S', format!("in_hot_standby\0{standby}\0").as_bytes()),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn rows(values: &[&str]) -> Vec<u8> {
    let mut bytes = message(b'T', &[0, 1]);
    for value in values {
        let length = (value.len() as u32).to_be_bytes();
        bytes.extend(message(
            b'D',
            &[&[0, 1][..], &length, value.as_bytes()].concat(),
        ));
    }
    bytes.extend(message(b'C', b"SELECT 1\0"));
    bytes.extend(message(b'Z', b"I"));
    bytes
}

fn without_password(
    request: &Request,
    config: &Config,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    judge::check(request, config, None, net)
}

fn with_password(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    judge::check(request, config, Some("pencil"), net)
}

fn run(json: &str, bytes: &[u8]) -> Result<Report, ProbeError> {
    fake::run(without_password, json, Ok(FakeConnection::sending(bytes)))
}

fn outcome(json: &str, bytes: &[u8]) -> (State, String) {
    let report = run(json, bytes).unwrap();
    (report.state, report.summary)
}

const QUERY: &str = r#""query":"SELECT 1""#;

#[test]
fn the_schema_fits_the_configuration() {
    let report = run(
        &format!("{{{QUERY}}}"),
        &[ready("off"), rows(&["1"])].concat(),
    )
    .unwrap();
    assert_eq!(
        manifest_problems::<Postgresql>(&report),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_sent_is_what_the_protocol_says() {
    assert_eq!(
        startup(&[("user", "a")]),
        b"\0\0\0\x10\0\x03\0\0user\0a\0\0".as_slice()
    );
    assert_eq!(query("SELECT 1"), b"Q\0\0\0\x0dSELECT 1\0".as_slice());
}

#[test]
fn a_session_is_ok() {
    let report = run("{}", &ready("off")).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "PostgreSQL 15.18 ready, primary")
    );
    assert_eq!(metric(&report, "ready"), Some(1.0));
    assert_eq!(metric(&report, "in_recovery"), Some(0.0));
    assert_eq!(outcome(r#"{"role":"standby"}"#, &ready("on")).0, State::Ok);
    assert_eq!(
        outcome(r#"{"role":"primary"}"#, &ready("on")),
        (
            State::Critical,
            "PostgreSQL 15.18 ready, standby, expected a primary".to_owned()
        )
    );
}

#[test]
fn only_parameters_that_are_read_are_kept() {
    let other = message(b'S', b"TimeZone\0UTC\0");
    let connection = FakeConnection::sending(&[other, ready("on")].concat());
    let Start::Ready(parameters) = read_start(&connection).unwrap() else {
        panic!("expected a session");
    };
    let names: Vec<&str> = parameters.into_keys().collect();
    assert_eq!(names, ["in_hot_standby", "server_version"]);
}

#[test]
fn a_query_is_judged() {
    for (more, values, state, text) in [
        ("", &["42"][..], State::Ok, "ready, primary, value 42"),
        (
            r#","warn_above":40"#,
            &["42"],
            State::Warning,
            "value 42, above 40",
        ),
        (
            r#","critical_above":40"#,
            &["42"],
            State::Critical,
            "value 42, above 40",
        ),
        (
            r#","warn_below":50"#,
            &["42", "99"],
            State::Warning,
            "value 42, below 50",
        ),
        (
            r#","critical_below":1"#,
            &["f"],
            State::Critical,
            "value 0, below 1",
        ),
        (
            "",
            &[],
            State::Unknown,
            "expected a number from the query, found no row",
        ),
        ("", &["abc"], State::Unknown, "found \"abc\""),
        ("", &["NaN"], State::Unknown, "found \"NaN\""),
    ] {
        let json = format!("{{{QUERY}{more}}}");
        let (found, summary) = outcome(&json, &[ready("off"), rows(values)].concat());
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
    let null = [
        message(b'D', b"\0\x01\xff\xff\xff\xff"),
        message(b'Z', b"I"),
    ]
    .concat();
    let (_, summary) = outcome(&format!("{{{QUERY}}}"), &[ready("off"), null].concat());
    assert!(summary.contains("found NULL"), "{summary}");
    let failed = [refusal("42P01", "no such table"), message(b'Z', b"I")].concat();
    let (state, summary) = outcome(&format!("{{{QUERY}}}"), &[ready("off"), failed].concat());
    assert_eq!(state, State::Critical);
    assert!(
        summary.contains("the query failed: no such table (42P01)"),
        "{summary}"
    );
}

#[test]
fn a_server_that_asks_for_a_login_is_up() {
    let scram = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let no_line = refusal("28000", "no pg_hba.conf entry");
    for (bytes, text) in [
        (&scram, "takes connections, asks for SCRAM-SHA-256"),
        (
            &message(b'R', b"\0\0\0\x05salt"),
            "takes connections, asks for an MD5 password",
        ),
        (
            &no_line,
            "takes connections, refuses the login: no pg_hba.conf entry (28000)",
        ),
        (&refusal("3D000", "no database"), "refuses the login"),
    ] {
        let (state, summary) = outcome("{}", bytes);
        assert_eq!(state, State::Ok, "{summary}");
        assert!(summary.contains(text), "{summary}");
        for json in [r#"{"require_session":true}"#, &format!("{{{QUERY}}}")] {
            let (state, summary) = outcome(json, bytes);
            assert_eq!(state, State::Unknown);
            assert!(
                summary.contains("no session without a password"),
                "{summary}"
            );
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (bytes, text) in [
        (
            refusal("57P03", "the database system is starting up"),
            "the database system is starting up (57P03)",
        ),
        (
            refusal("53300", "sorry, too many clients already"),
            "too many clients already (53300)",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            "expected a message of PostgreSQL, found \"HTTP/1.1 400 Bad Request",
        ),
        (
            Vec::new(),
            "connection closed: expected a message of PostgreSQL",
        ),
        (
            message(b'W', b""),
            "expected the start of a session, found \"W\"",
        ),
    ] {
        let (state, summary) = outcome("{}", &bytes);
        assert_eq!(state, State::Critical);
        assert!(summary.contains(text), "{summary}");
    }
    let zero = run(r#"{"query":"SELECT 1\u0000"}"#, b"");
    assert!(matches!(zero, Err(ProbeError::Config(problem)) if problem.pointer == "/query"));
    let refused = fake::run(without_password, "{}", Err(Error::Refused));
    assert_eq!(refused, Ok(Report::critical("connection refused")));
}

#[test]
fn tls_is_asked_for_as_configured() {
    let require = r#"{"tls":"require"}"#;
    let (state, summary) = outcome(require, b"N");
    assert_eq!(state, State::Critical);
    assert!(summary.contains("expected ssl = on"), "{summary}");
    let prefer = outcome(
        r#"{"tls":"prefer"}"#,
        &[b"N".to_vec(), ready("off")].concat(),
    );
    assert_eq!(prefer.0, State::Ok);
    let connection = FakeConnection {
        certificate: Some(certificate(1)),
        ..FakeConnection::sending(&[b"S".to_vec(), ready("off")].concat())
    };
    let net = FakeNet::connecting(Ok(connection));
    let config = config::parse(require).unwrap();
    let report = judge::check(&request(require), &config, None, &net).unwrap();
    assert_eq!(report.state, State::Critical);
    assert_eq!(metric(&report, "cert_days"), Some(1.0));
}

#[test]
fn no_bytes_make_it_panic() {
    let json = format!(r#"{{{QUERY},"tls":"prefer"}}"#);
    let whole = [b"N".to_vec(), ready("off"), rows(&["1", "2"])].concat();
    for bytes in mutations(&whole) {
        let report = run(&json, &bytes).unwrap();
        assert!(report.summary.len() < 1_000);
        let _ = Refusal::read(&bytes);
        let _ = columns(&bytes);
        let _ = Load::read(&columns(&bytes));
        let _ = client_final("n=,r=a", "a", &String::from_utf8_lossy(&bytes), b"p");
    }
}

/// A row of these columns, and the end of the answer.
fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(text) => {
                body.extend((text.len() as u32).to_be_bytes());
                body.extend(text.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    [
        message(b'D', &body),
        message(b'C', b""),
        message(b'Z', b"I"),
    ]
    .concat()
}

const PRIMARY: [Option<&str>; 6] = [
    Some("40"),
    Some("50"),
    Some("f"),
    None,
    Some("1"),
    Some("7"),
];

#[test]
fn scram_is_that_of_rfc_7677() {
    let nonce = "rOprNGfwEbeRWgbNEkqO";
    let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let first = format!("n=user,r={nonce}");
    let (last, signature) = client_final(&first, nonce, server_first, b"pencil").unwrap();
    assert_eq!(
        last,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let expected = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(signature)
    };
    assert_eq!(encoded, expected);
    for wrong in [
        "",
        "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=somebody-else,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        "r=rOprNGfwEbeRWgbNEkqOx,s=no base64!,i=4096",
    ] {
        let refused = client_final(&first, nonce, wrong, b"pencil");
        assert!(matches!(refused, Err(Error::Protocol(_))), "{wrong}");
    }
}

#[test]
fn a_password_in_clear_needs_tls() {
    let json = r#"{"user":"probe","password_secret":"db"}"#;
    let demand = message(b'R', &[0, 0, 0, 3]);
    let refused = fake::run(with_password, json, Ok(FakeConnection::sending(&demand)));
    assert!(
        matches!(&refused, Err(ProbeError::Config(problem)) if problem.message.contains("allow_plaintext")),
        "{refused:?}"
    );
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::sending(&[demand, ready("off"), row(&PRIMARY)].concat())
    };
    let written = connection.written.clone();
    let report = fake::run(with_password, json, Ok(connection)).unwrap();
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert_eq!(metric(&report, "connections_percent"), Some(80.0));
    assert_eq!(metric(&report, "replication_lag_bytes"), Some(7.0));
    let written = written.borrow();
    assert!(
        written
            .windows(12)
            .any(|bytes| bytes == b"p\0\0\0\x0bpencil\0"),
        "{:?}",
        String::from_utf8_lossy(&written)
    );
}

#[test]
fn md5_is_what_the_documentation_says() {
    // concat('md5', md5(concat(md5(concat(password, username)), salt)))
    assert_eq!(
        md5_proof("probe", "pencil", b"abcd"),
        "md583e72b5fde1cd6d45ca9ff1db1700608"
    );
}

#[test]
fn a_login_that_is_refused_is_critical() {
    let json = r#"{"password_secret":"db","allow_plaintext":true}"#;
    let bytes = [
        message(b'R', b"\0\0\0\x05salt"),
        refusal(
            "28P01",
            "password authentication failed for user \"bellwether\"",
        ),
    ]
    .concat();
    let report = fake::run(with_password, json, Ok(FakeConnection::sending(&bytes))).unwrap();
    assert_eq!(report.state, State::Critical);
    assert!(
        report
            .summary
            .starts_with("refuses the login: password authentication failed"),
        "{}",
        report.summary
    );
    let bytes = message(b'R', &[0, 0, 0, 7]);
    let report = fake::run(with_password, json, Ok(FakeConnection::sending(&bytes))).unwrap();
    assert_eq!(report.state, State::Unknown, "{}", report.summary);
}

#[test]
fn load_and_replication_are_judged() {
    let judged = |json: &str, columns: &[Option<&str>]| {
        outcome(json, &[ready("off"), row(columns)].concat())
    };
    for (json, state, text) in [
        (
            r#"{"connections_warn_percent":79}"#,
            State::Warning,
            "percent of max_connections 80, above 79",
        ),
        (
            r#"{"connections_critical_percent":81}"#,
            State::Ok,
            "ready, primary",
        ),
        (
            r#"{"min_replicas":2}"#,
            State::Critical,
            "standbys 1, below 2",
        ),
        (r#"{"lag_critical_s":1}"#, State::Ok, "ready, primary"),
    ] {
        let (found, summary) = judged(json, &PRIMARY);
        assert_eq!(found, state, "{json}");
        assert!(summary.contains(text), "{summary}");
    }
    let standby = |lag| [Some("1"), Some("50"), Some("t"), lag, Some("0"), None];
    let limits = r#"{"lag_warn_s":30,"lag_critical_s":300,"min_replicas":1}"#;
    for (lag, state) in [
        (Some("0"), State::Ok),
        (Some("-2.5"), State::Ok),
        (Some("31.5"), State::Warning),
        (Some("301"), State::Critical),
        (None, State::Unknown),
    ] {
        assert_eq!(judged(limits, &standby(lag)).0, state, "{lag:?}");
    }
    let failed = [
        ready("off"),
        refusal("42P01", "no such view"),
        message(b'Z', b"I"),
    ]
    .concat();
    assert_eq!(outcome(limits, &failed).0, State::Critical);
}
