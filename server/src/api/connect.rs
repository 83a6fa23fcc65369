//! One request, one answer: unary calls over Connect, gRPC and gRPC-web, in protobuf or JSON.

use crate::api::Api;
use crate::api::body::{self, Encoding, RawBody};
use crate::api::error::{Code, Error};
use crate::api::framing;
use crate::api::metrics::Failed;
use crate::api::scope::Scope;
use crate::api::work::on_query_thread;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
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

const ACCEPT_POST: &str = "application/json, application/proto, application/grpc, application/grpc+proto, \
                           application/grpc+json, application/grpc-web, application/grpc-web+proto, \
                           application/grpc-web+json";
/// Smaller answers are not worth a compressor.
const COMPRESS_FROM_BYTES: usize = 1 << 10;
/// No client waits longer, whatever it says.
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Proto,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Connect,
    Grpc,
    GrpcWeb,
}

impl Codec {
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
}

/// What the headers of a request say of how it is to be read and answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    protocol: Protocol,
    pub codec: Codec,
    content_type: &'static str,
    /// Of the message in a frame.
    message_encoding: Encoding,
    takes_gzip: bool,
    deadline: Duration,
}

impl Call {
    /// Or the answer that says what is wrong.
    pub(super) fn of(version: Version, headers: &HeaderMap) -> Result<Call, Box<Response>> {
        let Some((protocol, codec, content_type)) = kind(headers) else {
            return Err(Box::new(unsupported()));
        };
        if protocol == Protocol::Grpc && version < Version::HTTP_2 {
            return Err(Box::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED.into_response()));
        }
        let is_framed = protocol != Protocol::Connect;
        let accepted = if is_framed { "grpc-accept-encoding" } else { "accept-encoding" };
        let encoding = headers.get("grpc-encoding").filter(|_| is_framed);
        let mut call = Call {
            protocol,
            codec,
            content_type,
            message_encoding: Encoding::Identity,
            takes_gzip: accepts(headers, accepted, "gzip"),
            deadline: deadline(headers),
        };
        match Encoding::of(encoding) {
            Ok(encoding) => call.message_encoding = encoding,
            Err(error) => return Err(Box::new(call.error(&error))),
        }
        Ok(call)
    }

    pub(super) fn decode<T: Message + Default + DeserializeOwned>(
        self,
        body: &RawBody,
        limit: usize,
    ) -> Result<T, Error> {
        self.with_message(body, limit, |message| self.codec.decode(message))
    }

    /// Gives the message's bytes, without their frame and compression.
    pub(super) fn with_message<T>(
        self,
        body: &RawBody,
        limit: usize,
        read: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let plain = body.plain(limit)?;
        if self.protocol == Protocol::Connect {
            return read(&plain);
        }
        let (message, is_compressed) = framing::unframe(&plain)?;
        if !is_compressed {
            return read(message);
        }
        if self.message_encoding == Encoding::Identity {
            return Err(Error::new(Code::Internal, "a compressed message without grpc-encoding"));
        }
        read(&self.message_encoding.plain(message, limit)?)
    }

    /// The answer as it is sent; compressing takes time.
    pub(super) fn encode<T: Message + Serialize>(self, message: &T) -> Result<Answer, Error> {
        let answer = compressed(self.codec.encode(message)?, self.takes_gzip);
        if self.protocol == Protocol::Connect {
            return Ok(answer);
        }
        Ok(Answer { bytes: framing::frame(&answer.bytes, answer.is_gzip), ..answer })
    }

    pub(super) fn respond(self, api: &Api, result: Result<Answer, Error>) -> Response {
        match result {
            Ok(answer) => self.ok(answer),
            Err(error) => {
                count_failure(api, &error);
                self.error(&error)
            }
        }
    }

    fn ok(self, answer: Answer) -> Response {
        let body = match self.protocol {
            Protocol::Connect => return ok(answer, self.content_type),
            Protocol::Grpc => framing::with_trailers(answer.bytes),
            Protocol::GrpcWeb => Body::from(framing::with_trailer_frame(answer.bytes, None)),
        };
        let mut response = self.framed(body);
        if answer.is_gzip {
            response.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        response
    }

    pub(super) fn error(self, error: &Error) -> Response {
        match self.protocol {
            Protocol::Connect => error.to_response(),
            Protocol::Grpc => {
                let mut response = self.framed(Body::empty());
                framing::status_headers(error, response.headers_mut());
                response
            }
            Protocol::GrpcWeb => {
                self.framed(Body::from(framing::with_trailer_frame(Vec::new(), Some(error))))
            }
        }
    }

    fn framed(self, body: Body) -> Response {
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}

fn kind(headers: &HeaderMap) -> Option<(Protocol, Codec, &'static str)> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    let is_utf8 =
        parameters.trim().is_empty() || parameters.trim().eq_ignore_ascii_case("charset=utf-8");
    Some(match kind.trim().to_ascii_lowercase().as_str() {
        "application/proto" => (Protocol::Connect, Codec::Proto, "application/proto"),
        "application/json" if is_utf8 => (Protocol::Connect, Codec::Json, "application/json"),
        "application/grpc" => (Protocol::Grpc, Codec::Proto, "application/grpc"),
        "application/grpc+proto" => (Protocol::Grpc, Codec::Proto, "application/grpc+proto"),
        "application/grpc+json" => (Protocol::Grpc, Codec::Json, "application/grpc+json"),
        "application/grpc-web" => (Protocol::GrpcWeb, Codec::Proto, "application/grpc-web"),
        "application/grpc-web+proto" => {
            (Protocol::GrpcWeb, Codec::Proto, "application/grpc-web+proto")
        }
        "application/grpc-web+json" => {
            (Protocol::GrpcWeb, Codec::Json, "application/grpc-web+json")
        }
        _ => return None,
    })
}

/// Decodes, answers and encodes a query on a thread that may take its time.
pub(super) async fn query<Q, A>(
    api: Arc<Api>,
    request: Request,
    answer: impl FnOnce(&Scope, Q) -> Result<A, Error> + Send + 'static,
) -> Response
where
    Q: Message + Default + DeserializeOwned,
    A: Message + Serialize,
{
    let (parts, body) = request.into_parts();
    let call = match Call::of(parts.version, &parts.headers) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let counted = Arc::clone(&api);
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let work = async move {
        let body = body::read(&api, &parts.headers, body).await?;
        let work = move |api: &Scope| {
            let message = call.decode(&body, api.config.max_body_bytes)?;
            call.encode(&answer(api, message)?)
        };
        let result = on_query_thread(&scope, work).await;
        api.metrics.queries.inc();
        result
    };
    let result = match timeout(call.deadline, work).await {
        Ok(result) => result,
        Err(_) => {
            Err(Error::new(Code::DeadlineExceeded, "the query took longer than the client waits"))
        }
    };
    call.respond(&counted, result)
}

fn count_failure(api: &Api, error: &Error) {
    api.metrics.failed_requests.get_or_create(&Failed { code: error.code.as_str() }).inc();
    if error.code == Code::Internal {
        tracing::error!(error = %error.message, "a request failed");
    }
}

pub(super) fn fail(api: &Api, error: &Error) -> Response {
    count_failure(api, error);
    error.to_response()
}

pub(super) fn unsupported() -> Response {
    let mut response = StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    response.headers_mut().insert("accept-post", HeaderValue::from_static(ACCEPT_POST));
    response
}

/// The answer's bytes, and whether they, or the message in their frame, are gzip.
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
    accepts(headers, header::ACCEPT_ENCODING.as_str(), "gzip")
}

fn accepts(headers: &HeaderMap, header: &str, wanted: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted))
            && !parts.any(|part| part == "q=0")
    })
}

fn deadline(headers: &HeaderMap) -> Duration {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let connect = text("connect-timeout-ms").and_then(|ms| ms.parse().ok());
    let asked = connect.map(Duration::from_millis).or_else(|| grpc_timeout(text("grpc-timeout")?));
    asked.map_or(MAX_TIMEOUT, |asked| asked.min(MAX_TIMEOUT))
}

/// A number of at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}
