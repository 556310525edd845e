//! `net` as a run sees it: grants parsed once, secrets filled in, denials noted.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, HeaderName, HeaderValue, RANGE};
use tokio::time::Instant;

use super::bindings::bellwether::plugin::net::{
    DnsQuery, DnsResponse, Error, Host, HttpRequest, HttpResponse, IcmpRequest, IcmpResponse,
    Phase, UdpRequest, UdpResponse,
};
use super::grants::NetGrants;
use super::net_http::{Client, MAX_BODY, header};
use super::replay::{DnsExchange, Exchange, HttpExchange, IcmpExchange, Replay, UdpExchange};
use super::run::{Progress, RunData};
use super::watch::{self, Answer, bytes};

impl RunData {
    /// The run's net grants, parsed when first needed.
    pub(super) fn net_grants(&mut self) -> Arc<NetGrants> {
        let node = self.node.as_ref().map(|node| node.address.as_str());
        let grants = &self.grants.net;
        Arc::clone(
            self.net
                .get_or_insert_with(|| Arc::new(NetGrants::new(grants, node))),
        )
    }

    /// The recording that answers in the place of the network, if so.
    pub(super) fn played(&self) -> Option<&Replay> {
        self.replay.as_ref().filter(|replay| replay.plays())
    }

    /// Keeps an exchange where a recording is made; its number.
    pub(super) fn keep(&self, exchange: impl FnOnce() -> Exchange) -> Option<usize> {
        self.replay.as_ref()?.keep(exchange)
    }

    /// Writes a denial into the run's log.
    pub(super) fn note_denial(&mut self, error: Option<&Error>) {
        if let Some(Error::Denied(what)) = error {
            self.log.push("warning", &format!("denied: {what}"));
        }
    }

    /// Bytes of the target without the secrets that were sent to it.
    pub(super) fn redacted(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.redactor.is_empty() {
            bytes
        } else {
            self.redactor.bytes(&bytes).into_owned()
        }
    }

    /// An error of an exchange with the target without the secrets that were
    /// sent to it.
    pub(super) fn redacted_error(&self, error: Error) -> Error {
        if self.redactor.is_empty() {
            return error;
        }
        let clean = |text| self.redactor.text(text);
        match error {
            Error::Denied(text) => Error::Denied(clean(text)),
            Error::Invalid(text) => Error::Invalid(clean(text)),
            Error::Resolve(text) => Error::Resolve(clean(text)),
            Error::Unreachable(text) => Error::Unreachable(clean(text)),
            Error::Closed(text) => Error::Closed(clean(text)),
            Error::Tls(text) => Error::Tls(clean(text)),
            Error::Protocol(text) => Error::Protocol(clean(text)),
            error @ (Error::Timeout(_) | Error::Refused | Error::TooLarge(_)) => error,
        }
    }

