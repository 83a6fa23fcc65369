//! What gRPC and gRPC-web put around a message: five bytes before it, and a status after it.

use crate::api::error::{Code, Error};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use std::convert::Infallible;
use std::fmt::Write as _;

const COMPRESSED: u8 = 1;
/// The frame of gRPC-web that holds the status.
const TRAILERS: u8 = 0x80;
const HEAD_LEN: usize = 5;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The one message of a unary call, and whether it is compressed.
pub(super) fn unframe(body: &[u8]) -> Result<(&[u8], bool), Error> {
    let wrong = || Error::invalid("the request is not one message in a frame");
    let (head, message) = body.split_first_chunk::<HEAD_LEN>().ok_or_else(wrong)?;
    let [flags, len @ ..] = *head;
    if flags > COMPRESSED || message.len() != u32::from_be_bytes(len) as usize {
        return Err(wrong());
    }
    Ok((message, flags == COMPRESSED))
}

pub(super) fn frame(message: &[u8], is_compressed: bool) -> Vec<u8> {
    framed(u8::from(is_compressed), message)
}

fn framed(flags: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&[flags][..], &len.to_be_bytes(), bytes].concat()
}

/// A body that is followed by the status of success.
pub(super) fn with_trailers(body: Vec<u8>) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(body));
    Body::new(body.with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) }))
}

/// The same within the body, for clients that cannot see trailers.
pub(super) fn with_trailer_frame(mut body: Vec<u8>, error: Option<&Error>) -> Vec<u8> {
    let mut text = format!("grpc-status: {}\r\n", error.map_or(0, |error| number(error.code)));
    if let Some(error) = error {
        text.push_str("grpc-message: ");
        text.push_str(&percent_encoded(&error.message));
        text.push_str("\r\n");
    }
    body.extend(framed(TRAILERS, text.as_bytes()));
    body
}

pub(super) fn status_headers(error: &Error, headers: &mut HeaderMap) {
    headers.insert(STATUS, HeaderValue::from(number(error.code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&error.message)) {
        headers.insert(MESSAGE, message);
    }
}

fn percent_encoded(message: &str) -> String {
    let mut text = String::new();
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(text, "%{byte:02X}").unwrap_or_default();
        }
    }
    text
}

pub(super) fn number(code: Code) -> u16 {
    match code {
        Code::InvalidArgument => 3,
        Code::DeadlineExceeded => 4,
        Code::NotFound => 5,
        Code::AlreadyExists => 6,
        Code::PermissionDenied => 7,
        Code::ResourceExhausted => 8,
        Code::FailedPrecondition => 9,
        Code::Unimplemented => 12,
        Code::Internal => 13,
        Code::Unavailable => 14,
        Code::Unauthenticated => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_is_one_message() {
        assert_eq!(unframe(&frame(b"abc", false)).unwrap(), (&b"abc"[..], false));
        assert_eq!(unframe(&frame(b"", true)).unwrap(), (&b""[..], true));
        for wrong in [
            &b""[..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 1],
            &[0, 0, 0, 0, 0, 1],
            &[2, 0, 0, 0, 0],
            &[0, 255, 255, 255, 255],
        ] {
            unframe(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_status_has_no_line_of_its_own() {
        let error = Error::invalid("wrong: 100 %\r\ngrpc-status: 0 é");
        let frame = with_trailer_frame(Vec::new(), Some(&error));
        assert_eq!(frame[0], TRAILERS);
        assert_eq!(
            std::str::from_utf8(&frame[5..]).unwrap(),
            "grpc-status: 3\r\ngrpc-message: wrong: 100 %25%0D%0Agrpc-status: 0 %C3%A9\r\n"
        );
    }
}
