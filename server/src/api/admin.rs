//! `/ready` and `/metrics`.

use crate::api::Api;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use std::sync::Arc;

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Requests are taken only after the log was read.
pub(super) async fn ready() -> &'static str {
    "ready\n"
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let free_bytes = api.bodies.available_permits() << 10;
    api.metrics.bodies_bytes.set(api.config.max_bodies_bytes.saturating_sub(free_bytes) as i64);
    let mut text = String::new();
    match encode(&mut text, &api.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(err) => (StatusCode::INTERNAL_SERVER_ERROR, err.to_string()).into_response(),
    }
}
