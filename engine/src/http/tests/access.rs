//! Who gets in: roles, origins, hosts.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};

use super::document::operations;
use super::*;

/// Every operation of the document, asked by nobody and by each role.
#[tokio::test]
async fn every_route_holds_to_its_role() {
    let bench = Bench::new().await;
    let mut callers = vec![(None, None)];
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        callers.push((Some(role), Some(bench.token(role).await)));
    }
    for (method, path, operation) in operations() {
        let needed = operation["x-role"].as_str().unwrap();
        let path = path.replace("{id}", "1");
        let path = path
            .replace("{name}", "x")
            .replace("{check}", "x")
            .replace("{node}", "x");
        let path = path.replace("{digest}", "00");
        for (role, token) in &callers {
            let who = token.as_deref().map_or(As::Nobody, As::Token);
            let method: Method = method.parse().unwrap();
            let request = request(method.clone(), &path, who)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from("{}"));
            let status = bench.send(request.unwrap()).await.status;
            let what = format!("{method} {path} as {role:?}: {status}");
            let enough = match needed {
                "public" => true,
                needed => role.is_some_and(|role| role >= needed.parse().unwrap()),
            };
            if enough {
                assert_ne!(status, StatusCode::FORBIDDEN, "{what}");
                assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{what}");
                assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
                if needed != "public" {
                    assert_ne!(status, StatusCode::UNAUTHORIZED, "{what}");
                }
            } else if role.is_none() {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}");
            } else {
                assert_eq!(status, StatusCode::FORBIDDEN, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_with_a_cookie_needs_the_own_origin() {
    let bench = Bench::new().await;
    bench.user("ops", Role::Operator).await;
    let cookie = bench.log_in("ops", PASSWORD).await.ok().unwrap();
    let send = async |origin: Option<&str>| {
        let mut request = request(Method::POST, "/api/v1/schedule/preview", As::Nobody)
            .header(header::COOKIE, &cookie)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        bench
            .send(request.body(Body::from(r#"{"every":"10s"}"#)).unwrap())
            .await
    };
    assert_eq!(send(Some(ORIGIN)).await.status, StatusCode::OK);
    for origin in [
        None,
        Some("https://evil.example"),
        Some("null"),
        Some("http://127.0.0.1:1"),
    ] {
        let answer = send(origin).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "wrong_origin")
        );
    }
    // A token is no cookie: no page can send it by accident.
    let token = bench.token(Role::Viewer).await;
    let body = serde_json::json!({ "every": "10s" });
    let answer = bench
        .post("/schedule/preview", As::Token(&token), body)
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    // A login from a foreign page would make the person act in another's name.
    let request = request(Method::POST, "/api/v1/session", As::Nobody)
        .header(header::ORIGIN, "https://evil.example")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"name":"ops","password":"correct horse"}"#));
    assert_eq!(
        bench.send(request.unwrap()).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn foreign_hosts_are_refused_everywhere_but_for_probes() {
    let bench = Bench::new().await;
    let send = async |path: &str, host: &str| {
        let request = axum::http::Request::builder()
            .uri(path)
            .header(header::HOST, host);
        bench
            .send(request.body(Body::empty()).unwrap())
            .await
            .status
    };
    for path in [
        "/",
        "/api/v1/session",
        "/api/openapi.json",
        "/metrics",
        "/checks/x",
    ] {
        assert_eq!(
            send(path, "rebound.example:8480").await,
            StatusCode::MISDIRECTED_REQUEST
        );
        assert_ne!(
            send(path, "localhost:8480").await,
            StatusCode::MISDIRECTED_REQUEST
        );
    }
    assert_eq!(send("/healthz", "10.1.2.3:8480").await, StatusCode::OK);
    assert_eq!(send("/readyz", "pod").await, StatusCode::OK);
}

#[tokio::test]
async fn answers_carry_the_security_headers() {
    let settings = Settings {
        public_url: "https://bw.example.org/".parse().unwrap(),
        ..Settings::default()
    };
    let bench = Bench::with(settings, 1).await;
    for path in ["/!/", "/session", "/nodes", "/!/none/at/all"] {
        let answer = bench.get(path, As::Nobody).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.contains("default-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("script-src"), "{policy}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(
            answer
                .headers
                .contains_key(header::STRICT_TRANSPORT_SECURITY)
        );
    }
    let api = bench.get("/session", As::Nobody).await;
    assert_eq!(api.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn metrics_need_a_token_or_are_opened() {
    let bench = Bench::new().await;
    let token = bench.token(Role::Viewer).await;
    assert_eq!(
        bench.get("/!/metrics", As::Nobody).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        bench.get("/!/metrics", As::Token(&token)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        bench.get("/!/metrics", As::Token("bw_x")).await.status,
        StatusCode::UNAUTHORIZED
    );
    let settings = Settings {
        open_metrics: true,
        ..Settings::default()
    };
    let bench = Bench::with(settings, 1).await;
    assert_eq!(
        bench.get("/!/metrics", As::Nobody).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn expired_and_withdrawn_tokens_are_refused() {
    let bench = Bench::new().await;
    let admin = bench.token(Role::Admin).await;
    let body = serde_json::json!({ "name": "ci", "role": "viewer", "expires_in": "1h" });
    let made = bench
        .post("/tokens", As::Token(&admin), body.clone())
        .await
        .json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("bw_"));
    assert_eq!(
        bench.get("/nodes", As::Token(&token)).await.status,
        StatusCode::OK
    );
    bench.advance(3601);
    assert_eq!(
        bench.get("/nodes", As::Token(&token)).await.status,
        StatusCode::UNAUTHORIZED
    );

    let made = bench.post("/tokens", As::Token(&admin), body).await.json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(
        bench.get("/nodes", As::Token(&token)).await.status,
        StatusCode::OK
    );
    let list = bench.get("/tokens", As::Token(&admin)).await;
    assert!(!String::from_utf8_lossy(&list.body).contains(&token));
    let path = format!("/tokens/{}", made["id"].as_str().unwrap());
    let gone = bench
        .call(Method::DELETE, &path, As::Token(&admin), None)
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        bench.get("/nodes", As::Token(&token)).await.status,
        StatusCode::UNAUTHORIZED
    );
    let audit = bench.get("/audit", As::Token(&admin)).await;
    assert!(!String::from_utf8_lossy(&audit.body).contains(&token));
    assert_eq!(audit.json()["items"][0]["subject"], "token/ci");
    assert_eq!(audit.json()["items"][0]["actor"], "token:admin-token");
}
