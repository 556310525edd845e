//! Everything else: overview, limits, uploads, events, the UI.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::super::uploads::{Upload, UploadPhase};
use super::*;
use crate::check::outcome::{Fault, FaultKind};
use crate::check::state::CheckState;
use crate::pipeline::changes::{Event, Phase};

fn state(hard: State) -> CheckState {
    CheckState {
        hard: Some(hard),
        hard_since: START,
        last: Some(hard),
        ..CheckState::default()
    }
}

#[tokio::test]
async fn the_overview_shows_what_is_not_well() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Viewer).await;
    let mut changes = Changes::default();
    for (id, hard) in [
        (1, State::Ok),
        (2, State::Warning),
        (3, State::Critical),
        (4, State::Ok),
    ] {
        changes.series_states.insert(SeriesId(id), state(hard));
    }
    let stale = CheckState {
        faults: 1,
        fault: Some(Fault::new(FaultKind::Trap, "trapped")),
        ..state(State::Ok)
    };
    changes.series_states.insert(SeriesId(5), stale);
    bench.live.apply(&changes);
    let page = bench.get("/overview", As::Token(&token)).await.json();
    assert_eq!(
        page["counts"],
        json!({"ok":3,"warning":1,"critical":1,"unknown":0,"pending":1,"stale":1,"paused":0})
    );
    let problems: Vec<_> = page["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{}/{}",
                one["check"].as_str().unwrap(),
                one["node"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(problems, ["homepage/n0002", "homepage/n0001", "ping/n0001"]);
    assert_eq!(page["problems"][2]["fault"]["kind"], "trap");
    assert_eq!(
        (&page["problems_total"], &page["series_total"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(
        (&page["generation"], &page["engine"]["ready"]),
        (&json!(7), &json!(true))
    );
    assert_eq!(page["first_steps"]["rule"], false);

    // For a quarter of a second everybody gets the same answer.
    let mut more = Changes::default();
    more.series_states
        .insert(SeriesId(6), state(State::Critical));
    bench.live.apply(&more);
    let again = bench.get("/overview", As::Token(&token)).await.json();
    assert_eq!(again["counts"]["critical"], 1);
    bench.clock.advance(Duration::from_millis(250));
    let again = bench.get("/overview", As::Token(&token)).await.json();
    assert_eq!(again["counts"]["critical"], 2);
}

#[tokio::test]
async fn series_are_filtered_and_paged() {
    let bench = Bench::with(Settings::default(), 130).await;
    let token = bench.token(Role::Viewer).await;
    let mut changes = Changes::default();
    changes
        .series_states
        .insert(SeriesId(200), state(State::Critical));
    bench.live.apply(&changes);
    let mut seen = Vec::new();
    let mut path = "/series?limit=100".to_owned();
    loop {
        let page = bench.get(&path, As::Token(&token)).await.json();
        for one in page["items"].as_array().unwrap() {
            seen.push((one["check"].to_string(), one["node"].to_string()));
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/series?limit=100&cursor={}", next.replace('\n', "%0A")),
            None => break,
        }
    }
    assert_eq!(seen.len(), 260);
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]));
    let count = async |query: &str| {
        let page = bench
            .get(&format!("/series?{query}"), As::Token(&token))
            .await
            .json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("state=critical").await, 1);
    assert_eq!(count("state=problem&check=ping").await, 1);
    assert_eq!(count("state=problem&check=homepage").await, 0);
    assert_eq!(count("node=n0005").await, 2);
    assert_eq!(count("q=N0012").await, 2);
    let wrong = bench.get("/series?state=red", As::Token(&token)).await;
    assert_eq!(
        (wrong.status, wrong.field().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "state")
    );
    let wrong = bench.get("/series?limit=many", As::Token(&token)).await;
    assert_eq!(wrong.field(), "limit");
    let wrong = bench.get("/alerts?cursor=x", As::Token(&token)).await;
    assert_eq!(wrong.field(), "cursor");
}

#[tokio::test]
async fn large_answers_are_compressed_and_streams_are_not() {
    let bench = Bench::with(Settings::default(), 50).await;
    let token = bench.token(Role::Viewer).await;
    let get = async |path: &str| {
        let request =
            request(Method::GET, path, As::Token(&token)).header(header::ACCEPT_ENCODING, "gzip");
        bench
            .send(request.body(Body::empty()).unwrap())
            .await
            .headers
    };
    assert_eq!(
        get("/api/v1/series").await[header::CONTENT_ENCODING],
        "gzip"
    );
    let stream = get("/api/v1/events").await;
    assert!(!stream.contains_key(header::CONTENT_ENCODING));
    assert_eq!(stream[header::CONTENT_TYPE], "text/event-stream");
}

#[tokio::test]
async fn watchers_get_events_and_are_told_when_they_missed_some() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Viewer).await;
    let request = request(Method::GET, "/api/v1/events", As::Token(&token)).body(Body::empty());
    let mut body = bench
        .router
        .clone()
        .oneshot(request.unwrap())
        .await
        .unwrap()
        .into_body();
    let mut next = async || {
        let frame = body.frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(frame.to_vec()).unwrap())
    };
    assert!(next().await.unwrap().starts_with(": connected"));
    let event = |id| Event::Alert {
        id,
        name: "r".into(),
        phase: Phase::Firing,
    };
    bench.events.send(event(1)).unwrap();
    let text = next().await.unwrap();
    assert!(text.contains("event: change"), "{text}");
    assert!(
        text.contains(r#"{"type":"alert","id":1,"name":"r","phase":"firing"}"#),
        "{text}"
    );
    for id in 0..40 {
        bench.events.send(event(id)).unwrap();
    }
    assert!(next().await.unwrap().contains("event: resync"));
    assert!(next().await.unwrap().contains("event: change"));
    bench.stop.cancel();
    while next().await.is_some() {}
}

