//! Grants against real connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bellwether::check::outcome::{FaultKind, State};
use bellwether::config::spec::{SecretSource, Spec};
use bellwether::plugin::Settings;
use bellwether::plugin::resolve::{Resolve, Resolving};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::*;

fn names(pairs: &[(&'static str, &str)]) -> Arc<Names> {
    let mut names = BTreeMap::<_, Vec<_>>::new();
    for (name, ip) in pairs {
        names.entry(*name).or_default().push(ip.parse().unwrap());
    }
    Arc::new(Names(names))
}

async fn ok_server() -> SocketAddr {
    http(|_| response("200 OK", "", "hello")).await
}

#[tokio::test]
async fn the_node_s_literal_address_is_the_grant() {
    let host = host();
    let http = install(&host, "http").await;
    let server = ok_server().await;
    let report = job(&http, json!({"url": format!("http://{server}/")}))
        .net(&["node"])
        .report(&host)
        .await;
    assert_eq!(report.state, State::Ok, "{report:?}");
    assert!(
        report
            .metrics
            .iter()
            .any(|m| &*m.name == "status" && m.value == 200.0)
    );

    let elsewhere = job(&http, json!({"url": format!("http://{server}/")}))
        .node("127.0.0.2")
        .net(&["node"]);
    let fault = elsewhere.fault(&host).await;
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.text.contains(&server.to_string()), "{}", fault.text);
}

#[tokio::test]
async fn explicit_grants_open_what_they_name() {
    let host = host_with(|config| config.resolver = Some(names(&[("app.example", "127.0.0.1")])));
    let hostile = install(&host, "testing/hostile").await;
    let server = ok_server().await;
    let port = server.port();
    let connect = |target: String, grants: &[&str]| {
        job(&hostile, json!({"mode": "connect", "target": target}))
            .node("node.example")
            .net(grants)
    };
    for (target, grants, expected) in [
        (server.to_string(), vec![server.to_string()], "connected"),
        (
            server.to_string(),
            vec![format!("127.0.0.0/8:{port}")],
            "connected",
        ),
        (
            server.to_string(),
            vec![format!("127.0.0.0/8:{}", port - 1)],
            "denied",
        ),
        (server.to_string(), vec!["node".into()], "denied"),
        (server.to_string(), vec![], "denied"),
        (
            format!("[::ffff:127.0.0.1]:{port}"),
            vec![server.to_string()],
            "connected",
        ),
        // A name never opens loopback, unless a network does.
        (
            format!("app.example:{port}"),
            vec![format!("app.example:{port}")],
            "denied",
        ),
        (
            format!("app.example:{port}"),
            vec![format!("*.example:{port}")],
            "denied",
        ),
        (
            format!("app.example:{port}"),
            vec![format!("127.0.0.1:{port}"), "dns:app.example".into()],
            "connected",
        ),
        // Nor is a name asked about that nobody granted: whoever serves it sees
        // the question.
        (
            format!("app.example:{port}"),
            vec![format!("127.0.0.1:{port}"), format!("127.0.0.0/8:{port}")],
            "denied: net app.example",
        ),
        (
            format!("app.example:{port}"),
            vec![format!("app.example:{port}"), format!("127.0.0.0/8:{port}")],
            "connected",
        ),
        (
            format!("other.example:{port}"),
            vec![format!("other.example:{port}")],
            "failed",
        ),
    ] {
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        let report = connect(target.clone(), &grants).report(&host).await;
        assert!(
            report.summary.starts_with(expected),
            "{target} with {grants:?}: {}",
            report.summary
        );
    }
}

/// Counts the names that it is asked about.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl Resolve for Asked {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            self.0.lock().unwrap().push(name.to_owned());
            Ok(vec!["127.0.0.1".parse().unwrap()])
        })
    }
}

#[tokio::test]
async fn a_name_is_no_message_to_whoever_serves_it() {
    let asked = Arc::new(Asked::default());
    let resolver = Arc::clone(&asked);
    let host = host_with(|config| config.resolver = Some(resolver));
    let hostile = install(&host, "testing/hostile").await;
    let port = ok_server().await.port();
    let connect = |name: &str, grants: &[&str]| {
        let target = format!("{name}:{port}");
        job(&hostile, json!({"mode": "connect", "target": target}))
            .node("node.example")
            .net(grants)
    };
    let network = ["127.0.0.0/8:*"];
    let report = connect("s3cret.evil.example", &network).report(&host).await;
    assert!(
        report.summary.starts_with("denied")
            && report.summary.contains("\"dns:s3cret.evil.example\""),
        "{}",
        report.summary
    );
    assert!(asked.0.lock().unwrap().is_empty());
    let report = connect("node.example", &network).report(&host).await;
    assert_eq!(report.summary, "connected");
    let both = ["127.0.0.0/8:*", "dns:*.other.example"];
    let report = connect("a.other.example", &both).report(&host).await;
    assert_eq!(report.summary, "connected");
    let asked = asked.0.lock().unwrap();
    assert_eq!(*asked, ["node.example", "a.other.example"]);
}

