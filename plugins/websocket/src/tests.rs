use bellwether_plugin::fake::{
    self, FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::{Error, Phase};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::frame::{Assembler, Frame, close_reason, encode, opcode, read};
use crate::upgrade::{self, Target, accept};
use crate::{Config, Websocket, judge};

/// A frame as a server sends it.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, payload.len() as u8], payload].concat()
}

fn head(more: &str) -> Vec<u8> {
    let accept = accept(&upgrade::key(&upgrade::nonce(&request("{}"))));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
    .into_bytes()
}

fn run(more: &str, bytes: &[u8]) -> Result<Report, ProbeError> {
    let json = format!(r#"{{"url":"ws://192.0.2.1:8080/ws"{more}}}"#);
    let config = config::parse::<Config>(&json)?;
    let net = FakeNet::connecting(Ok(FakeConnection::sending(bytes)));
    judge::check(&request(&json), &config, &net)
}

fn outcome(more: &str, bytes: &[u8]) -> (State, String) {
    let report = run(more, bytes).unwrap();
    (report.state, report.summary)
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("", &[head(""), frame(opcode::PONG, b"bellwether")].concat()).unwrap();
    assert_eq!(
        manifest_problems::<Websocket>(&report),
        Vec::<String>::new()
    );
}

#[test]
fn the_key_is_answered_as_in_the_standard() {
    // RFC 6455, section 1.3.
    assert_eq!(
        accept("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[test]
fn urls_are_taken_apart() {
    for (url, tls, host, port, path) in [
        ("ws://a.example", false, "a.example", 80, "/"),
        ("wss://a.example/b?c=d#e", true, "a.example", 443, "/b?c=d"),
        ("WSS://a.example:8443?x", true, "a.example", 8443, "/?x"),
        ("ws://[2001:db8::1]:81/", false, "2001:db8::1", 81, "/"),
        ("ws://[::1]", false, "::1", 80, "/"),
    ] {
        let target = Target::read(url).unwrap();
        assert_eq!((target.tls, target.port), (tls, port), "{url}");
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            (host, path),
            "{url}"
        );
    }
    for wrong in [
        "",
        "http://a",
        "ws://",
        "ws://a:0/",
        "ws://a:b/",
        "ws://u@a/",
        "ws://a/ b",
        "ws://a/\r\nX: y",
    ] {
        assert!(Target::read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_ping_is_answered() {
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::sending(
            &[
                head(""),
                frame(opcode::PING, b"x"),
                frame(opcode::PONG, b"bellwether"),
            ]
            .concat(),
        )
    };
    let written = connection.written.clone();
    let net = FakeNet::connecting(Ok(connection));
    let json = r#"{"url":"wss://a.example/ws","headers":{"Origin":"https://a.example"}}"#;
    let report = judge::check(&request(json), &config::parse(json).unwrap(), &net).unwrap();
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert!(
        report.summary.starts_with("WebSocket open, answer in "),
        "{}",
        report.summary
    );
    assert!(metric(&report, "round_trip_ms").is_some());
    assert_eq!(metric(&report, "cert_days"), Some(90.0));
    let written = written.borrow();
    let text = String::from_utf8_lossy(&written);
    assert!(
        text.starts_with("GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nOrigin: https://a.example\r\n"), "{text}");
    // The server's ping was answered, masked.
    assert!(written.windows(2).any(|bytes| bytes == [0x8a, 0x81]));
    assert_eq!(net.connects.borrow()[0].1, 443);
}

#[test]
fn a_message_is_expected() {
    let more = r#","send":"hello","expect":"world""#;
    let split = [
        head(""),
        frame(opcode::TEXT, b"something"),
        vec![0x01, 2, b'w', b'o'],
        frame(opcode::PING, b""),
        vec![0x80, 3, b'r', b'l', b'd'],
    ]
    .concat();
    assert_eq!(outcome(more, &split).0, State::Ok);
    let (state, text) = outcome(more, &[head(""), frame(opcode::TEXT, b"nothing")].concat());
    assert_eq!(state, State::Critical);
    assert!(
        text.contains("expected a message with \"world\", found \"nothing\" and nothing more"),
        "{text}"
    );
    let close = frame(opcode::CLOSE, b"\x03\xf0go away");
    let (_, text) = outcome(more, &[head(""), close].concat());
    assert!(text.contains("the server says 1008 go away"), "{text}");
}

#[test]
fn subprotocols_are_chosen_among_those_offered() {
    let more = r#","subprotocols":["a","b"],"ping":false"#;
    let report = run(more, &head("Sec-WebSocket-Protocol: b\r\n")).unwrap();
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert!(report.details.contains("subprotocol b"));
    for answer in ["", "Sec-WebSocket-Protocol: c\r\n"] {
        let (state, text) = outcome(more, &head(answer));
        assert_eq!(state, State::Critical);
        assert!(
            text.contains("expected Sec-WebSocket-Protocol: one of a, b"),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let replaced = |from: &str, to: &str| {
        String::from_utf8_lossy(&head(""))
            .replace(from, to)
            .into_bytes()
    };
    for (bytes, text) in [
        (
            b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(),
            "expected 101 Switching Protocols, found \"HTTP/1.1 404 Not Found\"",
        ),
        (
            b"SSH-2.0-OpenSSH\r\n".to_vec(),
            "expected an HTTP answer, found \"SSH-2.0-OpenSSH\\r\\n\"",
        ),
        (b"220 a\r\n\r\n".to_vec(), "expected an HTTP answer"),
        (
            replaced("WebSocket\r", "h2c\r"),
            "expected Upgrade: websocket, found \"h2c\"",
        ),
        (
            replaced("keep-alive, upgrade", "close"),
            "expected Connection: Upgrade, found \"close\"",
        ),
        (
            replaced("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"),
            "expected Sec-WebSocket-Accept: ",
        ),
        (
            [head(""), vec![0xc1, 0]].concat(),
            "expected a WebSocket frame",
        ),
        (
            [head(""), vec![0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]].concat(),
            "expected a frame of at most 1048576 bytes",
        ),
        (
            [head(""), vec![0x80, 0]].concat(),
            "a frame of type 0 out of turn",
        ),
        (Vec::new(), "connection closed: expected an HTTP answer"),
    ] {
        let (state, summary) = outcome("", &bytes);
        assert_eq!(state, State::Critical);
        assert!(summary.contains(text), "{summary}");
    }
    let silent = FakeConnection::sending(&head(""));
    silent
        .incoming
        .borrow_mut()
        .push_back(Err(Error::Timeout(Phase::Receive)));
    let json = r#"{"url":"ws://a/"}"#;
    let report = fake::run(judge::check, json, Ok(silent)).unwrap();
    assert_eq!(report.summary, "timed out in receive");
}

#[test]
fn headers_cannot_break_out() {
    for (more, pointer) in [
        (r#","headers":{"A":"b\r\nC: d"}"#, "/headers/A"),
        (r#","headers":{"A b":"c"}"#, "/headers/A b"),
        (r#","headers":{"Host":"c"}"#, "/headers/Host"),
        (
            r#","headers":{"Sec-WebSocket-Key":"c"}"#,
            "/headers/Sec-WebSocket-Key",
        ),
        (r#","subprotocols":["a","b c"]"#, "/subprotocols/1"),
    ] {
        match run(more, b"") {
            Err(ProbeError::Config(problem)) => assert_eq!(problem.pointer, pointer),
            other => panic!("{more}: {other:?}"),
        }
    }
}

#[test]
fn frames_are_what_the_standard_says() {
    // RFC 6455, section 5.7: a masked "Hello".
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    assert_eq!(
        encode(opcode::TEXT, b"Hello", mask),
        [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
        ]
    );
    assert_eq!(
        encode(opcode::TEXT, &[0; 300], mask)[..4],
        [0x81, 0xfe, 1, 44]
    );
    assert_eq!(
        encode(opcode::TEXT, &[0; 70_000], mask)[..10],
        [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70]
    );
    assert_eq!(close_reason(b"\x03\xe8bye"), (1000, "bye".to_owned()));
    assert_eq!(close_reason(b""), (1005, String::new()));
}

#[test]
fn no_bytes_make_it_panic() {
    let whole = [
        head(""),
        frame(opcode::TEXT, b"a"),
        frame(opcode::PONG, b"bellwether"),
    ]
    .concat();
    for bytes in mutations(&whole) {
        let report = run("", &bytes).unwrap();
        assert!(report.summary.len() < 1_000);
        let _ = read(&FakeConnection::sending(&bytes), "a frame");
        let mut messages = Assembler::default();
        for chunk in bytes.chunks(7) {
            let frame = Frame {
                last: chunk[0] & 1 == 0,
                opcode: chunk[0] & 3,
                payload: chunk.to_vec(),
            };
            let _ = messages.push(frame);
        }
    }
}