    /// Secret headers with their values, read before the target is waited for.
    async fn secret_headers(
        &mut self,
        request: &HttpRequest,
    ) -> wasmtime::Result<Result<Vec<(HeaderName, HeaderValue)>, Error>> {
        if let Err(error) = recognisable(request) {
            return Ok(Err(error));
        }
        let mut headers = Vec::with_capacity(request.secret_headers.len());
        for wanted in &request.secret_headers {
            let secret = &wanted.secret;
            if !self.grants.secrets.contains(secret) {
                return Ok(Err(Error::Denied(format!(
                    "secrets {secret} is not granted; a grant would be secrets: [{secret}]"
                ))));
            }
            let value = match self.secret(secret).await? {
                Ok(value) => value,
                Err(error) => return Ok(Err(Error::Invalid(error))),
            };
            // The error must not show the value, so the text is made here.
            match header(&wanted.name, &format!("{}{value}", wanted.prefix)) {
                Ok((name, mut value)) => {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
                Err(Error::Invalid(text)) if text.contains("characters") => {
                    return Ok(Err(Error::Invalid(format!(
                        "the secret {secret} has characters that headers cannot carry"
                    ))));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(headers))
    }

    async fn request(
        &mut self,
        request: &HttpRequest,
        secrets: Vec<(HeaderName, HeaderValue)>,
        progress: &Progress,
    ) -> Result<HttpResponse, Error> {
        let client = Client {
            egress: self.shared.egress(),
            tls: Arc::clone(&self.shared.tls),
            grants: self.net_grants(),
            guests: self.shared.guests.clone(),
            until: Instant::now() + self.waits.timeout,
            read_only: self.dry_run,
            secrets,
            most_body: MAX_BODY,
            beyond: self.redactor.longest(),
        };
        let mut response = client.run(request, progress).await?;
        if !self.redactor.is_empty() {
            response.body = self.redacted(response.body);
            // Cut off only now: a value is found whole or not at all, so where
            // the guest has its answers cut tells it nothing of one.
            let most = client.most(request);
            response.truncated |= response.body.len() > most;
            response.body.truncate(most);
            response.url = self.redactor.text(response.url);
            for header in &mut response.headers {
                header.name = self.redactor.text(std::mem::take(&mut header.name));
                header.value = self.redactor.text(std::mem::take(&mut header.value));
            }
        }
        Ok(response)
    }
}

/// A request with secret headers must not ask for an answer in which a value
/// that comes back could not be recognised: compressed, in pieces, or a mirror
/// of the request.
fn recognisable(request: &HttpRequest) -> Result<(), Error> {
    if request.secret_headers.is_empty() {
        return Ok(());
    }
    if request.method == http::Method::TRACE.as_str() {
        return Err(Error::Invalid(
            "the method TRACE sends headers back, so it goes without secret headers".into(),
        ));
    }
    let asked = request.headers.iter().find(|header| {
        [ACCEPT_ENCODING, RANGE]
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name.as_str()))
    });
    match asked {
        Some(header) => Err(Error::Invalid(format!(
            "the header {} goes without secret headers: a value that comes back compressed or in pieces would not be recognised",
            header.name
        ))),
        None => Ok(()),
    }
}

impl Host for RunData {
    async fn http(
        &mut self,
        request: HttpRequest,
    ) -> wasmtime::Result<Result<HttpResponse, Error>> {
        let watching = self.watch("net.http", || format!("{} {}", request.method, request.url));
        let (progress, waits) = (Progress::new(Phase::Resolve), self.waits);
        let result = match self.played() {
            Some(replay) => replay.http(&request)?,
            None => {
                let result = match self.secret_headers(&request).await? {
                    Ok(secrets) => {
                        let asking = self.request(&request, secrets, &progress);
                        waits.on_target(&progress, asking).await?
                    }
                    Err(error) => Err(error),
                };
                result.map_err(|error| self.redacted_error(error))
            }
        };
        self.keep(|| Exchange::Http(HttpExchange::of(&request, &result)));
        self.note_denial(result.as_ref().err());
        watching.answered(|| {
            Answer::net(&result, |response| {
                let size = bytes(response.body.len());
                Answer::ok(format!("{}, {size}", response.status)).timed(response.timings)
            })
        });
        Ok(result)
    }

    async fn udp(&mut self, request: UdpRequest) -> wasmtime::Result<Result<UdpResponse, Error>> {
        let watching = self.watch("net.udp", || {
            format!(
                "{}:{}, {}",
                request.host,
                request.port,
                bytes(request.data.len())
            )
        });
        let now = self.shared.clock.now().micros();
        let result = match self.played() {
            Some(replay) => replay.udp(&request, now)?,
            None => self.serve_udp(&request).await?,
        };
        self.keep(|| Exchange::Udp(UdpExchange::of(&request, &result)));
        watching.answered(|| {
            Answer::net(&result, |response| {
                let replies = format!("{} replies", response.replies.len());
                Answer::ok(replies).timed(response.timings)
            })
        });
        Ok(result)
    }

