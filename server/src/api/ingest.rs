//! `POST /ingest`: one profile in the formats of older clients.

use crate::api::connect;
use crate::api::error::{Code, Error};
use crate::api::push::{Accepted, count_body};
use crate::api::scope::Scope;
use crate::api::work::on_thread;
use crate::api::{Api, body};
use crate::ingest::Reason;
use crate::ingest::form::{self, Query};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use protocol::pprof;
use std::sync::Arc;
use url::form_urlencoded;

pub(super) async fn ingest(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = query(parts.uri.query().unwrap_or_default());
    let content_type =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let result = async {
        let body = body::read(&api, &parts.headers, body).await.map_err(slow_body)?;
        api.metrics.received_bytes.inc_by(body.len() as u64);
        let accepted = on_thread(&scope, &api.decoders, move |api| {
            let plain = body
                .plain(api.config.max_body_bytes)
                .inspect_err(|error| count_body(api, error))?;
            api.charge(plain.len())?;
            api.metrics.received_profiles.inc();
            let mut accepted = Accepted::default();
            match form::read(&query, &content_type, &plain, &api.limits.ingest, (api.clock)()) {
                Ok(profiles) => {
                    for profile in profiles {
                        accepted.store(api, profile);
                    }
                }
                Err(error) => accepted.refuse(api, reason(&error), Error::from(error)),
            }
            Ok(accepted)
        });
        accepted.await?.finish().await
    };
    match result.await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => connect::fail(&api, &error),
    }
}

/// A body that does not come in time has a status of its own here.
fn slow_body(error: Error) -> Error {
    match error.code {
        Code::DeadlineExceeded => Error { status: StatusCode::REQUEST_TIMEOUT, ..error },
        _ => error,
    }
}

fn reason(error: &form::Error) -> Reason {
    match error {
        form::Error::Profile(error) => error.reason(),
        form::Error::Pprof(pprof::Error::TooLarge { .. } | pprof::Error::TooDense { .. }) => {
            Reason::ProfileSize
        }
        _ => Reason::MalformedProfile,
    }
}

/// The first of each name counts; what is unknown is ignored.
fn query(text: &str) -> Query {
    let mut query = Query::default();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let field = match name.as_ref() {
            "name" => &mut query.name,
            "from" => &mut query.from,
            "sampleRate" => &mut query.sample_rate,
            "spyName" => &mut query.spy_name,
            "format" => &mut query.format,
            _ => continue,
        };
        if field.is_empty() {
            *field = value.into_owned();
        }
    }
    query
}