#[tokio::test]
async fn names_that_stand_for_local_addresses_are_denied_by_class() {
    let host = host_with(|config| {
        config.resolver = Some(names(&[
            ("loop.example", "127.0.0.1"),
            ("loop6.example", "::1"),
            ("meta.example", "169.254.169.254"),
            ("mapped.example", "::ffff:169.254.169.254"),
            ("nat64.example", "64:ff9b::7f00:1"),
            ("zero.example", "0.0.0.0"),
            ("multi.example", "224.0.0.1"),
        ]));
    });
    let hostile = install(&host, "testing/hostile").await;
    for (name, class) in [
        ("loop.example", "loopback"),
        ("loop6.example", "loopback"),
        ("meta.example", "link-local"),
        ("mapped.example", "link-local"),
        ("nat64.example", "loopback"),
        ("zero.example", "unspecified"),
        ("multi.example", "multicast"),
    ] {
        let report = job(
            &hostile,
            json!({"mode": "connect", "target": format!("{name}:80")}),
        )
        .node(name)
        .net(&["node", "*.example:*"])
        .report(&host)
        .await;
        assert!(
            report.summary.starts_with("denied") && report.summary.contains(class),
            "{name}: {}",
            report.summary
        );
    }
}

#[tokio::test]
async fn deny_wins_and_changes_while_running() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let server = ok_server().await;
    let run = || {
        job(
            &hostile,
            json!({"mode": "connect", "target": server.to_string()}),
        )
        .net(&["node", "0.0.0.0/0:*"])
    };
    assert_eq!(run().report(&host).await.summary, "connected");
    let mut spec = Spec::default();
    spec.egress.deny = vec!["127.0.0.0/8".into()];
    host.reconfigure(Settings::from_spec(&spec).unwrap());
    let outcome = run().run(&host).await;
    assert!(outcome.verdict.unwrap().summary.contains("egress.deny"));
    assert!(
        outcome
            .log
            .iter()
            .any(|line| line.message.starts_with("denied: net")),
        "{:?}",
        outcome.log
    );
    spec.egress.deny = vec!["127.0.0.0/33".into()];
    assert!(
        Settings::from_spec(&spec)
            .unwrap_err()
            .contains("egress.deny[0]")
    );
}

#[tokio::test]
async fn refused_and_closed_are_reports() {
    let host = host();
    let http = install(&host, "http").await;
    let hostile = install(&host, "testing/hostile").await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let report = job(&http, json!({"url": format!("http://{closed}/")}))
        .net(&["node"])
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical);
    assert!(report.summary.contains("refused"), "{}", report.summary);

    for (server, expected) in [
        (crate::support::http(|_| String::new()).await, "closed"),
        (
            crate::support::http(|_| "SSH-2.0-OpenSSH\r\n\r\n".into()).await,
            "protocol",
        ),
        (
            crate::support::http(|_| {
                format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70 << 10))
            })
            .await,
            "65536",
        ),
    ] {
        let report = job(
            &hostile,
            json!({"mode": "http-get", "target": format!("http://{server}/")}),
        )
        .net(&["node"])
        .report(&host)
        .await;
        assert!(
            report.summary.starts_with("failed") && report.summary.contains(expected),
            "{expected}: {}",
            report.summary
        );
    }
}

