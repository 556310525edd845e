//! `wasi:http`, outgoing alone, under the same egress rules as `net.http`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::bindings::bellwether::plugin::net::{Error as NetError, Phase};
use super::egress::Egress;
use super::grants::NetGrants;
use super::net_http::{Driver, MAX_HEADER_COUNT, MAX_HEADERS_SIZE, http_error};
use super::run::{Progress, RunData};
use super::tls::Tls;

/// Denials that are kept for the run's log.
const MAX_DENIALS: usize = 20;
/// Bytes of a guest's header fields, as they are held in memory.
const MAX_FIELDS: usize = 128 << 10;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = (http::Response<WasiBody>, Io);

/// What requests of a run leave behind.
#[derive(Default)]
struct Traces {
    /// Requests that were not denied.
    used: AtomicU32,
    denials: Mutex<Vec<String>>,
    own_fault: Mutex<Option<String>>,
}

/// What a request needs of its run.
struct Sender {
    egress: Egress,
    tls: Arc<Tls>,
    grants: Arc<NetGrants>,
    /// Bound of each wait.
    timeout: Duration,
    read_only: bool,
    traces: Arc<Traces>,
}

struct Hooks(Arc<Sender>);

struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
    traces: Arc<Traces>,
}

/// `wasi:http` of a run, built when the guest first uses it.
#[derive(Default)]
pub(super) struct LazyHttp(Option<Box<Http>>);

impl LazyHttp {
    /// True where a request was sent.
    pub fn was_used(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|http| http.traces.used.load(Ordering::Relaxed) > 0)
    }

    /// What was denied, for the run's log.
    pub fn denials(&self) -> Vec<String> {
        self.0
            .as_ref()
            .map(|http| std::mem::take(&mut *http.traces.denials.lock()))
            .unwrap_or_default()
    }

    /// What the engine's own machine lacked.
    pub fn own_fault(&self) -> Option<String> {
        self.0.as_ref()?.traces.own_fault.lock().clone()
    }
}

impl WasiHttpView for RunData {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let grants = self.net_grants();
        let (shared, timeout, read_only) = (&self.shared, self.waits.timeout, self.dry_run);
        let http = self.http.0.get_or_insert_with(|| {
            let traces = Arc::new(Traces::default());
            let mut ctx = WasiHttpCtx::new();
            ctx.set_field_size_limit(MAX_FIELDS);
            Box::new(Http {
                ctx,
                traces: Arc::clone(&traces),
                hooks: Hooks(Arc::new(Sender {
                    egress: shared.egress(),
                    tls: Arc::clone(&shared.tls),
                    grants,
                    timeout,
                    read_only,
                    traces,
                })),
            })
        });
        WasiHttpCtxView {
            hooks: &mut http.hooks,
            table: &mut self.table,
            ctx: &mut http.ctx,
        }
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let sender = Arc::clone(&self.0);
        Box::new(async move { sender.send(request, options.unwrap_or_default()).await })
    }
}

/// The contract's errors in the words of `wasi:http`.
fn wasi_error(error: NetError) -> Error {
    match error {
        NetError::Denied(_) => Error::HttpRequestDenied,
        NetError::Timeout(Phase::Resolve) => Error::DnsTimeout,
        NetError::Timeout(Phase::Send) => Error::ConnectionWriteTimeout,
        NetError::Timeout(Phase::FirstByte | Phase::Receive) => Error::ConnectionReadTimeout,
        NetError::Timeout(_) => Error::ConnectionTimeout,
        NetError::Resolve(_) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        NetError::Refused => Error::ConnectionRefused,
        NetError::Unreachable(_) => Error::DestinationUnavailable,
        NetError::Closed(_) => Error::ConnectionTerminated,
        NetError::Tls(text) if text.contains("certificate") => Error::TlsCertificateError,
        NetError::Tls(_) => Error::TlsProtocolError,
        NetError::Protocol(_) => Error::HttpProtocolError,
        NetError::TooLarge(_) => Error::HttpResponseHeaderSectionSize(None),
        NetError::Invalid(_) => Error::HttpRequestUriInvalid,
    }
}

impl Sender {
    async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Answer, Error> {
        let progress = Progress::new(Phase::Resolve);
        self.traces.used.fetch_add(1, Ordering::Relaxed);
        let result = self.exchange(request, options, &progress).await;
        if let (Err(_), Some(fault)) = (&result, progress.fault()) {
            self.traces
                .own_fault
                .lock()
                .get_or_insert_with(|| fault.to_owned());
        }
        result.map_err(|error| {
            if let NetError::Denied(what) = &error {
                self.traces.used.fetch_sub(1, Ordering::Relaxed);
                let mut denials = self.traces.denials.lock();
                if denials.len() < MAX_DENIALS {
                    denials.push(what.clone());
                }
            }
            wasi_error(error)
        })
    }

