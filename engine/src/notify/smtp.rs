//! The SMTP conversation: connections that are kept, one bound for a whole
//! attempt, and the server's own words in every answer.
//!
//! lettre's transport is not used because its pool runs tasks of its own and
//! its time-out bounds single commands only; its connection is.

use std::error::Error as _;
use std::time::{Duration, Instant};

use lettre::address::Envelope;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::mail::{Delivery, MailSetupError};

/// Connections kept for the next mail.
const MAX_IDLE: usize = 8;

/// How long a connection is kept; servers close after minutes.
const IDLE: Duration = Duration::from_secs(20);

/// Bound of what is done for the next mail's sake or out of politeness.
const POLITE: Duration = Duration::from_secs(1);

/// Whether and how the conversation is encrypted.
pub(super) enum Security {
    Plain,
    /// STARTTLS where the server offers it.
    Opportunistic(TlsParameters),
    /// STARTTLS or nothing.
    Required(TlsParameters),
    /// TLS from the first byte.
    Implicit(TlsParameters),
}

/// One mail server.
pub(super) struct Smtp {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Why an attempt stopped.
enum Stop {
    Retry(String),
    Failed(String),
}

impl From<Stop> for Delivery {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Retry(text) => Delivery::Retry(text),
            Stop::Failed(text) => Delivery::Failed(text),
        }
    }
}

impl Smtp {
    pub(super) fn new(
        host: String,
        port: u16,
        security: Security,
        credentials: Option<(String, String)>,
    ) -> Self {
        Self {
            host,
            port,
            security,
            credentials: credentials.map(|(user, password)| Credentials::new(user, password)),
            hello: ClientId::default(),
            idle: Mutex::default(),
        }
    }

    /// One attempt within `bound`.
    pub(super) async fn send(&self, envelope: &Envelope, mail: &[u8], bound: Duration) -> Delivery {
        // Where the conversation is, for the text of a time-out.
        let stage = Mutex::new("connecting");
        let attempt = self.attempt(envelope, mail, &stage, bound);
        let (delivery, keep) = match tokio::time::timeout(bound, attempt).await {
            Ok(ended) => ended,
            Err(_) => {
                let text = format!(
                    "{}:{}: no answer within {} s while {}",
                    self.host,
                    self.port,
                    bound.as_secs_f64(),
                    stage.lock()
                );
                (Delivery::Retry(text), None)
            }
        };
        if let Some(connection) = keep {
            self.keep(connection, !matches!(delivery, Delivery::Accepted(_)))
                .await;
        }
        delivery
    }

