use bellwether_plugin::datagrams::{
    DnsFlags, DnsRecord, DnsResponse, DnsTransport, Error, FakeDatagrams,
};
use bellwether_plugin::fake::{manifest_problems, metric, request};
use bellwether_plugin::net::{Phase, Timings};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::{Config, Dns, judge};

fn response(rcode: &str, records: &[(&str, &str)]) -> DnsResponse {
    DnsResponse {
        rcode: rcode.to_owned(),
        flags: DnsFlags::RECURSION_AVAILABLE,
        answers: records
            .iter()
            .zip([300, 60, 900].into_iter().cycle())
            .map(|((kind, data), ttl)| DnsRecord {
                name: "example.org.".to_owned(),
                record_type: (*kind).to_owned(),
                class: "IN".to_owned(),
                ttl,
                data: (*data).to_owned(),
            })
            .collect(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        server: "192.0.2.53:53".to_owned(),
        transport: DnsTransport::Udp,
        size: 80,
        timings: Timings {
            resolve: None,
            connect: None,
            tls: None,
            first_byte: Some(11_000),
            total: 12_000,
        },
    }
}

fn run(json: &str, answer: Result<DnsResponse, Error>) -> Result<Report, ProbeError> {
    let net = FakeDatagrams::default();
    net.dns.borrow_mut().push_back(answer);
    judge::check(&request(json), &config::parse::<Config>(json)?, &net)
}

#[test]
fn the_schema_fits_the_configuration() {
    let answer = response("NOERROR", &[("SOA", "ns. root. 1 2 3 4 5")]);
    let report = run("{}", Ok(answer)).unwrap();
    assert_eq!(manifest_problems::<Dns>(&report), Vec::<String>::new());
}

#[test]
fn an_answer_is_ok_and_measured() {
    let answer = response("NOERROR", &[("A", "192.0.2.1"), ("A", "192.0.2.2")]);
    let report = run(r#"{"name":"example.org"}"#, Ok(answer)).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "NOERROR, 2 records in 12 ms")
    );
    let metrics: Vec<_> = report
        .metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.value))
        .collect();
    assert_eq!(
        metrics,
        [
            ("latency_ms", 12.0),
            ("answers", 2.0),
            ("ttl_s", 60.0),
            ("size_bytes", 80.0)
        ]
    );
    assert!(report.details.contains("example.org. 300 A 192.0.2.1"));
    let soa = response(
        "NOERROR",
        &[(
            "SOA",
            "ns.example.org. root.example.org. 2026010101 1 2 3 4",
        )],
    );
    let report = run(r#"{"name":"example.org","type":"SOA"}"#, Ok(soa)).unwrap();
    assert_eq!(metric(&report, "serial"), Some(2_026_010_101.0));
}

#[test]
fn what_is_wrong_is_said() {
    let two = || {
        Ok(response(
            "NOERROR",
            &[("MX", "10 Mail.Example.org."), ("MX", "20 b.example.")],
        ))
    };
    let cases = [
        (
            r#"{"expect":["10 mail.example.org"]}"#,
            two(),
            State::Ok,
            "",
        ),
        (
            r#"{"expect":["10 mail.example.org"],"exact":true}"#,
            two(),
            State::Critical,
            "found \"20 b.example.\", which is not expected",
        ),
        (
            r#"{"expect":["30 c.example"]}"#,
            two(),
            State::Critical,
            "expected \"30 c.example\"",
        ),
        (
            r#"{"min_answers":3}"#,
            two(),
            State::Critical,
            "expected at least 3 records, found 2",
        ),
        (
            "{}",
            Ok(response("NOERROR", &[])),
            State::Critical,
            "at least 1",
        ),
        (
            "{}",
            Ok(response("NXDOMAIN", &[])),
            State::Critical,
            "expected NOERROR, found NXDOMAIN",
        ),
        (
            r#"{"rcode":"nxdomain"}"#,
            Ok(response("NXDOMAIN", &[])),
            State::Ok,
            "",
        ),
        (
            r#"{"authoritative":true}"#,
            two(),
            State::Critical,
            "not authoritative",
        ),
        (
            r#"{"validated":true}"#,
            two(),
            State::Critical,
            "not validated",
        ),
        (
            r#"{"warn_ms":5}"#,
            two(),
            State::Warning,
            "slower than 5.0 ms",
        ),
        // The alias is no address.
        (
            "{}",
            Ok(response("NOERROR", &[("CNAME", "a.example.")])),
            State::Critical,
            "found 0",
        ),
        (
            r#"{"type":"cname","expect":["a.example"]}"#,
            Ok(response(
                "NOERROR",
                &[("CNAME", "a.example."), ("RRSIG", "CNAME 8 2 60")],
            )),
            State::Ok,
            "1 record ",
        ),
        (
            r#"{"type":"TYPE46"}"#,
            Ok(response("NOERROR", &[("RRSIG", "A 8 2 60")])),
            State::Ok,
            "1 record ",
        ),
        (
            r#"{"type":"any"}"#,
            Ok(response("NOERROR", &[("A", "192.0.2.1"), ("CNAME", "a.")])),
            State::Ok,
            "2 records",
        ),
        (
            r#"{"type":"TXT","expect":["v=spf1 -all"]}"#,
            Ok(response("NOERROR", &[("TXT", "\"v=spf1 -all\"")])),
            State::Ok,
            "",
        ),
        (
            "{}",
            Err(Error::Timeout(Phase::FirstByte)),
            State::Critical,
            "timed out in first-byte",
        ),
    ];
    for (json, answer, state, text) in cases {
        let report = run(json, answer).unwrap();
        assert_eq!(report.state, state, "{json}: {}", report.summary);
        assert!(report.summary.contains(text), "{json}: {}", report.summary);
    }
    assert!(matches!(
        run(r#"{"exact":true}"#, Err(Error::Refused)),
        Err(ProbeError::Config(_))
    ));
    assert_eq!(
        run("{}", Err(Error::Denied("x".to_owned()))),
        Err(ProbeError::Denied("x".to_owned()))
    );
}

#[test]
fn the_question_is_the_configuration_s() {
    let net = FakeDatagrams::default();
    for json in [
        "{}",
        r#"{"name":"a.example","type":"mx","server":"ns.example","port":5353,"transport":"tcp","recursion":false}"#,
    ] {
        let config = config::parse::<Config>(json).unwrap();
        let _ = judge::check(&request(json), &config, &net);
    }
    let asked = net.asked.borrow();
    assert_eq!((asked[0].name.as_str(), asked[0].port), ("192.0.2.1", None));
    assert_eq!(
        (
            asked[1].server.as_deref(),
            asked[1].port,
            asked[1].transport,
            asked[1].recursion
        ),
        (Some("ns.example"), Some(5_353), DnsTransport::Tcp, false)
    );
}
