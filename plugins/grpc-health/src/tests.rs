use bellwether_plugin::fake::{
    self, FakeConnection, FakeNet, certificate, manifest_problems, metric, mutations, request,
};
use bellwether_plugin::net::Error;
use bellwether_plugin::{Report, State, config};

use crate::call::percent_decoded;
use crate::frame::{Frame, PREFACE, flag, header_block, kind};
use crate::judge::{health_request, serving_status};
use crate::{GrpcHealth, judge};

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload).bytes()
}

fn settings() -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(
        kind::HEADERS,
        flag::END_HEADERS | flags,
        1,
        &header_block(fields),
    )
}

fn ok() -> Vec<u8> {
    headers(
        0,
        &[(":status", "200"), ("content-type", "application/grpc")],
    )
}

fn answer(body: &[u8], trailers: &[(&str, &str)]) -> Vec<u8> {
    [
        settings(),
        frame(kind::SETTINGS, flag::ACK, 0, b""),
        ok(),
        frame(kind::DATA, 0, 1, body),
        headers(flag::END_STREAM, trailers),
    ]
    .concat()
}

fn healthy() -> Vec<u8> {
    answer(SERVING, &[("grpc-status", "0")])
}

fn run(json: &str, bytes: &[u8]) -> Report {
    fake::run(judge::check, json, Ok(FakeConnection::sending(bytes))).unwrap()
}

#[test]
fn the_schema_fits_the_configuration() {
    let connection = FakeConnection {
        certificate: Some(certificate(90)),
        ..FakeConnection::sending(&healthy())
    };
    let report = fake::run(judge::check, "{}", Ok(connection)).unwrap();
    assert_eq!(
        manifest_problems::<GrpcHealth>(&report),
        Vec::<String>::new()
    );
}

#[test]
fn a_server_that_serves_is_ok() {
    let connection = FakeConnection::sending(&healthy());
    let written = connection.written.clone();
    let report = fake::run(judge::check, r#"{"service":"a.B"}"#, Ok(connection)).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "a.B is SERVING")
    );
    assert_eq!(metric(&report, "serving"), Some(1.0));
    let written = written.borrow();
    assert!(written.starts_with(PREFACE));
    let ack = frame(kind::SETTINGS, flag::ACK, 0, b"");
    assert!(written.ends_with(&ack));
    let body = frame(kind::DATA, flag::END_STREAM, 1, b"\0\0\0\0\x05\x0a\x03a.B");
    assert!(written.windows(body.len()).any(|bytes| bytes == body));
    for text in ["te\x08trailers", "192.0.2.1:50051", "5000m"] {
        let found = written
            .windows(text.len())
            .any(|bytes| bytes == text.as_bytes());
        assert!(found, "{text}");
    }
}

#[test]
fn states_and_statuses_are_judged() {
    let ended = |status: &str, message: &str| {
        let trailers = [
            (":status", "200"),
            ("grpc-status", status),
            ("grpc-message", message),
        ];
        [settings(), headers(flag::END_STREAM, &trailers)].concat()
    };
    let body = |status: u8| answer(&[0, 0, 0, 0, 2, 8, status], &[("grpc-status", "0")]);
    let status = |status| {
        [
            settings(),
            headers(flag::END_STREAM, &[(":status", status)]),
        ]
        .concat()
    };
    for (bytes, state, summary) in [
        (body(2), State::Critical, "the server is NOT_SERVING"),
        (body(3), State::Critical, "the server is SERVICE_UNKNOWN"),
        (
            answer(b"\0\0\0\0\0", &[("grpc-status", "0")]),
            State::Critical,
            "the server is UNKNOWN",
        ),
        (
            answer(b"\x01\0\0\0\0", &[("grpc-status", "0")]),
            State::Critical,
            "expected a health answer, found",
        ),
        (
            ended("5", "unknown%20service"),
            State::Critical,
            "the server is not known to the server: unknown service",
        ),
        (
            ended("12", ""),
            State::Unknown,
            "the server has no health service",
        ),
        (
            ended("16", ""),
            State::Unknown,
            "asks for a login: UNAUTHENTICATED",
        ),
        (
            ended("14", "gone"),
            State::Critical,
            "gRPC status 14 UNAVAILABLE: gone",
        ),
        (
            status("404"),
            State::Critical,
            "expected HTTP status 200, found 404",
        ),
        (status("200"), State::Critical, "without it"),
    ] {
        let report = run("{}", &bytes);
        assert_eq!(report.state, state, "{}", report.summary);
        assert!(report.summary.contains(summary), "{}", report.summary);
    }
}