/// Opens an event stream; its body, or how it was refused.
async fn watch(bench: &Bench, who: As<'_>) -> Result<Body, StatusCode> {
    let request = request(Method::GET, "/api/v1/events", who).body(Body::empty());
    let response = bench.router.clone().oneshot(request.unwrap()).await;
    let response = response.unwrap();
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        refused => Err(refused),
    }
}

#[tokio::test]
async fn streams_end_with_what_they_were_opened_with() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    bench.user("root", Role::Admin).await;
    let ann = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    let root = bench.log_in("root", PASSWORD).await.ok().unwrap();
    let mut hers = watch(&bench, As::Browser(&ann)).await.unwrap();
    let mut other = watch(&bench, As::Browser(&root)).await.unwrap();
    for body in [&mut hers, &mut other] {
        assert!(body.frame().await.is_some(), "connected");
    }
    let body = json!({ "disabled": true });
    let path = "/users/ann";
    let done = bench
        .call(Method::PATCH, path, As::Browser(&root), Some(body))
        .await;
    assert_eq!(done.status, StatusCode::OK);
    let end = tokio::time::timeout(Duration::from_secs(10), hers.frame()).await;
    assert!(end.expect("an end").is_none());
    // Others go on.
    let event = Event::Outbox { id: 1 };
    bench.events.send(event).unwrap();
    let frame = tokio::time::timeout(Duration::from_secs(10), other.frame()).await;
    assert!(frame.expect("an event").is_some());
}

#[tokio::test]
async fn one_token_does_not_take_all_streams() {
    let bench = Bench::new().await;
    let (greedy, modest) = (
        bench.token(Role::Viewer).await,
        bench.token(Role::Operator).await,
    );
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(watch(&bench, As::Token(&greedy)).await.unwrap());
    }
    let refused = watch(&bench, As::Token(&greedy)).await.err();
    assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
    assert!(watch(&bench, As::Token(&modest)).await.is_ok());
    open.pop();
    assert!(watch(&bench, As::Token(&greedy)).await.is_ok());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Operator).await;
    let request = request(Method::POST, "/api/v1/nodes", As::Token(&token))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(vec![b' '; 2 << 20]));
    let answer = bench.send(request.unwrap()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
    );
}

fn form(parts: &[(&str, &[u8])]) -> Body {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x.wasm\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    Body::from(body)
}

