//! Peers that speak HTTP/2, and how their connections end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether::check::outcome::State;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::sync::mpsc;

use crate::egress::tls_acceptor;
use crate::support::*;

#[tokio::test]
async fn a_peer_that_takes_no_more_does_not_keep_the_connection() {
    const WINDOW: u32 = 1 << 16;
    let (certificate, acceptor) = tls_acceptor(&[b"h2"]);
    let (ended, mut closed) = mpsc::channel(1);
    let server = serve(move |stream| {
        let (acceptor, ended) = (acceptor.clone(), ended.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            // Bodies that nobody reads and nobody gives up.
            let kept = Arc::new(Mutex::new(Vec::new()));
            let early = |request: hyper::Request<Incoming>| {
                kept.lock().unwrap().push(request.into_body());
                async { Ok::<_, Infallible>(hyper::Response::new("early".to_owned())) }
            };
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW)
                .serve_connection(TokioIo::new(stream), hyper::service::service_fn(early))
                .await;
            let _ = ended.try_send(());
        }
    })
    .await;
    let host = host_with(|config| config.extra_roots = vec![certificate]);
    let http = install(&host, "http").await;
    let config = json!({
        "url": format!("https://{server}/"), "method": "POST", "body_regex": "^early$",
        "body": "x".repeat(4 * WINDOW as usize),
    });
    let report = job(&http, config).net(&["node"]).report(&host).await;
    assert_eq!(report.state, State::Ok, "{report:?}");
    // The run has ended, and so must whatever sends the rest of the body.
    let closed = tokio::time::timeout(Duration::from_secs(5), closed.recv()).await;
    assert_eq!(closed, Ok(Some(())), "the connection outlives its run");
}
