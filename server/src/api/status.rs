//! What is asked of a server itself: its build, its settings, whether it is well.

use crate::api::render::{Parameters, Rendered, answer, json};
use crate::api::scope::Scope;
use crate::api::{Api, Limits};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::sync::Arc;

/// The settings as they are shown, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub config: String,
    pub defaults: String,
    /// The keys that are not at their defaults.
    pub changed: String,
}

const YAML: &str = "text/plain; charset=utf-8";

fn text(text: &str) -> Response {
    ([(header::CONTENT_TYPE, YAML)], text.to_owned()).into_response()
}

/// `mode=diff` and `mode=defaults` are of the first servers.
pub(super) async fn config(State(api): State<Arc<Api>>, request: Request) -> Response {
    let mode = request.uri().query().unwrap_or_default();
    match mode {
        "mode=diff" => text(&api.shown.changed),
        "mode=defaults" => text(&api.shown.defaults),
        _ => text(&api.shown.config),
    }
}

pub(super) async fn config_diff(State(api): State<Arc<Api>>) -> Response {
    text(&api.shown.changed)
}

pub(super) async fn config_defaults(State(api): State<Arc<Api>>) -> Response {
    text(&api.shown.defaults)
}

/// As Grafana reads it to tell what a data source is.
pub(super) async fn build_info(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |_: &Scope, _: &Parameters| -> Result<Rendered, _> {
        json(&json!({
            "status": "success",
            "data": {
                "version": env!("CARGO_PKG_VERSION"),
                "revision": "",
                "branch": "",
                "buildUser": "",
                "buildDate": "",
                "goVersion": "",
                "application": "pilotlight",
            }
        }))
    };
    answer(api, request, render).await
}

/// What the asking tenant may take.
pub(super) async fn tenant_limits(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |api: &Scope, _: &Parameters| {
        let Limits { ingest, max_series, rate_bytes, burst_bytes, max_range_ms } = &*api.limits;
        json(&json!({
            "tenant": &*api.tenant,
            "profile": ingest.max_profile_bytes,
            "profile_samples": ingest.max_samples,
            "stack_depth": ingest.max_stack_depth,
            "symbol": ingest.max_symbol_bytes,
            "sample_labels": ingest.max_sample_labels,
            "label_names": ingest.max_label_names,
            "label_name": ingest.max_label_name_bytes,
            "label_value": ingest.max_label_value_bytes,
            "ahead_seconds": ingest.max_ahead_ns / 1_000_000_000,
            "series": max_series,
            "rate": rate_bytes,
            "burst": burst_bytes,
            "query_range_seconds": max_range_ms / 1_000,
        }))
    };
    answer(api, request, render).await
}

pub(super) async fn build() -> &'static str {
    concat!("pilotlight ", env!("CARGO_PKG_VERSION"), "\n")
}

pub(super) async fn healthy() -> &'static str {
    "server is ready\n"
}