#[tokio::test]
async fn plugins_are_uploaded_and_their_progress_told() {
    let settings = Settings {
        max_plugin_size: 3 << 20,
        ..Settings::default()
    };
    let bench = Bench::with(settings, 1).await;
    let token = bench.token(Role::Operator).await;
    let send = async |body: Body| {
        let request = request(Method::POST, "/api/v1/plugins", As::Token(&token))
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b");
        bench.send(request.body(body).unwrap()).await
    };
    let big = vec![7u8; 2 << 20];
    let answer = send(form(&[("file", &big), ("name", b"my-probe")])).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let id = answer.json()["upload_id"].as_str().unwrap().to_owned();
    let path = format!("/plugins/uploads/{id}");
    let told = bench.get(&path, As::Token(&token)).await.json();
    assert_eq!(told["phase"], "received");
    bench.uploads.tell(Upload {
        id: id.clone(),
        phase: UploadPhase::Failed,
        message: "expected a WebAssembly component".into(),
        result: None,
    });
    let told = bench.get(&path, As::Token(&token)).await.json();
    assert_eq!(
        told,
        json!({"id":id,"phase":"failed","message":"expected a WebAssembly component"})
    );
    // The command is not awaited by the handler, so it may still be on its way.
    while bench.asked.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    {
        let asked = bench.asked.lock();
        let Command::Install {
            name,
            bytes,
            file_name,
            ..
        } = &asked[0]
        else {
            panic!("{:?}", asked[0]);
        };
        assert_eq!((name.as_deref(), bytes.len()), (Some("my-probe"), 2 << 20));
        assert_eq!(file_name.as_deref(), Some("x.wasm"));
    }
    let huge = vec![7u8; 4 << 20];
    assert_eq!(
        send(form(&[("file", &huge)])).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(send(form(&[("name", b"x")])).await.field(), "file");
    assert_eq!(
        send(form(&[("file", b"x"), ("name", b"No Name")]))
            .await
            .field(),
        "name"
    );
    assert_eq!(
        send(Body::from("no form")).await.status,
        StatusCode::BAD_REQUEST
    );
    let none = bench.get("/plugins/uploads/none", As::Token(&token)).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn uploads_wait_for_those_that_are_being_installed() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Operator).await;
    let mut places = Vec::new();
    for _ in 0..4 {
        places.push(bench.uploads.place().await.unwrap());
    }
    let request = request(Method::POST, "/api/v1/plugins", As::Token(&token))
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b");
    let sent = bench.send(request.body(form(&[("file", b"x")])).unwrap());
    tokio::pin!(sent);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut sent).await;
    assert!(early.is_err(), "it waits");
    places.pop();
    assert_eq!(sent.await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn grants_name_only_what_the_file_defines() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Operator).await;
    let grants = json!({ "net": ["node"], "secrets": ["api-token"] });
    let path = "/plugins/my-probe/grants";
    let answer = bench
        .call(Method::PUT, path, As::Token(&token), Some(grants))
        .await;
    assert_eq!(
        (answer.status, answer.field().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "secrets[0]")
    );
    assert!(bench.asked.lock().is_empty());
}

#[tokio::test]
async fn readiness_names_its_reasons() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.get("/!/readyz", As::Nobody).await.status,
        StatusCode::OK
    );
    bench.status.send_modify(|status| {
        status.ready = false;
        status.reasons = vec!["compiling plugin http".into()];
    });
    let answer = bench.get("/!/readyz", As::Nobody).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["reasons"][0], "compiling plugin http");
}

#[tokio::test]
async fn the_demo_and_its_mailbox_are_only_there_where_they_belong() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Operator).await;
    for path in ["/demo", "/mailbox"] {
        assert_eq!(
            bench.get(path, As::Token(&token)).await.status,
            StatusCode::NOT_FOUND
        );
    }
    let folder = bench.folder.path().join("mails");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.eml"), "Subject: hello\r\n\r\ntext\r\n").unwrap();
    let settings = Settings {
        mailbox: Some(folder),
        demo: true,
        ..Settings::default()
    };
    let bench = Bench::with(settings, 1).await;
    let token = bench.token(Role::Viewer).await;
    let mails = bench.get("/mailbox", As::Token(&token)).await.json();
    assert_eq!(mails["items"][0]["subject"], "hello");
    assert_eq!(bench.get("/session", As::Nobody).await.json()["demo"], true);
}

#[tokio::test]
async fn unknown_paths_answer_in_the_right_tongue() {
    let bench = Bench::new().await;
    let api = bench.get("/none", As::Nobody).await;
    assert_eq!(
        (api.status, api.code().as_str()),
        (StatusCode::NOT_FOUND, "not_found")
    );
    let page = bench.get("/!/some/page", As::Nobody).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let method = bench
        .call(Method::PATCH, "/overview", As::Nobody, None)
        .await;
    assert_eq!(
        (method.status, method.code().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
    let document = bench.get("/!/api/openapi.json", As::Nobody).await;
    assert_eq!(document.json()["info"]["title"], "Bellwether");
}

#[tokio::test]
async fn a_panic_is_an_opaque_500() {
    let response = super::super::panicked(Box::new("secret detail")).into_response();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("secret"));
}
