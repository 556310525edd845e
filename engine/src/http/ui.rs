//! The web UI, inside the binary.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::error::Error;

#[derive(Embed)]
#[folder = "../web/dist"]
struct Assets;

/// Answers everything that is no API: a file of the UI, or its first page,
/// which then shows what the path names.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Error::not_found("API path", uri.path()).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return Error::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{method} is not possible on {:?}", uri.path()),
        )
        .into_response();
    }
    if let Some(file) = Assets::get(path).filter(|_| !path.is_empty()) {
        return respond(path, file, &headers);
    }
    // A missing asset is no page: answering HTML would hide a broken build.
    if path.starts_with("assets/") {
        return Error::not_found("file", path).into_response();
    }
    match Assets::get("index.html") {
        Some(page) => respond("index.html", page, &headers),
        None => Error::not_found("file", "index.html").into_response(),
    }
}

fn respond(path: &str, file: EmbeddedFile, request: &HeaderMap) -> Response {
    let etag = format!("W/\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    // Names under assets/ carry a hash of their content.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let fresh = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag));
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = mime_guess::from_path(path).first_or_octet_stream();
        let kind = match kind.type_().as_str() {
            "text" => format!("{}; charset=utf-8", kind.essence_str()),
            _ => kind.essence_str().to_owned(),
        };
        ([(header::CONTENT_TYPE, kind)], Body::from(file.data)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &str, headers: HeaderMap) -> Response {
        serve(Method::GET, path.parse().unwrap(), headers).await
    }

    #[tokio::test]
    async fn pages_fall_back_to_the_first_and_revalidate() {
        let page = get("/checks/homepage", HeaderMap::new()).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(
            page.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-cache");
        let etag = page.headers()[header::ETAG].clone();
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]);
        assert_eq!(get("/", known).await.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn missing_assets_and_api_paths_are_not_pages() {
        for path in ["/assets/none-abc.js", "/api/none", "/api"] {
            assert_eq!(
                get(path, HeaderMap::new()).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        let post = serve(Method::POST, "/".parse().unwrap(), HeaderMap::new()).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
