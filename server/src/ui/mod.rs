//! A path of the page comes in; a file built into the binary goes out.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::OnceLock;

/// The page has its state in the URL's query, so that every path without a file is the page.
const PAGE: &str = "index.html";
/// No script, style or connection but our own; no frame around the page.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

#[derive(RustEmbed)]
#[folder = "../ui/dist"]
#[allow_missing = true]
struct Files;

struct File {
    bytes: Cow<'static, [u8]>,
    /// Where it is smaller.
    gzip: Option<Vec<u8>>,
    etag: HeaderValue,
    content_type: &'static str,
}

pub fn serve(request: &Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let files = files();
    // A file that is missed must not be taken for the page; a path of the page has no dot.
    let name = if path.is_empty() || !path.contains('.') { PAGE } else { path };
    match files.get(name) {
        Some(file) => answer(file, request.headers()),
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}

fn files() -> &'static HashMap<Cow<'static, str>, File> {
    static FILES: OnceLock<HashMap<Cow<'static, str>, File>> = OnceLock::new();
    FILES.get_or_init(|| {
        Files::iter().filter_map(|name| Some((name.clone(), load(&name)?))).collect()
    })
}

fn load(name: &str) -> Option<File> {
    let embedded = Files::get(name)?;
    let hash = embedded.metadata.sha256_hash();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let gzip = encoder.write_all(&embedded.data).and_then(|()| encoder.finish()).ok();
    Some(File {
        gzip: gzip.filter(|gzip| gzip.len() < embedded.data.len()),
        bytes: embedded.data,
        etag: HeaderValue::try_from(format!(
            "\"{:032x}\"",
            u128::from_le_bytes(*hash.first_chunk()?)
        ))
        .ok()?,
        content_type: content_type(name),
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn answer(file: &'static File, asked: &HeaderMap) -> Response {
    let has = |name, word: &str| {
        asked
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains(word))
    };
    let is_same = has(header::IF_NONE_MATCH, file.etag.to_str().unwrap_or_default());
    let gzip = file.gzip.as_deref().filter(|_| has(header::ACCEPT_ENCODING, "gzip"));
    let body = match (is_same, gzip) {
        (true, _) => Body::empty(),
        (false, Some(gzip)) => Body::from(gzip),
        (false, None) => Body::from(file.bytes.as_ref()),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(header::ETAG, file.etag.clone());
    // Asked for each time, sent again only after an update.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if gzip.is_some() && !is_same {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if is_same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

#[cfg(test)]
mod tests;
