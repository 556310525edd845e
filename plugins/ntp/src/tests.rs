use std::cell::Cell;

use bellwether_plugin::datagrams::{
    Datagram, Datagrams, DnsQuery, DnsResponse, Error, IcmpRequest, IcmpResponse, UdpRequest,
    UdpResponse,
};
use bellwether_plugin::fake::{NOW, manifest_problems, metric, mutations, request};
use bellwether_plugin::net::{Phase, Timings};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::{Config, Ntp, judge, packet};

/// A server whose clock is so many microseconds ahead, 10 ms away in each
/// direction.
struct Server {
    ahead: i64,
    first: u8,
    stratum: u8,
    reference: [u8; 4],
    cookie: Cell<bool>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            ahead: 0,
            first: 0x24,
            stratum: 2,
            reference: *b"GPS\0",
            cookie: Cell::new(true),
        }
    }
}

fn stamp(unix: i64) -> [u8; 8] {
    let seconds = (unix.div_euclid(1_000_000) + 2_208_988_800) as u64;
    let fraction = ((unix.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
    ((seconds << 32) | (fraction + 1)).to_be_bytes()
}

impl Datagrams for Server {
    fn udp(&self, request: &UdpRequest) -> Result<UdpResponse, Error> {
        let mut data = vec![0; packet::SIZE];
        data[0] = self.first;
        data[1] = self.stratum;
        data[10] = 0x80;
        data[12..16].copy_from_slice(&self.reference);
        if self.cookie.get() {
            data[24..32].copy_from_slice(&request.data[40..48]);
        }
        data[32..40].copy_from_slice(&stamp(NOW + 10_000 + self.ahead));
        data[40..48].copy_from_slice(&stamp(NOW + 11_000 + self.ahead));
        Ok(UdpResponse {
            peer: "192.0.2.1:123".to_owned(),
            sent: 1,
            sent_at: NOW,
            replies: vec![Datagram {
                data,
                truncated: false,
                after: 21_000,
            }],
            timings: Timings {
                resolve: None,
                connect: None,
                tls: None,
                first_byte: Some(21_000),
                total: 21_000,
            },
        })
    }

    fn dns(&self, _: &DnsQuery) -> Result<DnsResponse, Error> {
        Err(Error::Refused)
    }

    fn icmp(&self, _: &IcmpRequest) -> Result<IcmpResponse, Error> {
        Err(Error::Refused)
    }
}

fn run(json: &str, server: &dyn Datagrams) -> Result<Report, ProbeError> {
    judge::check(&request(json), &config::parse::<Config>(json)?, server)
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", &Server::default()).unwrap();
    assert_eq!(manifest_problems::<Ntp>(&report), Vec::<String>::new());
}

#[test]
fn the_offset_is_measured() {
    for (ahead, state, text) in [
        (0, State::Ok, "stratum 2, 0.0 ms"),
        (
            250_000,
            State::Warning,
            "stratum 2, 250 ms ahead, more than 100 ms",
        ),
        (
            -2_000_000,
            State::Critical,
            "stratum 2, 2.00 s behind, more than 1.00 s",
        ),
    ] {
        let server = Server {
            ahead,
            ..Server::default()
        };
        let report = run("{}", &server).unwrap();
        assert_eq!(report.state, state, "{}", report.summary);
        assert!(report.summary.starts_with(text), "{}", report.summary);
        let value = |name: &str| metric(&report, name).unwrap();
        assert!((value("offset_ms") - ahead as f64 / 1_000.0).abs() < 0.01);
        assert!((value("delay_ms") - 20.0).abs() < 0.01);
        assert!((value("root_dispersion_ms") - 500.0).abs() < 0.01);
    }
}

#[test]
fn a_clock_that_is_not_set_is_critical() {
    for (server, text) in [
        (
            Server {
                first: 0xe4,
                ..Server::default()
            },
            "not set",
        ),
        (
            Server {
                stratum: 16,
                ..Server::default()
            },
            "not set",
        ),
        (
            Server {
                stratum: 0,
                reference: *b"RATE",
                ..Server::default()
            },
            "sends clients away: RATE",
        ),
        (
            Server {
                first: 0x23,
                ..Server::default()
            },
            "mode of a server",
        ),
        (
            Server {
                cookie: Cell::new(false),
                ..Server::default()
            },
            "another question",
        ),
    ] {
        let report = run("{}", &server).unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(text), "{}", report.summary);
    }
    let report = run(r#"{"max_stratum":1}"#, &Server::default()).unwrap();
    assert!(
        report.summary.contains("stratum above 1"),
        "{}",
        report.summary
    );
}

#[test]
fn a_server_that_does_not_answer_is_critical() {
    let net = bellwether_plugin::datagrams::FakeDatagrams::default();
    net.udp
        .borrow_mut()
        .push_back(Err(Error::Timeout(Phase::FirstByte)));
    assert_eq!(run("{}", &net).unwrap().summary, "timed out in first-byte");
    assert_eq!(net.sent.borrow()[0].data.len(), packet::SIZE);
    assert_eq!(net.sent.borrow()[0].port, 123);
}

#[test]
fn times_after_2036_are_read() {
    // 2040-01-01: NTP's second era.
    let later = 2_208_988_800_000_000;
    let mut data = vec![0; packet::SIZE];
    data[0] = 0x24;
    data[1] = 1;
    data[32..40].copy_from_slice(&stamp(later));
    data[40..48].copy_from_slice(&stamp(later));
    let answer = packet::answer(&data, 0, later).unwrap();
    assert_eq!(answer.received, later);
    assert!(packet::answer(&data[..47], 0, later).is_err());
}

#[test]
fn no_bytes_make_it_panic() {
    let mut data = vec![0; packet::SIZE];
    data[0] = 0x24;
    data[1] = 1;
    data[24..32].copy_from_slice(&7_u64.to_be_bytes());
    data[32..40].copy_from_slice(&stamp(NOW));
    data[40..48].copy_from_slice(&stamp(NOW));
    assert!(packet::answer(&data, 7, NOW).is_ok());
    for bytes in mutations(&data) {
        let _ = packet::answer(&bytes, 7, NOW);
    }
}
