//! Asking a running engine over its API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Server;
use crate::http::error::ErrorBody;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for an answer: the engine gives up after two minutes.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);

/// Sends JSON; what the engine answered, as text.
pub async fn json(
    server: &Server,
    method: &str,
    path: &str,
    body: String,
) -> anyhow::Result<String> {
    let bytes = send(server, method, path, "application/json", body.into()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sends a request with the caller's token.
///
/// # Errors
/// In plain words what does not answer, or what the engine refused.
pub async fn send(
    server: &Server,
    method: &str,
    path: &str,
    content_type: &str,
    body: Bytes,
) -> anyhow::Result<Bytes> {
    let url: url::Url = server.url.parse().context("--url")?;
    let (Some(host), true) = (url.host_str(), matches!(url.scheme(), "http" | "https")) else {
        bail!("--url: expected http://host:port or https://host, found {url}");
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", url.path().trim_end_matches('/')))
        .header("host", authority)
        .header("authorization", format!("Bearer {}", server.token))
        .header("content-type", content_type)
        .body(Full::new(body))
        .context("--token: expected a token as `bellwether token create` prints it")?;
    // A literal IPv6 address stands in brackets in a URL.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let connecting = TcpStream::connect((name, port));
    let stream = tokio::time::timeout(CONNECT_WITHIN, connecting)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))
        .and_then(|connected| connected)
        .with_context(|| format!("no engine answers at {host}:{port}"))?;
    let (status, bytes) = if url.scheme() == "https" {
        let server_name = ServerName::try_from(name.to_owned()).context("--url")?;
        let stream = connector()?
            .connect(server_name, stream)
            .await
            .with_context(|| format!("TLS with {host}:{port}"))?;
        exchange(stream, request).await?
    } else {
        exchange(stream, request).await?
    };
    if !status.is_success() {
        bail!("the engine answered {status}: {}", reason(&bytes));
    }
    Ok(bytes)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(http::StatusCode, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answering = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::pin!(answering, connection);
    let late = tokio::time::sleep(ANSWER_WITHIN);
    tokio::pin!(late);
    let mut open = true;
    loop {
        tokio::select! {
            answer = &mut answering => return answer.context("the engine closed the connection"),
            // It may have answered before it closed, as where it refuses a body.
            _ = &mut connection, if open => open = false,
            () = &mut late => bail!("the engine did not answer in {} s", ANSWER_WITHIN.as_secs()),
        }
    }
}

fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What an answer says is wrong.
fn reason(body: &[u8]) -> String {
    let Ok(ErrorBody { error }) = serde_json::from_slice(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    let mut text = error.message;
    for field in error.fields {
        text.push_str(&format!("\n  {}: {}", field.path, field.message));
    }
    text
}
