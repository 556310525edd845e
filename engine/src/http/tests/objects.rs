//! Objects of the configuration, and the tools beside them.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::json;

use super::super::commands::Expect;
use super::*;

async fn operator(bench: &Bench) -> String {
    bench.token(Role::Operator).await
}

fn check(name: &str) -> Value {
    json!({ "name": name, "plugin": "http", "every": "10s", "config": { "url": "http://x" } })
}

#[tokio::test]
async fn an_object_is_created_replaced_and_deleted() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let who = As::Token(&token);
    let made = bench.post("/checks", who, check("new")).await;
    assert_eq!(
        (made.status, made.json()["generation"].clone()),
        (StatusCode::CREATED, json!(8))
    );

    let put = async |version: &str, body: Value| {
        let request = request(Method::PUT, "/api/v1/checks/ping", who)
            .header(header::IF_MATCH, version)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        bench.send(request.unwrap()).await
    };
    let saved = put("\"3\"", check("ping")).await;
    assert_eq!(
        (saved.status, saved.json()["version"].clone()),
        (StatusCode::OK, json!(3))
    );
    assert_eq!(
        put("three", check("ping")).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(put("3", check("other")).await.field(), "name");
    let gone = bench.call(Method::DELETE, "/checks/ping", who, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);

    let asked = bench.asked.lock();
    let changes: Vec<_> = asked
        .iter()
        .map(|command| match command {
            Command::ApplyObjects {
                changes,
                dry_run,
                actor,
                ..
            } => {
                assert!(!dry_run);
                assert_eq!(&*actor.name, "token:operator-token");
                let change = &changes[0];
                (
                    change.kind,
                    change.name.clone(),
                    change.expect,
                    change.spec.is_some(),
                )
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let kind = ObjectKind::Check;
    assert_eq!(
        changes,
        [
            (kind, "new".into(), Expect::Absent, true),
            (kind, "ping".into(), Expect::Version(3), true),
            (kind, "ping".into(), Expect::Present, false),
        ]
    );
}

#[tokio::test]
async fn mistakes_are_told_at_their_field() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let post = async |body: Value| bench.post("/checks", As::Token(&token), body).await;
    for (body, field) in [
        (
            json!({ "name": "a", "plugin": "http", "every": "10 s" }),
            "every",
        ),
        (
            json!({ "name": "a", "plugin": "http", "evry": "10s" }),
            "evry",
        ),
        (
            json!({ "name": "a", "plugin": "http", "limits": { "memory": "lots" } }),
            "limits.memory",
        ),
        (json!({ "plugin": "http" }), "name"),
        (
            json!({ "name": "a", "plugin": "http", "attempts": "x" }),
            "attempts",
        ),
    ] {
        let answer = post(body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(
            (answer.code().as_str(), answer.field().as_str()),
            ("validation", field),
            "{body}"
        );
    }
    assert!(
        bench.asked.lock().is_empty(),
        "the engine sees well-formed objects only"
    );

    // What the engine finds comes back the same way.
    let problem = Problem::new("config.url", "expected a URL").suggest(Some("http://"));
    bench
        .answers
        .lock()
        .push(CommandError::Invalid(vec![problem]));
    let answer = post(check("a")).await;
    assert_eq!(
        (answer.status, answer.field()),
        (StatusCode::UNPROCESSABLE_ENTITY, "config.url".into())
    );
    assert_eq!(answer.json()["error"]["fields"][0]["suggestion"], "http://");
    // Not JSON, not an object, not said to be JSON.
    let request = request(Method::POST, "/api/v1/checks", As::Token(&token))
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Body::from("{}"));
    assert_eq!(
        bench.send(request.unwrap()).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        post(json!([])).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn what_cannot_be_changed_says_why() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let who = As::Token(&token);
    let call =
        async |method, path: &str, body: Option<Value>| bench.call(method, path, who, body).await;
    let answer = call(Method::PUT, "/checks/homepage", Some(check("homepage"))).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::CONFLICT, "read_only")
    );
    assert!(
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("bellwether.yaml")
    );
    assert_eq!(
        call(Method::DELETE, "/checks/homepage", None).await.code(),
        "read_only"
    );
    assert_eq!(
        call(Method::POST, "/checks", Some(check("ping")))
            .await
            .code(),
        "exists"
    );
    assert_eq!(
        call(Method::PUT, "/checks/none", Some(check("none")))
            .await
            .code(),
        "not_found"
    );
    assert_eq!(
        call(Method::DELETE, "/checks/none", None).await.code(),
        "not_found"
    );
    bench
        .answers
        .lock()
        .push(CommandError::Conflict("it was changed in between".into()));
    let answer = call(Method::PUT, "/checks/ping", Some(check("ping"))).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::CONFLICT, "conflict")
    );
}

