//! Profiles of OpenTelemetry: `POST /v1development/profiles` and the gRPC call `Export`.

use crate::api::connect::{Call, Codec, compressed, fail, ok};
use crate::api::error::{Code, Error};
use crate::api::push::{Accepted, count_body};
use crate::api::scope::Scope;
use crate::api::work::on_thread;
use crate::api::{Api, body};
use crate::ingest::otlp;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use protocol::otlp::{self as wire, ExportProfilesServiceRequest, ExportProfilesServiceResponse};
use std::sync::Arc;

pub(super) const GRPC_PATH: &str =
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

pub(super) async fn http(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some((codec, content_type)) = codec(&parts.headers) else {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    };
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let result = async {
        let body = body::read(&api, &parts.headers, body).await?;
        api.metrics.received_bytes.inc_by(body.len() as u64);
        let accepted = on_thread(&scope, &api.decoders, move |api| {
            let plain = body.plain(api.limits.ingest.max_profile_bytes);
            let request = plain.and_then(|plain| {
                api.charge(plain.len())?;
                decode(codec, &plain, api)
            });
            let request = request.inspect_err(|error| count_body(api, error))?;
            Ok(Accepted::all(api, otlp::read(&request, &api.limits.ingest, (api.clock)())))
        });
        accepted.await?.finish().await
    };
    match result.await {
        Ok(()) => match codec.encode(&ExportProfilesServiceResponse::default()) {
            Ok(answer) => ok(compressed(answer, false), content_type),
            Err(error) => fail(&api, &error),
        },
        Err(error) => refused(&api, &error, codec, content_type),
    }
}

pub(super) async fn grpc(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = match Call::of(parts.version, &parts.headers) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let result = async {
        let body = body::read(&api, &parts.headers, body).await?;
        api.metrics.received_bytes.inc_by(body.len() as u64);
        let accepted = on_thread(&scope, &api.decoders, move |api| {
            let limit = api.limits.ingest.max_profile_bytes;
            let request = call.with_message(&body, limit, |message| {
                api.charge(message.len())?;
                decode(call.codec, message, api)
            });
            let request = request.inspect_err(|error| count_body(api, error))?;
            Ok(Accepted::all(api, otlp::read(&request, &api.limits.ingest, (api.clock)())))
        });
        accepted.await?.finish().await
    };
    let result = result.await;
    call.respond(&api, result.and_then(|()| call.encode(&ExportProfilesServiceResponse::default())))
}

fn codec(headers: &HeaderMap) -> Option<(Codec, &'static str)> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = value.split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Some((Codec::Proto, "application/x-protobuf")),
        "application/protobuf" => Some((Codec::Proto, "application/protobuf")),
        "application/json" => Some((Codec::Json, "application/json")),
        _ => None,
    }
}

fn decode(codec: Codec, plain: &[u8], api: &Scope) -> Result<ExportProfilesServiceRequest, Error> {
    let limit = api.limits.ingest.max_profile_bytes;
    let result = match codec {
        Codec::Proto => wire::decode(plain, limit),
        // Braces take more memory than bytes: what is large is sent as protobuf.
        Codec::Json if plain.len() > limit => return Err(Error::too_large(limit)),
        Codec::Json => wire::decode_json(plain),
    };
    result.map_err(|error| match error {
        wire::Error::TooDense { .. } => Error {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Error::new(Code::ResourceExhausted, error.to_string())
        },
        _ => Error::invalid(error.to_string()),
    })
}

/// Errors are messages here, in the encoding of the request.
fn refused(api: &Api, error: &Error, codec: Codec, content_type: &'static str) -> Response {
    let mut response = fail(api, error);
    let code = i32::from(crate::api::framing::number(error.code));
    let status = wire::Status { code, message: error.message.clone() };
    if let Ok(body) = codec.encode(&status) {
        let (parts, _) = response.into_parts();
        let mut written = ok(compressed(body, false), content_type);
        *written.status_mut() = parts.status;
        if let Some(after) = parts.headers.get(header::RETRY_AFTER) {
            written.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        response = written;
    }
    response
}
