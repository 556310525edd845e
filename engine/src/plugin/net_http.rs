//! `net.http`: one request, its redirects, its timings.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::Url;

use super::bindings::bellwether::plugin::net::{
    Certificate, Error, Header, HttpRequest, HttpResponse, Phase, Timings,
};
use super::egress::{Egress, io_error};
use super::grants::NetGrants;
use super::guests::{Background, Guests};
use super::run::Progress;
use super::tls::Tls;

/// Greatest body that is kept, in bytes, whatever the guest asks for.
pub(super) const MAX_BODY: u64 = 8 << 20;
/// All headers of an answer.
pub(super) const MAX_HEADERS_SIZE: usize = 64 << 10;
pub(super) const MAX_HEADER_COUNT: usize = 256;
const MAX_REDIRECTS: u32 = 20;

/// What a request needs of its run.
pub(super) struct Client {
    pub egress: Egress,
    pub tls: Arc<Tls>,
    pub grants: Arc<NetGrants>,
    pub guests: Guests,
    pub until: Instant,
    /// Only GET and HEAD.
    pub read_only: bool,
    /// Secret headers with their values.
    pub secrets: Vec<(HeaderName, HeaderValue)>,
    /// Greatest body that is kept, in bytes.
    pub most_body: u64,
    /// Bytes that are read beyond it, for the caller to cut off.
    pub beyond: usize,
}

/// A request that was checked.
struct Checked {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A header of the guest.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let parsed = HeaderName::try_from(name)
        .map_err(|_| Error::Invalid(format!("expected a header name, found {name:?}")))?;
    // These frame the message; a guest that sets them could smuggle a second.
    const FRAMING: [&str; 7] = [
        "connection",
        "content-length",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if FRAMING.contains(&parsed.as_str()) {
        return Err(Error::Invalid(format!(
            "the header {parsed} is set by the host"
        )));
    }
    let value = HeaderValue::try_from(value).map_err(|_| {
        Error::Invalid(format!(
            "the value of the header {parsed} has characters that headers cannot carry"
        ))
    })?;
    Ok((parsed, value))
}

fn check(request: &HttpRequest, read_only: bool) -> Result<Checked, Error> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| Error::Invalid(format!("expected a method, found {:?}", request.method)))?;
    if method == Method::CONNECT {
        return Err(Error::Invalid("the method CONNECT makes no request".into()));
    }
    if read_only && method != Method::GET && method != Method::HEAD {
        return Err(Error::Denied(format!(
            "dry run: {method} {} was held back",
            request.url
        )));
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 2);
    for given in &request.headers {
        let (name, value) = header(&given.name, &given.value)?;
        headers.append(name, value);
    }
    Ok(Checked {
        method,
        url: parse_url(&request.url)?,
        headers,
        body: request.body.clone().map(Bytes::from).unwrap_or_default(),
    })
}

fn parse_url(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text)
        .map_err(|error| Error::Invalid(format!("expected a URL, found {text:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Error::Invalid(format!(
            "expected an http or https URL, found {text:?}"
        )));
    }
    Ok(url)
}

impl Client {
    /// Greatest body of the answer, in bytes.
    pub fn most(&self, request: &HttpRequest) -> usize {
        u64::from(request.max_body).min(self.most_body) as usize
    }

    /// Runs a request and its redirects.
    pub async fn run(
        &self,
        request: &HttpRequest,
        progress: &Progress,
    ) -> Result<HttpResponse, Error> {
        let started = Instant::now();
        let mut checked = check(request, self.read_only)?;
        let origin = checked.url.origin();
        let max_body = self.most(request) + self.beyond;
        let (mut hops, mut home) = (0, true);
        loop {
            // Secrets and credentials go to the origin they were meant for, and
            // not again once another one had a say in where the way leads.
            home &= checked.url.origin() == origin;
            if !home {
                for name in [
                    http::header::AUTHORIZATION,
                    http::header::COOKIE,
                    http::header::PROXY_AUTHORIZATION,
                    http::header::HOST,
                ] {
                    checked.headers.remove(name);
                }
            }
            let follow = request.max_redirects > 0;
            let exchange = self
                .exchange(&checked, request, home, max_body, follow, progress)
                .await
                .map_err(|error| match error {
                    // It was the server that sent us there.
                    Error::Invalid(text) if hops > 0 => Error::Protocol(format!(
                        "redirects to {}, which cannot be asked: {text}",
                        checked.url
                    )),
                    error => error,
                })?;
            match exchange {
                Exchange::Done(mut response) => {
                    response.timings.total = micros(started.elapsed());
                    return Ok(*response);
                }
                Exchange::Redirect(status, location) => {
                    hops += 1;
                    let most = request.max_redirects.min(MAX_REDIRECTS);
                    if hops > most {
                        return Err(Error::Protocol(format!(
                            "more than {most} redirects, the last to {location}"
                        )));
                    }
                    let next = checked.url.join(&location).map_err(|error| {
                        Error::Protocol(format!("redirects to {location:?}: {error}"))
                    })?;
                    checked.url = parse_url(next.as_str()).map_err(|_| {
                        Error::Protocol(format!(
                            "redirects to {location:?}, which is no http or https URL"
                        ))
                    })?;
                    let keeps_method = status == StatusCode::TEMPORARY_REDIRECT
                        || status == StatusCode::PERMANENT_REDIRECT;
                    if !keeps_method && checked.method != Method::HEAD {
                        checked.method = Method::GET;
                        checked.body = Bytes::new();
                        checked.headers.remove(http::header::CONTENT_TYPE);
                    }
                }
            }
        }
    }

