//! `net.udp`, `net.dns` and `net.icmp` against real sockets on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bellwether::check::outcome::{FaultKind, State};
use bellwether::config::spec::Spec;
use bellwether::plugin::resolve::{Resolve, ResolveError, Resolving};
use bellwether::plugin::{Host, Settings};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::TaskTracker;

use crate::support::*;

/// A server that hands each datagram with its number and sender to `answer`,
/// which says what goes back.
async fn datagrams<F>(answer: F) -> SocketAddr
where
    F: Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
{
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        for number in 0.. {
            let Ok((size, peer)) = socket.recv_from(&mut buffer).await else {
                return;
            };
            for reply in answer(number, &buffer[..size]) {
                let _ = socket.send_to(&reply, peer).await;
            }
        }
    });
    address
}

fn udp(server: SocketAddr, more: serde_json::Value) -> serde_json::Value {
    let mut config = json!({"call": "udp", "target": server.ip().to_string(), "port": server.port(),
        "text": "ping", "amount": 1, "attempts": 1, "size": 1024});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

#[tokio::test]
async fn datagrams_go_out_and_come_back() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let echo = datagrams(|_, data| vec![data.to_vec(), b"second".to_vec()]).await;
    let run = |more| job(&reach, udp(echo, more)).net(&["udp:node"]);
    let report = run(json!({})).report(&host).await;
    assert_eq!(report.summary, "ok: ping");
    assert_eq!(report.details, echo.to_string());
    let report = run(json!({"amount": 2})).report(&host).await;
    assert_eq!(report.summary, "ok: ping|second");
    // A third one never comes: what came is the answer.
    let report = run(json!({"amount": 3, "idle_ms": 50})).report(&host).await;
    assert_eq!(report.summary, "ok: ping|second");
    let report = run(json!({"size": 2})).report(&host).await;
    assert_eq!(report.summary, "ok: pi…");
    let report = run(json!({"amount": 0})).report(&host).await;
    assert_eq!(report.summary, "ok: ");
    for (more, expected) in [
        (json!({"amount": 65}), "64 replies"),
        (json!({"attempts": 6}), "5 attempts"),
        (json!({"text": "x".repeat(9_000)}), "8192 bytes"),
        (json!({"port": 0}), "a port from 1"),
    ] {
        let report = run(more).report(&host).await;
        assert!(report.summary.contains(expected), "{}", report.summary);
    }
}

#[tokio::test]
async fn a_datagram_that_was_lost_is_sent_again() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let deaf = datagrams(|number, data| match number {
        0 | 1 => vec![],
        _ => vec![data.to_vec()],
    })
    .await;
    let report = job(&reach, udp(deaf, json!({"attempts": 5})))
        .net(&["udp:node"])
        .report(&host)
        .await;
    assert_eq!(report.summary, "ok: ping");
    assert_eq!(report.metrics[0].value, 3.0, "how often it was sent");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_critical_and_no_fault() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let mute = datagrams(|_, _| vec![]).await;
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    for (server, expected) in [
        (mute, "failed: timed out in first-byte"),
        (closed, "failed: connection refused"),
    ] {
        let report = job(&reach, udp(server, json!({"attempts": 2})))
            .net(&["udp:node"])
            .timeout(200)
            .report(&host)
            .await;
        assert_eq!(
            (report.state, &*report.summary),
            (State::Critical, expected)
        );
    }
}

#[tokio::test]
async fn another_peer_s_datagrams_are_not_heard() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    // Answers from another socket first.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buffer = [0; 64];
        let (_, peer) = socket.recv_from(&mut buffer).await.unwrap();
        other.send_to(b"forged", peer).await.unwrap();
        socket.send_to(b"true", peer).await.unwrap();
    });
    let report = job(&reach, udp(server, json!({})))
        .net(&["udp:node"])
        .report(&host)
        .await;
    assert_eq!(report.summary, "ok: true");
}

