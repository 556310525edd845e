//! Plugins from a registry: a server that speaks the OCI distribution's pull
//! API with tokens, and everything that may be wrong with what it gives.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::support::{PATIENCE, World, plugin_file, stop};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const TOKEN: &str = "a-token";

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A registry on loopback: manifests by tag or digest, blobs by digest.
#[derive(Default)]
struct Registry {
    address: std::sync::OnceLock<SocketAddr>,
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
}

impl Registry {
    /// Adds an artifact; the digest of its manifest.
    fn add(&mut self, tag: &str, config: &str, layer: &str, bytes: &[u8], digest: &str) -> String {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": config, "digest": sha256(b"{}"), "size": 2 },
            "layers": [{ "mediaType": layer, "digest": digest, "size": bytes.len() }],
        });
        let manifest = manifest.to_string().into_bytes();
        let name = sha256(&manifest);
        self.blobs.insert(digest.to_owned(), bytes.to_vec());
        self.manifests.insert(tag.to_owned(), manifest.clone());
        self.manifests.insert(name.clone(), manifest);
        name
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server ends with its runtime"
    )]
    async fn start(self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.address.set(address).unwrap();
        let router = Router::new()
            .route("/token", get(token))
            .route("/v2/team/{repository}/manifests/{reference}", get(manifest))
            .route("/v2/team/{repository}/blobs/{digest}", get(blob))
            .route("/moved/{digest}", get(moved))
            .with_state(Arc::new(self));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn challenge(&self) -> Response {
        let address = self.address.get().unwrap();
        let challenge = format!(
            "Bearer realm=\"http://{address}/token\",service=\"registry\",scope=\"repository:x:pull\""
        );
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
        )
            .into_response()
    }
}

fn authorized(headers: &HeaderMap) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == format!("Bearer {TOKEN}").as_str())
}

async fn token(headers: HeaderMap, Query(query): Query<HashMap<String, String>>) -> Response {
    let login = format!("Basic {}", STANDARD.encode("robot:hush"));
    let known = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == login.as_str());
    let scope = query.get("scope").map(String::as_str).unwrap_or_default();
    if !known || query.get("service").map(String::as_str) != Some("registry") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert!(
        scope.starts_with("repository:team/") && scope.ends_with(":pull"),
        "{scope}"
    );
    axum::Json(json!({ "token": TOKEN })).into_response()
}

async fn manifest(
    State(registry): State<Arc<Registry>>,
    Path((_, reference)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !authorized(&headers) {
        return registry.challenge();
    }
    match registry.manifests.get(&reference) {
        Some(bytes) => ([(header::CONTENT_TYPE, MANIFEST)], bytes.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Files are elsewhere, as with the large registries.
async fn blob(
    State(registry): State<Arc<Registry>>,
    Path((repository, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !authorized(&headers) {
        return registry.challenge();
    }
    let address = registry.address.get().unwrap();
    let to = match repository.as_str() {
        // The port is the same and the host is not.
        "astray" => format!("http://127.0.0.2:{}/moved/{digest}", address.port()),
        _ => format!("http://{address}/moved/{digest}"),
    };
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
}

async fn moved(State(registry): State<Arc<Registry>>, Path(digest): Path<String>) -> Response {
    match registry.blobs.get(&digest) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Pulls and waits for the end: the plugin, or what was wrong.
async fn pull(api: &Api, body: Value) -> Result<Value, String> {
    let accepted = api.post("/plugins/pull", body).await;
    let id = accepted["upload_id"].as_str().unwrap();
    let ended = async {
        loop {
            let upload = api.get(&format!("/plugins/uploads/{id}")).await;
            match upload["phase"].as_str() {
                Some("done") => return Ok(upload["result"].clone()),
                Some("failed") => return Err(upload["message"].as_str().unwrap().to_owned()),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("the pull ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_pulled_from_registries_that_the_file_lists() {
    let noop = plugin_file("testing/noop");
    let mut registry = Registry::default();
    let pinned = registry.add("1.0", CONFIG, LAYER, &noop, &sha256(&noop));
    registry.add(
        "image",
        "application/vnd.oci.image.config.v1+json",
        LAYER,
        &noop,
        &sha256(&noop),
    );
    registry.add(
        "tar",
        CONFIG,
        "application/vnd.oci.image.layer.v1.tar",
        &noop,
        &sha256(&noop),
    );
    let large = vec![0; 5 << 19];
    registry.add("large", CONFIG, LAYER, &large, &sha256(&large));
    registry.add(
        "forged",
        CONFIG,
        LAYER,
        b"something else",
        &sha256(b"what was promised"),
    );
    let lie = registry.manifests["1.0"].clone();
    registry.manifests.insert(sha256(b"another manifest"), lie);
    let address = registry.start().await;

    let world = World::new("");
    let password = world.file("password");
    std::fs::write(&password, "hush\n").unwrap();
    let listed = |login: &str| {
        format!(
            "engine: {{ max_plugin_size: 2MiB }}\nregistries: [{{ host: \"{address}\", plain_http: true{login} }}]\n"
        )
    };
    let login = format!(
        ", username: robot, password: {{ file: {:?} }}",
        password.display().to_string()
    );
    world.configure(&listed(&login));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let named = |rest: &str| json!({ "reference": format!("{address}/team/{rest}") });

    let pulled = pull(&api, named("noop:1.0")).await.unwrap();
    assert_eq!(
        (&pulled["name"], &pulled["kind"]),
        (&json!("noop"), &json!("probe"))
    );
    assert_eq!(pulled["digest"], json!(hex::encode(Sha256::digest(&noop))));
    let by_digest = format!("{address}/team/noop@{pinned}");
    let again = json!({ "reference": by_digest, "name": "noop" });
    assert_eq!(pull(&api, again).await.unwrap()["digest"], pulled["digest"]);

    let cases = [
        ("noop:2.0", "the registry has no"),
        ("noop:image", "expected a WebAssembly artifact"),
        ("noop:tar", "expected a layer of type application/wasm"),
        (
            "noop:large",
            "the limit is 2097152 (engine.max_plugin_size)",
        ),
        ("noop:forged", "the registry gave something else"),
        (
            &*format!("noop@{}", sha256(b"another manifest")),
            "it is not what was asked for",
        ),
        // A redirect to a host that nobody named.
        ("astray:1.0", "registries[].also"),
    ];
    for (reference, says) in cases {
        let error = pull(&api, named(reference)).await.unwrap_err();
        assert!(error.contains(says), "{reference}: {error}");
    }
    let elsewhere = json!({ "reference": "registry.example.org/team/noop:1" });
    let error = pull(&api, elsewhere).await.unwrap_err();
    assert!(
        error.contains("is not listed: add it to registries"),
        "{error}"
    );
    let (status, answer) = api
        .send(
            axum::http::Method::POST,
            "/plugins/pull",
            json!({ "reference": "noop" }),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");

    // Without its password the registry gives no token; what egress.deny
    // closes is closed for pulls, too.
    world.configure(&listed(""));
    engine.reload().await.unwrap();
    let error = pull(&api, named("noop:1.0")).await.unwrap_err();
    assert!(error.contains("check username and password"), "{error}");
    world.configure(&format!(
        "{}egress: {{ deny: [127.0.0.0/8] }}\n",
        listed(&login)
    ));
    engine.reload().await.unwrap();
    let error = pull(&api, named("noop:1.0")).await.unwrap_err();
    assert!(error.contains("egress.deny"), "{error}");
    stop(engine).await;
}
