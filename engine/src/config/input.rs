//! `input:` of a check: what the engine fetches for a command plugin and hands
//! to its standard input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::schema;
use super::spec::JsonObject;
use super::templates::{self, Renderer};
use super::units::Bytes;
use crate::check::outcome::NodeInfo;

/// Most redirects that may be followed.
const MAX_REDIRECTS: u32 = 20;
/// Longest text that a program is handed as it is, or that is sent, in bytes.
const MAX_TEXT: usize = 64 << 10;
const MAX_UNTIL: usize = 256;
/// Longest path of a file, and most bytes of its end.
const MAX_PATH: usize = 1_000;
const MAX_TAIL: u64 = 1 << 20;

/// One of `http`, `tcp`, `file` and `text`. Texts inside are templates over `node` and
/// `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputSpec {
    /// The body of an HTTP answer.
    Http(HttpInput),
    /// What a server says over TCP.
    Tcp(TcpInput),
    /// The end of a file on the engine's host.
    File(FileInput),
    /// This text.
    Text(String),
}

/// A request whose answer's body is the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpInput {
    /// `http` or `https`.
    pub url: String,
    #[serde(default = "get")]
    pub method: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Headers whose value the engine fills in from a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_headers: BTreeMap<String, SecretHeaderSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify_tls: bool,
    /// Redirects to follow; the last answer is the input.
    #[serde(default)]
    pub max_redirects: u32,
    /// Hands over the status line and the headers, too, before the body.
    #[serde(default)]
    pub head: bool,
}

/// A header's value: `prefix` and behind it a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretHeaderSpec {
    pub secret: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// An exchange over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpInput {
    /// Name or address; the node's where absent.
    #[serde(default = "node_address")]
    pub host: String,
    pub port: u16,
    /// Sent first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// Reading ends behind this text; absent: when the server closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Speaks TLS from the first byte.
    #[serde(default)]
    pub tls: bool,
    /// False accepts any certificate.
    #[serde(default = "yes")]
    pub verify_tls: bool,
}

/// The last bytes of a file, from the beginning of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileInput {
    /// One of the configured `files`.
    pub folder: String,
    /// Relative to the folder.
    pub path: String,
    /// Bytes at most, up to 1MiB; 64KiB where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tail: Option<Bytes>,
}

impl FileInput {
    /// Bytes to hand over at most.
    pub fn most(&self) -> u64 {
        self.tail.map_or(64 << 10, |tail| tail.0)
    }
}

fn get() -> String {
    "GET".into()
}

fn yes() -> bool {
    true
}

fn node_address() -> String {
    "{{ node.address }}".into()
}

impl InputSpec {
    /// Net grants for the target, as `example.org:443`; of a rendered input.
    pub fn targets(&self) -> Vec<String> {
        let mut grants = Vec::new();
        match self {
            InputSpec::Http(http) => schema::target("url", &http.url, &mut grants),
            InputSpec::Tcp(tcp) => {
                grants.push(format!("{}:{}", schema::bracketed(&tcp.host), tcp.port));
            }
            InputSpec::File(_) | InputSpec::Text(_) => {}
        }
        grants
    }

