//! Logging in, sessions, people.

use axum::http::{Method, StatusCode, header};
use serde_json::json;

use super::super::setup::{FirstLogin, first_login};
use super::*;

#[tokio::test]
async fn a_session_begins_lives_on_and_ends() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    let nobody = bench.get("/session", As::Nobody).await.json();
    assert_eq!(
        (&nobody["user"], &nobody["setup_needed"]),
        (&Value::Null, &json!(false))
    );

    let body = json!({ "name": "ann", "password": PASSWORD });
    let answer = bench.post("/session", As::Nobody, body).await;
    assert_eq!(
        answer.json()["user"],
        json!({"name":"ann","role":"viewer","password_needed":false})
    );
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    for part in [
        "bw_session=",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        "Max-Age=604800",
    ] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Secure"), "{set}");
    let cookie = cookie(&answer);

    // Use puts off the end, at most once an hour.
    for _ in 0..3 {
        bench.advance(4 * 86_400);
        let answer = bench.get("/session", As::Browser(&cookie)).await;
        assert_eq!(answer.json()["user"]["name"], "ann");
        assert!(answer.headers.contains_key(header::SET_COOKIE));
        let again = bench.get("/session", As::Browser(&cookie)).await;
        assert!(!again.headers.contains_key(header::SET_COOKIE));
    }
    bench.advance(8 * 86_400);
    assert_eq!(
        bench.get("/nodes", As::Browser(&cookie)).await.status,
        StatusCode::UNAUTHORIZED
    );

    let cookie = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    let out = bench
        .call(Method::DELETE, "/session", As::Browser(&cookie), None)
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(
        out.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(
        bench.get("/nodes", As::Browser(&cookie)).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_session_is_no_token_and_a_token_no_session() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    let cookie = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    let secret = cookie.strip_prefix("bw_session=").unwrap();
    assert_eq!(
        bench.get("/nodes", As::Token(secret)).await.status,
        StatusCode::UNAUTHORIZED
    );
    let token = bench.token(Role::Admin).await;
    let as_cookie = format!("bw_session={token}");
    let answer = bench.get("/nodes", As::Browser(&as_cookie)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn guessing_is_bounded_by_address_and_name() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    for _ in 0..5 {
        let answer = bench.log_in("ann", "wrong password").await.err().unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let answer = bench.log_in("ann", PASSWORD).await.err().unwrap();
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = answer.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    // Names that do not exist answer the same.
    let answer = bench.log_in("nobody", PASSWORD).await.err().unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    bench.advance(wait);
    assert!(bench.log_in("ann", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn the_first_link_works_once_and_for_a_day() {
    let bench = Bench::new().await;
    let clock: SharedClock = bench.clock.clone();
    assert_eq!(
        bench.get("/session", As::Nobody).await.json()["setup_needed"],
        true
    );
    let link = async || match first_login(&bench.recorder, &clock, None).await.unwrap() {
        FirstLogin::Link { token } => token,
        other => panic!("{other:?}"),
    };
    let old = link().await;
    let late = link().await;
    let enter = async |token: &str| {
        bench
            .post("/session/link", As::Nobody, json!({ "token": token }))
            .await
    };
    assert_eq!(
        enter(&old).await.status,
        StatusCode::UNAUTHORIZED,
        "a newer one replaced it"
    );
    bench.advance(86_401);
    assert_eq!(
        enter(&late).await.status,
        StatusCode::UNAUTHORIZED,
        "it has expired"
    );

    let token = link().await;
    let answer = enter(&token).await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected = json!({ "name": "admin", "role": "admin", "password_needed": true });
    assert_eq!(answer.json()["user"], expected);
    let cookie = cookie(&answer);
    assert_eq!(
        enter(&token).await.status,
        StatusCode::UNAUTHORIZED,
        "it was used"
    );

    let short = bench
        .post(
            "/me/password",
            As::Browser(&cookie),
            json!({ "new": "short" }),
        )
        .await;
    assert_eq!(
        (short.status, short.field().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "new")
    );
    let set = bench
        .post(
            "/me/password",
            As::Browser(&cookie),
            json!({ "new": PASSWORD }),
        )
        .await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    assert_eq!(
        bench.get("/session", As::Browser(&cookie)).await.json()["setup_needed"],
        false
    );
    assert!(bench.log_in("admin", PASSWORD).await.is_ok());
    assert_eq!(
        first_login(&bench.recorder, &clock, None).await.unwrap(),
        FirstLogin::Nothing
    );
}

#[tokio::test]
async fn the_environment_can_set_the_first_password() {
    let bench = Bench::new().await;
    let clock: SharedClock = bench.clock.clone();
    let first = async |password| first_login(&bench.recorder, &clock, Some(password)).await;
    assert!(first("short").await.is_err());
    assert_eq!(first(PASSWORD).await.unwrap(), FirstLogin::PasswordSet);
    assert!(bench.log_in("admin", PASSWORD).await.is_ok());
    // It is the first password only.
    assert_eq!(
        first("another password").await.unwrap(),
        FirstLogin::Nothing
    );
    assert!(bench.log_in("admin", "another password").await.is_err());
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    let here = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    let there = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    assert_eq!(
        bench.get("/nodes", As::Browser(&there)).await.status,
        StatusCode::OK
    );
    let change = async |old: &str| {
        let body = json!({ "old": old, "new": "battery staple" });
        bench.post("/me/password", As::Browser(&here), body).await
    };
    assert_eq!(change("not it at all").await.field(), "old");
    assert_eq!(change(PASSWORD).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        bench.get("/nodes", As::Browser(&here)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        bench.get("/nodes", As::Browser(&there)).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert!(bench.log_in("ann", "battery staple").await.is_ok());
}

#[tokio::test]
async fn the_password_so_far_is_not_to_be_guessed() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    let cookie = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    let change = async |old: &str| {
        let body = json!({ "old": old, "new": "battery staple" });
        bench.post("/me/password", As::Browser(&cookie), body).await
    };
    for _ in 0..5 {
        assert_eq!(change("not it at all").await.field(), "old");
    }
    let answer = change(PASSWORD).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    bench.advance(301);
    assert_eq!(change(PASSWORD).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn who_knows_the_password_may_log_in_as_often_as_he_likes() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    for _ in 0..31 {
        assert!(bench.log_in("ann", PASSWORD).await.is_ok());
    }
}

#[tokio::test]
async fn nobody_waits_for_a_session_to_be_extended() {
    let bench = Bench::new().await;
    bench.user("ann", Role::Viewer).await;
    let cookie = bench.log_in("ann", PASSWORD).await.ok().unwrap();
    bench.advance(86_400);
    // Commits hang, as on a disk that does not answer.
    let stuck = bench
        .recorder
        .write::<(), _>(|_| Box::pin(std::future::pending()));
    let who = As::Browser(&cookie);
    let asked = tokio::time::timeout(Duration::from_secs(20), bench.get("/session", who));
    let answer = tokio::select! {
        biased;
        done = stuck => panic!("{:?}", done.is_ok()),
        answer = asked => answer.expect("an answer"),
    };
    assert_eq!(answer.json()["user"]["name"], "ann");
}

#[tokio::test]
async fn administrators_manage_people_and_stay() {
    let bench = Bench::new().await;
    bench.user("root", Role::Admin).await;
    let root = bench.log_in("root", PASSWORD).await.ok().unwrap();
    let root = As::Browser(&root);
    let new = json!({ "name": "bob", "role": "operator", "password": PASSWORD });
    assert_eq!(
        bench.post("/users", root, new.clone()).await.status,
        StatusCode::CREATED
    );
    assert_eq!(bench.post("/users", root, new).await.code(), "exists");
    let bad = json!({ "name": "a b", "role": "operator", "password": PASSWORD });
    assert_eq!(bench.post("/users", root, bad).await.field(), "name");
    let bad = json!({ "name": "c", "role": "chief", "password": PASSWORD });
    assert_eq!(bench.post("/users", root, bad).await.field(), "role");

    let bob = bench.log_in("bob", PASSWORD).await.ok().unwrap();
    assert_eq!(
        bench.get("/config/export", As::Browser(&bob)).await.status,
        StatusCode::OK
    );
    let patch = async |name: &str, body: Value| {
        bench
            .call(Method::PATCH, &format!("/users/{name}"), root, Some(body))
            .await
    };
    assert_eq!(
        patch("bob", json!({ "role": "viewer" })).await.json()["role"],
        "viewer"
    );
    // The old session had more rights: it is over.
    assert_eq!(
        bench.get("/nodes", As::Browser(&bob)).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        patch("bob", json!({ "disabled": true })).await.json()["disabled"],
        true
    );
    assert!(bench.log_in("bob", PASSWORD).await.is_err());
    assert_eq!(patch("eve", json!({})).await.status, StatusCode::NOT_FOUND);

    let last = patch("root", json!({ "role": "viewer" })).await;
    assert_eq!(last.status, StatusCode::CONFLICT);
    let last = bench.call(Method::DELETE, "/users/root", root, None).await;
    assert_eq!(last.status, StatusCode::CONFLICT);
    let gone = bench.call(Method::DELETE, "/users/bob", root, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let audit = bench.get("/audit?subject=user/bob", root).await.json();
    let actions: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["delete", "update", "update", "login", "create"]);
    assert!(!audit.to_string().contains(PASSWORD));
}
