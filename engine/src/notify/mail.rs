//! Mails as messages, and the ways they leave: SMTP or a folder.
//!
//! An attempt ends in one of three ways and never as an error of the engine:
//! accepted, worth another try, or refused for good.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use sha2::{Digest as _, Sha256};
use url::{Host, Url};

use super::render::one_line;
use super::smtp::{Security, Smtp, tls_parameters};
use crate::clock::Timestamp;
use crate::config::spec::SmtpSpec;

/// Greatest length of a reply or error that is kept, in characters.
const MAX_REPLY: usize = 500;

/// One mail to one recipient.
#[derive(Clone, Debug)]
pub struct Mail {
    /// With or without angle brackets; the same on every attempt.
    pub message_id: String,
    /// Message-ID of the first mail of the thread.
    pub in_reply_to: Option<String>,
    /// Mailbox: `ops@example.org` or `Ops <ops@example.org>`.
    pub recipient: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// The `Date` header.
    pub date: Timestamp,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The server took it; its reply.
    Accepted(String),
    /// A temporary refusal, no connection, or a time-out: try again.
    Retry(String),
    /// Refused for good (5xx), or the mail cannot be built.
    Failed(String),
}

/// Why the `smtp` section cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    #[error(
        "smtp.url: expected smtp://host:port, smtps://host:port or file:///folder, found {found:?}{hint}"
    )]
    Url { found: String, hint: String },
    #[error(
        "smtp.from: expected a mailbox such as \"Bellwether <alerts@example.org>\", found {found:?}: {reason}"
    )]
    From { found: String, reason: String },
    #[error("smtp.user and smtp.password: {0}")]
    Credentials(&'static str),
    #[error("smtp.ca_file: expected PEM certificates in {path:?}: {reason}")]
    CaFile { path: String, reason: String },
    #[error("smtp: cannot set up TLS: {0}")]
    Tls(String),
}

/// Sends mails as one `smtp` section says. Keeps connections for the next mail.
#[derive(Debug)]
pub struct Mailer {
    from: Mailbox,
    timeout: Duration,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Smtp(Box<Smtp>),
    Folder(PathBuf),
}

