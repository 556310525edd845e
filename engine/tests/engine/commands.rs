//! Plain WASI programs in a whole engine: uploaded or named by the file, as
//! checks with an input and as a log parser, also after a restart.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::api::Api;
use crate::support::{Service, World, stop};
use crate::wat::{cat, program, says};

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_program_judges_what_the_engine_fetched() {
    let service = Service::start().await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let world = World::new("nodes: [{ name: web-1, address: 127.0.0.1 }]\n");
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    for (bytes, expected) in [
        (
            wat::parse_str("(module)").unwrap(),
            "without the export _start",
        ),
        (
            wat::parse_str(r#"(module (import "env" "system" (func)) (func (export "_start")))"#)
                .unwrap(),
            "imports env.system",
        ),
    ] {
        let refused = api.upload("bad", &bytes).await.unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    let uploaded = api
        .upload(
            "check-jobs",
            &says("JOBS OK - 5 | 'jobs waiting'=5;80;90 t=250ms", 0),
        )
        .await
        .unwrap();
    assert_eq!(uploaded["kind"], "command");
    assert_eq!(uploaded["name"], "check-jobs");
    assert_eq!(uploaded["manifest"]["name"], "check-jobs");
    let plugins = api.get("/plugins/check-jobs").await;
    assert_eq!(
        (&plugins["kind"], &plugins["granted"]),
        (&json!("command"), &json!(true))
    );

    let port = service.address.port();
    let url = |port: u16| format!("http://{{{{ node.address }}}}:{port}/health");
    for (name, port) in [("jobs", port), ("gone", closed)] {
        let check = json!({
            "name": name, "plugin": "check-jobs", "every": "1s", "timeout": "2s",
            "config": {"args": ["-H", "{{ node.name }}"]},
            "input": {"http": {"url": url(port)}},
        });
        api.post("/checks", check).await;
    }
    let page = api.get("/checks/jobs").await;
    assert_eq!(page["spec"]["input"]["http"]["url"], url(port));

    // The input belongs to programs, and its keys are known.
    let wrong = [
        (json!({"http": {"uri": "x"}}), "check-jobs", "uri"),
        (
            json!({"http": {"url": "x"}}),
            "check-jobs",
            "expected a URL",
        ),
        (json!({"tcp": {"port": 25}}), "http", "kind command only"),
    ];
    for (input, plugin, expected) in wrong {
        let config = if plugin == "http" {
            json!({"url": "http://127.0.0.1/"})
        } else {
            json!({})
        };
        let check = json!({"name": "wrong", "plugin": plugin, "every": "1s", "config": config, "input": input});
        let (status, answer) = api.send(axum::http::Method::POST, "/checks", check).await;
        assert!(status.is_client_error(), "{status} {answer}");
        assert!(answer.to_string().contains(expected), "{answer}");
    }

    let fetched = json!({
        "node": "web-1", "config": {}, "input": {"http": {"url": format!("http://127.0.0.1:{port}/health")}},
    });
    let tried = api.post("/plugins/check-jobs/dry_run", fetched).await;
    assert_eq!(tried["state"], "ok", "{tried}");

    let good = |page: &serde_json::Value| page["items"][0]["state"] == "ok";
    let results = api
        .until("/series/jobs/web-1/results", "a result", good)
        .await;
    let result = &results["items"][0];
    assert_eq!(result["summary"], "JOBS OK - 5", "{result}");
    let metrics = result["metrics"].to_string();
    assert!(
        metrics.contains("jobs_waiting") && metrics.contains("0.25"),
        "{result}"
    );
    let gone = api
        .until("/series?check=gone", "critical", |page| {
            page["items"][0]["state"] == "critical"
        })
        .await;
    let summary = gone["items"][0]["last"]["summary"].as_str().unwrap();
    assert_eq!(summary, "connection refused in connect");
    stop(engine).await;

    // Another start finds the program under its name.
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let again = api.get("/plugins/check-jobs").await;
    assert_eq!(again["manifest"]["name"], "check-jobs");
    assert_eq!(service.repairs.load(Ordering::SeqCst), 0);
    let page = api.get("/series/jobs/web-1/results").await;
    let before = page["items"][0]["ts"].clone();
    api.until("/series/jobs/web-1/results", "it goes on", |page| {
        page["items"][0]["ts"] != before && page["items"][0]["state"] == "ok"
    })
    .await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_file_parses_a_log_and_repairs() {
    let files = tempfile::tempdir().unwrap();
    let place = |name: &str| files.path().join(name);
    std::fs::write(place("copy.wasm"), cat()).unwrap();
    std::fs::write(place("down.wasm"), says("CRITICAL - down", 2)).unwrap();
    std::fs::write(
        place("mend.wasm"),
        program(
            "mended",
            "(call $write (i32.const 1) (i32.const 1024) (i32.const 6))",
        ),
    )
    .unwrap();
    std::fs::write(place("app.log"), "").unwrap();
    let folder = files.path().display();
    let world = World::new(&format!(
        r#"
plugins:
  - {{ name: copy, path: "{folder}/copy.wasm" }}
  - {{ name: down, path: "{folder}/down.wasm" }}
  - {{ name: mend, path: "{folder}/mend.wasm" }}
nodes: [{{ name: web-1, address: 127.0.0.1 }}]
checks: [{{ name: site, plugin: down, every: 1s }}]
rules: [{{ name: site-down, when: 'check == "site" && state == "critical"', remediate: [fix] }}]
remediations: [{{ name: fix, plugin: mend, limits: {{ verify_after: 1s }} }}]
log_sources: [{{ name: app, file: "{folder}/app.log", parser: copy, from: start }}]
"#
    ));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    std::fs::write(
        place("app.log"),
        "{\"level\":\"error\",\"msg\":\"no disk\",\"unit\":\"a\"}\nas it is\n",
    )
    .unwrap();
    let page = api
        .until("/logs?limit=10", "two records", |page| {
            page["items"]
                .as_array()
                .is_some_and(|items| items.len() == 2)
        })
        .await;
    let text = page["items"].to_string();
    for expected in ["no disk", "\"error\"", "as it is"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let alerts = api
        .until("/alerts", "an alert", |page| {
            page["items"][0]["id"].is_i64()
        })
        .await;
    let alert = format!("/alerts/{}", alerts["items"][0]["id"]);
    let page = api
        .until(&alert, "a finished run", |page| {
            page["action_runs"][0]["finished_at"].is_i64()
        })
        .await;
    assert_eq!(page["action_runs"][0]["summary"], "mended", "{page}");
    stop(engine).await;
}