    /// The answer, and the connection where it can carry another mail.
    async fn attempt(
        &self,
        envelope: &Envelope,
        mail: &[u8],
        stage: &Mutex<&'static str>,
        bound: Duration,
    ) -> (Delivery, Option<AsyncSmtpConnection>) {
        loop {
            let kept = self.take();
            let reused = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => match self.connect(stage, bound).await {
                    Ok(connection) => connection,
                    Err(stop) => return (stop.into(), None),
                },
            };
            match self.talk(&mut connection, envelope, mail, stage).await {
                Ok(reply) => return (Delivery::Accepted(full_text(&reply)), Some(connection)),
                // The server closed a connection that was kept: nothing was
                // said about this mail yet, so a new one is tried at once.
                Err((step, e)) if reused && step == Step::Mail && is_gone(&e) => continue,
                Err((step, e)) => {
                    let keep = e.status().is_some_and(|code| code.to_string() != "421");
                    let delivery = self.judge(step.name(), &e).into();
                    return (delivery, keep.then_some(connection));
                }
            }
        }
    }

    async fn connect(
        &self,
        stage: &Mutex<&'static str>,
        bound: Duration,
    ) -> Result<AsyncSmtpConnection, Stop> {
        *stage.lock() = "connecting";
        let tls = match &self.security {
            Security::Implicit(tls) => Some(tls.clone()),
            _ => None,
        };
        // Several addresses share the bound, so that one that swallows packets
        // leaves time for the next.
        let each = bound / 3;
        let connecting = match tls {
            Some(tls) => {
                let server = (self.host.as_str(), self.port);
                AsyncSmtpConnection::connect_tokio1(
                    server,
                    Some(each),
                    &self.hello,
                    Some(tls),
                    None,
                )
                .await
            }
            None => {
                let stream = self.open(each).await?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await
            }
        };
        let mut connection = connecting.map_err(|e| self.judge("connecting", &e))?;

        let upgrade = match &self.security {
            Security::Required(tls) => Some(tls),
            Security::Opportunistic(tls) if connection.can_starttls() => Some(tls),
            _ => None,
        };
        if let Some(tls) = upgrade {
            *stage.lock() = "starting TLS";
            if !connection.can_starttls() {
                let text = "the server offers no STARTTLS, which smtp.url demands";
                return Err(Stop::Retry(format!("{}:{}: {text}", self.host, self.port)));
            }
            connection
                .starttls(tls.clone(), &self.hello)
                .await
                .map_err(|e| self.always_retry("STARTTLS", &e))?;
        }
        if let Some(credentials) = &self.credentials {
            *stage.lock() = "logging in";
            connection
                .auth(DEFAULT_MECHANISMS, credentials)
                .await
                .map_err(|e| self.always_retry("AUTH", &e))?;
        }
        Ok(connection)
    }

    /// A connection that sends at once: lettre writes a mail and its final dot
    /// apart, and Nagle's algorithm (RFC 896) would hold the dot back until the
    /// server's delayed acknowledgement, for 40 ms.
    async fn open(&self, each: Duration) -> Result<TcpStream, Stop> {
        let failed = |error: &dyn std::fmt::Display| {
            Stop::Retry(format!("{}:{}: connecting: {error}", self.host, self.port))
        };
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| failed(&error))?;
        let mut last = failed(&"the name has no address");
        for address in addresses {
            match tokio::time::timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Only a delay where the system refuses it.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = failed(&error),
                Err(_) => last = failed(&format!("no answer from {address}")),
            }
        }
        Err(last)
    }

    async fn talk(
        &self,
        connection: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        mail: &[u8],
        stage: &Mutex<&'static str>,
    ) -> Result<Response, (Step, SmtpError)> {
        let mut options = Vec::new();
        let addresses = envelope.from().into_iter().chain(envelope.to());
        if !addresses
            .into_iter()
            .all(|a| AsRef::<str>::as_ref(a).is_ascii())
        {
            options.push(MailParameter::SmtpUtfEight);
        }
        let info = connection.server_info();
        if !mail.is_ascii() && info.supports_feature(Extension::EightBitMime) {
            options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        *stage.lock() = "waiting for the reply to MAIL FROM";
        let from = Mail::new(envelope.from().cloned(), options);
        connection.command(from).await.map_err(Step::Mail.with())?;
        *stage.lock() = "waiting for the reply to RCPT TO";
        for to in envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            connection.command(to).await.map_err(Step::Rcpt.with())?;
        }
        *stage.lock() = "waiting for the reply to DATA";
        connection.command(Data).await.map_err(Step::Data.with())?;
        *stage.lock() = "waiting for the reply to the mail";
        connection.message(mail).await.map_err(Step::Body.with())
    }

    /// 5xx is for good, everything else worth another try.
    fn judge(&self, step: &str, e: &SmtpError) -> Stop {
        match e.is_permanent() {
            true => Stop::Failed(self.describe(step, e)),
            false => Stop::Retry(self.describe(step, e)),
        }
    }

    /// A refused login or upgrade says nothing about the mail; it goes out when
    /// an operator has mended the server or its credentials.
    fn always_retry(&self, step: &str, e: &SmtpError) -> Stop {
        Stop::Retry(self.describe(step, e))
    }

    fn describe(&self, step: &str, e: &SmtpError) -> String {
        let mut text = format!("{}:{}: {step}: ", self.host, self.port);
        if let Some(code) = e.status() {
            text.push_str(&code.to_string());
            if let Some(reply) = e.source() {
                text.push_str(&format!(" {reply}"));
            }
            return text;
        }
        if e.is_response() {
            text.push_str("the connection was closed or the reply is no SMTP");
            return text;
        }
        let mut cause: Option<&dyn std::error::Error> = e.source();
        let mut words: Vec<String> = Vec::new();
        while let Some(inner) = cause {
            let word = inner.to_string();
            // Wrappers often repeat what they wrap.
            if !words.last().is_some_and(|last| last.contains(&word)) {
                words.push(word);
            }
            cause = inner.source();
        }
        match words.is_empty() {
            true => text.push_str(&e.to_string()),
            false => text.push_str(&words.join(": ")),
        }
        text
    }

    fn take(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock();
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() < IDLE {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next mail; after a refusal it is reset first.
    async fn keep(&self, mut connection: AsyncSmtpConnection, reset: bool) {
        if reset {
            let reset = tokio::time::timeout(POLITE, connection.command(Rset)).await;
            if !matches!(reset, Ok(Ok(_))) {
                return;
            }
        }
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push((connection, Instant::now()));
        }
    }

    /// Says goodbye on connections that were not used for a while.
    pub(super) async fn tidy(&self) {
        let stale: Vec<_> = self
            .idle
            .lock()
            .extract_if(.., |(_, since)| since.elapsed() >= IDLE)
            .collect();
        let goodbyes = stale.into_iter().map(|(mut connection, _)| async move {
            // A server that does not answer any more is left all the same.
            let _ = tokio::time::timeout(POLITE, connection.quit()).await;
        });
        futures_util::future::join_all(goodbyes).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Mail,
    Rcpt,
    Data,
    Body,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Mail => "MAIL FROM",
            Step::Rcpt => "RCPT TO",
            Step::Data => "DATA",
            Step::Body => "the mail",
        }
    }

    fn with(self) -> impl FnOnce(SmtpError) -> (Step, SmtpError) {
        move |e| (self, e)
    }
}

/// True where the connection is no longer there: closed, or 421.
fn is_gone(e: &SmtpError) -> bool {
    match e.status() {
        Some(code) => code.to_string() == "421",
        None => !e.is_client(),
    }
}

fn full_text(reply: &Response) -> String {
    let lines: Vec<&str> = reply.message().collect();
    format!("{} {}", reply.code(), lines.join(" "))
}

/// TLS towards `host`; `verify` false accepts any certificate.
pub(super) fn tls_parameters(
    host: &str,
    ca_file: Option<&str>,
    verify: bool,
) -> Result<TlsParameters, MailSetupError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if !verify {
        builder = builder
            .dangerous_accept_invalid_certs(true)
            .dangerous_accept_invalid_hostnames(true);
    } else if rustls_native_certs::load_native_certs().certs.is_empty() {
        // A bare container has no certificates of its own.
        builder = builder.certificate_store(CertificateStore::WebpkiRoots);
    }
    if let Some(path) = ca_file {
        let wrong = |reason: String| MailSetupError::CaFile {
            path: path.to_owned(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        if !pem.windows(11).any(|w| w == b"-----BEGIN ") {
            return Err(wrong("no certificate inside".into()));
        }
        let certificates = Certificate::from_pem(&pem).map_err(|e| wrong(e.to_string()))?;
        builder = builder.add_root_certificate(certificates);
    }
    builder
        .build()
        .map_err(|e| MailSetupError::Tls(e.to_string()))
}