    async fn dns(&mut self, query: DnsQuery) -> wasmtime::Result<Result<DnsResponse, Error>> {
        let watching = self.watch("net.dns", || watch::question(&query));
        let result = match self.played() {
            Some(replay) => replay.dns(&query)?,
            None => self.serve_dns(&query).await?,
        };
        self.keep(|| Exchange::Dns(DnsExchange::of(&query, &result)));
        watching.answered(|| {
            Answer::net(&result, |response| {
                let answers = format!("{}, {} answers", response.rcode, response.answers.len());
                Answer::ok(answers).timed(response.timings)
            })
        });
        Ok(result)
    }

    async fn icmp(
        &mut self,
        request: IcmpRequest,
    ) -> wasmtime::Result<Result<IcmpResponse, Error>> {
        let watching = self.watch("net.icmp", || request.host.clone());
        let result = match self.played() {
            Some(replay) => replay.icmp(&request)?,
            None => self.serve_icmp(&request).await?,
        };
        self.keep(|| Exchange::Icmp(IcmpExchange::of(&request, &result)));
        watching.answered(|| {
            Answer::net(&result, |response| {
                Answer::ok(format!(
                    "{} of {} came back",
                    response.replies.len(),
                    response.sent
                ))
            })
        });
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::bindings::bellwether::plugin::net::{Header, SecretHeader};
    use super::super::host::tests::{TestInner, inner};
    use super::super::run::{End, HOSTCALL_FUEL, RunSetup, Stop, classify};
    use super::*;
    use crate::check::outcome::FaultKind;
    use crate::config::spec::{GrantsSpec, SecretSource};

    const VALUE: &str = "s3cret-value";

    /// A host with a secret in a file, and a run that may send it to loopback.
    fn run(dir: &std::path::Path) -> (TestInner, RunData) {
        let path = dir.join("token");
        std::fs::write(&path, VALUE).unwrap();
        let test = inner();
        let mut settings = (*test.inner.shared.settings()).clone();
        let source = SecretSource::File(path.display().to_string());
        settings.secrets.insert("token".into(), source);
        test.reconfigure(settings);
        let store = test.inner.store(RunSetup {
            timeout: Duration::from_secs(5),
            length: Duration::from_secs(6),
            memory: 1 << 20,
            grants: Arc::new(GrantsSpec {
                net: vec!["127.0.0.1:*".into()],
                secrets: vec!["token".into()],
                ..GrantsSpec::default()
            }),
            node: None,
            state: None,
            dry_run: false,
            fuel: HOSTCALL_FUEL,
        });
        (test, store.into_data())
    }

    fn request(port: u16) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            url: format!("http://127.0.0.1:{port}/"),
            headers: Vec::new(),
            secret_headers: vec![SecretHeader {
                name: "x-token".into(),
                prefix: String::new(),
                secret: "token".into(),
            }],
            body: None,
            max_redirects: 5,
            max_body: 1 << 20,
            tls: None,
        }
    }

