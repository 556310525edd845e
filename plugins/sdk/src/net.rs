//! The network under the run's grants.

use std::fmt;

use crate::bindings::host::bellwether::plugin::net as wit;
pub use crate::bindings::host::bellwether::plugin::net::{
    Certificate, ChainCertificate, Error, Header, HttpRequest, HttpResponse, Phase, SecretHeader,
    Timings, TlsInfo, TlsOptions,
};
use crate::{ProbeError, Report, Timestamp};

/// Talks to the network; [`Host`] on the real host, [`FakeNet`](crate::fake::FakeNet)
/// in tests.
pub trait Net {
    /// One HTTP exchange, with redirects as the request allows.
    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error>;

    /// Opens a TCP connection, with TLS from the start where asked for.
    fn connect(
        &self,
        host: &str,
        port: u16,
        tls: Option<&TlsOptions>,
    ) -> Result<Box<dyn Connection>, Error>;
}

/// A TCP connection; closed when dropped.
pub trait Connection {
    /// Writes all of `data`.
    fn write(&self, data: &[u8]) -> Result<(), Error>;
    /// At most `max` bytes, at least one; empty at the end of the stream.
    fn read(&self, max: u32) -> Result<Vec<u8>, Error>;
    /// Reads up to and including `delimiter`, at most `max` bytes.
    fn read_until(&self, delimiter: &[u8], max: u32) -> Result<Vec<u8>, Error>;
    /// Upgrades to TLS (STARTTLS).
    fn start_tls(&self, tls: &TlsOptions) -> Result<(), Error>;
    /// How long each phase took.
    fn timings(&self) -> Timings;
    /// Address and port that answered.
    fn peer(&self) -> String;
    /// The peer's leaf certificate, with TLS.
    fn certificate(&self) -> Option<Certificate>;
    /// What was agreed on and the peer's whole chain, with TLS.
    fn tls_info(&self) -> Option<TlsInfo> {
        None
    }
}

/// The engine's network.
pub struct Host;

impl Net for Host {
    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        wit::http(request)
    }

    fn connect(
        &self,
        host: &str,
        port: u16,
        tls: Option<&TlsOptions>,
    ) -> Result<Box<dyn Connection>, Error> {
        Ok(Box::new(wit::Tcp::connect(host, port, tls)?))
    }
}

impl Connection for wit::Tcp {
    fn write(&self, data: &[u8]) -> Result<(), Error> {
        wit::Tcp::write(self, data)
    }

    fn read(&self, max: u32) -> Result<Vec<u8>, Error> {
        wit::Tcp::read(self, max)
    }

    fn read_until(&self, delimiter: &[u8], max: u32) -> Result<Vec<u8>, Error> {
        wit::Tcp::read_until(self, delimiter, max)
    }

    fn start_tls(&self, tls: &TlsOptions) -> Result<(), Error> {
        wit::Tcp::start_tls(self, tls)
    }

    fn timings(&self) -> Timings {
        wit::Tcp::timings(self)
    }

    fn peer(&self) -> String {
        wit::Tcp::peer(self)
    }

    fn certificate(&self) -> Option<Certificate> {
        wit::Tcp::certificate(self)
    }

    fn tls_info(&self) -> Option<TlsInfo> {
        wit::Tcp::tls_info(self)
    }
}

impl TlsOptions {
    /// Verifies against the request's host; offers no ALPN protocol.
    pub fn verified() -> Self {
        TlsOptions {
            server_name: None,
            verify: true,
            alpn: Vec::new(),
        }
    }

    /// What a request must carry to have another name asked for, or any
    /// certificate accepted; `None` where neither is wanted.
    pub fn other_than_verified(server_name: Option<&str>, verify: bool) -> Option<Self> {
        (!verify || server_name.is_some()).then(|| TlsOptions {
            server_name: server_name.map(str::to_owned),
            verify,
            alpn: Vec::new(),
        })
    }
}

impl HttpRequest {
    /// A request without headers and body that follows ten redirects and keeps
    /// 1 MiB of the body.
    pub fn new(method: &str, url: &str) -> Self {
        HttpRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: None,
            max_redirects: 10,
            max_body: 1 << 20,
            tls: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(Header {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// True where a header of that name is set, by value or by secret.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case(name))
            || self
                .secret_headers
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case(name))
    }
}

impl HttpResponse {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value.as_str())
    }
}

impl Certificate {
    /// Days from `now` until it expires; negative once it has.
    pub fn days_left(&self, now: Timestamp) -> f64 {
        self.not_after.saturating_sub(now) as f64 / 86_400_000_000.0
    }
}

/// Text for people: what happened to the target, without the error's Rust name.
pub fn explain(error: &Error) -> String {
    match error {
        Error::Denied(what) => format!("not granted: {what}"),
        Error::Timeout(phase) => format!("timed out in {}", phase_name(*phase)),
        Error::Resolve(text) => format!("name does not resolve: {text}"),
        Error::Refused => "connection refused".to_owned(),
        Error::Unreachable(text) => format!("unreachable: {text}"),
        Error::Closed(text) => format!("connection closed: {text}"),
        Error::Tls(text) => format!("TLS failed: {text}"),
        Error::Protocol(text) => format!("protocol error: {text}"),
        Error::TooLarge(limit) => format!("answer larger than {limit} bytes"),
        Error::Invalid(text) => format!("invalid request: {text}"),
    }
}

/// What a failed exchange means for a probe: a target that is down is a
/// critical report, a missing grant or a wrong request is an error.
pub fn judge(error: Error) -> Result<Report, ProbeError> {
    match error {
        Error::Denied(what) => Err(ProbeError::Denied(what)),
        Error::Invalid(text) => Err(ProbeError::config("", text)),
        down => Ok(Report::critical(explain(&down))),
    }
}

/// The word for a phase, as the WIT writes it.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolve => "resolve",
        Phase::Connect => "connect",
        Phase::TlsHandshake => "tls-handshake",
        Phase::Send => "send",
        Phase::FirstByte => "first-byte",
        Phase::Receive => "receive",
    }
}

/// Microseconds as milliseconds.
pub fn ms(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000.0
}

/// A duration in milliseconds as people write it: `4.2 ms`, `12 ms`, `1.30 s`.
pub struct Millis(pub f64);

impl fmt::Display for Millis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value < 10.0 => write!(out, "{value:.1} ms"),
            value if value < 1_000.0 => write!(out, "{value:.0} ms"),
            value => write!(out, "{:.2} s", value / 1_000.0),
        }
    }
}