#[tokio::test]
async fn datagrams_need_a_grant_of_their_own() {
    let host = host_with(|config| {
        config.resolver = Some(Arc::new(Names(
            [
                ("meta.example", vec!["169.254.169.254".parse().unwrap()]),
                ("nat64.example", vec!["64:ff9b::7f00:1".parse().unwrap()]),
                ("app.example", vec!["127.0.0.1".parse().unwrap()]),
            ]
            .into(),
        )));
    });
    let reach = install(&host, "testing/reach").await;
    let server = datagrams(|_, data| vec![data.to_vec()]).await;
    let port = server.port();
    let local = server.ip().to_string();
    for (target, grants, expected) in [
        (
            &*local,
            vec!["node".to_owned()],
            "a grant would be \"udp:127.0.0.1:",
        ),
        (
            &*local,
            vec![format!("udp:127.0.0.1:{}", port - 1)],
            "not granted",
        ),
        (&*local, vec![format!("udp:127.0.0.0/8:{port}")], "ok: ping"),
        (
            "::ffff:127.0.0.1",
            vec![format!("udp:127.0.0.1:{port}")],
            "ok: ping",
        ),
        (
            "64:ff9b::7f00:1",
            vec![format!("udp:127.0.0.1:{port}")],
            "not granted",
        ),
        (
            "app.example",
            vec![format!("udp:app.example:{port}")],
            "loopback",
        ),
        (
            "app.example",
            vec![format!("udp:127.0.0.1:{port}")],
            "a grant would be \"dns:app.example\"",
        ),
        (
            "app.example",
            vec![format!("udp:127.0.0.1:{port}"), "dns:app.example".into()],
            "ok: ping",
        ),
        (
            "nat64.example",
            vec![format!("udp:nat64.example:{port}")],
            "loopback",
        ),
        (
            "meta.example",
            vec![format!("udp:*.example:{port}")],
            "link-local",
        ),
    ] {
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        let report = job(&reach, udp(server, json!({"target": target})))
            .node("node.example")
            .net(&grants)
            .report(&host)
            .await;
        assert!(
            report.summary.contains(expected),
            "{target} with {grants:?}: {}",
            report.summary
        );
    }
    let mut spec = Spec::default();
    spec.egress.deny = vec!["127.0.0.0/8".into()];
    host.reconfigure(Settings::from_spec(&spec).unwrap());
    for target in ["127.0.0.1", "64:ff9b::7f00:1", "::ffff:127.0.0.1"] {
        let report = job(&reach, udp(server, json!({"target": target})))
            .net(&["udp:node", "udp:[::/0]:*"])
            .report(&host)
            .await;
        assert!(report.summary.contains("egress.deny"), "{}", report.summary);
    }
}

#[tokio::test]
async fn a_flood_of_datagrams_stops_at_the_limit() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let heard = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&heard);
    let server = datagrams(move |_, _| {
        counting.fetch_add(1, Ordering::Relaxed);
        vec![]
    })
    .await;
    let flood = |more: serde_json::Value| {
        let mut config = udp(server, json!({"call": "udp-flood", "amount": 1_000_000}));
        config["text"] = more;
        job(&reach, config).net(&["udp:node"])
    };
    let report = flood(json!("x")).report(&host).await;
    assert_eq!(report.metrics[0].value, 1_000.0);
    assert!(
        report.summary.contains("sent 1000 datagrams"),
        "{}",
        report.summary
    );
    let report = flood(json!("x".repeat(8_192))).report(&host).await;
    assert_eq!(report.metrics[0].value, 128.0, "{}", report.summary);
    assert!(heard.load(Ordering::Relaxed) <= 1_128);
}

/// Answers questions as `answer` says: by UDP, and by TCP on the same port.
async fn name_server<F>(answer: F) -> SocketAddr
where
    F: Fn(&Message, bool) -> Option<Message> + Clone + Send + Sync + 'static,
{
    // A port that both protocols have free.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let tasks = TaskTracker::new();
    let by_udp = answer.clone();
    tasks.spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((size, peer)) = udp.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..size]).unwrap();
            if let Some(reply) = by_udp(&question, false) {
                let _ = udp.send_to(&reply.to_vec().unwrap(), peer).await;
            }
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut question = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut question).await.unwrap();
            let question = Message::from_vec(&question).unwrap();
            if let Some(reply) = answer(&question, true) {
                let reply = reply.to_vec().unwrap();
                let _ = stream.write_u16(reply.len() as u16).await;
                let _ = stream.write_all(&reply).await;
            }
        }
    });
    address
}