    async fn exchange(
        &self,
        checked: &Checked,
        request: &HttpRequest,
        home: bool,
        max_body: usize,
        follow: bool,
        progress: &Progress,
    ) -> Result<Exchange, Error> {
        let url = &checked.url;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Error::Invalid(format!(
                "expected a URL with a host, found {url}"
            )));
        };
        let connected = self
            .egress
            .connect(&self.grants, host, port, self.until, progress)
            .await?;
        let timings = Timings {
            resolve: connected.resolve.map(micros),
            connect: Some(micros(connected.connect)),
            tls: None,
            first_byte: None,
            total: 0,
        };
        let outgoing = self.outgoing(checked, home, host)?;
        let mut seen = Seen {
            url,
            plain: home && !self.secrets.is_empty(),
            peer: connected.peer.to_string(),
            timings,
            certificate: None,
            max_body,
            follow,
            started: Instant::now(),
        };
        if url.scheme() == "http" {
            let io = connected.stream;
            return self.over_http1(io, outgoing, seen, progress).await;
        }
        progress.enter(Phase::TlsHandshake);
        let started = Instant::now();
        let alpn = ["h2", "http/1.1"];
        // A server name of the guest's choice belongs to the first origin.
        let options = request.tls.as_ref();
        let elsewhere = options.map(|options| {
            let mut options = options.clone();
            options.server_name = None;
            options
        });
        let options = if home { options } else { elsewhere.as_ref() };
        let (stream, certificate) = self
            .tls
            .connect(connected.stream, host, options, &alpn)
            .await?;
        seen.timings.tls = Some(micros(started.elapsed()));
        seen.certificate = certificate;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.over_http2(stream, outgoing, seen, progress).await
        } else {
            self.over_http1(stream, outgoing, seen, progress).await
        }
    }

    fn outgoing(
        &self,
        checked: &Checked,
        home: bool,
        host: &str,
    ) -> Result<http::Request<Full<Bytes>>, Error> {
        let url = &checked.url;
        let mut outgoing = http::Request::new(Full::new(checked.body.clone()));
        *outgoing.method_mut() = checked.method.clone();
        *outgoing.headers_mut() = checked.headers.clone();
        let headers = outgoing.headers_mut();
        if home {
            for (name, value) in &self.secrets {
                headers.insert(name.clone(), value.clone());
            }
            if !self.secrets.is_empty() {
                let identity = HeaderValue::from_static("identity");
                headers.insert(http::header::ACCEPT_ENCODING, identity);
            }
        }
        if !headers.contains_key(http::header::HOST) {
            let authority = match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            let value = HeaderValue::try_from(authority)
                .map_err(|_| Error::Invalid(format!("the host {host:?} cannot be sent")))?;
            headers.insert(http::header::HOST, value);
        }
        if !headers.contains_key(http::header::ACCEPT) {
            headers.insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
        }
        if !url.username().is_empty() && home && !headers.contains_key(http::header::AUTHORIZATION)
        {
            return Err(Error::Invalid(
                "credentials in the URL are not sent; use secret_headers".into(),
            ));
        }
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        *outgoing.uri_mut() = target
            .parse()
            .map_err(|_| Error::Invalid(format!("the path of {url} cannot be sent")))?;
        Ok(outgoing)
    }

    async fn over_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        io: S,
        outgoing: http::Request<Full<Bytes>>,
        seen: Seen<'_>,
        progress: &Progress,
    ) -> Result<Exchange, Error> {
        progress.enter(Phase::Send);
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEADERS_SIZE)
            .max_header_size(MAX_HEADERS_SIZE)
            .max_headers(MAX_HEADER_COUNT)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| http_error(&error))?;
        let answer = sender.send_request(outgoing);
        seen.exchange(connection, answer, progress).await
    }

    async fn over_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        io: S,
        mut outgoing: http::Request<Full<Bytes>>,
        seen: Seen<'_>,
        progress: &Progress,
    ) -> Result<Exchange, Error> {
        progress.enter(Phase::Send);
        let authority = outgoing.headers_mut().remove(http::header::HOST);
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        parts.authority = authority.and_then(|value| value.to_str().ok()?.parse().ok());
        parts.path_and_query = outgoing.uri().path_and_query().cloned();
        *outgoing.uri_mut() = http::Uri::from_parts(parts).map_err(|_| {
            let url = seen.url;
            Error::Invalid(format!("the address {url} cannot be sent over HTTP/2"))
        })?;
        let background = Background::new(&self.guests);
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(background.tasks())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADERS_SIZE as u32)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| http_error(&error))?;
        let answer = sender.send_request(outgoing);
        let exchange = seen.exchange(connection, answer, progress).await;
        drop(background);
        exchange
    }
}

