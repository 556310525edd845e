//! A client of the REST API, as a script would write one.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// The first administrator's password in all tests.
pub const PASSWORD: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(60);

/// A logged-in client.
pub struct Api {
    address: SocketAddr,
    cookie: String,
}

impl Api {
    /// Logs in as the first administrator.
    pub async fn log_in(address: SocketAddr) -> Self {
        let mut api = Self {
            address,
            cookie: String::new(),
        };
        let login = json!({"name": "admin", "password": PASSWORD});
        let (status, headers, body) = api
            .request(
                Method::POST,
                "/session",
                "application/json",
                login.to_string().into_bytes(),
            )
            .await;
        assert!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        let cookie = headers[header::SET_COOKIE].to_str().unwrap();
        api.cookie = cookie.split(';').next().unwrap().to_owned();
        api
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, self.address.to_string())
            .header(header::ORIGIN, format!("http://{}", self.address))
            .header(header::CONTENT_TYPE, kind)
            .header(header::COOKIE, &self.cookie)
            .body(Full::new(bytes::Bytes::from(body)))
            .unwrap();
        let answering = async {
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            (parts.status, parts.headers, body)
        };
        tokio::select! {
            answer = answering => answer,
            end = connection => panic!("{path}: the connection ended: {end:?}"),
        }
    }

    /// Any request; the answer's JSON, or null where it has none.
    pub async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let bytes = body.to_string().into_bytes();
        let (status, _, body) = self.request(method, path, "application/json", bytes).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Reads something that is there.
    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.send(Method::GET, path, Value::Null).await;
        assert!(status.is_success(), "GET {path}: {status} {value}");
        value
    }

    /// Creates something.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.send(Method::POST, path, body).await;
        assert!(status.is_success(), "POST {path}: {status} {value}");
        value
    }

    /// Replaces something.
    pub async fn put(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.send(Method::PUT, path, body).await;
        assert!(status.is_success(), "PUT {path}: {status} {value}");
        value
    }

    /// Uploads a plugin and waits for the end of it: the plugin, or what was
    /// wrong in the words that a person reads.
    pub async fn upload(&self, name: &str, file: &[u8]) -> Result<Value, String> {
        self.upload_signed(name, file, "").await
    }

    /// Uploads a plugin with its signature, or none where that is empty.
    pub async fn upload_signed(
        &self,
        name: &str,
        file: &[u8],
        signature: &str,
    ) -> Result<Value, String> {
        const BOUNDARY: &str = "----a-boundary-that-no-plugin-contains";
        let mut form = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n{name}\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"signature\"\r\n\r\n{signature}\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}.wasm\"\r\n\
             Content-Type: application/wasm\r\n\r\n"
        )
        .into_bytes();
        form.extend_from_slice(file);
        form.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let (status, _, body) = self.request(Method::POST, "/plugins", &kind, form).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if status != StatusCode::ACCEPTED {
            return Err(answer.to_string());
        }
        let id = answer["upload_id"].as_str().unwrap();
        let finished = async {
            loop {
                let upload = self.get(&format!("/plugins/uploads/{id}")).await;
                match upload["phase"].as_str() {
                    Some("done") => return Ok(upload["result"].clone()),
                    Some("failed") => return Err(upload["message"].as_str().unwrap().to_owned()),
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, finished)
            .await
            .expect("the upload ends")
    }

    /// Waits until what is read at `path` fits.
    pub async fn until(&self, path: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let value = self.get(path).await;
                if fits(&value) {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(value) => value,
            Err(_) => panic!(
                "waited in vain at {path}: {what}; found {:#}",
                self.get(path).await
            ),
        }
    }
}