fn reply(question: &Message, code: ResponseCode, data: &[RData]) -> Message {
    let mut reply = Message::new(
        question.metadata.id,
        MessageType::Response,
        question.metadata.op_code,
    );
    reply.metadata.response_code = code;
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(question.queries[0].clone());
    for data in data {
        reply.add_answer(Record::from_rdata(
            question.queries[0].name().clone(),
            300,
            data.clone(),
        ));
    }
    reply
}

/// A zone with a bit of everything; big answers go by TCP.
fn zone(question: &Message, tcp: bool) -> Option<Message> {
    let asked = &question.queries[0];
    let name = asked.name().to_ascii();
    Some(match (name.as_str(), asked.query_type()) {
        ("example.org.", RecordType::A) => reply(
            question,
            ResponseCode::NoError,
            &[RData::A(A::new(192, 0, 2, 1))],
        ),
        ("example.org.", RecordType::MX) => reply(
            question,
            ResponseCode::NoError,
            &[RData::MX(MX::new(
                10,
                Name::from_ascii("mail.example.org.").unwrap(),
            ))],
        ),
        ("example.org.", RecordType::TXT) if !tcp => {
            let mut cut = reply(question, ResponseCode::NoError, &[]);
            cut.metadata.truncation = true;
            cut
        }
        ("example.org.", RecordType::TXT) => {
            let texts: Vec<RData> = (0..50)
                .map(|n| RData::TXT(TXT::new(vec![format!("{n} {}", "x".repeat(200))])))
                .collect();
            reply(question, ResponseCode::NoError, &texts)
        }
        ("broken.example.", _) => reply(question, ResponseCode::ServFail, &[]),
        ("mute.example.", _) => return None,
        _ => reply(question, ResponseCode::NXDomain, &[]),
    })
}

fn dns(server: SocketAddr, name: &str, kind: &str) -> serde_json::Value {
    json!({"call": "dns", "target": server.ip().to_string(), "port": server.port(),
        "text": name, "kind": kind, "attempts": 1})
}

#[tokio::test]
async fn a_chosen_server_is_asked() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let server = name_server(zone).await;
    let ask = |name: &str, kind: &str| job(&reach, dns(server, name, kind)).net(&["udp:node"]);
    for (name, kind, expected) in [
        (
            "example.org",
            "A",
            "ok: NOERROR DnsTransport::Udp example.org. 300 A 192.0.2.1",
        ),
        (
            "EXAMPLE.org.",
            "mx",
            "ok: NOERROR DnsTransport::Udp example.org. 300 MX 10 mail.example.org.",
        ),
        ("nowhere.example", "A", "ok: NXDOMAIN DnsTransport::Udp "),
        (
            "broken.example",
            "TYPE65",
            "ok: SERVFAIL DnsTransport::Udp ",
        ),
    ] {
        let report = ask(name, kind).report(&host).await;
        assert_eq!(report.summary, expected);
        assert!(report.details.starts_with(&server.to_string()));
        assert!(
            report.details.contains("recursion available: true"),
            "{}",
            report.details
        );
    }
    // Cut over UDP, whole over TCP, which the grant for datagrams covers.
    let report = ask("example.org", "TXT").report(&host).await;
    assert!(
        report
            .summary
            .starts_with("ok: NOERROR DnsTransport::Tcp example.org. 300 TXT \"0 xxx"),
        "{}",
        report.summary
    );
    assert_eq!(report.metrics[0].value, 50.0);
    let report = ask("mute.example", "A").timeout(200).report(&host).await;
    assert_eq!(
        (report.state, &*report.summary),
        (State::Critical, "failed: timed out in first-byte")
    );
    let report = ask("a..b", "A").report(&host).await;
    assert!(
        report.summary.contains("expected a domain name"),
        "{}",
        report.summary
    );
    let report = job(&reach, dns(server, "example.org", "A"))
        .net(&["node", "dns:*"])
        .report(&host)
        .await;
    assert!(
        report.summary.contains("a grant would be \"udp:127.0.0.1:"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn a_forged_answer_is_passed_over() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let server = datagrams(|_, data| {
        let question = Message::from_vec(data).unwrap();
        let address = |last| [RData::A(A::new(192, 0, 2, last))];
        let mut other_id = reply(&question, ResponseCode::NoError, &address(66));
        other_id.metadata.id = question.metadata.id.wrapping_add(1);
        let mut other_name = reply(&question, ResponseCode::NoError, &address(67));
        other_name.queries[0].set_name(Name::from_ascii("evil.example.").unwrap());
        let honest = reply(&question, ResponseCode::NoError, &address(1));
        [other_id, other_name, honest]
            .iter()
            .map(|message| message.to_vec().unwrap())
            .collect()
    })
    .await;
    let report = job(&reach, dns(server, "example.org", "A"))
        .net(&["udp:node"])
        .report(&host)
        .await;
    assert!(
        report.summary.ends_with("A 192.0.2.1"),
        "{}",
        report.summary
    );
}

/// The resolvers of the engine's host are these.
struct Servers(Vec<SocketAddr>);

impl Resolve for Servers {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolving<'a> {
        Box::pin(async { Err(ResolveError::Name("no names here".into())) })
    }

    fn servers(&self) -> Result<Vec<SocketAddr>, String> {
        match self.0.is_empty() {
            true => Err("no server is configured".into()),
            false => Ok(self.0.clone()),
        }
    }
}

