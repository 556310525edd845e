use bellwether_plugin::datagrams::{Error, FakeDatagrams, IcmpReply, IcmpResponse};
use bellwether_plugin::fake::{manifest_problems, metric, request};
use bellwether_plugin::net::Phase;
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::{Config, Icmp, judge};

fn run(json: &str, answer: Result<IcmpResponse, Error>) -> Result<Report, ProbeError> {
    let net = FakeDatagrams::default();
    net.icmp.borrow_mut().push_back(answer);
    judge::check(&request(json), &config::parse::<Config>(json)?, &net)
}

/// Replies after these milliseconds, in this order of coming.
fn replies(sent: u32, trips: &[(u32, u64)]) -> Result<IcmpResponse, Error> {
    Ok(IcmpResponse {
        peer: "192.0.2.1".to_owned(),
        sent,
        replies: trips
            .iter()
            .map(|(sequence, ms)| IcmpReply {
                sequence: *sequence,
                round_trip: ms * 1_000,
            })
            .collect(),
        resolve: None,
    })
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", replies(1, &[(0, 1)])).unwrap();
    assert_eq!(manifest_problems::<Icmp>(&report), Vec::<String>::new());
}

#[test]
fn round_trips_and_loss_are_measured() {
    let report = run("{}", replies(4, &[(1, 30), (0, 10), (3, 20)])).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (
            State::Warning,
            "3 of 4 replies in 20 ms, more than 20% lost"
        )
    );
    assert_eq!(metric(&report, "rtt_ms"), Some(20.0));
    assert_eq!(metric(&report, "rtt_min_ms"), Some(10.0));
    assert_eq!(metric(&report, "rtt_max_ms"), Some(30.0));
    // 10 → 30 → 20 in the order of sending.
    assert_eq!(metric(&report, "jitter_ms"), Some(15.0));
    assert_eq!(metric(&report, "loss_percent"), Some(25.0));
}

#[test]
fn limits_decide() {
    for (json, answer, state) in [
        (
            "{}",
            replies(5, &[(0, 1), (1, 1), (2, 1), (3, 1)]),
            State::Ok,
        ),
        ("{}", replies(5, &[(0, 1)]), State::Critical),
        (r#"{"warn_loss":0}"#, replies(2, &[(0, 1)]), State::Warning),
        (r#"{"warn_ms":5}"#, replies(1, &[(0, 9)]), State::Warning),
        (
            r#"{"warn_ms":5,"critical_ms":8}"#,
            replies(1, &[(0, 9)]),
            State::Critical,
        ),
    ] {
        assert_eq!(run(json, answer).unwrap().state, state, "{json}");
    }
}

#[test]
fn silence_is_critical_and_a_missing_grant_is_not() {
    for error in [
        Error::Timeout(Phase::FirstByte),
        Error::Unreachable("no route".to_owned()),
    ] {
        let report = run("{}", Err(error)).unwrap();
        assert_eq!(report.state, State::Critical);
        assert_eq!(metric(&report, "loss_percent"), Some(100.0));
    }
    let unknown = run("{}", Err(Error::Timeout(Phase::Resolve))).unwrap();
    assert_eq!(unknown, Report::critical("timed out in resolve"));
    let denied = run("{}", Err(Error::Denied("x".to_owned())));
    assert_eq!(denied, Err(ProbeError::Denied("x".to_owned())));
}

#[test]
fn the_node_is_the_default() {
    let net = FakeDatagrams::default();
    let json = r#"{"count":2}"#;
    let config = config::parse::<Config>(json).unwrap();
    let _ = judge::check(&request(json), &config, &net);
    let asked = net.pinged.borrow();
    assert_eq!((asked[0].host.as_str(), asked[0].count), ("192.0.2.1", 2));
}
