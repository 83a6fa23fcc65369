//! What is asked of a server itself: its build, its settings, whether it is well.

use crate::api::Api;
use crate::api::render::{Parameters, Rendered, answer, json};
use crate::api::scope::Scope;
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

pub(super) async fn build() -> &'static str {
    concat!("pilotlight ", env!("CARGO_PKG_VERSION"), "\n")
}

pub(super) async fn healthy() -> &'static str {
    "server is ready\n"
}
