use bellwether_plugin::datagrams::{Datagram, Error, FakeDatagrams, UdpResponse};
use bellwether_plugin::fake::{FakeStore, NOW, manifest_problems, metric, mutations, request};
use bellwether_plugin::net::{Phase, Timings};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::ber::{Reader, element, integer, oid, oid_text, signed, tag, unsigned};
use crate::config::Version;
use crate::message::{Answer, Held, get};
use crate::{Config, Snmp, judge};

fn unsigned_element(tag: u8, value: u64) -> Vec<u8> {
    element(tag, &[&[0][..], &value.to_be_bytes()].concat())
}

fn counter32(value: u64) -> Vec<u8> {
    unsigned_element(0x41, value)
}

fn counter64(value: u64) -> Vec<u8> {
    unsigned_element(0x46, value)
}

/// An answer to a request with that identifier.
fn answer(id: i64, error: i64, index: i64, held: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let bindings: Vec<u8> = held
        .iter()
        .flat_map(|(name, value)| {
            element(tag::SEQUENCE, &[oid(name).unwrap(), value.clone()].concat())
        })
        .collect();
    let pdu = [
        integer(id),
        integer(error),
        integer(index),
        element(tag::SEQUENCE, &bindings),
    ]
    .concat();
    let message = [
        integer(1),
        element(tag::OCTET_STRING, b"public"),
        element(0xa2, &pdu),
    ]
    .concat();
    element(tag::SEQUENCE, &message)
}

fn replying(data: Vec<u8>) -> FakeDatagrams {
    let net = FakeDatagrams::default();
    net.udp.borrow_mut().push_back(Ok(UdpResponse {
        peer: "192.0.2.1:161".to_owned(),
        sent: 1,
        sent_at: NOW,
        replies: vec![Datagram {
            data,
            truncated: false,
            after: 3_000,
        }],
        timings: Timings {
            resolve: None,
            connect: None,
            tls: None,
            first_byte: Some(3_000),
            total: 3_000,
        },
    }));
    net
}

/// The identifier that a request at that time has.
fn id_at(now: i64, json: &str) -> i64 {
    let net = FakeDatagrams::default();
    let mut request = request(json);
    request.now = now;
    let config = config::parse::<Config>(json).unwrap();
    let _ = judge::check(&request, &config, None, &net, &FakeStore::default());
    let sent = net.sent.borrow();
    let mut message = Reader(Reader(&sent[0].data).take(tag::SEQUENCE).unwrap());
    message.next();
    message.next();
    Reader(message.next().unwrap().1).integer().unwrap()
}

fn run_at(
    seconds: i64,
    json: &str,
    held: &[(&str, Vec<u8>)],
    store: &FakeStore,
) -> Result<Report, ProbeError> {
    let mut request = request(json);
    request.now = NOW + seconds * 1_000_000;
    let net = replying(answer(id_at(request.now, json), 0, 0, held));
    let config = config::parse::<Config>(json)?;
    judge::check(&request, &config, None, &net, store)
}

fn run(json: &str, held: &[(&str, Vec<u8>)]) -> Result<Report, ProbeError> {
    run_at(0, json, held, &FakeStore::default())
}

const STATUS: &str = "1.3.6.1.2.1.2.2.1.8.1";
const OCTETS: &str = "1.3.6.1.2.1.31.1.1.1.6.1";
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";
const RATE: &str = r#"{"values":[{"oid":"1.3.6.1.2.1.31.1.1.1.6.1","name":"in","unit":"bit/s",
    "rate":true,"times":8,"warn_above":1000}]}"#;

fn uptime(seconds: u64) -> (&'static str, Vec<u8>) {
    (UPTIME, unsigned_element(0x43, seconds * 100))
}

#[test]
fn the_schema_fits_the_configuration() {
    let json = r#"{"values":[{"oid":".1.3.6.1.2.1.2.2.1.8.1","name":"status","equals":"1"}]}"#;
    let report = run(json, &[(STATUS, integer(1))]).unwrap();
    assert_eq!(report.summary, "status 1");
    // The operator names the others.
    assert_eq!(
        manifest_problems::<Snmp>(&report),
        vec!["status: undeclared".to_owned()]
    );
}

