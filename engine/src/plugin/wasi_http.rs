//! `wasi:http`, outgoing alone, under the same egress rules as `net.http`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
use super::watch::{Answer, Watch};

/// Denials that are kept for the run's log.
const MAX_DENIALS: usize = 20;
/// Bytes of a guest's header fields, as they are held in memory.
const MAX_FIELDS: usize = 128 << 10;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answered = (http::Response<WasiBody>, Io);

/// What requests of a run leave behind.
#[derive(Default)]
struct Traces {
    /// True where a request was not denied.
    used: AtomicBool,
    /// Exchanges of which the body has not ended.
    open: AtomicU32,
    denials: Mutex<Vec<String>>,
    own_fault: Mutex<Option<String>>,
}

/// An exchange until it has ended.
struct Open(Arc<Traces>);

impl Open {
    fn new(traces: &Arc<Traces>) -> Self {
        traces.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(traces))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
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
    watch: Option<Watch>,
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
            .is_some_and(|http| http.traces.used.load(Ordering::Relaxed))
    }

    /// True while an answer, or the rest of one, may still come.
    pub fn is_open(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|http| http.traces.open.load(Ordering::Relaxed) > 0)
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
        let watch = &self.watch;
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
                    watch: watch.clone(),
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
    ) -> Box<dyn Future<Output = Result<Answered, Error>> + Send> {
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
    ) -> Result<Answered, Error> {
        let progress = Progress::new(Phase::Resolve);
        let open = Open::new(&self.traces);
        let watching = self.watch.as_ref().map(|watch| {
            let asked = format!("{} {}", request.method(), request.uri());
            watch.called("wasi:http", asked)
        });
        let result = self.exchange(request, options, open, &progress).await;
        if let Some(watching) = watching {
            watching.answered(|| {
                Answer::net(&result, |(response, _)| {
                    Answer::ok(response.status().as_str())
                })
            });
        }
        if let (Err(_), Some(fault)) = (&result, progress.fault()) {
            self.traces
                .own_fault
                .lock()
                .get_or_insert_with(|| fault.to_owned());
        }
        if result.is_ok() {
            self.traces.used.store(true, Ordering::Relaxed);
        }
        result.map_err(|error| {
            if let NetError::Denied(what) = &error {
                let mut denials = self.traces.denials.lock();
                if denials.len() < MAX_DENIALS {
                    denials.push(what.clone());
                }
            } else {
                self.traces.used.store(true, Ordering::Relaxed);
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
        open: Open,
        progress: &Progress,
    ) -> Result<Answered, NetError> {
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
            Stream::Plain(stream) => self.over(stream, request, options, open, progress).await,
            Stream::Tls(stream) => self.over(stream, request, options, open, progress).await,
        }
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        mut request: http::Request<WasiBody>,
        options: RequestOptions,
        open: Open,
        progress: &Progress,
    ) -> Result<Answered, NetError> {
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
        let pause = between.min(self.timeout);
        let answer = answer.map(|body| Timed::new(body, pause, open).boxed_unsync());
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
    /// Absent once it has ended.
    open: Option<Open>,
}

impl Timed {
    fn new(body: Incoming, pause: Duration, open: Open) -> Self {
        let open = (!body.is_end_stream()).then_some(open);
        Self {
            body,
            pause,
            open,
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
            if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
                self.open = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(self.timer.as_mut().poll(cx));
        self.open = None;
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

    /// Notes that a request of the run was sent, and has ended.
    pub fn asked(data: &mut RunData) {
        WasiHttpView::http(data);
        if let Some(http) = &data.http.0 {
            http.traces.used.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn an_exchange_is_open_until_its_body_has_ended() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let test = super::super::host::tests::inner();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let traces = Arc::new(Traces::default());
        let sender = Sender {
            egress: test.inner.shared.egress(),
            tls: Arc::clone(&test.inner.shared.tls),
            grants: Arc::new(NetGrants::new(&[address.to_string()], None)),
            timeout: Duration::from_secs(5),
            read_only: false,
            traces: Arc::clone(&traces),
            watch: None,
        };
        let open = || traces.open.load(Ordering::Relaxed);
        let request = |url: String| {
            let body = http_body_util::Empty::new().map_err(|error| match error {});
            http::Request::get(url).body(body.boxed_unsync()).unwrap()
        };
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = stream.read(&mut [0; 1024]).await.unwrap();
            assert!(asked > 0);
            assert_eq!(open(), 1);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let asking = sender.send(request(format!("http://{address}/")), Default::default());
        let (answer, _stream) = tokio::join!(asking, serving);
        let (answer, io) = answer.ok().unwrap();
        assert_eq!(open(), 1);
        let mut io = Box::into_pin(io);
        let mut reading = std::pin::pin!(answer.into_body().collect());
        let body = tokio::select! {
            body = &mut reading => body,
            _ = &mut io => reading.await,
        };
        assert_eq!(body.ok().unwrap().to_bytes(), "hello");
        assert_eq!(open(), 0);
        assert!(traces.used.load(Ordering::Relaxed));
        // One that came to nothing is none.
        drop(listener);
        let refused = sender.send(request(format!("http://{address}/")), Default::default());
        assert!(refused.await.is_err());
        assert_eq!(open(), 0);
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
