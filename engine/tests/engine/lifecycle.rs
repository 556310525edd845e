//! The life of a plugin in a running engine: what it costs, what happens when
//! it crashes, who may sign it, who uses it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::smtp::SmtpServer;
use crate::support::{PATIENCE, TestApp, World, plugin_file, stop, subjects};

const NODES: &str = "nodes: [{ name: web-1, address: 127.0.0.1 }]\n";

fn check(name: &str, plugin: &str, config: Value) -> Value {
    json!({ "name": name, "plugin": plugin, "every": "1s", "timeout": "1s", "config": config })
}

/// The version of an uploaded plugin that is in use.
fn version(page: &Value) -> &Value {
    let versions = page["versions"].as_array().unwrap();
    versions.iter().find(|v| v["active"] == true).unwrap()
}

/// What a scraper reads.
async fn metrics_of(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_costs_is_counted_and_shown() {
    let world = World::new(&format!("web: {{ open_metrics: true }}\n{NODES}"));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let file = plugin_file("testing/hostile");
    api.upload("nasty", &file).await.unwrap();
    for (name, config) in [
        ("burns", json!({"mode": "burn", "amount": 2_000_000})),
        ("traps", json!({"mode": "trap", "what": "unreachable"})),
        ("floods", json!({"mode": "log-flood", "amount": 50})),
        ("takes", json!({"mode": "allocate", "amount": 8 << 20})),
    ] {
        api.post("/checks", check(name, "nasty", config)).await;
    }
    let page = api
        .until("/plugins/nasty", "runs and traps of all checks", |page| {
            let cost = &version(page)["cost"];
            cost["runs"].as_u64() >= Some(8) && cost["faults"]["trap"].as_u64() >= Some(2)
        })
        .await;
    let cost = &version(&page)["cost"];
    assert!(cost["cpu_us"].as_u64() > Some(0), "{cost}");
    assert!(cost["peak_memory"].as_u64() >= Some(8 << 20), "{cost}");
    assert!(cost["host_calls"].as_u64() >= Some(50), "{cost}");

    // The figures of /metrics are written once a second.
    let waiting = async {
        loop {
            let text = metrics_of(engine.address()).await;
            if text.contains("bellwether_plugin_faults_total{plugin=\"nasty\",kind=\"trap\"}") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let metrics = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    for name in [
        "runs_total",
        "cpu_microseconds_total",
        "host_calls_total",
        "peak_memory_bytes",
    ] {
        let line = format!("bellwether_plugin_{name}{{plugin=\"nasty\"}} ");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    // What other tasks count is there, too.
    for name in ["bellwether_results_total", "bellwether_commit_seconds"] {
        assert!(metrics.contains(name), "{name}\n{metrics}");
    }
    stop(engine).await;
}

async fn alerts_of_plugins(api: &Api) -> Vec<Value> {
    let alerts = api.get("/alerts").await;
    let items = alerts["items"].as_array().unwrap().iter();
    items
        .filter(|alert| alert["source"]["kind"] == "plugin")
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_crashes_again_and_again_is_quarantined() {
    let server = SmtpServer::start().await;
    let yaml = format!(
        r#"
smtp: {{ url: "smtp://{}", from: "Bellwether <alerts@example.org>" }}
faults: {{ notify: [oncall] }}
{NODES}
contacts: [{{ name: oncall, email: ["ops@example.org"] }}]
"#,
        server.addr()
    );
    let app = TestApp::start(&yaml).await;
    let api = app.api().await;
    api.upload("nasty", &plugin_file("testing/hostile"))
        .await
        .unwrap();
    for name in ["one", "two"] {
        let config = json!({"mode": "trap", "what": "unreachable"});
        api.post("/checks", check(name, "nasty", config)).await;
    }
    app.pass(Duration::from_secs(20)).await;

    let page = api.get("/plugins/nasty").await;
    let first = version(&page).clone();
    let quarantine = &first["quarantine"];
    assert_eq!(quarantine["cause"], "crashes", "{page}");
    let reason = quarantine["reason"].as_str().unwrap();
    assert!(reason.contains("unreachable"), "{reason}");
    assert_eq!(alerts_of_plugins(&api).await.len(), 1);
    let series = api.get("/series?check=one").await;
    let fault = &series["items"][0]["fault"];
    assert_eq!(fault["kind"], "plugin", "{series}");
    let text = fault["text"].as_str().unwrap();
    assert!(text.contains("activate another version"), "{text}");

    // It holds across a restart, without another mail; a trial is made later.
    let app = app.restart().await;
    let api = app.api().await;
    app.pass(Duration::from_secs(30)).await;
    let held = api.get("/plugins/nasty").await;
    assert_eq!(version(&held)["cost"]["runs"], 0, "nothing of it runs");
    assert_eq!(version(&held)["quarantine"]["trials"], 0, "{held}");
    app.pass(Duration::from_secs(300)).await;
    let tried = api.get("/plugins/nasty").await;
    assert_eq!(version(&tried)["cost"]["runs"], 1, "{tried}");
    assert_eq!(version(&tried)["quarantine"]["trials"], 1, "{tried}");
    assert_eq!(alerts_of_plugins(&api).await.len(), 1);
    server.wait_for(1).await;
    let told = subjects(&server);
    let about = |subject: &&String| subject.contains("nasty");
    assert_eq!(told.iter().filter(about).count(), 1, "{told:?}");

    // A person lets it run again; it crashes again.
    let body = json!({ "digest": first["digest"] });
    api.post("/plugins/nasty/release", body.clone()).await;
    let open = api.get("/plugins/nasty").await;
    assert_eq!(version(&open)["quarantine"], Value::Null, "{open}");
    assert_eq!(alerts_of_plugins(&api).await[0]["phase"], "resolved");
    let audit = api.get("/audit").await;
    let actions = audit["items"].as_array().unwrap().iter();
    assert_eq!(actions.filter(|row| row["action"] == "release").count(), 1);
    let (status, _) = api.send(Method::POST, "/plugins/nasty/release", body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    app.pass(Duration::from_secs(20)).await;
    assert_eq!(alerts_of_plugins(&api).await.len(), 2);

    // Another version is in use: nothing is held back any more.
    let other = api
        .upload("nasty", &plugin_file("testing/noop"))
        .await
        .unwrap();
    let body = json!({ "digest": other["digest"] });
    api.post("/plugins/nasty/activate", body).await;
    let page = api.get("/plugins/nasty").await;
    for version in page["versions"].as_array().unwrap() {
        assert_eq!(version["quarantine"], Value::Null, "{page}");
    }
    let phases = alerts_of_plugins(&api).await;
    assert!(phases.iter().all(|alert| alert["phase"] == "resolved"));
    app.pass(Duration::from_secs(2)).await;
    let series = api.get("/series?check=one").await;
    assert_eq!(series["items"][0]["fault"], Value::Null, "{series}");
    app.stop().await;
}

/// Runs the program; its output, and whether it went well.
fn bellwether(arguments: &[&str]) -> (String, bool) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(arguments)
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    (text, output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_that_crashed_is_kept_without_secrets_and_replayed() {
    let world = World::new("");
    let secret = world.file("hush");
    std::fs::write(&secret, "s3cret-value\n").unwrap();
    world.configure(&format!(
        "secrets: {{ hush: {{ file: {:?} }} }}\n{NODES}",
        secret.display().to_string()
    ));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let file = plugin_file("testing/hostile");
    api.upload("nasty", &file).await.unwrap();
    let none = api.get("/plugins/nasty/crashes").await;
    assert_eq!(none["items"], json!([]));
    api.put("/plugins/nasty/grants", json!({"secrets": ["hush"]}))
        .await;
    let config = json!({"mode": "trap", "what": "unreachable", "target": "x s3cret-value y"});
    api.post("/checks", check("traps", "nasty", config)).await;

    let page = api
        .until("/plugins/nasty/crashes", "more than are kept", |page| {
            let items = page["items"].as_array().unwrap();
            items
                .first()
                .is_some_and(|item| item["id"].as_i64() >= Some(6))
        })
        .await;
    assert_eq!(
        page["items"].as_array().unwrap().len(),
        5,
        "the newest stay"
    );
    let text = page.to_string();
    assert!(!text.contains("s3cret"), "{text}");
    let request = &page["items"][0]["request"];
    assert_eq!(request["check"], "traps");
    assert_eq!(request["fault"]["kind"], "trap");
    assert_eq!(request["config"]["target"], "x *** y");
    let log = request["log"].to_string();
    assert!(log.contains("backtrace, innermost first:"), "{log}");

    // Again in the engine: the same fault, told with what the run used.
    let id = page["items"][0]["id"].as_i64().unwrap();
    let again = api
        .post(&format!("/plugins/nasty/crashes/{id}/replay"), json!({}))
        .await;
    assert_eq!(again["fault"]["kind"], "trap", "{again}");
    assert!(again["log"].to_string().contains("backtrace"), "{again}");
    assert!(again["used"]["memory"].as_u64() > Some(0), "{again}");
    for (path, body) in [
        (
            format!("/plugins/nasty/crashes/{}/replay", id + 1_000),
            json!({}),
        ),
        (format!("/plugins/http/crashes/{id}/replay"), json!({})),
        (
            format!("/plugins/nasty/crashes/{id}/replay"),
            json!({"digest": "ab".repeat(32)}),
        ),
    ] {
        let (status, answer) = api.send(Method::POST, &path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    }
    stop(engine).await;

    let (wasm, json) = (world.file("nasty.wasm"), world.file("request.json"));
    std::fs::write(&wasm, file).unwrap();
    std::fs::write(&json, request.to_string()).unwrap();
    let (wasm, json) = (wasm.display().to_string(), json.display().to_string());
    let (said, _) = bellwether(&["plugin", "run", &wasm, "--replay", &json]);
    assert!(said.contains("recorded: FAULT (trap)"), "{said}");
    assert!(said.contains("now: FAULT (trap)"), "{said}");
    assert!(!said.contains("is not the version"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_demanded_shown_and_revoked() {
    let world = World::new("");
    let (key, wasm) = (world.file("release.key"), world.file("mine.wasm"));
    let (key, wasm) = (key.display().to_string(), wasm.display().to_string());
    let file = plugin_file("testing/noop");
    std::fs::write(&wasm, &file).unwrap();
    let (said, well) = bellwether(&["plugin", "keygen", &key]);
    assert!(well, "{said}");
    let public = said.split("public key: ").nth(1).unwrap();
    let public = public.lines().next().unwrap().to_owned();
    let signing = |more: &str| {
        format!(
            "signing: {{ require: true, keys: [{{ name: release, public_key: {public:?} }}]{more} }}\n{NODES}"
        )
    };

    // A plugin of the file.
    let path = "plugins: [{ name: mine, path: mine.wasm }]\n";
    world.configure(&format!("{}{path}", signing("")));
    let refused = world.start_fails().await;
    assert!(
        refused.contains("mine.wasm: the plugin is not signed"),
        "{refused}"
    );
    let (said, well) = bellwether(&["plugin", "verify", &wasm, "--key", &public]);
    assert!(!well && said.contains("expected a signature"), "{said}");
    assert!(bellwether(&["plugin", "sign", &wasm, "--key", &key]).1);
    assert!(bellwether(&["plugin", "verify", &wasm, "--key", &public]).1);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let page = api.get("/plugins/mine").await;
    assert_eq!(version(&page)["signed_by"], "release");
    stop(engine).await;

    // An upload.
    world.configure(&signing(""));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let unsigned = api.upload("theirs", &file).await.unwrap_err();
    assert!(unsigned.contains("not signed"), "{unsigned}");
    let signature = std::fs::read_to_string(format!("{wasm}.sig")).unwrap();
    let other = plugin_file("testing/echo-config");
    let wrong = api
        .upload_signed("theirs", &other, &signature)
        .await
        .unwrap_err();
    assert!(wrong.contains("fits none of the trusted keys"), "{wrong}");
    let taken = api
        .upload_signed("theirs", &file, &signature)
        .await
        .unwrap();
    let page = api.get("/plugins/theirs").await;
    assert_eq!(version(&page)["signed_by"], "release");
    api.post("/checks", check("fine", "theirs", json!({})))
        .await;
    let fine = |page: &Value| page["items"][0]["state"] == "ok";
    api.until("/series?check=fine", "it runs", fine).await;

    // Revoked while it runs, and again allowed.
    let digest = taken["digest"].as_str().unwrap();
    world.configure(&signing(&format!(", revoked: [\"sha256:{digest}\"]")));
    api.post("/config/reload", Value::Null).await;
    let page = api.get("/plugins/theirs").await;
    assert_eq!(version(&page)["quarantine"]["cause"], "revoked", "{page}");
    let held = |page: &Value| page["items"][0]["fault"]["kind"] == "plugin";
    api.until("/series?check=fine", "it is not run", held).await;
    let again = api
        .upload_signed("again", &file, &signature)
        .await
        .unwrap_err();
    assert!(again.contains("is revoked"), "{again}");
    let body = json!({ "digest": digest });
    let (status, _) = api
        .send(Method::POST, "/plugins/theirs/release", body)
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "the file decides");
    stop(engine).await;
    world.configure(&signing(""));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let page = api.get("/plugins/theirs").await;
    assert_eq!(version(&page)["quarantine"], Value::Null, "{page}");
    let fine = |page: &Value| page["items"][0]["fault"] == Value::Null;
    api.until("/series?check=fine", "it runs again", fine).await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_in_use_stays_and_its_users_are_named() {
    let world = World::new(NODES);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let taken = api
        .upload("mine", &plugin_file("testing/noop"))
        .await
        .unwrap();
    let (digest, full) = (
        taken["digest"].as_str().unwrap(),
        taken["version"].as_str().unwrap(),
    );
    let major = full.split('.').next().unwrap();
    for (name, reference) in [
        ("by-name", "mine".to_owned()),
        ("by-version", format!("mine@{full}")),
        ("by-major", format!("mine@{major}")),
        ("by-range", format!("mine@>={major}.0.0")),
        ("by-digest", format!("sha256:{digest}")),
    ] {
        api.post("/checks", check(name, &reference, json!({})))
            .await;
        let path = format!("/series?check={name}");
        api.until(&path, "it runs", |page| page["items"][0]["state"] == "ok")
            .await;
        let paths = [
            format!("/plugins/mine/versions/{digest}"),
            "/plugins/mine".to_owned(),
        ];
        for path in paths {
            let (status, answer) = api.send(Method::DELETE, &path, Value::Null).await;
            assert_eq!(
                status,
                StatusCode::CONFLICT,
                "{path} while {name}: {answer}"
            );
            let text = answer.to_string();
            assert!(text.contains(name), "{path}: {text}");
        }
        let (status, answer) = api
            .send(Method::DELETE, &format!("/checks/{name}"), Value::Null)
            .await;
        assert!(status.is_success(), "{name}: {answer}");
    }
    let missing = check("missing", "mine@999", json!({}));
    let (status, answer) = api.send(Method::POST, "/checks", missing).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let text = answer.to_string();
    assert!(text.contains("present in other versions"), "{text}");
    let path = format!("/plugins/mine/versions/{digest}");
    let (status, answer) = api.send(Method::DELETE, &path, Value::Null).await;
    assert!(status.is_success(), "{answer}");
    stop(engine).await;
}

/// Files that are kept of plugins.
fn kept(world: &World) -> usize {
    std::fs::read_dir(world.data().join("plugins")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_leaves_nothing_behind() {
    let world = World::new(NODES);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let before = kept(&world);
    let file = plugin_file("testing/noop");
    let taken = api.upload("http", &file).await.unwrap_err();
    assert!(taken.contains("belongs to a plugin"), "{taken}");
    assert_eq!(kept(&world), before);
    // The same file is welcome under a name of its own, and only once.
    api.upload("mine", &file).await.unwrap();
    assert!(kept(&world) > before);
    let twice = api.upload("again", &file).await.unwrap_err();
    assert!(twice.contains("is the plugin mine already"), "{twice}");
    api.get("/plugins/mine").await;
    assert!(kept(&world) > before, "it stays for the plugin it is");
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_refused_changes_no_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.wasm");
    std::fs::write(&path, plugin_file("testing/noop")).unwrap();
    let declared = format!("plugins: [{{ name: mine, path: {} }}]\n", path.display());
    let used = "checks: [{ name: c, plugin: mine, every: 1s, config: {} }]\n";
    let world = World::new(&format!("{declared}{NODES}{used}"));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let digest = |page: &Value| version(page)["digest"].as_str().unwrap().to_owned();
    let first = digest(&api.get("/plugins/mine").await);

    // Still used, not declared any more.
    world.configure(&format!("{NODES}{used}"));
    let (status, answer) = api.send(Method::POST, "/config/reload", Value::Null).await;
    assert!(status.is_client_error(), "{status} {answer}");
    assert!(answer.to_string().contains("mine"), "{answer}");

    // Other bytes, and something else is wrong.
    std::fs::write(&path, plugin_file("testing/echo-config")).unwrap();
    world.configure(&format!(
        "{declared}{NODES}{used}rules: [{{ name: r, when: 'nonsense' }}]\n"
    ));
    let (status, _) = api.send(Method::POST, "/config/reload", Value::Null).await;
    assert!(status.is_client_error(), "{status}");
    assert_eq!(digest(&api.get("/plugins/mine").await), first);
    stop(engine).await;
}
