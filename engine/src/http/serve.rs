//! Connections: accepted, bounded, ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::patient::Patient;

/// Connections that may be open; more wait in the kernel's queue.
const CONNECTIONS: usize = 2048;
/// How long clients are waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// To say what they want, from when they connected or had their last answer.
    headers: Duration,
    /// To take any of an answer.
    answer: Duration,
}

const PATIENCE: Patience = Patience {
    headers: Duration::from_secs(15),
    answer: Duration::from_secs(30),
};
/// Requests in progress have this long to end at shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Serves `router` until `stop`; connections are tasks of `tasks`. Returns when
/// no new ones are accepted; wait for `tasks` to see the last one end.
///
/// # Errors
/// The listener is broken beyond a single connection.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_with(PATIENCE, listener, router, tasks, stop).await
}

async fn serve_with(
    patience: Patience,
    listener: TcpListener,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.map_err(io::Error::other)?,
            () = stop.cancelled() => return Ok(()),
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stop) = (router.clone(), stop.clone());
                tasks.spawn(connection(patience, stream, peer, router, slot, stop));
            }
            // The client gave up, or there are no descriptors left: both pass.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    patience: Patience,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    _slot: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    // Answers are written whole: waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, patience.answer);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    // HTTP/1 alone: without TLS nobody speaks HTTP/2, and to wait for the first
    // bytes that tell the two apart is to wait for ever.
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.headers)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract;
    use super::*;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SOON: Duration = Duration::from_millis(300);
    const IMPATIENT: Patience = Patience {
        headers: SOON,
        answer: SOON,
    };

    /// What a client is told that sends `sent` and then waits.
    async fn told(sent: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let take = |request: Request<Body>| async {
            let body = extract::read(SOON, request, &()).await;
            body.map(|_| "taken")
        };
        let router = Router::new().route("/", post(take));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let serving = serve_with(IMPATIENT, listener, router, tasks.clone(), stop.clone());
        tasks.spawn(serving);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(sent).await.unwrap();
        let mut answer = String::new();
        let end = client.read_to_string(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(30), end).await;
        assert!(ended.is_ok(), "the connection stays open");
        stop.cancel();
        answer
    }

    #[tokio::test]
    async fn clients_that_say_nothing_are_cut_off() {
        for sent in ["", "P", "PRI * HTTP/2.0", "POST / HTTP/1.1\r\nHost: x\r\n"] {
            let answer = told(sent.as_bytes()).await;
            assert!(!answer.contains("200"), "{sent:?}: {answer}");
        }
    }

    #[tokio::test]
    async fn bodies_must_arrive_in_time() {
        let head = "POST / HTTP/1.1\r\nHost: x\r\n";
        let answer = told(format!("{head}Content-Length: 9\r\n\r\n[1,").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"too_slow\""), "{answer}");
        let answer = told(format!("{head}Content-Length: 2\r\n\r\n[]").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[tokio::test]
    async fn answers_must_be_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { vec![b'x'; 64 << 20] }));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let serving = serve_with(IMPATIENT, listener, router, tasks.clone(), stop.clone());
        tasks.spawn(serving);
        let mut client = TcpStream::connect(address).await.unwrap();
        let sent = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(sent).await.unwrap();
        client.readable().await.unwrap();
        assert_eq!(tasks.len(), 2, "one listens, one answers");
        let ended = async {
            while tasks.len() > 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        assert!(ended.is_ok(), "the connection stays open");
        stop.cancel();
    }

    #[tokio::test]
    async fn requests_know_their_peer_and_shutdown_ends_idle_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        let router = Router::new().route("/", get(who));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let server = tasks.spawn(serve(listener, router, tasks.clone(), stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let expected = client.local_addr().unwrap().to_string();
        let mut answer = String::new();
        while !answer.ends_with(&expected) {
            let mut buffer = [0; 1024];
            let read = client.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{answer:?}");
            answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        // The connection is kept alive; shutdown ends it.
        stop.cancel();
        server.await.unwrap().unwrap();
        tasks.close();
        tasks.wait().await;
        assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