impl Mailer {
    /// A mailer for `spec`; `password` is the value that `spec.password` names.
    /// Reads `ca_file`, touches no network.
    ///
    /// # Errors
    /// Where the section makes no sense: the text names the key.
    pub fn new(spec: &SmtpSpec, password: Option<&str>) -> Result<Self, MailSetupError> {
        let from = spec.from.parse().map_err(|e| MailSetupError::From {
            found: spec.from.clone(),
            reason: format!("{e}"),
        })?;
        let wrong = |hint: &str| MailSetupError::Url {
            found: redact(&spec.url),
            hint: hint.to_owned(),
        };
        let url = Url::parse(&spec.url).map_err(|e| wrong(&format!(": {e}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                ": name and password belong in smtp.user and smtp.password",
            ));
        }
        let transport = match url.scheme() {
            "file" => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| wrong(": a folder needs three slashes"))?;
                Transport::Folder(folder)
            }
            "smtp" | "smtps" => Transport::Smtp(Box::new(smtp(spec, &url, password, &wrong)?)),
            _ => return Err(wrong("")),
        };
        Ok(Self {
            from,
            timeout: spec.timeout.0,
            transport,
        })
    }

    /// Makes one attempt, bounded by `smtp.timeout` as a whole.
    pub async fn send(&self, mail: &Mail) -> Delivery {
        let message = match self.message(mail) {
            Ok(message) => message,
            Err(reason) => return Delivery::Failed(reason),
        };
        let outcome = match &self.transport {
            Transport::Smtp(smtp) => {
                smtp.send(message.envelope(), &message.formatted(), self.timeout)
                    .await
            }
            Transport::Folder(folder) => {
                write_file(folder, &mail.message_id, message.formatted()).await
            }
        };
        match outcome {
            Delivery::Accepted(reply) => Delivery::Accepted(one_line(&reply, MAX_REPLY)),
            Delivery::Retry(error) => Delivery::Retry(one_line(&error, MAX_REPLY)),
            Delivery::Failed(error) => Delivery::Failed(one_line(&error, MAX_REPLY)),
        }
    }

    /// Closes connections that were not used for a while; call it now and then.
    pub async fn tidy(&self) {
        if let Transport::Smtp(smtp) = &self.transport {
            smtp.tidy().await;
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message, String> {
        let to: Mailbox = mail.recipient.parse().map_err(|e| {
            format!(
                "expected a mailbox as recipient, found {:?}: {e}",
                one_line(&mail.recipient, 200)
            )
        })?;
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(one_line(&mail.subject, super::render::MAX_SUBJECT))
            .date(system_time(mail.date))
            .message_id(Some(bracketed(&mail.message_id)))
            .header(AutoSubmitted);
        if let Some(first) = &mail.in_reply_to {
            builder = builder
                .in_reply_to(bracketed(first))
                .references(bracketed(first));
        }
        builder
            .multipart(
                MultiPart::alternative()
                    .singlepart(SinglePart::plain(mail.text.clone()))
                    .singlepart(SinglePart::html(mail.html.clone())),
            )
            .map_err(|e| format!("cannot build the mail: {e}"))
    }
}

fn smtp(
    spec: &SmtpSpec,
    url: &Url,
    password: Option<&str>,
    wrong: &dyn Fn(&str) -> MailSetupError,
) -> Result<Smtp, MailSetupError> {
    // `smtp` is no special scheme: `url` leaves IP addresses as names.
    let host = url.host_str().filter(|h| !h.is_empty());
    let host = host.ok_or_else(|| wrong(": the host is missing"))?;
    let loopback = match Host::parse(host).map_err(|e| wrong(&format!(": {e}")))? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    let host = host.trim_matches(['[', ']']).to_owned();

    let mut tls = None;
    for (key, value) in url.query_pairs() {
        match (key.as_ref(), value.as_ref()) {
            ("tls", value @ ("required" | "opportunistic" | "none")) => {
                tls = Some(value.to_owned());
            }
            _ => {
                return Err(wrong(
                    ": the only option is tls=required, opportunistic or none",
                ));
            }
        }
    }
    let credentials = match (&spec.user, password) {
        (Some(user), Some(password)) => Some((user.clone(), password.to_owned())),
        (None, None) => None,
        (Some(_), None) => return Err(MailSetupError::Credentials("the password is missing")),
        (None, Some(_)) => return Err(MailSetupError::Credentials("the user is missing")),
    };

    let secure = || tls_parameters(&host, spec.ca_file.as_deref(), true);
    let (security, default_port) = match (url.scheme(), tls.as_deref()) {
        ("smtps", None | Some("required")) => (Security::Implicit(secure()?), 465),
        ("smtps", _) => return Err(wrong(": smtps:// is always encrypted, leave tls out")),
        (_, Some("required")) => (Security::Required(secure()?), 587),
        (_, Some("none")) => (Security::Plain, 25),
        (_, None) if loopback => (Security::Plain, 25),
        // Without the demand for TLS somebody between could strip it anyway, so
        // the certificate is not checked either: this only stops listeners.
        _ => (
            Security::Opportunistic(tls_parameters(&host, spec.ca_file.as_deref(), false)?),
            25,
        ),
    };
    let encrypted = matches!(security, Security::Implicit(_) | Security::Required(_));
    if credentials.is_some() && !encrypted && !loopback {
        return Err(MailSetupError::Credentials(
            "they are only sent encrypted: use smtps:// or add ?tls=required to smtp.url",
        ));
    }
    let port = url.port().unwrap_or(default_port);
    Ok(Smtp::new(host, port, security, credentials))
}

/// Writes the mail into `folder` under a name made of its Message-ID, so that a
/// second delivery replaces the first.
async fn write_file(folder: &Path, message_id: &str, bytes: Vec<u8>) -> Delivery {
    let path = folder.join(file_name(message_id));
    let target = path.clone();
    let write = move || -> std::io::Result<()> {
        use std::io::Write as _;
        let folder = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(".mail-")
            .suffix(".tmp")
            .tempfile_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        Ok(())
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => Delivery::Accepted(format!("written to {}", path.display())),
        Ok(Err(e)) => Delivery::Retry(format!("cannot write {}: {e}", path.display())),
        Err(e) => Delivery::Retry(format!("cannot write {}: {e}", path.display())),
    }
}

/// A name that is unique for the Message-ID and harmless in a folder.
fn file_name(message_id: &str) -> String {
    let readable: String = message_id
        .chars()
        .filter(|c| !matches!(c, '<' | '>'))
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '@' => c,
            _ => '_',
        })
        .take(100)
        .collect();
    let digest = hex::encode(&Sha256::digest(message_id.as_bytes())[..4]);
    format!("{readable}-{digest}.eml")
}

/// A Message-ID in angle brackets, without anything that could end the header.
fn bracketed(id: &str) -> String {
    let id: String = id
        .chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>'))
        .take(200)
        .collect();
    format!("<{id}>")
}

