//! One request, one answer, in protobuf or JSON: the unary calls of the Connect protocol.

use crate::api::Api;
use crate::api::body;
use crate::api::error::{Code, Error};
use crate::api::metrics::Failed;
use crate::api::work::on_thread;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use protocol::json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const ACCEPT_POST: &str = "application/json, application/proto";
/// Smaller answers are not worth a compressor.
const COMPRESS_FROM_BYTES: usize = 1 << 10;
/// No client waits longer, whatever it says.
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Proto,
    Json,
}

impl Codec {
    pub(super) fn of(headers: &HeaderMap) -> Option<Codec> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
        let is_utf8 =
            parameters.trim().is_empty() || parameters.trim().eq_ignore_ascii_case("charset=utf-8");
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/proto" => Some(Codec::Proto),
            "application/json" if is_utf8 => Some(Codec::Json),
            _ => None,
        }
    }

    pub(super) fn decode<T: Message + Default + DeserializeOwned>(
        self,
        body: &[u8],
    ) -> Result<T, Error> {
        match self {
            Codec::Proto => {
                T::decode(body).map_err(|err| Error::invalid(format!("unmarshal message: {err}")))
            }
            Codec::Json => json::from_slice(body)
                .map_err(|err| Error::invalid(format!("unmarshal message: {err}"))),
        }
    }

    pub(super) fn encode<T: Message + Serialize>(self, message: &T) -> Result<Vec<u8>, Error> {
        match self {
            Codec::Proto => Ok(message.encode_to_vec()),
            Codec::Json => {
                json::to_vec(message).map_err(|err| Error::new(Code::Internal, err.to_string()))
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Codec::Proto => "application/proto",
            Codec::Json => "application/json",
        }
    }
}

/// Decodes, answers and encodes a query on a thread that may take its time.
pub(super) async fn query<Q, A>(
    api: Arc<Api>,
    request: Request,
    answer: impl FnOnce(&Api, Q) -> Result<A, Error> + Send + 'static,
) -> Response
where
    Q: Message + Default + DeserializeOwned,
    A: Message + Serialize,
{
    let (parts, body) = request.into_parts();
    let Some(codec) = Codec::of(&parts.headers) else { return unsupported() };
    let gzip = accepts_gzip(&parts.headers);
    let deadline = deadline(&parts.headers);
    let counted = Arc::clone(&api);
    let work = async move {
        let body = body::read(&api, &parts.headers, body).await?;
        let work = move |api: &Api| {
            let plain = body.plain(api.config.max_body_bytes)?;
            let message = codec.decode(&plain)?;
            let answer = answer(api, message)?;
            Ok(compressed(codec.encode(&answer)?, gzip))
        };
        let result = on_thread(&api, &api.queries, work).await;
        api.metrics.queries.inc();
        result
    };
    let result = match timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => {
            Err(Error::new(Code::DeadlineExceeded, "the query took longer than the client waits"))
        }
    };
    match result {
        Ok(answer) => ok(answer, codec.content_type()),
        Err(error) => fail(&counted, error),
    }
}

pub(super) fn fail(api: &Api, error: Error) -> Response {
    api.metrics.failed_requests.get_or_create(&Failed { code: error.code.as_str() }).inc();
    if error.code == Code::Internal {
        tracing::error!(error = %error.message, "a request failed");
    }
    error.into_response()
}

pub(super) fn unsupported() -> Response {
    let mut response = StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    response.headers_mut().insert("accept-post", HeaderValue::from_static(ACCEPT_POST));
    response
}

/// The answer's bytes, and whether they are gzip.
pub(super) struct Answer {
    bytes: Vec<u8>,
    is_gzip: bool,
}

pub(super) fn compressed(bytes: Vec<u8>, gzip: bool) -> Answer {
    if !gzip || bytes.len() < COMPRESS_FROM_BYTES {
        return Answer { bytes, is_gzip: false };
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(&bytes).and_then(|()| encoder.finish()) {
        Ok(bytes) => Answer { bytes, is_gzip: true },
        Err(_) => Answer { bytes, is_gzip: false },
    }
}

pub(super) fn ok(answer: Answer, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(answer.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if answer.is_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"))
            && !parts.any(|part| part == "q=0")
    })
}

fn deadline(headers: &HeaderMap) -> Duration {
    let ms = headers.get("connect-timeout-ms").and_then(|value| value.to_str().ok()?.parse().ok());
    ms.map_or(MAX_TIMEOUT, Duration::from_millis).min(MAX_TIMEOUT)
}