    /// Names of the secrets that it sends.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let headers = match self {
            InputSpec::Http(http) => Some(&http.secret_headers),
            InputSpec::Tcp(_) | InputSpec::File(_) | InputSpec::Text(_) => None,
        };
        headers
            .into_iter()
            .flat_map(|headers| headers.values().map(|value| value.secret.as_str()))
    }

    /// The configured folder that it reads in; of a rendered input.
    pub fn folder(&self) -> Option<&str> {
        match self {
            InputSpec::File(file) => Some(&file.folder),
            InputSpec::Http(_) | InputSpec::Tcp(_) | InputSpec::Text(_) => None,
        }
    }

    /// With every text filled in for a node.
    ///
    /// # Errors
    /// The path of the template inside the input and why it failed.
    pub fn render(&self, renderer: &Renderer, node: &NodeInfo) -> Result<Self, (String, String)> {
        let wrong = |error: serde_json::Error| (String::new(), error.to_string());
        let serde_json::Value::Object(map) = serde_json::to_value(self).map_err(wrong)? else {
            return Ok(self.clone());
        };
        if !map.values().any(templates::has_templates) {
            return Ok(self.clone());
        }
        let rendered: JsonObject = renderer.render_texts(&map, node)?;
        serde_json::from_value(serde_json::Value::Object(rendered)).map_err(wrong)
    }

    /// What is wrong with a rendered input; `path` is where it stands.
    pub fn problems(&self, path: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::new(format!("{path}.{key}"), message));
        };
        let long = |key: &str, text: &str, most: usize| {
            (text.len() > most).then(|| {
                (
                    key.to_owned(),
                    format!("expected at most {most} bytes, found {}", text.len()),
                )
            })
        };
        match self {
            InputSpec::Http(http) => {
                match url::Url::parse(&http.url) {
                    Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
                    Ok(_) => wrong(
                        "http.url",
                        format!("expected an http or https URL, found {:?}", http.url),
                    ),
                    Err(error) => wrong(
                        "http.url",
                        format!("expected a URL, found {:?}: {error}", http.url),
                    ),
                }
                if http::Method::from_bytes(http.method.as_bytes()).is_err()
                    || http.method == "CONNECT"
                {
                    wrong(
                        "http.method",
                        format!(
                            "expected a method such as GET or POST, found {:?}",
                            http.method
                        ),
                    );
                }
                let plain = http.headers.keys().map(|name| ("headers", name));
                let secret = http.secret_headers.keys();
                for (key, name) in plain.chain(secret.map(|name| ("secret_headers", name))) {
                    if http::HeaderName::try_from(name).is_err() {
                        wrong(
                            &format!("http.{key}"),
                            format!("expected the name of a header, found {name:?}"),
                        );
                    }
                }
                if http.max_redirects > MAX_REDIRECTS {
                    wrong(
                        "http.max_redirects",
                        format!(
                            "expected at most {MAX_REDIRECTS}, found {}",
                            http.max_redirects
                        ),
                    );
                }
                let body = http.body.as_deref().unwrap_or("");
                if let Some((key, message)) = long("http.body", body, MAX_TEXT) {
                    wrong(&key, message);
                }
            }
            InputSpec::Tcp(tcp) => {
                if crate::plugin::grants::Host::parse(&tcp.host).is_none() {
                    wrong(
                        "tcp.host",
                        format!("expected a host name or IP address, found {:?}", tcp.host),
                    );
                }
                if tcp.port == 0 {
                    wrong("tcp.port", "expected 1 to 65535, found 0".into());
                }
                let send = tcp.send.as_deref().unwrap_or("");
                if let Some((key, message)) = long("tcp.send", send, MAX_TEXT) {
                    wrong(&key, message);
                }
                match tcp.until.as_deref() {
                    Some("") => wrong(
                        "tcp.until",
                        "expected the text to read to, found an empty one; leave it out to read until the server closes".into(),
                    ),
                    until => {
                        let until = until.unwrap_or("");
                        if let Some((key, message)) = long("tcp.until", until, MAX_UNTIL) {
                            wrong(&key, message);
                        }
                    }
                }
            }
            InputSpec::File(file) => {
                let path = std::path::Path::new(&file.path);
                if file.path.is_empty()
                    || file.path.contains('\0')
                    || file.path.len() > MAX_PATH
                    || path.is_absolute()
                {
                    wrong(
                        "file.path",
                        format!(
                            "expected a path relative to the folder, of 1 to {MAX_PATH} bytes, found {:?}",
                            file.path
                        ),
                    );
                }
                if !(1..=MAX_TAIL).contains(&file.most()) {
                    wrong(
                        "file.tail",
                        format!(
                            "expected 1 byte to {}, found {}",
                            Bytes(MAX_TAIL),
                            Bytes(file.most())
                        ),
                    );
                }
            }
            InputSpec::Text(text) => {
                if let Some((key, message)) = long("text", text, MAX_TEXT) {
                    wrong(&key, message);
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input(value: serde_json::Value) -> InputSpec {
        serde_json::from_value(value).unwrap()
    }

    fn node(address: &str) -> NodeInfo {
        NodeInfo {
            name: "n".into(),
            address: address.into(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn the_target_is_the_grant() {
        let cases = [
            (
                json!({"http": {"url": "https://a.example/x"}}),
                "a.example:443",
            ),
            (
                json!({"http": {"url": "http://{{ node.address }}:8081/"}}),
                "10.0.0.1:8081",
            ),
            (json!({"tcp": {"port": 25}}), "10.0.0.1:25"),
            (json!({"tcp": {"host": "::1", "port": 25}}), "[::1]:25"),
        ];
        let renderer = Renderer::new("check", "plugin");
        for (value, grant) in cases {
            let rendered = input(value).render(&renderer, &node("10.0.0.1")).unwrap();
            assert_eq!(rendered.targets(), [grant]);
            assert_eq!(rendered.problems("input").len(), 0);
        }
        let text = input(json!({"text": "{{ node.name }}\n"}));
        let rendered = text.render(&renderer, &node("a.example")).unwrap();
        assert_eq!(rendered, InputSpec::Text("n\n".into()));
        assert!(rendered.targets().is_empty());
        let error = input(json!({"tcp": {"port": 1, "send": "{{ node.zone }}"}}))
            .render(&renderer, &node("a"))
            .unwrap_err();
        assert_eq!(error.0, "tcp.send");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(MAX_TEXT + 1);
        let cases = [
            (json!({"http": {"url": "ftp://a/"}}), "input.http.url"),
            (json!({"http": {"url": "a"}}), "input.http.url"),
            (
                json!({"http": {"url": "http://a/", "method": "G T"}}),
                "input.http.method",
            ),
            (
                json!({"http": {"url": "http://a/", "method": "CONNECT"}}),
                "input.http.method",
            ),
            (
                json!({"http": {"url": "http://a/", "headers": {"a b": "c"}}}),
                "input.http.headers",
            ),
            (
                json!({"http": {"url": "http://a/", "max_redirects": 21}}),
                "input.http.max_redirects",
            ),
            (
                json!({"http": {"url": "http://a/", "body": long}}),
                "input.http.body",
            ),
            (json!({"tcp": {"host": "a b", "port": 1}}), "input.tcp.host"),
            (json!({"tcp": {"host": "a", "port": 0}}), "input.tcp.port"),
            (
                json!({"tcp": {"host": "a", "port": 1, "until": ""}}),
                "input.tcp.until",
            ),
            (
                json!({"tcp": {"host": "a", "port": 1, "send": long}}),
                "input.tcp.send",
            ),
            (
                json!({"file": {"folder": "logs", "path": "/etc/passwd"}}),
                "input.file.path",
            ),
            (
                json!({"file": {"folder": "logs", "path": "a", "tail": "2MiB"}}),
                "input.file.tail",
            ),
            (
                json!({"file": {"folder": "logs", "path": "a", "tail": "0B"}}),
                "input.file.tail",
            ),
            (json!({"text": long}), "input.text"),
        ];
        for (value, path) in cases {
            let problems = input(value).problems("input");
            let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
            assert_eq!(paths, [path]);
        }
    }
}