/// The URL without a password that somebody put there.
fn redact(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(start), Some(at)) if at > start => {
            format!("{}***{}", &url[..start + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

fn system_time(t: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(t.micros().max(0).unsigned_abs())
}

/// Tells vacation responders to stay silent (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// True where `text` is a mailbox that mail can be sent to; for configuration
/// checks.
pub fn is_mailbox(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok() || text.parse::<Address>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::Span;

    fn spec(url: &str) -> SmtpSpec {
        SmtpSpec {
            url: url.into(),
            from: "Bellwether <alerts@example.org>".into(),
            user: None,
            password: None,
            ca_file: None,
            timeout: Span::secs(5),
        }
    }

    fn mail() -> Mail {
        Mail {
            message_id: "a1@example.org".into(),
            in_reply_to: Some("<a0@example.org>".into()),
            recipient: "Ops <ops@example.org>".into(),
            subject: "[FIRING] r on n: gr\u{fc}n\r\nBcc: x@example.org".into(),
            text: "text \u{2713}\n".into(),
            html: "<p>html</p>".into(),
            date: Timestamp::from_secs(1_795_413_582),
        }
    }

    #[test]
    fn headers_are_complete_and_cannot_be_added_to() {
        let mut mail = mail();
        mail.message_id = "a1@example.org>\r\nBcc: <x@example.org".into();
        let mailer = Mailer::new(&spec("smtp://127.0.0.1:25"), None).unwrap();
        let message = mailer.message(&mail).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        for line in [
            "From: Bellwether <alerts@example.org>",
            "To: Ops <ops@example.org>",
            "Date: Mon, 23 Nov 2026 05:59:42 +0000",
            "Message-ID: <a1@example.orgBcc:x@example.org>",
            "In-Reply-To: <a0@example.org>",
            "References: <a0@example.org>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(head.lines().any(|l| l == line), "{line} in\n{head}");
        }
        assert!(head.contains("Subject: [FIRING] r on n:"), "{head}");
        assert!(!head.lines().any(|l| l.starts_with("Bcc")), "{head}");
        assert!(head.contains("multipart/alternative"));
        assert_eq!(message.envelope().to().len(), 1);
        assert!(text.is_ascii());
    }

    #[test]
    fn urls_that_make_no_sense_are_refused_with_the_key() {
        for (url, says) in [
            ("http://mail.example.org", "expected smtp://"),
            ("mail.example.org:25", "expected smtp://"),
            ("smtp://", "host is missing"),
            ("smtp://h?tls=maybe", "the only option is tls"),
            ("smtps://h?tls=none", "always encrypted"),
            ("smtp://u:secret@h", "smtp.user"),
            ("file://folder/x", "three slashes"),
        ] {
            let text = Mailer::new(&spec(url), None).unwrap_err().to_string();
            assert!(
                text.starts_with("smtp.url: ") && text.contains(says),
                "{url}: {text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn credentials_never_travel_in_the_clear() {
        let mut s = spec("smtp://mail.example.org");
        s.user = Some("u".into());
        for (url, ok) in [
            ("smtp://mail.example.org", false),
            ("smtp://mail.example.org?tls=opportunistic", false),
            ("smtp://mail.example.org?tls=none", false),
            ("smtp://mail.example.org?tls=required", true),
            ("smtps://mail.example.org", true),
            ("smtp://127.0.0.1:25", true),
            ("smtp://[::1]:25", true),
            ("smtp://localhost", true),
            ("smtp://localhost.example.org", false),
        ] {
            s.url = url.into();
            assert_eq!(Mailer::new(&s, Some("p")).is_ok(), ok, "{url}");
        }
        assert!(Mailer::new(&s, None).is_err());
    }

    #[tokio::test]
    async fn a_folder_gets_one_file_a_mail_however_often_it_is_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new/mailbox");
        let url = format!("file://{}", folder.display());
        let mailer = Mailer::new(&spec(&url), None).unwrap();
        let mut mail = mail();
        for _ in 0..2 {
            let sent = mailer.send(&mail).await;
            assert!(matches!(sent, Delivery::Accepted(_)), "{sent:?}");
        }
        mail.message_id = "../../etc/passwd".into();
        assert!(matches!(mailer.send(&mail).await, Delivery::Accepted(_)));
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.iter().all(|n| n.ends_with(".eml")), "{names:?}");
    }

    #[tokio::test]
    async fn a_recipient_that_is_no_mailbox_fails_for_good() {
        let mailer = Mailer::new(&spec("smtp://127.0.0.1:1"), None).unwrap();
        let mut mail = mail();
        mail.recipient = "nobody\r\nRCPT TO:<x@example.org>".into();
        assert!(matches!(mailer.send(&mail).await, Delivery::Failed(_)));
    }
}