#[tokio::test]
async fn redirects_are_new_requests() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let outside = ok_server().await;
    let to = format!("location: http://{outside}/\r\n");
    let server = http(move |_| response("302 Found", &to, "")).await;
    let get = |grants: &[&str], redirects: u32| {
        job(&hostile, json!({"mode": "http-get", "target": format!("http://{server}/"), "redirects": redirects}))
            .node("node.example")
            .net(grants)
    };
    let (inside, out) = (server.to_string(), outside.to_string());
    let report = get(&[&inside], 5).report(&host).await;
    assert!(
        report.summary.starts_with("denied") && report.summary.contains(&out),
        "{}",
        report.summary
    );
    let report = get(&[&inside, &out], 5).report(&host).await;
    assert!(report.summary.contains("200"), "{}", report.summary);
    let report = get(&[&inside], 0).report(&host).await;
    assert!(report.summary.contains("302"), "{}", report.summary);

    let around = http(|_| response("302 Found", "location: /again\r\n", "")).await;
    let report = job(
        &hostile,
        json!({"mode": "http-get", "target": format!("http://{around}/"), "redirects": 3}),
    )
    .net(&["node"])
    .report(&host)
    .await;
    assert!(
        report.summary.contains("more than 3 redirects"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn secrets_go_to_their_origin_only_and_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret-value\n").unwrap();
    let host = host_with(|config| {
        config.settings.secrets.insert(
            "api-token".into(),
            SecretSource::File(file.display().to_string()),
        );
    });
    let hostile = install(&host, "testing/hostile").await;

    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let other = http(move |head| {
        seen.lock().unwrap().push(head.to_owned());
        response("200 OK", "", "fine")
    })
    .await;
    let seen = Arc::clone(&heads);
    let to = format!("location: http://{other}/\r\n");
    let first = http(move |head| {
        seen.lock().unwrap().push(head.to_owned());
        // Echoes what it was sent.
        match head.contains("GET /echo") {
            true => response(
                "200 OK",
                "x-echo: s3cret-value\r\n",
                "you said s3cret-value",
            ),
            false => response("302 Found", &to, ""),
        }
    })
    .await;
    let get = |path: &str, granted: bool| {
        job(&hostile, json!({"mode": "http-get", "target": format!("http://{first}{path}"), "secret": "api-token"}))
            .net(&["node"])
            .grants(|g| {
                if granted {
                    g.secrets.push("api-token".into());
                }
            })
    };
    let report = get("/", false).report(&host).await;
    assert!(
        report.summary.starts_with("denied: secrets api-token"),
        "{}",
        report.summary
    );
    assert!(heads.lock().unwrap().is_empty());

    let report = get("/", true).report(&host).await;
    assert!(report.summary.contains("200"), "{}", report.summary);
    let heads = std::mem::take(&mut *heads.lock().unwrap());
    assert!(heads[0].contains("x-secret: s3cret-value"), "{}", heads[0]);
    assert!(!heads[1].contains("s3cret"), "{}", heads[1]);

    let outcome = get("/echo", true).run(&host).await;
    let text = format!("{:?} {:?}", outcome.verdict, outcome.log);
    assert!(text.contains("200") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_secret_does_not_come_back_by_way_of_another_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret-value").unwrap();
    let host = host_with(|config| {
        config.settings.secrets.insert(
            "api-token".into(),
            SecretSource::File(file.display().to_string()),
        );
    });
    let hostile = install(&host, "testing/hostile").await;
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (seen, back) = (Arc::clone(&heads), Arc::new(Mutex::new(String::new())));
    let away = Arc::clone(&back);
    let home = http(move |head| {
        seen.lock().unwrap().push(head.to_owned());
        match head.contains("GET /leak") {
            true => response("200 OK", "", ""),
            false => response(
                "302 Found",
                &format!("location: {}\r\n", away.lock().unwrap()),
                "",
            ),
        }
    })
    .await;
    let other = http(move |_| {
        response(
            "302 Found",
            &format!("location: http://{home}/leak\r\n"),
            "",
        )
    })
    .await;
    *back.lock().unwrap() = format!("http://{other}/");
    let report = job(
        &hostile,
        json!({"mode": "http-get", "target": format!("http://{home}/"), "secret": "api-token"}),
    )
    .net(&["node"])
    .grants(|g| g.secrets.push("api-token".into()))
    .report(&host)
    .await;
    assert!(report.summary.contains("200"), "{}", report.summary);
    let heads = heads.lock().unwrap();
    assert!(
        heads[0].contains("s3cret") && !heads[1].contains("s3cret"),
        "{heads:?}"
    );
}

#[tokio::test]
async fn the_system_s_names_are_resolved_and_judged() {
    let host = host();
    let hostile = install(&host, "testing/hostile").await;
    let report = job(
        &hostile,
        json!({"mode": "connect", "target": "localhost:80"}),
    )
    .node("localhost")
    .net(&["node"])
    .report(&host)
    .await;
    assert!(
        report.summary.starts_with("denied") && report.summary.contains("loopback"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let (certificate, acceptor) = tls_acceptor(&[b"h2"]);
    let server = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = hyper::service::service_fn(
                |request: hyper::Request<hyper::body::Incoming>| async move {
                    let text = format!("{} over {:?}", request.uri().path(), request.version());
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(text))
                },
            );
            let _ = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let host = host_with(|config| config.extra_roots = vec![certificate]);
    let http = install(&host, "http").await;
    let config =
        json!({"url": format!("https://{server}/path"), "body_regex": "^/path over HTTP/2.0$"});
    let report = job(&http, config).net(&["node"]).report(&host).await;
    assert_eq!(report.state, State::Ok, "{report:?}");
    assert!(report.details.contains("HTTP/2.0"), "{}", report.details);
}

pub type Certificate = rustls_pki_types::CertificateDer<'static>;

/// A certificate of its own and the server's side of it.
pub fn tls_acceptor(alpn: &[&[u8]]) -> (Certificate, tokio_rustls::TlsAcceptor) {
    let key =
        rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let certificate = key.cert.der().clone();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], secret)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    (
        certificate,
        tokio_rustls::TlsAcceptor::from(Arc::new(config)),
    )
}

/// A TLS server that answers one request a connection.
async fn tls_server() -> (SocketAddr, Certificate) {
    let (certificate, acceptor) = tls_acceptor(&[]);
    let address = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(response("200 OK", "", "over tls").as_bytes())
                .await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (address, certificate)
}

#[tokio::test]
async fn tls_is_verified_unless_told_otherwise() {
    let (server, certificate) = tls_server().await;
    let host = host();
    let http = install(&host, "http").await;
    let url = format!("https://{server}/");
    let report = job(&http, json!({"url": url}))
        .net(&["node"])
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical);
    assert!(report.summary.contains("certificate"), "{}", report.summary);

    let report = job(&http, json!({"url": url, "verify_tls": false}))
        .net(&["node"])
        .report(&host)
        .await;
    assert_eq!(report.state, State::Ok, "{report:?}");
    assert!(
        report.metrics.iter().any(|m| &*m.name == "tls_ms"),
        "{report:?}"
    );
    assert!(
        report
            .metrics
            .iter()
            .any(|m| &*m.name == "cert_days" && m.value > 100.0),
        "{report:?}"
    );
    assert!(
        report.details.contains("localhost, 127.0.0.1"),
        "{}",
        report.details
    );

    let trusting = host_with(|config| config.extra_roots = vec![certificate]);
    let http = install(&trusting, "http").await;
    let report = job(&http, json!({"url": url}))
        .net(&["node"])
        .report(&trusting)
        .await;
    assert_eq!(report.state, State::Ok, "{report:?}");
}

