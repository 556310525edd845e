//! Plugins from registries: pulls a WebAssembly OCI artifact.
//!
//! References and manifests are read by `oci-spec`, challenges by `http-auth`. What
//! goes over the network goes over the host's own HTTP client and not one of a
//! registry library: `deny`, the check of resolved addresses and the bounds of
//! answers hold here as for guests, and a redirect leads to no host that was not
//! named.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderValue};
use http_auth::parser::ChallengeParser;
use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::bindings::bellwether::plugin::net::{Error, Header, HttpRequest, HttpResponse, Phase};
use super::grants::NetGrants;
use super::host::{Host, Inner};
use super::net_http::Client;
use super::run::{Progress, phase_name};

/// Bound of a whole pull.
const PULL_WITHIN: Duration = Duration::from_secs(300);
/// Bytes of a manifest and of a token's answer.
const MAX_MANIFEST: u64 = 1 << 20;
const MAX_REDIRECTS: u32 = 5;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// Annotation of a manifest with the signature that `bellwether plugin sign`
/// writes.
const SIGNATURE: &str = "bellwether.signature";

/// A registry that the operator trusts.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Host and, where it is another than usual, port.
    pub host: String,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// HTTP instead of HTTPS.
    pub plain_http: bool,
    /// Further hosts that give tokens and files of this registry.
    pub also: Vec<String>,
}

/// What is pulled: `host/repository:tag` or `host/repository@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub host: String,
    pub repository: String,
    /// Tag, or digest as `sha256:…`; `latest` where absent.
    pub version: String,
}

/// What a pull gives.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub bytes: Vec<u8>,
    /// Digest of the manifest, as `sha256:…`.
    pub manifest: String,
    /// The manifest's own signature of the file.
    pub signature: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    /// The same by another name; some services send both.
    #[serde(default)]
    access_token: Option<String>,
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "expected a reference such as registry.example.org/team/probe:1.2.0, found {text:?}: {what}"
            )
        };
        let text = text.trim().trim_start_matches("oci://");
        let (host, rest) = text
            .split_once('/')
            .ok_or_else(|| wrong("it has no registry"))?;
        // Without one the specification's reader takes a registry of its own
        // choice.
        if !(host.contains(['.', ':']) || host == "localhost") {
            return Err(wrong("it has no registry"));
        }
        let host = host.to_ascii_lowercase();
        let parsed: oci_spec::distribution::Reference = format!("{host}/{rest}")
            .parse()
            .map_err(|error: oci_spec::distribution::ParseError| wrong(&error.to_string()))?;
        let version = match (parsed.digest(), parsed.tag()) {
            (Some(digest), _) if hex_of(digest).is_none() => {
                return Err(wrong("behind @ stands sha256: and 64 hexadecimal digits"));
            }
            // A tag beside a digest says nothing more.
            (Some(digest), _) => digest,
            (None, tag) => tag.unwrap_or("latest"),
        };
        Ok(Self {
            version: version.to_owned(),
            repository: parsed.repository().to_owned(),
            host,
        })
    }

    /// The last word of the repository.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

/// The digits of `sha256:…`.
fn hex_of(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let fits = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then_some(hex)
}

impl Host {
    /// Pulls a plugin of at most `limit` bytes.
    ///
    /// # Errors
    /// In plain words.
    pub async fn pull(
        &self,
        registry: Registry,
        reference: Reference,
        limit: u64,
    ) -> Result<Pulled, String> {
        let inner = Arc::clone(&self.inner);
        let pull = async move {
            let pull = Pull::new(&inner, registry, reference)?;
            match tokio::time::timeout(PULL_WITHIN, pull.run(limit)).await {
                Ok(result) => result,
                Err(_) => Err(format!(
                    "the registry took longer than {} s",
                    PULL_WITHIN.as_secs()
                )),
            }
        };
        let guests = self.inner.shared.guests.clone();
        guests
            .run(pull)
            .await
            .unwrap_or_else(|| Err("the plugin host has ended".into()))
    }
}

/// A pull under way.
struct Pull<'a> {
    inner: &'a Inner,
    registry: Registry,
    reference: Reference,
    grants: Arc<NetGrants>,
    /// Value of the header `authorization`, once the registry wanted one.
    authorization: parking_lot::Mutex<Option<HeaderValue>>,
}

impl<'a> Pull<'a> {
    fn new(inner: &'a Inner, registry: Registry, reference: Reference) -> Result<Self, String> {
        let port = if registry.plain_http { 80 } else { 443 };
        let mut granted = Vec::new();
        for host in std::iter::once(&registry.host).chain(&registry.also) {
            let scheme = if registry.plain_http { "http" } else { "https" };
            let url = Url::parse(&format!("{scheme}://{host}/"))
                .map_err(|_| format!("expected the host of a registry, found {host:?}"))?;
            granted.push(format!(
                "{}:{}",
                url.host_str().unwrap_or_default(),
                url.port().unwrap_or(port)
            ));
        }
        Ok(Self {
            inner,
            registry,
            reference,
            grants: Arc::new(NetGrants::new(&granted, None)),
            authorization: parking_lot::Mutex::new(None),
        })
    }