    /// A wait that the guest may shorten and not lengthen.
    async fn wait<T>(
        &self,
        wish: Option<Duration>,
        progress: &Progress,
        work: impl Future<Output = Result<T, NetError>>,
    ) -> Result<T, NetError> {
        let most = wish.unwrap_or(self.timeout).min(self.timeout);
        match tokio::time::timeout(most, work).await {
            Ok(result) => result,
            Err(_) => Err(NetError::Timeout(progress.phase())),
        }
    }

    async fn exchange(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
        progress: &Progress,
    ) -> Result<Answer, NetError> {
        let method = request.method();
        if self.read_only && method != http::Method::GET && method != http::Method::HEAD {
            return Err(NetError::Denied(format!(
                "dry run: {method} {} was held back",
                request.uri()
            )));
        }
        let (secure, host, port) = target(request.uri())?;
        let until = Instant::now() + self.timeout;
        let connecting = async {
            let connected = self
                .egress
                .connect(&self.grants, &host, port, until, progress)
                .await?;
            if !secure {
                return Ok(Stream::Plain(connected.stream));
            }
            progress.enter(Phase::TlsHandshake);
            let (stream, _) = self
                .tls
                .connect(connected.stream, &host, None, &["http/1.1"])
                .await?;
            Ok(Stream::Tls(Box::new(stream)))
        };
        let wish = options.connect_timeout;
        match self.wait(wish, progress, connecting).await? {
            Stream::Plain(stream) => self.over(stream, request, options, progress).await,
            Stream::Tls(stream) => self.over(stream, request, options, progress).await,
        }
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        mut request: http::Request<WasiBody>,
        options: RequestOptions,
        progress: &Progress,
    ) -> Result<Answer, NetError> {
        // Only proxies are told scheme and authority.
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str()).parse();
        *request.uri_mut() =
            path.map_err(|_| NetError::Invalid("the path cannot be sent".into()))?;
        progress.enter(Phase::FirstByte);
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEADERS_SIZE)
            .max_header_size(MAX_HEADERS_SIZE)
            .max_headers(MAX_HEADER_COUNT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| http_error(&error))?;
        let mut connection = Box::pin(connection);
        let mut driver = Driver {
            connection: connection.as_mut(),
            done: false,
        };
        let sending = async {
            let answer = driver.drive(sender.send_request(request)).await;
            answer.map_err(|error| http_error(&error))
        };
        let answer = self
            .wait(options.first_byte_timeout, progress, sending)
            .await?;
        let done = driver.done;
        let between = options.between_bytes_timeout.unwrap_or(self.timeout);
        let answer = answer.map(|body| Timed::new(body, between.min(self.timeout)).boxed_unsync());
        let io = async move {
            if !done {
                connection.await.map_err(Error::from)?;
            }
            Ok(())
        };
        Ok((answer, Box::new(io)))
    }
}

enum Stream {
    Plain(tokio::net::TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>),
}

/// Whether to speak TLS, and whom with.
fn target(uri: &http::Uri) -> Result<(bool, String, u16), NetError> {
    let wrong = || NetError::Invalid(format!("expected an http or https URL, found {uri}"));
    let authority = uri.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err(NetError::Invalid(
            "credentials in a URL are not sent".into(),
        ));
    }
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None if secure => 443,
        None => 80,
    };
    Ok((secure, authority.host().to_owned(), port))
}

/// A body that must not pause for long.
struct Timed {
    body: Incoming,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(body: Incoming, pause: Duration) -> Self {
        Self {
            body,
            pause,
            timer: Box::pin(sleep(pause)),
        }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let next = Instant::now() + self.pause;
            self.timer.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Notes what a request of the run would where the engine's machine fails it.
    pub fn own_fault(data: &mut RunData, what: &str) {
        WasiHttpView::http(data);
        if let Some(http) = &data.http.0 {
            *http.traces.own_fault.lock() = Some(what.to_owned());
        }
    }

    #[test]
    fn targets_are_read_out_of_the_url() {
        let read = |text: &str| target(&text.parse().unwrap());
        assert_eq!(
            read("https://a.example/x").unwrap(),
            (true, "a.example".into(), 443)
        );
        assert_eq!(
            read("http://[::1]:8080/").unwrap(),
            (false, "[::1]".into(), 8_080)
        );
        for bad in ["http://user:pw@a.example/", "ftp://a.example/", "/path"] {
            assert!(matches!(read(bad), Err(NetError::Invalid(_))), "{bad}");
        }
    }
}
