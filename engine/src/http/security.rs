//! What holds for every request before a handler sees it: which names the
//! engine answers to, who may send changes, and what browsers may do with the
//! answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use url::{Host, Url};

use super::error::Error;
use super::state::Settings;

/// Everything comes from the engine itself. Style attributes are allowed for
/// the mails of the mailbox, which are shown in a sandboxed frame that inherits
/// this policy; style sheets and scripts are files.
const CSP: &str = "default-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
                   img-src 'self' data:; object-src 'none'; frame-src 'self'; \
                   frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Headers that go with every answer.
pub async fn headers(
    State(settings): State<Arc<Settings>>,
    request: Request,
    next: Next,
) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CSP);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "same-origin");
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    );
    if settings.is_https() {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Refuses requests under a name that is not the engine's: a page of another
/// site whose name was made to resolve to the engine (DNS rebinding) ends here.
pub async fn host(State(settings): State<Arc<Settings>>, request: Request, next: Next) -> Response {
    // Probes of orchestrators use whatever name they know, and learn nothing.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    let found = authority(request.headers(), request.uri());
    if found
        .as_deref()
        .is_some_and(|host| settings.answers_to(host))
    {
        return next.run(request).await;
    }
    Error::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        format!(
            "the engine does not answer to {:?}; expected the host of public_url ({}) or of the \
             listen address ({})",
            found.as_deref().unwrap_or(""),
            settings.public_url,
            settings.listen,
        ),
    )
    .into_response()
}

/// Refuses changes that a page of another origin sends with the person's
/// cookie. Absence of the header is refused only together with the cookie: a
/// browser always sends it.
pub async fn origin(
    State(settings): State<Arc<Settings>>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return next.run(request).await;
    }
    let headers = request.headers();
    let allowed = match headers.get(header::ORIGIN) {
        Some(origin) => origin.to_str().is_ok_and(|origin| {
            settings.is_own_origin(origin, authority(headers, request.uri()).as_deref())
        }),
        None => {
            headers.contains_key(header::AUTHORIZATION)
                || !super::sessions::has_session_cookie(headers)
        }
    };
    if allowed {
        return next.run(request).await;
    }
    Error::new(
        StatusCode::FORBIDDEN,
        "wrong_origin",
        "a change must come from the engine's own pages: expected an Origin header that names \
         public_url or the listen address",
    )
    .into_response()
}

/// Host and port that the request names.
fn authority(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    // HTTP/2 carries it in the request line.
    match uri.authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .map(str::to_owned),
    }
}

impl Settings {
    /// True where people reach the engine over TLS.
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// True where `authority` (`host[:port]`) is a name of the engine. An
    /// address that it listens on counts under any port: port forwards change
    /// it, and no foreign site can have an address for its name.
    pub fn answers_to(&self, authority: &str) -> bool {
        // The scheme decides only what port is implied.
        let Ok(asked) = Url::parse(&format!("{}://{authority}/", self.public_url.scheme())) else {
            return false;
        };
        if !asked.username().is_empty() || asked.password().is_some() || asked.path() != "/" {
            return false;
        }
        if asked.host() == self.public_url.host()
            && asked.port_or_known_default() == self.public_url.port_or_known_default()
        {
            return true;
        }
        let listen = self.listen.ip();
        let address: IpAddr = match asked.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain("localhost")) if listen.is_loopback() || listen.is_unspecified() => {
                return true;
            }
            _ => return false,
        };
        listen.is_unspecified()
            || address == listen
            || (address.is_loopback() && listen.is_loopback())
    }

    /// True where `origin` is that of the engine's own pages, as reached by the
    /// request's own (already checked) host.
    pub fn is_own_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let Ok(found) = Url::parse(origin) else {
            return false;
        };
        if found.origin() == self.public_url.origin() {
            return true;
        }
        host.is_some_and(|host| {
            ["http", "https"].iter().any(|scheme| {
                found.scheme() == *scheme
                    && Url::parse(&format!("{scheme}://{host}/"))
                        .is_ok_and(|own| own.origin() == found.origin())
            })
        })
    }
}

/// Address of the client, for handlers.
pub struct Client(pub IpAddr);

impl<S> FromRequestParts<S> for Client
where
    Arc<Settings>: FromRef<S>,
    S: Sync,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let settings = Arc::<Settings>::from_ref(state);
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let trusted = &settings.trusted_proxies;
        Ok(Self(client_address(peer, &parts.headers, trusted)))
    }
}

/// Address of the client: the peer, or what a trusted proxy says of it.
fn client_address(
    peer: Option<&ConnectInfo<SocketAddr>>,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let peer = peer.to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    // Each proxy appends whom it got the request from; the last one that is not
    // a proxy of ours is the client. What stands before it is the client's word.
    let mut client = peer;
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for entry in forwarded.into_iter().rev() {
        match entry.trim().parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(public_url: &str, listen: &str) -> Settings {
        Settings {
            public_url: public_url.parse().unwrap(),
            listen: listen.parse().unwrap(),
            ..Settings::default()
        }
    }

    #[test]
    fn names_of_the_engine() {
        let local = settings("https://bw.example.org/", "127.0.0.1:8480");
        for good in [
            "bw.example.org",
            "bw.example.org:443",
            "127.0.0.1:8480",
            "127.0.0.1:9999",
            "localhost:8480",
            "[::1]:8480",
        ] {
            assert!(local.answers_to(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8480",
            "bw.example.org:8480",
            "10.0.0.1:8480",
            "bw.example.org.evil.example",
            "x@bw.example.org",
            "bw.example.org/x",
            "localhost.evil.example",
        ] {
            assert!(!local.answers_to(bad), "{bad}");
        }
        let open = settings("http://bw.example.org:8480/", "0.0.0.0:8480");
        assert!(open.answers_to("10.0.0.1:8480"));
        assert!(open.answers_to("bw.example.org:8480"));
        assert!(!open.answers_to("bw.example.org"));
        assert!(!open.answers_to("evil.example:8480"));
    }

    #[test]
    fn own_origins() {
        let settings = settings("https://bw.example.org/", "127.0.0.1:8480");
        let own = |origin: &str| settings.is_own_origin(origin, Some("127.0.0.1:8480"));
        assert!(own("https://bw.example.org"));
        assert!(own("http://127.0.0.1:8480"));
        for bad in [
            "null",
            "",
            "http://bw.example.org",
            "https://bw.example.org:8443",
            "http://127.0.0.1:9000",
            "http://localhost:8480",
            "https://evil.example",
        ] {
            assert!(!own(bad), "{bad}");
        }
    }

    #[test]
    fn forwarded_addresses_are_believed_from_proxies_only() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            HeaderValue::from_static("1.1.1.1, 9.9.9.9, 10.0.0.2"),
        );
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = |address: &str| ConnectInfo(SocketAddr::new(address.parse().unwrap(), 1));
        let client = |address| client_address(Some(&peer(address)), &headers, &trusted).to_string();
        assert_eq!(client("10.0.0.1"), "9.9.9.9");
        assert_eq!(client("8.8.8.8"), "8.8.8.8");
        assert_eq!(client("::ffff:10.0.0.1"), "9.9.9.9");
    }
}