    async fn run(&self, limit: u64) -> Result<Pulled, String> {
        let version = &self.reference.version;
        let url = self.url(&format!("manifests/{version}"));
        let answer = self.fetch(&url, MANIFEST, MAX_MANIFEST).await?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&answer.body)));
        if version.starts_with("sha256:") && *version != digest {
            return Err(format!(
                "the manifest has the digest {digest}, expected {version}: it is not what was asked for"
            ));
        }
        let manifest: ImageManifest = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("expected a manifest at {url}: {error}"))?;
        let layer = self.layer(&manifest, limit)?;
        let (promised, size) = (layer.digest().to_string(), layer.size());
        let blob = self.url(&format!("blobs/{promised}"));
        let answer = self.fetch(&blob, LAYER, limit.min(size)).await?;
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&answer.body)));
        if answer.body.len() as u64 != size || found != promised {
            return Err(format!(
                "the file has {} bytes with the digest {found}, the manifest says {size} bytes with {promised}: the registry gave something else",
                answer.body.len()
            ));
        }
        Ok(Pulled {
            bytes: answer.body,
            manifest: digest,
            signature: manifest
                .annotations()
                .as_ref()
                .and_then(|all| all.get(SIGNATURE).cloned()),
        })
    }

    /// The one layer of a manifest for WebAssembly.
    fn layer<'m>(&self, manifest: &'m ImageManifest, limit: u64) -> Result<&'m Descriptor, String> {
        if let Some(kind) = manifest.media_type().as_ref().map(ToString::to_string)
            && kind != MANIFEST
        {
            return Err(format!("expected an artifact ({MANIFEST}), found {kind}"));
        }
        let config = manifest.config().media_type().to_string();
        if config != CONFIG {
            return Err(format!(
                "expected a WebAssembly artifact (config {CONFIG}), found {config}: push it with a tool for WebAssembly, such as wkg or oras"
            ));
        }
        let [layer] = manifest.layers().as_slice() else {
            return Err(format!(
                "expected one layer ({LAYER}), found {}",
                manifest.layers().len()
            ));
        };
        let kind = layer.media_type().to_string();
        if kind != LAYER {
            return Err(format!("expected a layer of type {LAYER}, found {kind}"));
        }
        let digest = layer.digest().to_string();
        if hex_of(&digest).is_none() {
            return Err(format!(
                "expected a layer with a digest sha256:…, found {digest:?}"
            ));
        }
        if layer.size() > limit {
            return Err(format!(
                "the file has {} bytes, the limit is {limit} (engine.max_plugin_size)",
                layer.size()
            ));
        }
        Ok(layer)
    }

    fn url(&self, rest: &str) -> String {
        let scheme = if self.registry.plain_http {
            "http"
        } else {
            "https"
        };
        let (host, repository) = (&self.registry.host, &self.reference.repository);
        format!("{scheme}://{host}/v2/{repository}/{rest}")
    }

    /// Gets something of the registry, with a token where it wants one.
    async fn fetch(&self, url: &str, accept: &str, limit: u64) -> Result<HttpResponse, String> {
        let known = self.authorization.lock().clone();
        let mut answer = self.get(url, accept, limit, known.clone()).await?;
        if answer.status == 401 && known.is_none() {
            let authorization = self.authorize(&answer).await?;
            *self.authorization.lock() = Some(authorization.clone());
            answer = self.get(url, accept, limit, Some(authorization)).await?;
        }
        match answer.status {
            200 if answer.truncated => Err(format!(
                "the answer of {url} has more than the {limit} bytes expected"
            )),
            200 => Ok(answer),
            401 | 403 => Err(format!(
                "the registry refuses {url} (HTTP {}): check username and password of registries in the configuration file",
                answer.status
            )),
            404 => Err(format!("the registry has no {url}")),
            status => Err(format!("expected HTTP 200 from {url}, found {status}")),
        }
    }

    async fn get(
        &self,
        url: &str,
        accept: &str,
        limit: u64,
        authorization: Option<HeaderValue>,
    ) -> Result<HttpResponse, String> {
        let shared = &self.inner.shared;
        let client = Client {
            egress: shared.egress(),
            tls: Arc::clone(&shared.tls),
            grants: Arc::clone(&self.grants),
            guests: shared.guests.clone(),
            until: Instant::now() + PULL_WITHIN,
            read_only: true,
            // Sent to this origin alone, whatever redirects say.
            secrets: authorization
                .into_iter()
                .map(|value| (AUTHORIZATION, value))
                .collect(),
            most_body: limit,
            beyond: 0,
        };
        let request = HttpRequest {
            method: "GET".into(),
            url: url.to_owned(),
            headers: vec![Header {
                name: "accept".into(),
                value: accept.to_owned(),
            }],
            secret_headers: Vec::new(),
            body: None,
            max_redirects: MAX_REDIRECTS,
            max_body: u32::try_from(limit).unwrap_or(u32::MAX),
            tls: None,
        };
        let progress = Progress::new(Phase::Resolve);
        client
            .run(&request, &progress)
            .await
            .map_err(|error| format!("{url}: {}", words(error)))
    }

    /// What the registry wants to see, by its challenge.
    async fn authorize(&self, refused: &HttpResponse) -> Result<HeaderValue, String> {
        let challenges = refused
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("www-authenticate"));
        for header in challenges {
            for challenge in ChallengeParser::new(&header.value).flatten() {
                let param = |name: &str| {
                    let found = challenge
                        .params
                        .iter()
                        .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
                    Some(found.1.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm =
                        param("realm").ok_or("the registry names nobody who gives tokens")?;
                    return self.token(&realm, param("service")).await;
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    return self.basic().ok_or_else(|| {
                        format!(
                            "the registry {} wants a user: give username and password in registries of the configuration file",
                            self.registry.host
                        )
                    });
                }
            }
        }
        Err("the registry wants a login of a kind that is not known here (neither Bearer nor Basic)".into())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let (user, password) = self.registry.login.as_ref()?;
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    async fn token(&self, realm: &str, service: Option<String>) -> Result<HeaderValue, String> {
        let mut url = Url::parse(realm)
            .map_err(|_| format!("expected the URL of a token service, found {realm:?}"))?;
        if url.scheme() != "https" && !self.registry.plain_http {
            return Err(format!("expected https for the token service, found {url}"));
        }
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", &service);
            }
            let scope = format!("repository:{}:pull", self.reference.repository);
            query.append_pair("scope", &scope);
        }
        let answer = self
            .get(url.as_str(), "application/json", MAX_MANIFEST, self.basic())
            .await?;
        if answer.status != 200 {
            return Err(format!(
                "the token service {realm} answered HTTP {}: check username and password of registries in the configuration file",
                answer.status
            ));
        }
        let token: Token = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("expected a token from {realm}: {error}"))?;
        let token = token
            .token
            .or(token.access_token)
            .ok_or_else(|| format!("expected a token from {realm}, found none"))?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| format!("the token of {realm} cannot be sent in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// An error of the network, for the operator.
fn words(error: Error) -> String {
    match error {
        Error::Denied(text) => format!(
            "{text}; registries lead to hosts of theirs: name them in registries[].also of the configuration file"
        ),
        Error::Timeout(phase) => format!("timed out in {}", phase_name(phase)),
        Error::Resolve(text) => format!("the name does not resolve: {text}"),
        Error::Refused => "connection refused".into(),
        Error::Unreachable(text) => format!("unreachable: {text}"),
        Error::Closed(text) => format!("connection closed: {text}"),
        Error::Tls(text) => format!("TLS failed: {text}"),
        Error::Protocol(text) => format!("no HTTP: {text}"),
        Error::TooLarge(limit) => format!("more than {limit} bytes"),
        Error::Invalid(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("registry.example.org/team/probe@{digest}");
        let both = format!("registry.example.org/team/probe:1.0@{digest}");
        let cases = [
            (
                "registry.example.org/team/probe:1.2.0",
                "registry.example.org",
                "team/probe",
                "1.2.0",
            ),
            (
                "oci://Registry.Example.org/probe",
                "registry.example.org",
                "probe",
                "latest",
            ),
            ("localhost/a/b/c:x_1-2", "localhost", "a/b/c", "x_1-2"),
            ("127.0.0.1:5000/probe:1", "127.0.0.1:5000", "probe", "1"),
            (&pinned, "registry.example.org", "team/probe", &digest),
            (&both, "registry.example.org", "team/probe", &digest),
        ];
        for (text, host, repository, version) in cases {
            let expected = Reference {
                host: host.into(),
                repository: repository.into(),
                version: version.into(),
            };
            assert_eq!(Reference::parse(text), Ok(expected), "{text}");
        }
        let wrong = [
            "",
            "probe",
            "team/probe:1",
            "registry.example.org/",
            "registry.example.org/Team/probe",
            "registry.example.org/../probe",
            "registry.example.org/probe:",
            "registry.example.org/probe:a/b",
            "registry.example.org/probe?x=1",
            "registry.example.org/probe@sha256:12",
            "user@registry.example.org/probe:1",
        ];
        for text in wrong {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
