//! Shadow runs: another version of a plugin beside the one in use.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{TestApp, plugin_file};

const NODES: &str = "nodes: [{ name: web-1, address: 127.0.0.1 }]\n";

async fn two_versions(api: &Api) -> (Value, Value) {
    let current = api.upload("p", &plugin_file("testing/noop")).await.unwrap();
    let other = api
        .upload("p", &plugin_file("testing/hostile"))
        .await
        .unwrap();
    (current, other)
}

async fn refused(api: &Api, method: Method, path: &str, body: Value) -> (StatusCode, String) {
    let (status, answer) = api.send(method, path, body).await;
    (status, answer["error"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_changes_nothing() {
    let app = TestApp::start(NODES).await;
    let api = app.api().await;
    let (current, other) = two_versions(&api).await;
    let config = json!({"mode": "trap", "what": "unreachable"});
    let check =
        json!({ "name": "c", "plugin": "p", "every": "1s", "timeout": "1s", "config": config });
    api.post("/checks", check).await;
    assert_eq!(api.get("/plugins/p/shadow").await["shadow"], Value::Null);

    let path = "/plugins/p/shadow";
    let same = json!({ "digest": current["digest"] });
    let (status, text) = refused(&api, Method::POST, path, same).await;
    assert!(
        status == 422 && text.contains("another version"),
        "{status} {text}"
    );
    let (status, text) = refused(&api, Method::POST, path, json!({})).await;
    assert!(
        status.is_client_error() && text.contains("one of version and digest"),
        "{text}"
    );
    let (status, text) = refused(&api, Method::POST, path, json!({ "version": "9.9.9" })).await;
    assert!(status == 422 && text.contains("0.1.0"), "{status} {text}");
    let (status, _) = refused(&api, Method::DELETE, path, Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let (status, text) = refused(
        &api,
        Method::POST,
        path,
        json!({ "digest": other["digest"] }),
    )
    .await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
    // More crashes in a row than a quarantine takes.
    app.pass(Duration::from_secs(20)).await;
    let page = api
        .until(path, "runs of both", |page| {
            page["shadow"]["disagreements"].as_u64() >= Some(12)
        })
        .await;
    let shadow = &page["shadow"];
    assert_eq!(shadow["current"]["digest"], current["digest"]);
    assert_eq!(shadow["shadow"]["digest"], other["digest"]);
    assert_eq!(shadow["agreements"], 0, "{page:#}");
    let series = &shadow["series"][0];
    assert_eq!(
        (&series["check"], &series["node"]),
        (&json!("c"), &json!("web-1"))
    );
    let run = &series["runs"][0];
    assert_eq!(
        (&run["agrees"], &run["current"]["state"]),
        (&json!(false), &json!("ok"))
    );
    assert_eq!(run["shadow"]["fault"]["kind"], "trap", "{run:#}");
    assert_eq!(run["current"]["metrics"][0]["value"], 42.0, "{run:#}");
    assert!(series["runs"].as_array().unwrap().len() <= 10);

    // Nothing of it is anywhere else.
    let found = api.get("/series?check=c").await;
    assert_eq!(found["items"][0]["state"], "ok", "{found:#}");
    assert_eq!(found["items"][0]["fault"], Value::Null, "{found:#}");
    assert_eq!(api.get("/alerts").await["items"], json!([]));
    let plugin = api.get("/plugins/p").await;
    for version in plugin["versions"].as_array().unwrap() {
        assert_eq!(version["quarantine"], Value::Null, "{plugin:#}");
    }

    let (status, _) = refused(&api, Method::DELETE, path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(path).await["shadow"], Value::Null);
    let audit = api.get("/audit").await;
    let rows = audit["items"].as_array().unwrap().iter();
    let actions: Vec<&str> = rows.filter_map(|row| row["action"].as_str()).collect();
    assert!(
        actions.contains(&"shadow") && actions.contains(&"shadow_end"),
        "{actions:?}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_ends_when_its_version_is_used_or_removed() {
    let app = TestApp::start(NODES).await;
    let api = app.api().await;
    let (current, other) = two_versions(&api).await;
    let path = "/plugins/p/shadow";
    let start = async || {
        let body = json!({ "digest": other["digest"] });
        let (status, text) = refused(&api, Method::POST, path, body).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
    };
    start().await;
    let activate = json!({ "digest": other["digest"] });
    api.post("/plugins/p/activate", activate).await;
    assert_eq!(api.get(path).await["shadow"], Value::Null);
    // And back in one call.
    let back = json!({ "digest": current["digest"] });
    api.post("/plugins/p/activate", back).await;
    start().await;
    let version = format!("/plugins/p/versions/{}", other["digest"].as_str().unwrap());
    let (status, _) = api.send(Method::DELETE, &version, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(path).await["shadow"], Value::Null);

    // A configuration that the version does not take is no use to compare.
    let other = api
        .upload("p", &plugin_file("testing/hostile"))
        .await
        .unwrap();
    let check = json!({ "name": "c", "plugin": "p", "every": "1s", "config": { "strange": 1 } });
    api.post("/checks", check).await;
    let body = json!({ "digest": other["digest"] });
    let (status, text) = refused(&api, Method::POST, path, body).await;
    assert!(status == 422 && text.contains("strange"), "{status} {text}");
    app.stop().await;
}
