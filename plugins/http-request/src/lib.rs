//! Sends one HTTP request: a webhook that repairs something.

use std::collections::BTreeMap;

use bellwether_plugin::http::{SecretValue, StatusSet, set_headers, shorten};
use bellwether_plugin::net::{Error, Host, HttpRequest, Millis, Net, TlsOptions, explain, ms};
use bellwether_plugin::{
    Action, ActionContext, ActionError, ActionReport, Manifest, export_action,
};
use serde::Deserialize;

/// Configuration of one remediation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to send it, `http` or `https`.
    pub url: String,
    /// HTTP method.
    #[serde(default = "post")]
    pub method: String,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Request headers whose value the engine fills in from a secret.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, SecretValue>,
    /// Request body, sent as it is.
    pub body: Option<String>,
    /// Codes and ranges that are right.
    #[serde(default = "success")]
    pub expect_status: StatusSet,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify_tls: bool,
}

fn post() -> String {
    "POST".to_owned()
}

fn success() -> StatusSet {
    StatusSet::range(200, 299)
}

fn yes() -> bool {
    true
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["url"],
"properties":{
"url":{"type":"string","format":"uri","x-target":"url","title":"URL","description":"where to send the request, http or https","examples":["https://deploy.example.org/hooks/restart"]},
"method":{"type":"string","default":"POST","description":"HTTP method","examples":["POST","PUT","DELETE"]},
"headers":{"type":"object","additionalProperties":{"type":"string"},"default":{},"description":"request headers","examples":[{"Content-Type":"application/json"}]},
"secret_headers":{"type":"object","additionalProperties":{"anyOf":[{"type":"string"},{"type":"object","additionalProperties":false,"required":["secret"],"properties":{"secret":{"type":"string","description":"name of the secret"},"prefix":{"type":"string","default":"","description":"text before the value"}}}]},"default":{},"description":"request headers whose value the engine fills in from a secret: the secret's name, or secret and prefix","examples":[{"Authorization":{"secret":"deploy-token","prefix":"Bearer "}}]},
"body":{"type":"string","description":"request body, sent as it is","examples":["{\"restart\":\"web\"}"]},
"expect_status":{"type":"array","items":{"anyOf":[{"type":"integer","minimum":100,"maximum":999},{"type":"string","pattern":"^([1-9][0-9]{2}-[1-9][0-9]{2}|[1-9]xx|[1-9][0-9]{2})$"}]},"minItems":1,"default":["200-299"],"description":"status codes that are right: codes, ranges as \"200-299\" or classes as \"2xx\"","examples":[[200,202]]},
"verify_tls":{"type":"boolean","default":true,"description":"false accepts any certificate"}
}}"##;

/// The action.
pub struct Request;

impl Action for Request {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "http-request",
            env!("CARGO_PKG_VERSION"),
            "sends one HTTP request",
            SCHEMA,
        )
        .wants("net")
        .wants("secrets")
    }

    fn run(context: &ActionContext, config: Config) -> Result<ActionReport, ActionError> {
        run(context.dry_run, &context.idempotency_key, &config, &Host)
    }
}

fn run(
    dry_run: bool,
    idempotency_key: &str,
    config: &Config,
    net: &dyn Net,
) -> Result<ActionReport, ActionError> {
    if dry_run {
        return Ok(ActionReport::new(format!(
            "would send {} {}",
            config.method, config.url
        )));
    }
    let mut request = HttpRequest::new(&config.method, &config.url);
    set_headers(&mut request, &config.headers, &config.secret_headers);
    for (name, value) in [
        ("Idempotency-Key", idempotency_key),
        (
            "User-Agent",
            concat!("bellwether-http-request/", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        if !request.has_header(name) {
            request = request.header(name, value);
        }
    }
    request.body = config.body.as_ref().map(|body| body.as_bytes().to_vec());
    // A redirect would repeat a changing request elsewhere, or turn it into a
    // GET: the operator names the final place.
    request.max_redirects = 0;
    request.max_body = 16 * 1024;
    if !config.verify_tls {
        request.tls = Some(TlsOptions {
            verify: false,
            ..TlsOptions::verified()
        });
    }
    let response = net.http(&request).map_err(|error| match error {
        Error::Denied(what) => ActionError::Denied(what),
        Error::Invalid(text) => ActionError::config("", text),
        other => ActionError::Failed(format!(
            "{} {}: {}",
            config.method,
            config.url,
            explain(&other)
        )),
    })?;
    let body = String::from_utf8_lossy(&response.body);
    let body = body.trim();
    let summary = format!(
        "HTTP {} in {}",
        response.status,
        Millis(ms(response.timings.total))
    );
    if config.expect_status.contains(response.status) {
        return Ok(ActionReport::new(summary).details(body));
    }
    let mut text = format!("{summary}, expected {}", config.expect_status.text());
    if let Some(location) = response.header("location") {
        text.push_str(&format!("\nredirects to {location}"));
    }
    if !body.is_empty() {
        text.push('\n');
        text.push_str(&shorten(body, 2_000));
    }
    Err(ActionError::Failed(text))
}

export_action!(Request);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::config;
    use bellwether_plugin::fake::{FakeNet, response, schema_problems};
    use bellwether_plugin::net::Phase;

    fn config(more: &str) -> Config {
        config::parse(&format!(r#"{{"url":"http://a.example/hook"{more}}}"#)).unwrap()
    }

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }

    #[test]
    fn the_request_carries_the_key_and_follows_no_redirect() {
        let net = FakeNet::answering(Ok(response(202, "queued\n")));
        let config = config(r#","body":"{}","headers":{"X-A":"1"},"secret_headers":{"X-B":"b"}"#);
        let report = run(false, "key-1", &config, &net).unwrap();
        assert_eq!(
            (report.summary.as_str(), report.details.as_str()),
            ("HTTP 202 in 12 ms", "queued")
        );
        let sent = net.requests.borrow()[0].clone();
        assert_eq!((sent.method.as_str(), sent.max_redirects), ("POST", 0));
        assert_eq!(sent.body.as_deref(), Some(b"{}".as_slice()));
        assert!(
            sent.headers
                .iter()
                .any(|header| header.name == "Idempotency-Key" && header.value == "key-1")
        );
        assert!(sent.has_header("x-b"));
    }

    #[test]
    fn failures_say_what_came_back() {
        let failed =
            |answer, more: &str| run(false, "k", &config(more), &FakeNet::answering(answer));
        assert_eq!(
            failed(Ok(response(500, "boom")), ""),
            Err(ActionError::Failed(
                "HTTP 500 in 12 ms, expected 200-299\nboom".into()
            ))
        );
        assert_eq!(
            failed(Err(Error::Timeout(Phase::FirstByte)), r#","method":"PUT""#),
            Err(ActionError::Failed(
                "PUT http://a.example/hook: timed out in first-byte".into()
            ))
        );
        assert_eq!(
            failed(Err(Error::Denied("d".into())), ""),
            Err(ActionError::Denied("d".into()))
        );
        assert!(matches!(
            failed(Err(Error::Invalid("x".into())), ""),
            Err(ActionError::Config(_))
        ));
    }

    #[test]
    fn a_dry_run_sends_nothing() {
        let net = FakeNet::default();
        let report = run(true, "k", &config(""), &net).unwrap();
        assert_eq!(report.summary, "would send POST http://a.example/hook");
        assert!(net.requests.borrow().is_empty());
    }
}