enum Exchange {
    Done(Box<HttpResponse>),
    Redirect(StatusCode, String),
}

/// What is known when the answer's head is there.
struct Seen<'a> {
    url: &'a Url,
    peer: String,
    timings: Timings,
    certificate: Option<Certificate>,
    max_body: usize,
    follow: bool,
    /// Only an answer that is not compressed is taken.
    plain: bool,
    /// When the request was ready to be sent.
    started: Instant,
}

impl Seen<'_> {
    /// Sends a request on a connection and reads its answer.
    async fn exchange(
        mut self,
        connection: impl Future<Output = hyper::Result<()>>,
        answer: impl Future<Output = hyper::Result<http::Response<Incoming>>>,
        progress: &Progress,
    ) -> Result<Exchange, Error> {
        let mut connection = Driver {
            connection: pin!(connection),
            done: false,
        };
        progress.enter(Phase::FirstByte);
        self.started = Instant::now();
        let answer = connection
            .drive(answer)
            .await
            .map_err(|error| http_error(&error))?;
        connection.drive(self.read(answer, progress)).await
    }

    async fn read(
        mut self,
        answer: http::Response<Incoming>,
        progress: &Progress,
    ) -> Result<Exchange, Error> {
        self.timings.first_byte = Some(micros(self.started.elapsed()));
        progress.enter(Phase::Receive);
        let (head, mut body) = answer.into_parts();
        if self.follow
            && is_redirect(head.status)
            && let Some(location) = head.headers.get(http::header::LOCATION)
        {
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            return Ok(Exchange::Redirect(head.status, location));
        }
        if self.plain
            && let Some(encoding) = head.headers.get(http::header::CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(Error::Protocol(format!(
                "the answer is encoded as {:?} though identity was asked for, and secret headers were sent: their values could not be recognised in it",
                String::from_utf8_lossy(encoding.as_bytes())
            )));
        }
        let mut kept = Vec::new();
        let mut truncated = false;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| http_error(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let room = self.max_body - kept.len();
            if data.len() > room {
                kept.extend_from_slice(&data[..room]);
                truncated = true;
                break;
            }
            kept.extend_from_slice(&data);
        }
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| Header {
                name: name.as_str().to_owned(),
                value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            })
            .collect();
        Ok(Exchange::Done(Box::new(HttpResponse {
            status: head.status.as_u16(),
            version: format!("{:?}", head.version),
            url: self.url.to_string(),
            peer: self.peer,
            headers,
            body: kept,
            truncated,
            timings: self.timings,
            certificate: self.certificate,
        })))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A connection that is polled beside what waits on it, so that it needs no
/// task of its own.
pub(super) struct Driver<'a, C> {
    pub connection: Pin<&'a mut C>,
    /// True where the connection has ended and must not be polled again.
    pub done: bool,
}

impl<C: Future<Output = hyper::Result<()>>> Driver<'_, C> {
    pub async fn drive<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = wait.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if !self.done && self.connection.as_mut().poll(cx).is_ready() {
                self.done = true;
            }
            wait.as_mut().poll(cx)
        })
        .await
    }
}

/// hyper's error in the words of the contract.
pub(super) fn http_error(error: &hyper::Error) -> Error {
    use std::error::Error as _;
    if error.is_parse_too_large() {
        return Error::TooLarge(MAX_HEADERS_SIZE as u64);
    }
    if let Some(io) = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
    {
        return io_error(io);
    }
    let text = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Error::Closed(text)
    } else {
        Error::Protocol(text)
    }
}
