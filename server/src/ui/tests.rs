//! The embedded page is served with its headers, and again only when it changed.

use super::*;
use http_body_util::BodyExt as _;

async fn get(path: &str, headers: &[(&'static str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = serve(&request.body(Body::empty()).unwrap());
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn the_page_and_its_files() {
    for path in ["/", "/explore?service=x"] {
        let (status, headers, body) = get(path, &[]).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (StatusCode::OK, &HeaderValue::from_static("text/html; charset=utf-8"))
        );
        assert!(
            headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'self';")
        );
        assert!(body.starts_with(b"<!doctype html>"));
    }
    let (status, headers, body) = get("/app.js", &[]).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &HeaderValue::from_static("text/javascript; charset=utf-8"))
    );
    let (_, gzip_headers, gzip_body) = get("/app.js", &[("accept-encoding", "br, gzip")]).await;
    assert_eq!(gzip_headers["content-encoding"], "gzip");
    assert!(gzip_body.len() < body.len() / 2);
    let etag = headers["etag"].to_str().unwrap();
    let (status, _, body) = get("/app.js", &[("if-none-match", etag)]).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn other_files_are_not_found() {
    for path in ["/missing.js", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/favicon.ico"] {
        assert_eq!(get(path, &[]).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}