#[tokio::test]
async fn what_tls_agreed_on_is_told_with_the_whole_chain() {
    let (certificate, acceptor) = tls_acceptor(&[b"h2"]);
    let server = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 16]).await;
            }
        }
    })
    .await;
    let size = certificate.len();
    let ask = |verify: bool, name: &str| {
        json!({"call": "tls-info", "target": server.ip().to_string(), "port": server.port(),
            "verify": verify, "text": name})
    };
    let host = host();
    let reach = install(&host, "testing/reach").await;
    let report = job(&reach, ask(false, ""))
        .net(&["node"])
        .report(&host)
        .await;
    assert!(
        report.summary.starts_with("ok: TLSv1.3 TLS_") && report.summary.ends_with(" h2"),
        "{}",
        report.summary
    );
    let (problem, chain) = report.details.split_once('\n').unwrap();
    assert!(problem.contains("UnknownIssuer"), "{problem}");
    assert!(chain.starts_with(&format!("{size} bytes: CN=")), "{chain}");

    let trusting = host_with(|config| config.extra_roots = vec![certificate]);
    let reach = install(&trusting, "testing/reach").await;
    for (verify, name, expected) in [
        (true, "", "problem: \n"),
        (false, "localhost", "problem: \n"),
        (false, "other.example", "not valid for name"),
    ] {
        let report = job(&reach, ask(verify, name))
            .net(&["node"])
            .report(&trusting)
            .await;
        assert!(report.details.contains(expected), "{}", report.details);
    }
}

#[tokio::test]
async fn tcp_speaks_and_times_out() {
    let host = host();
    let tcp = install(&host, "tcp").await;
    let hostile = install(&host, "testing/hostile").await;
    let server = serve(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        let mut request = [0; 64];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"250 fine\r\n").await;
    })
    .await;
    let report = job(&tcp, json!({"port": server.port(), "expect": "220 "}))
        .net(&["node"])
        .report(&host)
        .await;
    assert_eq!(report.state, State::Ok, "{report:?}");

    let quiet = silent().await;
    let report = job(&tcp, json!({"port": quiet.port(), "expect": "220 "}))
        .net(&["node"])
        .timeout(200)
        .report(&host)
        .await;
    assert_eq!(report.state, State::Critical, "{report:?}");
    assert!(report.summary.contains("first-byte"), "{}", report.summary);

    let report = job(
        &hostile,
        json!({"mode": "many-connections", "target": quiet.to_string(), "amount": 1000}),
    )
    .net(&["node"])
    .report(&host)
    .await;
    assert!(
        report.summary.contains("too many open connections"),
        "{}",
        report.summary
    );
}