#[test]
fn a_request_is_what_the_protocol_says() {
    let bytes = get(Version::V2c, "public", 1, &["1.3.6.1.2.1.1.3.0"]).unwrap();
    assert_eq!(
        bytes,
        b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x01\x02\x01\0\x02\x01\0\
          \x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x03\0\x05\0"
            .as_slice()
    );
    for wrong in ["", "1", "3.1", "1.40.1", "1.3.a", "1..3", "1.3.4294967296"] {
        assert_eq!(oid(wrong), None, "{wrong}");
    }
    for (text, content) in [
        ("2.999.3", b"\x88\x37\x03".as_slice()),
        ("1.3.6.1.4.1.2680", b"\x2b\x06\x01\x04\x01\x94\x78"),
        ("1.3.4294967295", b"\x2b\x8f\xff\xff\xff\x7f"),
    ] {
        assert_eq!(oid(text).unwrap(), element(tag::OID, content), "{text}");
        assert_eq!(oid_text(content), text);
    }
}

#[test]
fn numbers_have_any_length() {
    for value in [0, 1, -1, 127, 128, -128, -129, 65_535, i64::MAX, i64::MIN] {
        let bytes = integer(value);
        assert_eq!(Reader(&bytes).integer(), Some(value), "{value}");
    }
    assert_eq!(integer(128), b"\x02\x02\0\x80".as_slice());
    assert_eq!(integer(-129), b"\x02\x02\xff\x7f".as_slice());
    assert_eq!(signed(&[0; 9]), None);
    assert_eq!(signed(b""), None);
    assert_eq!(
        unsigned(b"\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        Some(u64::MAX)
    );
    assert_eq!(unsigned(&[1; 9]), None);
    assert_eq!(unsigned(b""), None);
    let long = element(tag::OCTET_STRING, &[7; 300]);
    assert_eq!(Reader(&long).take(tag::OCTET_STRING), Some(&[7; 300][..]));
    for cut in [
        &b"\x04\x80"[..],
        b"\x04\x85\0\0\0\0\x01a",
        b"\x04\x02a",
        b"\x04",
    ] {
        assert_eq!(Reader(cut).next(), None, "{cut:?}");
    }
}

#[test]
fn values_are_judged() {
    let one = |more: &str| format!(r#"{{"values":[{{"oid":"{STATUS}","name":"v"{more}}}]}}"#);
    for (more, held, state, summary) in [
        ("", integer(-3), State::Ok, "v -3"),
        (
            r#","unit":"C","times":0.1"#,
            integer(215),
            State::Ok,
            "v 21.5 C",
        ),
        ("", element(tag::OCTET_STRING, b"up"), State::Ok, "v up"),
        (
            r#","warn_above":0.2"#,
            element(tag::OCTET_STRING, b"0.25"),
            State::Warning,
            "v 0.25, v 0.25, above 0.2",
        ),
        (
            r#","critical_below":2"#,
            unsigned_element(0x42, 1),
            State::Critical,
            "v 1, v 1, below 2",
        ),
        (
            r#","equals":"1""#,
            integer(2),
            State::Critical,
            "v 2, v is 2, expected 1",
        ),
        (
            r#","equals":"10.0.0.1""#,
            element(0x40, &[10, 0, 0, 1]),
            State::Ok,
            "v 10.0.0.1",
        ),
        (
            r#","warn_above":1"#,
            element(tag::OCTET_STRING, b"much"),
            State::Unknown,
            "the agent answers, v: expected a number, found much",
        ),
        (
            "",
            element(0x81, b""),
            State::Unknown,
            "the agent answers, v: no such instance",
        ),
        (
            r#","warn_above":10"#,
            unsigned_element(0x43, 1_250),
            State::Warning,
            "v 12.5, v 12.5, above 10",
        ),
    ] {
        let report = run(&one(more), &[(STATUS, held)]).unwrap();
        assert_eq!(
            (report.state, report.summary.as_str()),
            (state, summary),
            "{more}"
        );
    }
}

#[test]
fn counters_become_rates() {
    let store = FakeStore::default();
    let at = |seconds, value, up| {
        let held = [(OCTETS, counter64(value)), uptime(up)];
        run_at(seconds, RATE, &held, &store).unwrap()
    };
    let first = at(0, 1_000, 100);
    assert_eq!((first.state, metric(&first, "in")), (State::Ok, None));
    assert_eq!(metric(&first, "uptime_s"), Some(100.0));
    let second = at(60, 7_000, 160);
    assert_eq!(metric(&second, "in"), Some(800.0));
    assert_eq!(second.summary, "in 800 bit/s");
    let third = at(120, 22_000, 220);
    assert_eq!(third.state, State::Warning);
    assert!(
        third.summary.ends_with("in 2000, above 1000"),
        "{}",
        third.summary
    );
    // The agent began anew: no rate, and none of the time before.
    assert_eq!(metric(&at(180, 500, 10), "in"), None);
    assert_eq!(metric(&at(240, 1_100, 70), "in"), Some(80.0));
    // One of 64 bits does not go round.
    assert_eq!(metric(&at(300, 100, 130), "in"), None);
}

#[test]
fn a_counter_of_32_bits_goes_round() {
    let store = FakeStore::default();
    let top = u64::from(u32::MAX);
    for (seconds, value, rate) in [(0, top - 99, None), (10, 900, Some(800.0))] {
        let held = [(OCTETS, counter32(value)), uptime(1_000 + seconds as u64)];
        let report = run_at(seconds, RATE, &held, &store).unwrap();
        assert_eq!(metric(&report, "in"), rate);
    }
}

#[test]
fn what_the_agent_refuses_is_named() {
    let json = r#"{"version":"1","values":[{"oid":"1.3.6.1.2.1.2.2.1.8.1","name":"v"}]}"#;
    let check = |data: Vec<u8>| {
        let config = config::parse::<Config>(json).unwrap();
        let store = FakeStore::default();
        judge::check(&request(json), &config, None, &replying(data), &store).unwrap()
    };
    let id = id_at(NOW, json);
    let report = check(answer(id, 2, 1, &[(STATUS, element(tag::NULL, &[]))]));
    assert_eq!(
        report.summary,
        format!("the agent refuses: noSuchName, status 2 ({STATUS})")
    );
    assert_eq!(
        check(answer(id, 0, 0, &[])).summary,
        "expected 1 values, found 0"
    );
    for other in [
        answer(id ^ 1, 0, 0, &[(STATUS, integer(1))]),
        b"hello".to_vec(),
    ] {
        let report = check(other);
        assert_eq!(report.state, State::Critical);
        assert!(
            report.summary.starts_with("expected an SNMP answer"),
            "{}",
            report.summary
        );
    }
    let config = config::parse::<Config>(json).unwrap();
    let net = FakeDatagrams::default();
    net.udp
        .borrow_mut()
        .push_back(Err(Error::Timeout(Phase::FirstByte)));
    let silent = judge::check(&request(json), &config, None, &net, &FakeStore::default()).unwrap();
    assert!(
        silent.summary.contains("does not know the community"),
        "{}",
        silent.summary
    );
}

#[test]
fn the_community_is_the_secret() {
    let json = r#"{"community":"clear","values":[{"oid":"1.3.6","name":"v"}]}"#;
    let config = config::parse::<Config>(json).unwrap();
    for (secret, expected) in [(None, "clear"), (Some("hidden"), "hidden")] {
        let net = FakeDatagrams::default();
        let _ = judge::check(&request(json), &config, secret, &net, &FakeStore::default());
        let sent = net.sent.borrow();
        let mut message = Reader(Reader(&sent[0].data).take(tag::SEQUENCE).unwrap());
        message.next();
        assert_eq!(message.take(tag::OCTET_STRING), Some(expected.as_bytes()));
    }
    let wrong = r#"{"values":[{"oid":"1.3.6","name":"a"},{"oid":"1.99","name":"b"}]}"#;
    let config = config::parse::<Config>(wrong).unwrap();
    let net = FakeDatagrams::default();
    let refused = judge::check(&request(wrong), &config, None, &net, &FakeStore::default());
    assert!(
        matches!(&refused, Err(ProbeError::Config(problem)) if problem.pointer == "/values/1/oid"),
        "{refused:?}"
    );
}

#[test]
fn no_bytes_make_it_panic() {
    let held = [
        (STATUS, integer(1)),
        (OCTETS, counter64(7)),
        (UPTIME, oid("1.3.6").unwrap()),
    ];
    for bytes in mutations(&answer(1, 0, 0, &held)) {
        if let Some(answer) = Answer::read(&bytes) {
            for (_, held) in answer.held {
                assert!(held.number().is_none_or(f64::is_finite));
                assert!(held.text().len() <= bytes.len() * 4 + 64);
            }
        }
    }
    assert_eq!(Held::Bytes(b"inf".to_vec()).number(), None);
}