#[tokio::test]
async fn a_contact_in_use_is_kept() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let view = bench.config.borrow().clone();
    let mut spec = view.spec.clone();
    spec.faults.notify.push("oncall".into());
    let origins = [(
        (ObjectKind::Contact, "oncall".to_owned()),
        Origin::Ui { version: 1 },
    )];
    let view = ConfigView::new(8, spec, origins.into(), Vec::new());
    bench.config.send_replace(Arc::new(view));
    let answer = bench
        .call(Method::DELETE, "/contacts/oncall", As::Token(&token), None)
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::CONFLICT, "in_use")
    );
    let shown = bench
        .get("/contacts/oncall", As::Token(&token))
        .await
        .json();
    assert_eq!(shown["summary"]["used_by"], json!(["faults.notify"]));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let answer = bench
        .post("/checks?dry_run=true", As::Token(&token), check("new"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let asked = bench.asked.lock();
    assert!(matches!(
        &asked[0],
        Command::ApplyObjects { dry_run: true, .. }
    ));
}

#[tokio::test]
async fn objects_may_be_called_like_tools() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let who = As::Token(&token);
    for path in ["/rules/test", "/nodes/select"] {
        let answer = bench.get(path, who).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::NOT_FOUND, "not_found")
        );
        let answer = bench.call(Method::DELETE, path, who, None).await;
        assert_eq!(answer.code(), "not_found");
    }
    let wrong = bench.get("/rules/test", As::Nobody).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn pages_of_checks_and_nodes_show_their_series() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let who = As::Token(&token);
    let page = bench.get("/checks/ping", who).await.json();
    assert_eq!(page["series"].as_array().unwrap().len(), 3);
    assert_eq!(page["next_runs"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&page["origin"], &page["version"]),
        (&json!("ui"), &json!(3))
    );
    assert_eq!(page["spec"]["every"], "10s");
    assert_eq!(page["summary"]["series"]["pending"], 3);
    let page = bench.get("/nodes/n0001", who).await.json();
    let checks: Vec<_> = page["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["check"])
        .collect();
    assert_eq!(checks, ["homepage", "ping"]);
    let list = bench.get("/nodes", who).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let file = bench.get("/checks/homepage", who).await.json();
    assert_eq!(
        (&file["origin"], &file["file"]),
        (&json!("file"), &json!("bellwether.yaml"))
    );
}

#[tokio::test]
async fn runs_and_pauses_are_asked_of_the_engine() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let run = bench
        .post(
            "/checks/ping/run",
            As::Token(&token),
            json!({ "node": "n0001" }),
        )
        .await;
    assert_eq!(
        (run.status, run.json()["series"].clone()),
        (StatusCode::ACCEPTED, json!(2))
    );
    let none = bench
        .post("/checks/none/run", As::Token(&token), json!({}))
        .await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    // An engine that does not answer is no fault of the caller's.
    let pause = bench
        .call(Method::POST, "/checks/ping/pause", As::Token(&token), None)
        .await;
    assert_eq!(
        (pause.status, pause.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    );
}

#[tokio::test]
async fn tools_answer_while_somebody_types() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Viewer).await;
    let post = async |path: &str, body: Value| bench.post(path, As::Token(&token), body).await;
    let found = post("/nodes/select", json!({ "expr": "labels.role == \"web\"" }))
        .await
        .json();
    assert_eq!(found, json!({ "nodes": ["n0001", "n0002"], "total": 2 }));
    let all = post("/nodes/select", json!({ "expr": "" })).await.json();
    assert_eq!(all["total"], 3);
    assert_eq!(
        post("/nodes/select", json!({ "expr": "lables.x" }))
            .await
            .field(),
        "expr"
    );
    assert_eq!(
        post("/rules/test", json!({ "when": "true" })).await.json()["ok"],
        true
    );
    let next = post("/schedule/preview", json!({ "cron": "0 3 * * *" }))
        .await
        .json();
    assert_eq!(next["next_runs"].as_array().unwrap().len(), 5);
    assert_eq!(
        post("/schedule/preview", json!({ "cron": "0 25 * * *" }))
            .await
            .field(),
        "cron"
    );
}

#[tokio::test]
async fn the_configuration_is_exported_and_validated() {
    let bench = Bench::new().await;
    let token = operator(&bench).await;
    let export = bench.get("/config/export", As::Token(&token)).await;
    let yaml = String::from_utf8(export.body).unwrap();
    assert!(yaml.contains("name: homepage"), "{yaml}");
    let validate = async |text: &'static str| {
        let request = request(Method::POST, "/api/v1/config/validate", As::Token(&token))
            .header(header::CONTENT_TYPE, "application/yaml");
        bench
            .send(request.body(Body::from(text)).unwrap())
            .await
            .json()
    };
    assert_eq!(
        validate("checks: []").await,
        json!({ "ok": true, "problems": [] })
    );
    assert_eq!(
        validate("wrong").await["problems"][0]["path"],
        "checks[0].every"
    );
}