#[test]
fn connections_that_end_early_are_critical() {
    let goaway = |last: u32| {
        let payload = [&last.to_be_bytes()[..], &2_u32.to_be_bytes(), b"too busy"].concat();
        frame(kind::GOAWAY, 0, 0, &payload)
    };
    let open = frame(kind::HEADERS, 0, 1, &header_block(&[(":status", "200")]));
    for (bytes, summary) in [
        (goaway(0), "expected HTTP/2 (a SETTINGS frame)"),
        (
            [settings(), goaway(0)].concat(),
            "the server goes away: code 2, \"too busy\"",
        ),
        (
            [settings(), frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 7])].concat(),
            "resets the call: code 7",
        ),
        (
            [settings(), frame(kind::PUSH_PROMISE, 0, 1, b"")].concat(),
            "expected no PUSH_PROMISE",
        ),
        (
            [settings(), open, settings()].concat(),
            "expected a CONTINUATION frame",
        ),
        (
            [settings(), frame(kind::DATA, flag::PADDED, 1, &[9, 0])].concat(),
            "expected data",
        ),
        (
            [
                settings(),
                frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x3f, 0xe1, 0x1f]),
            ]
            .concat(),
            "expected headers of HTTP/2",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            "found \"HTTP/1.1 400",
        ),
        (settings(), "connection closed"),
        ([0xff; 40].to_vec(), "expected HTTP/2"),
    ] {
        let report = run("{}", &bytes);
        assert_eq!(report.state, State::Critical, "{}", report.summary);
        assert!(report.summary.contains(summary), "{}", report.summary);
    }
    // What comes before is heard to the end.
    let late = [settings(), goaway(1), healthy()[15..].to_vec()].concat();
    assert_eq!(run("{}", &late).state, State::Ok);
}

#[test]
fn pings_padding_and_pieces_are_part_of_it() {
    let block = header_block(&[(":status", "200"), ("x", &"y".repeat(300))]);
    let (start, end) = block.split_at(100);
    let priority = [&[2, 0, 0, 0, 0, 5][..], start, &[0, 0]].concat();
    let bytes = [
        settings(),
        frame(kind::PING, 0, 0, b"01234567"),
        frame(8, 0, 0, &[0, 0, 1, 0]),
        frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &priority),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, end),
        frame(kind::DATA, 0, 1, &SERVING[..3]),
        frame(
            kind::DATA,
            flag::PADDED,
            1,
            &[&[1], &SERVING[3..], &[0]].concat(),
        ),
        headers(flag::END_STREAM, &[("grpc-status", "0")]),
    ]
    .concat();
    let connection = FakeConnection::sending(&bytes);
    let written = connection.written.clone();
    let report = fake::run(judge::check, "{}", Ok(connection)).unwrap();
    assert_eq!(report.state, State::Ok, "{}", report.summary);
    assert!(
        written
            .borrow()
            .ends_with(&frame(kind::PING, flag::ACK, 0, b"01234567"))
    );
}

#[test]
fn compressed_headers_are_read() {
    // RFC 7541, C.6.1 begins with an indexed and three literal fields; here a
    // static index for 200 and Huffman for the trailer.
    let trailer = b"\x00\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x01\x30";
    let bytes = [
        settings(),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x20, 0x88]),
        frame(kind::DATA, 0, 1, SERVING),
        frame(
            kind::HEADERS,
            flag::END_HEADERS | flag::END_STREAM,
            1,
            trailer,
        ),
    ]
    .concat();
    let report = run("{}", &bytes);
    assert_eq!(report.state, State::Ok, "{}", report.summary);
}

#[test]
fn tls_asks_for_http_2() {
    let net = FakeNet::connecting(Err(Error::Refused));
    let json = r#"{"tls":true,"port":443,"host":"g.example","server_name":"h.example"}"#;
    let config = config::parse(json).unwrap();
    let report = judge::check(&request(json), &config, &net).unwrap();
    assert_eq!(report, Report::critical("connection refused"));
    let connects = net.connects.borrow();
    let (host, port, tls) = &connects[0];
    let tls = tls.as_ref().unwrap();
    assert_eq!((host.as_str(), *port), ("g.example", 443));
    assert_eq!(tls.alpn, ["h2"]);
    assert_eq!(tls.server_name.as_deref(), Some("h.example"));
}

#[test]
fn messages_are_those_of_the_protocol() {
    assert_eq!(health_request(""), b"");
    let long = "s".repeat(200);
    let message = health_request(&long);
    assert_eq!(&message[..3], b"\x0a\xc8\x01");
    assert_eq!(
        serving_status(b"\0\0\0\0\x09\x12\x01a\x18\x05\x08\x01\x20\x00"),
        Some(1)
    );
    for wrong in [
        &b""[..],
        b"\0\0\0\0\x05\x08",
        b"\0\0\0\0\x01\x08",
        b"\0\0\0\0\x02\x0f\x01",
        b"\0\0\0\0\x03\x12\x09a",
    ] {
        assert_eq!(serving_status(wrong), None, "{wrong:?}");
    }
    assert_eq!(percent_decoded("100%25 %zz%e2%82%ac%"), "100% %zz€%");
}

#[test]
fn no_bytes_make_it_panic() {
    for bytes in mutations(&healthy()) {
        let _ = run("{}", &bytes);
        let _ = serving_status(&bytes);
    }
}
