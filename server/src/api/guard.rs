//! While only this machine can connect, requests that a foreign web page makes its visitor's browser send are refused: by DNS
//! rebinding (a foreign Host) or from another site (a foreign Origin).

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::net::IpAddr;

pub async fn local_only(request: Request, next: Next) -> Response {
    // HTTP/2 has the host in the URI.
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    if is_local(authority, request.headers()) {
        return next.run(request).await;
    }
    let message = "this server answers requests to localhost only; to be reached under another name it must listen on another \
                   address than loopback\n";
    (StatusCode::FORBIDDEN, message).into_response()
}

fn is_local(authority: Option<&str>, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = authority.or_else(|| text(header::HOST));
    // Only programs that are no browsers send no host.
    host.is_none_or(is_local_host) && text(header::ORIGIN).is_none_or(is_local_origin)
}

fn is_local_origin(origin: &str) -> bool {
    origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(is_local_host)
}

/// With any port.
fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn foreign_hosts_and_origins_are_not_local() {
        let check = |host: &'static str, origin: Option<&'static str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_local(None, &headers), expected, "{host} {origin:?}");
        };
        for host in
            ["localhost", "LOCALHOST:4040", "127.0.0.1:4040", "127.1.2.3", "[::1]:4040", "[::1]"]
        {
            check(host, None, true);
        }
        for host in [
            "evil.example",
            "evil.example:4040",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]:4040",
            "[::1]x",
            "",
            "::1",
        ] {
            check(host, None, false);
        }
        check("localhost:4040", Some("http://localhost:3000"), true);
        check("localhost:4040", Some("https://[::1]:1"), true);
        for origin in [
            "null",
            "http://evil.example",
            "https://localhost.evil.example",
            "file://",
            "http://127.0.0.1.evil.example",
        ] {
            check("localhost:4040", Some(origin), false);
        }
    }
}
