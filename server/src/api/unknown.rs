//! Calls of services that pages ask for and this server does not have, and of procedures that nobody has.

use crate::api::Api;
use crate::api::connect::{Call, query};
use crate::api::error::{Code, Error};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use protocol::stubs::{Empty, VersionResponse};
use std::sync::Arc;

/// Rules that make metrics of profiles, and source code from GitHub: pages do without where they are told so.
pub(super) const WITHOUT: [&str; 2] =
    ["/settings.v1.RecordingRulesService/{call}", "/vcs.v1.VCSService/{call}"];

pub(super) async fn unimplemented(request: Request) -> Response {
    let error = Error::new(Code::Unimplemented, "this server does not have this service");
    match Call::of(request.version(), request.headers()) {
        Ok(call) => call.error(&error),
        Err(response) => *response,
    }
}

/// Below `/api/` there are no pages.
pub(super) async fn no_route(request: Request) -> Response {
    let message = format!("there is nothing at {}", request.uri().path());
    Error::new(Code::NotFound, message).to_response()
}

/// No features are switched.
pub(super) async fn feature_flags(State(api): State<Arc<Api>>, request: Request) -> Response {
    query(api, request, |_, _: Empty| Ok(Empty {})).await
}

/// Of the querier's protocol.
pub(super) async fn version(State(api): State<Arc<Api>>, request: Request) -> Response {
    query(api, request, |_, _: Empty| Ok(VersionResponse { querier_api: 1 })).await
}

/// Whether a path is that of a call, `/package.Service/Procedure`.
pub fn is_call(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    let (service, procedure, more) = (parts.next(), parts.next(), parts.next());
    service.is_some_and(|service| service.contains('.'))
        && procedure.is_some_and(|procedure| !procedure.is_empty() && !procedure.contains('.'))
        && more.is_none()
}

/// The answer to a call of what there is not.
pub fn unknown_call(request: &Request) -> Response {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let message = format!("there is no procedure {}", request.uri().path());
    let error = Error { status: StatusCode::NOT_FOUND, ..Error::new(Code::Unimplemented, message) };
    match Call::of(request.version(), request.headers()) {
        Ok(call) => call.error(&error),
        Err(response) => *response,
    }
}