    /// The answer of one exchange with a server that says this; what it heard.
    async fn exchange(
        change: impl FnOnce(&mut HttpRequest),
        answer: impl Into<String>,
    ) -> (Result<HttpResponse, Error>, String) {
        let dir = tempfile::tempdir().unwrap();
        let (_test, mut data) = run(dir.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut request = request(listener.local_addr().unwrap().port());
        change(&mut request);
        let answer = answer.into();
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4 << 10];
            let count = stream.read(&mut heard).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&heard[..count]).into_owned()
        };
        let mut serving = std::pin::pin!(serving);
        let mut heard = String::new();
        let asking = data.http(request);
        let mut asking = std::pin::pin!(asking);
        let answer = loop {
            tokio::select! {
                said = &mut serving, if heard.is_empty() => heard = said,
                answer = &mut asking => break answer.unwrap(),
            }
        };
        (answer, heard)
    }

    fn answer(headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn a_secret_that_comes_back_is_recognised_everywhere() {
        let body = format!("you said {VALUE}");
        let headers = format!("x-{VALUE}: {VALUE}\r\n");
        let (found, heard) = exchange(|_| (), answer(&headers, &body)).await;
        let found = found.unwrap();
        assert!(
            heard.contains(VALUE) && heard.contains("accept-encoding: identity"),
            "{heard}"
        );
        assert_eq!(found.body, b"you said ************");
        assert!(
            !format!("{:?}", found.headers).contains(VALUE),
            "{:?}",
            found.headers
        );
        // Cut in the middle of the value.
        for max_body in [10, 20] {
            let change = |request: &mut HttpRequest| request.max_body = max_body;
            let (found, _) = exchange(change, answer("", &body)).await;
            let found = found.unwrap();
            let text = String::from_utf8(found.body).unwrap();
            assert!(found.truncated && text.starts_with("you said *"), "{text}");
            assert!(text[9..].bytes().all(|byte| byte == b'*'), "{text}");
        }
        // What only begins like the value stays: else the guest, which chooses
        // where to cut, would find the value byte by byte.
        for guess in ["s", "s3c", "s3cret-valu"] {
            let change = |request: &mut HttpRequest| request.max_body = guess.len() as u32;
            let (found, _) = exchange(change, answer("", &format!("{guess} and more"))).await;
            let found = found.unwrap();
            assert_eq!((found.body, found.truncated), (guess.into(), true));
        }
        // In the text of an error.
        let moved =
            format!("HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: ftp://{VALUE}/\r\n\r\n");
        let (found, _) = exchange(|_| (), moved).await;
        let Err(Error::Protocol(text)) = found else {
            panic!("{found:?}")
        };
        assert!(text.contains("***") && !text.contains(VALUE), "{text}");
    }

    #[tokio::test]
    async fn what_could_not_be_recognised_is_not_asked_for_or_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (_test, mut data) = run(dir.path());
        let with = |name: &str| Header {
            name: name.into(),
            value: "x".into(),
        };
        let mut mirror = request(1);
        mirror.method = "TRACE".into();
        let (mut compressed, mut pieces) = (request(1), request(1));
        compressed.headers.push(with("Accept-Encoding"));
        pieces.headers.push(with("range"));
        for (request, expected) in [
            (mirror, "TRACE"),
            (compressed, "Accept-Encoding"),
            (pieces, "range"),
        ] {
            let refused = data.http(request.clone()).await.unwrap();
            let Err(Error::Invalid(text)) = refused else {
                panic!("{expected}: {refused:?}")
            };
            assert!(text.contains(expected), "{text}");
            // Without a secret there is nothing to hide.
            let mut open = request;
            open.secret_headers.clear();
            let tried = data.http(open).await.unwrap();
            assert!(matches!(tried, Err(Error::Refused)), "{tried:?}");
        }
        let (found, _) = exchange(|_| (), answer("content-encoding: gzip\r\n", "xxx")).await;
        let Err(Error::Protocol(text)) = found else {
            panic!("{found:?}")
        };
        assert!(text.contains("\"gzip\" though identity"), "{text}");
    }

    #[tokio::test]
    async fn where_a_server_sends_us_is_its_own_mistake() {
        for location in [
            "http://127.0.0.1:0/",
            "http://a b/",
            "http://[::1/",
            "gopher://x/",
        ] {
            let moved =
                format!("HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: {location}\r\n\r\n");
            let (found, _) = exchange(|_| (), moved).await;
            let Err(Error::Protocol(text)) = found else {
                panic!("{location}: {found:?}")
            };
            assert!(text.contains("redirects to"), "{location}: {text}");
        }
    }

    #[tokio::test]
    async fn a_secret_on_a_disk_that_hangs_is_not_the_target_s_doing() {
        let dir = tempfile::tempdir().unwrap();
        let (test, mut data) = run(dir.path());
        let now = Instant::now();
        data.waits.deadline = now + Duration::from_millis(50);
        // All threads for blocking calls wait for their disks.
        let room = test.inner.shared.blocking.occupy().await;
        let error = data.http(request(1)).await.unwrap_err();
        drop(room);
        assert!(matches!(
            error.downcast_ref::<Stop>(),
            Some(Stop::Waiting("a secret", _))
        ));
        let End::Fault(fault) = classify(&error, &data) else {
            panic!("{error:?}")
        };
        assert_eq!(fault.kind, FaultKind::Engine, "{fault:?}");
        assert!(fault.text.contains("waited for a secret"), "{fault:?}");
    }
}