async fn ask_system(
    host: &Host,
    reach: &bellwether::check::outcome::Digest,
    name: &str,
    grants: &[&str],
) -> String {
    let config = json!({"call": "dns", "text": name, "kind": "A", "attempts": 1});
    let report = job(reach, config)
        .node("node.example")
        .net(grants)
        .report(host)
        .await;
    report.summary
}

#[tokio::test]
async fn the_system_s_servers_are_asked_about_granted_names_alone() {
    let knows = name_server(zone).await;
    // The first one knows nothing, the second one is not there.
    let ignorant =
        name_server(|question, _| Some(reply(question, ResponseCode::ServFail, &[]))).await;
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let host = host_with(|config| {
        config.resolver = Some(Arc::new(Servers(vec![ignorant, closed, knows])));
    });
    let reach = install(&host, "testing/reach").await;
    for (name, grants, expected) in [
        ("example.org", vec!["dns:example.org"], "192.0.2.1"),
        ("example.org", vec!["dns:*"], "192.0.2.1"),
        ("example.org", vec!["example.org:443"], "192.0.2.1"),
        ("node.example", vec!["node"], "NXDOMAIN"),
        (
            "data.evil.example",
            vec!["node", "dns:example.org", "0.0.0.0/0:*"],
            "a grant would be \"dns:data.evil.example\"",
        ),
        ("example.org", vec![], "denied"),
        (".", vec!["dns:example.org"], "a grant would be \"dns:*\""),
    ] {
        let summary = ask_system(&host, &reach, name, &grants).await;
        assert!(
            summary.contains(expected),
            "{name} with {grants:?}: {summary}"
        );
    }
}

#[tokio::test]
async fn a_host_without_resolvers_is_a_fault() {
    let host = host_with(|config| config.resolver = Some(Arc::new(Servers(Vec::new()))));
    let reach = install(&host, "testing/reach").await;
    let config = json!({"call": "dns", "text": "example.org", "kind": "A", "attempts": 1});
    let fault = job(&reach, config).net(&["dns:*"]).fault(&host).await;
    assert_eq!(fault.kind, FaultKind::Engine);
    assert!(
        fault.text.contains("no server is configured"),
        "{}",
        fault.text
    );
}

/// Answers differently each time: what a rebinding name server does.
struct Rebinding(AtomicUsize, Mutex<Vec<Vec<std::net::IpAddr>>>);

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolving<'a> {
        Box::pin(async {
            let time = self.0.fetch_add(1, Ordering::Relaxed);
            let answers = self.1.lock().unwrap();
            Ok(answers[time.min(answers.len() - 1)].clone())
        })
    }
}

