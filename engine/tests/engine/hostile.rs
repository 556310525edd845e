//! Hostile plugins uploaded as a person would: refused with a reason, or a
//! fault with one, while other checks go on.

use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{Service, World, plugin_file, silent_target, stop};

fn yaml(service: &Service) -> String {
    format!(
        r#"
nodes:
  - {{ name: web-1, address: 127.0.0.1 }}
checks:
  - {{ name: good, plugin: http, every: 1s, timeout: 5s, config: {{ url: "http://{{{{ node.address }}}}:{port}/health" }} }}
"#,
        port = service.address.port(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_refused_in_plain_words() {
    let service = Service::start().await;
    let world = World::new(&yaml(&service));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let good = plugin_file("http");
    for (name, file, expected) in [
        ("text", b"#!/bin/sh\necho OK\n".to_vec(), "not WebAssembly"),
        ("truncated", good[..good.len() / 2].to_vec(), "truncated"),
        (
            "backdoor",
            plugin_file("testing/backdoor"),
            "imports evil:host/backdoor@1.0.0",
        ),
        (
            "wrong-world",
            plugin_file("testing/wrong-world"),
            "found bellwether:testing/hello@0.1.0",
        ),
        (
            "two-worlds",
            plugin_file("testing/two-worlds"),
            "exactly one",
        ),
        ("nothing", plugin_file("testing/nothing"), "expected"),
        (
            "bad-manifest",
            plugin_file("testing/bad-manifest"),
            "manifest",
        ),
    ] {
        let refused = api.upload(name, &file).await;
        let text = refused.expect_err(name);
        assert!(text.contains(expected), "{name}: {text}");
    }
    let plugins = api.get("/plugins").await;
    let uploaded = plugins["items"].as_array().unwrap();
    assert!(
        uploaded.iter().all(|plugin| plugin["origin"] == "builtin"),
        "nothing of it is kept"
    );
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_runs_are_faults_and_hanging_targets_are_critical() {
    let service = Service::start().await;
    let silent = silent_target().await;
    let world = World::new(&yaml(&service));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let uploaded = api
        .upload("nasty", &plugin_file("testing/hostile"))
        .await
        .unwrap();
    assert_eq!(uploaded["name"], "nasty");
    // Nothing is granted but the silent target.
    api.put(
        "/plugins/nasty/grants",
        json!({"net": [silent.to_string()]}),
    )
    .await;

    let cases = [
        (
            "loops",
            json!({"mode": "endless-loop"}),
            "deadline",
            "computed beyond its deadline",
        ),
        (
            "calls",
            json!({"mode": "endless-host-call"}),
            "deadline",
            "computed beyond its deadline",
        ),
        (
            "eats",
            json!({"mode": "memory-bomb"}),
            "limit",
            "limits.memory",
        ),
        (
            "overflows",
            json!({"mode": "stack-overflow", "what": "calls"}),
            "trap",
            "stack overflow",
        ),
        ("floods", json!({"mode": "huge-output"}), "limit", "limit"),
        (
            "traps",
            json!({"mode": "trap", "what": "unreachable"}),
            "trap",
            "unreachable",
        ),
        (
            "strays",
            json!({"mode": "denied-capability", "target": "http://127.0.0.1:1/"}),
            "denied",
            "net 127.0.0.1:1 is not granted",
        ),
        (
            "orders",
            json!({"mode": "denied-capability", "what": "command", "target": "x"}),
            "denied",
            "command x is not granted",
        ),
    ];
    for (name, config, _, _) in &cases {
        let check = json!({
            "name": name, "plugin": "nasty", "every": "1s", "timeout": "500ms", "config": config,
        });
        api.post("/checks", check).await;
    }
    let hanging = json!({
        "name": "hangs", "plugin": "nasty", "every": "1s", "timeout": "500ms", "attempts": 1,
        "config": {"mode": "http-get", "target": format!("http://{silent}/")},
    });
    api.post("/checks", hanging).await;

    for (name, _, kind, text) in &cases {
        let path = format!("/series?check={name}");
        let faulty = |page: &Value| page["items"][0]["fault"]["kind"].is_string();
        let page = api.until(&path, "a fault", faulty).await;
        let series = &page["items"][0];
        assert_eq!(series["fault"]["kind"], *kind, "{name}: {series}");
        let found = series["fault"]["text"].as_str().unwrap();
        assert!(found.contains(text), "{name}: {found}");
        assert_eq!(
            series["state"],
            Value::Null,
            "{name}: no judgement: {series}"
        );
        assert_eq!(series["stale"], true, "{name}: {series}");
    }
    let page = api
        .until("/series?check=hangs", "critical", |page| {
            page["items"][0]["state"] == "critical"
        })
        .await;
    let series = &page["items"][0];
    assert_eq!(series["fault"], Value::Null, "{series}");
    assert_eq!(series["stale"], false, "{series}");
    let summary = series["last"]["summary"].as_str().unwrap();
    assert!(
        summary.contains("first-byte"),
        "the phase is shown: {summary}"
    );

    // Beside all of them the good check went on.
    let seen = api.get("/series/good/web-1/results").await;
    let before = seen["items"].as_array().unwrap().len();
    let results = api
        .until("/series/good/web-1/results", "it goes on", |page| {
            page["items"].as_array().unwrap().len() >= before + 5
        })
        .await;
    for result in results["items"].as_array().unwrap() {
        assert_eq!(result["state"], "ok", "{result}");
    }
    stop(engine).await;
}
