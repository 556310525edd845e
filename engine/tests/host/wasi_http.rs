//! `wasi:http` goes the same way as `net.http`.

use std::sync::Arc;

use bellwether::check::outcome::State;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::*;

fn ask(scheme: &str, authority: impl ToString) -> serde_json::Value {
    json!({"scheme": scheme, "authority": authority.to_string()})
}

#[tokio::test]
async fn requests_pass_the_same_grants() {
    let host = host_with(|config| {
        config.resolver = Some(Arc::new(Names(
            [("app.example", vec!["127.0.0.1".parse().unwrap()])].into(),
        )));
    });
    let guest = install(&host, "testing/wasi-http").await;
    let server = http(|head| response("200 OK", "", head.lines().next().unwrap_or(""))).await;
    let port = server.port();
    for (authority, grants, expected) in [
        (
            server.to_string(),
            vec!["node".to_owned()],
            "200: GET / HTTP/1.1",
        ),
        (server.to_string(), vec![], "HttpRequestDenied"),
        (
            server.to_string(),
            vec!["udp:node".into()],
            "HttpRequestDenied",
        ),
        (
            format!("[::ffff:127.0.0.1]:{port}"),
            vec!["node".into()],
            "200",
        ),
        (
            format!("app.example:{port}"),
            vec!["app.example:*".into()],
            "HttpRequestDenied",
        ),
        (
            format!("app.example:{port}"),
            vec![format!("127.0.0.1:{port}"), "dns:app.example".into()],
            "200",
        ),
        (
            format!("app.example:{port}"),
            vec![format!("127.0.0.1:{port}")],
            "HttpRequestDenied",
        ),
        (
            format!("user@127.0.0.1:{port}"),
            vec!["node".into()],
            "HttpRequestUriInvalid",
        ),
        (
            "127.0.0.1:1".into(),
            vec!["node".into()],
            "ConnectionRefused",
        ),
    ] {
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        let outcome = job(&guest, ask("http", &authority))
            .net(&grants)
            .run(&host)
            .await;
        let report = outcome.verdict.unwrap();
        assert!(
            report.summary.contains(expected),
            "{authority} with {grants:?}: {}",
            report.summary
        );
        if expected == "HttpRequestDenied" {
            assert!(
                outcome
                    .log
                    .iter()
                    .any(|line| line.message.starts_with("denied: net")
                        && line.message.contains("grant")),
                "{:?}",
                outcome.log
            );
        }
    }
    let report = job(&guest, ask("gopher", server))
        .net(&["node"])
        .report(&host)
        .await;
    assert!(
        report.summary.contains("HttpProtocolError"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_critical() {
    let host = host();
    let guest = install(&host, "testing/wasi-http").await;
    let mute = silent().await;
    let report = job(&guest, ask("http", mute))
        .net(&["node"])
        .timeout(200)
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical);
    assert!(
        report.summary.contains("ConnectionReadTimeout"),
        "{}",
        report.summary
    );
    // Half an answer, and then nothing.
    let half = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    let report = job(&guest, ask("http", half))
        .net(&["node"])
        .timeout(200)
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical, "{}", report.summary);
}