#[tokio::test]
async fn a_name_that_is_rebound_between_check_and_connect_gains_nothing() {
    // First the address that is granted, from then on one that is not.
    let (good, evil) = ("127.0.0.2", "127.0.0.1");
    let server = http(|_| response("200 OK", "", "inside")).await;
    let resolver = Arc::new(Rebinding(
        AtomicUsize::new(0),
        Mutex::new(vec![
            vec![good.parse().unwrap()],
            vec![evil.parse().unwrap()],
        ]),
    ));
    let host =
        host_with(|config| config.resolver = Some(Arc::clone(&resolver) as Arc<dyn Resolve>));
    let hostile = install(&host, "testing/hostile").await;
    let reach = install(&host, "testing/reach").await;
    let port = server.port();
    let grants = format!("{good}:{port}");
    // Nobody listens at the granted address: the checked one is the one that is
    // connected to, and the name is resolved once for it.
    let connect = || {
        job(
            &hostile,
            json!({"mode": "connect", "target": format!("rebind.example:{port}")}),
        )
        .node("n.example")
        .net(&[&grants, "dns:rebind.example"])
    };
    let report = connect().report(&host).await;
    assert!(report.summary.contains("refused"), "{}", report.summary);
    assert_eq!(resolver.0.load(Ordering::Relaxed), 1);
    // The second time it is what it has become that is judged.
    let report = connect().report(&host).await;
    assert!(report.summary.starts_with("denied"), "{}", report.summary);

    // Beside a good address, a bad one is not tried.
    *resolver.1.lock().unwrap() = vec![vec![evil.parse().unwrap(), good.parse().unwrap()]];
    let report = connect().report(&host).await;
    assert!(report.summary.contains("refused"), "{}", report.summary);
    let heard = datagrams(|_, data| vec![data.to_vec()]).await;
    let config = udp(heard, json!({"target": "rebind.example"}));
    let report = job(&reach, config)
        .node("n.example")
        .net(&[
            &format!("udp:{good}:{}", heard.port()),
            "dns:rebind.example",
        ])
        .timeout(200)
        .report(&host)
        .await;
    assert!(report.summary.starts_with("failed"), "{}", report.summary);
}

/// Whether this machine lets the test's process send echo requests.
fn may_ping() -> bool {
    socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::DGRAM,
        Some(socket2::Protocol::ICMPV4),
    )
    .is_ok()
}

#[tokio::test]
async fn echo_requests_are_answered_or_say_what_the_kernel_lacks() {
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let ping = |target: &str, grants: &[&str]| {
        let config = json!({"call": "icmp", "target": target, "amount": 3, "idle_ms": 300});
        job(&reach, config).net(grants)
    };
    for (target, grants, expected) in [
        (
            "127.0.0.1",
            vec!["node", "udp:node"],
            "a grant would be \"icmp:127.0.0.1\"",
        ),
        (
            "127.0.0.2",
            vec!["icmp:node"],
            "a grant would be \"icmp:127.0.0.2\"",
        ),
        ("::1", vec!["icmp:node"], "a grant would be \"icmp:[::1]\""),
        ("2130706433", vec!["icmp:0.0.0.0/0"], "expected a host name"),
    ] {
        let report = ping(target, &grants).report(&host).await;
        assert!(report.summary.contains(expected), "{}", report.summary);
    }
    if may_ping() {
        let report = ping("127.0.0.1", &["icmp:node"]).report(&host).await;
        assert_eq!(report.summary, "ok: 3 of 3 from 127.0.0.1");
        let report = ping("::1", &["icmp:[::1]"]).report(&host).await;
        assert!(
            report.summary == "ok: 3 of 3 from ::1" || report.summary.contains("unreachable"),
            "{}",
            report.summary
        );
    } else {
        let fault = ping("127.0.0.1", &["icmp:node"]).fault(&host).await;
        assert_eq!(fault.kind, FaultKind::Engine);
        assert!(
            fault.text.contains("net.ipv4.ping_group_range"),
            "{}",
            fault.text
        );
    }
}
