//! What stays and what goes with the object that it belongs to, and where a
//! refused change says its problems are.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{World, plugin_file, stop};

const NODES: &str = "nodes: [{ name: web-1, address: 127.0.0.1 }]\n";

async fn delete(api: &Api, path: &str) -> (StatusCode, String) {
    let (status, answer) = api.send(Method::DELETE, path, Value::Null).await;
    (status, answer.to_string())
}

/// Paths and messages of a refused change.
async fn refused(api: &Api, method: Method, path: &str, body: Value) -> Vec<(String, String)> {
    let (status, answer) = api.send(method, path, body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let fields = answer["error"]["fields"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    fields
        .map(|field| (text(&field["path"]), text(&field["message"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_go_with_their_plugin() {
    let world = World::new(NODES);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let file = plugin_file("testing/noop");
    api.upload("mine", &file).await.unwrap();
    api.put("/plugins/mine/grants", json!({ "net": ["node"] }))
        .await;
    let (status, answer) = delete(&api, "/plugins/mine").await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");

    // Other changes go on, and the name begins anew.
    let node = json!({ "name": "web-2", "address": "127.0.0.2" });
    api.post("/nodes", node).await;
    api.upload("mine", &file).await.unwrap();
    let page = api.get("/plugins/mine").await;
    let grants = page["grants"].to_string();
    assert!(!grants.contains("node"), "{grants}");
    stop(engine).await;
    stop(world.start().await).await;

    // What the file grants is the file's.
    let granted = format!("{NODES}plugins: [{{ name: mine, grants: {{ state: true }} }}]\n");
    world.configure(&granted);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let (status, answer) = delete(&api, "/plugins/mine").await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(answer.contains("configuration file"), "{answer}");
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notifier_in_use_stays() {
    let world = World::new(NODES);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let taken = api
        .upload("hooks", &plugin_file("testing/echo-notifier"))
        .await
        .unwrap();
    let digest = taken["digest"].as_str().unwrap();
    let contact = json!({
        "name": "oncall", "plugin": "hooks", "config": { "url": "http://127.0.0.1:9/hook" },
    });
    api.post("/contacts", contact).await;
    for path in [
        "/plugins/hooks".to_owned(),
        format!("/plugins/hooks/versions/{digest}"),
    ] {
        let (status, answer) = delete(&api, &path).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path}: {answer}");
        assert!(answer.contains("contact oncall"), "{path}: {answer}");
    }
    stop(engine).await;
    stop(world.start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_version_comes_into_use_by_itself() {
    let world = World::new(NODES);
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let digest = |taken: &Value| taken["digest"].as_str().unwrap().to_owned();
    let first = api.upload("mine", &plugin_file("testing/noop")).await;
    let first = digest(&first.unwrap());
    let second = api.upload("mine", &plugin_file("testing/hostile")).await;
    let second = digest(&second.unwrap());
    let path = format!("/plugins/mine/versions/{first}");
    let (status, answer) = delete(&api, &path).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    let expected = "this version is the one in use: activate another one first";
    assert!(answer.contains(expected), "{answer}");
    stop(engine).await;

    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let page = api.get("/plugins/mine").await;
    assert_eq!(page["active_digest"], first.as_str(), "{page}");
    let body = json!({ "digest": second });
    api.post("/plugins/mine/activate", body).await;
    let (status, answer) = delete(&api, &path).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    let page = api.get("/plugins/mine").await;
    assert_eq!(page["active_digest"], second.as_str(), "{page}");
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_are_told_where_they_are() {
    let of_file = format!(
        "{NODES}smtp: {{ url: \"smtp://127.0.0.1:2525\", from: \"a@example.org\" }}\n\
         checks: [{{ name: of-file, plugin: tcp, every: 10s, config: {{ port: 1 }} }}]\n"
    );
    let world = World::new(&format!(
        "{of_file}contacts: [{{ name: ops, email: [\"ops@example.org\"] }}]\n"
    ));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let node = |labels: Value| json!({ "name": "db-1", "address": "127.0.0.2", "labels": labels });
    api.post("/nodes", node(json!({ "port": "5432" }))).await;
    let check = |name: &str, attempts: u32| {
        json!({
            "name": name, "plugin": "http", "every": "10s", "attempts": attempts,
            "nodes": "name == \"db-1\"",
            "config": { "url": "http://{{ node.address }}:{{ node.labels.port }}/" },
        })
    };
    // Of what was sent: relative to it, whether it is new or not.
    let found = refused(&api, Method::POST, "/checks", check("labelled", 0)).await;
    assert_eq!(found[0].0, "attempts", "{found:?}");
    let dry = "/checks?dry_run=true";
    let found = refused(&api, Method::POST, dry, check("labelled", 0)).await;
    assert_eq!(found[0].0, "attempts", "{found:?}");
    api.post("/checks", check("labelled", 3)).await;
    let path = "/checks/labelled";
    let found = refused(&api, Method::PUT, path, check("labelled", 0)).await;
    assert_eq!(found[0].0, "attempts", "{found:?}");

    // Of another object: in full, and named.
    let found = refused(&api, Method::PUT, "/nodes/db-1", node(json!({}))).await;
    assert!(found[0].0.starts_with("checks[1].config.url"), "{found:?}");
    let named = "check labelled, made in the UI";
    assert!(found[0].1.contains(named), "{found:?}");

    // Grants are sent alone.
    api.upload("mine", &plugin_file("testing/noop"))
        .await
        .unwrap();
    let grants = json!({ "net": ["node", "no grant at all"] });
    let found = refused(&api, Method::PUT, "/plugins/mine/grants", grants).await;
    assert_eq!(found[0].0, "net[1]", "{found:?}");

    // The start says so where the UI's objects no longer fit the file.
    let rule = json!({ "name": "told", "when": "state == \"critical\"", "notify": ["ops"] });
    api.post("/rules", rule).await;
    stop(engine).await;
    world.configure(&of_file);
    let text = world.start_fails().await;
    assert!(text.contains("rule told, made in the UI"), "{text}");
    assert!(!text.contains("bellwether.yaml"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_may_do_what_a_check_may() {
    let world = World::new(NODES);
    let folder = world.file("watched");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("done"), "well\n").unwrap();
    world.configure(&format!(
        "{NODES}files: {{ watched: {:?} }}\n",
        folder.display().to_string()
    ));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    for (plugin, config) in [
        ("system", json!({})),
        ("file", json!({ "folder": "watched", "path": "done" })),
    ] {
        let path = format!("/plugins/{plugin}/dry_run");
        let body = json!({ "node": "web-1", "config": config });
        let report = api.post(&path, body).await;
        assert_eq!(report["fault"], Value::Null, "{report}");
        assert!(report["state"].is_string(), "{report}");
    }
    stop(engine).await;
}
