//! Servers that never quite finish: each is a target that is down, or an answer
//! that is cut off, and never a run that goes on.

use std::net::SocketAddr;
use std::time::Duration;

use bellwether::check::outcome::{Report, State};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::*;

/// A server that says `begin` and then `again` for as long as somebody listens:
/// one piece after each pause, or as many as the line takes.
async fn dribbles(begin: &'static str, again: &'static str, pause: Duration) -> SocketAddr {
    let pieces = if pause.is_zero() { 1_000 } else { 1 };
    serve(move |mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let again = again.repeat(pieces);
        let mut open = stream.write_all(begin.as_bytes()).await.is_ok();
        while open {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            open = stream.write_all(again.as_bytes()).await.is_ok();
        }
    })
    .await
}

/// What the plugin `http` and a bare request say of a server.
async fn judged(server: SocketAddr) -> (Report, Report) {
    let host = host();
    let http = install(&host, "http").await;
    let hostile = install(&host, "testing/hostile").await;
    let url = format!("http://{server}/");
    let probe = job(&http, json!({ "url": url }))
        .net(&["node"])
        .timeout(400)
        .report(&host)
        .await;
    let bare = json!({"mode": "http-get", "target": url, "amount": 1 << 20});
    let bare = job(&hostile, bare).net(&["node"]).timeout(400);
    (probe, bare.report(&host).await)
}

const SLOW: Duration = Duration::from_millis(40);
const QUICK: Duration = Duration::ZERO;

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_times_out() {
    for (begin, again) in [
        ("", "H"),
        ("HTTP/1.1 200 OK\r\nx-long: ", "x"),
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
    ] {
        let (probe, bare) = judged(dribbles(begin, again, SLOW).await).await;
        assert_eq!(probe.state, State::Critical, "{begin:?}: {probe:?}");
        assert!(
            probe.summary.contains("first-byte") && bare.summary.contains("first-byte"),
            "{begin:?}: {} / {}",
            probe.summary,
            bare.summary
        );
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_times_out() {
    for (begin, again) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", "x"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "1\r\nx\r\n",
        ),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", "x"),
    ] {
        let (probe, bare) = judged(dribbles(begin, again, SLOW).await).await;
        assert_eq!(probe.state, State::Critical, "{begin:?}: {probe:?}");
        assert!(
            probe.summary.contains("receive") && bare.summary.contains("receive"),
            "{begin:?}: {} / {}",
            probe.summary,
            bare.summary
        );
    }
}

#[tokio::test]
async fn what_never_ends_is_cut_off_or_refused() {
    for (begin, again, expected) in [
        // Header lines, one header, answers before the answer.
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n", "failed"),
        ("HTTP/1.1 200 OK\r\nx: ", "xxxxxxxxxxxxxxxx", "65536"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", "first-byte"),
        // A body, and the sizes and trailers of one in chunks.
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "1048576 bytes, cut",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1",
            ";x=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "failed",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            "a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
            "failed",
        ),
    ] {
        let (_, bare) = judged(dribbles(begin, again, QUICK).await).await;
        assert!(
            bare.summary.contains(expected),
            "{begin:?} {again:?}: {}",
            bare.summary
        );
    }
}

#[tokio::test]
async fn a_compressed_answer_is_not_unpacked() {
    // A bomb is as large as what came over the wire.
    let bomb = "\u{1f}\u{8b}".repeat(100);
    let size = bomb.len();
    let server = http(move |_| response("200 OK", "content-encoding: gzip\r\n", &bomb)).await;
    let (_, bare) = judged(server).await;
    assert!(
        bare.summary.ends_with(&format!("{size} bytes")),
        "{}",
        bare.summary
    );
}

#[tokio::test]
async fn a_line_that_never_ends_is_bounded() {
    let host = host();
    let tcp = install(&host, "tcp").await;
    for pause in [SLOW, QUICK] {
        let server = dribbles_at_once(pause).await;
        let report = job(&tcp, json!({"port": server.port(), "expect": "220 "}))
            .net(&["node"])
            .timeout(400)
            .report(&host)
            .await;
        assert_eq!(report.state, State::Critical, "{report:?}");
        assert!(report.summary.len() + report.details.len() < 64 << 10);
    }
}

/// Sends `x` without a line's end as soon as somebody is there.
async fn dribbles_at_once(pause: Duration) -> SocketAddr {
    serve(move |mut stream: TcpStream| async move {
        let piece = vec![b'x'; if pause.is_zero() { 8 << 10 } else { 1 }];
        while stream.write_all(&piece).await.is_ok() {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await
}
