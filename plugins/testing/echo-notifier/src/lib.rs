//! A notifier that posts what it was told as JSON, or fails as configured.

use bellwether_plugin::net::{Error, Host, HttpRequest, Net, explain};
use bellwether_plugin::{
    Manifest, Notification, Notifier, NotifyError, Receipt, Retry, export_notifier,
};
use serde::Deserialize;

/// What to do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to post to; nothing is sent where absent.
    pub url: Option<String>,
    /// `ok`, `retry` or `fail`; `ok` where absent.
    pub result: Option<String>,
    /// Wish that goes with `retry`, in milliseconds.
    pub after_ms: Option<u64>,
}

/// The notifier.
pub struct EchoNotifier;

impl Notifier for EchoNotifier {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "echo-notifier",
            env!("CARGO_PKG_VERSION"),
            "posts what it was told as JSON",
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"properties":{"url":{"type":"string","x-target":"url","description":"where to post to","examples":["http://127.0.0.1:9000/hook"]},"result":{"enum":["ok","retry","fail"],"default":"ok","description":"outcome"},"after_ms":{"type":"integer","minimum":0,"description":"wish that goes with retry","examples":[1000]}}}"##,
        )
        .wants("net")
    }

    fn notify(notification: &Notification, config: Config) -> Result<Receipt, NotifyError> {
        match config.result.as_deref() {
            Some("retry") => {
                return Err(NotifyError::Retry(Retry {
                    reason: "told to".to_owned(),
                    after_ms: config.after_ms,
                }));
            }
            Some("fail") => return Err(NotifyError::Fail("told to".to_owned())),
            _ => {}
        }
        if let Some(url) = &config.url {
            let mut request = HttpRequest::new("POST", url)
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", &notification.idempotency_key);
            let body = serde_json::json!({
                "kind": format!("{:?}", notification.kind),
                "alert": notification.alert,
                "rule": notification.rule,
                "severity": notification.severity,
                "title": notification.title,
                "text": notification.text,
                "check": notification.check,
                "node": notification.node.as_ref().map(|node| &node.name),
                "labels": notification.labels,
                "link": notification.link,
                "attempt": notification.attempt,
            });
            request.body = Some(body.to_string().into_bytes());
            match Host.http(&request) {
                Ok(response) if response.status < 300 => {}
                Ok(response) => {
                    return Err(NotifyError::retry(format!("HTTP {}", response.status)));
                }
                Err(error @ (Error::Denied(_) | Error::Invalid(_))) => {
                    return Err(NotifyError::Fail(explain(&error)));
                }
                Err(error) => return Err(NotifyError::retry(explain(&error))),
            }
        }
        Ok(Receipt {
            id: format!("echo-{}", notification.idempotency_key),
        })
    }
}

export_notifier!(EchoNotifier);
