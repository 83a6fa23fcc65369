//! What there is of each service, and deleting it: `/api/apps` of the first servers, and by selector.

use crate::api::Api;
use crate::api::body;
use crate::api::connect;
use crate::api::error::{Code, Error};
use crate::api::render::{Parameters, Rendered, answer, json};
use crate::api::scope::Scope;
use crate::api::work::on_query_thread;
use crate::ingest::{labels, suffix};
use crate::query;
use crate::query::labels as label_query;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::store::Deletion;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longer names are no one's.
const MAX_BODY_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
struct Named {
    name: String,
}

pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |api: &Scope, _: &Parameters| {
        let range = Range { start_ms: i64::MIN, end_ms: i64::MAX };
        let sources = api.everything();
        let names = [labels::SERVICE.to_owned(), labels::PROFILE_TYPE.to_owned()];
        let mut apps: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for set in label_query::sets(&sources, &[], &names, &range) {
            let get = |wanted: &str| {
                let found = set.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            apps.entry(get(labels::SERVICE)).or_default().push(get(labels::PROFILE_TYPE));
        }
        let apps =
            apps.into_iter().map(|(name, types)| json!({"name": name, "profileTypes": types}));
        json(&apps.collect::<Vec<_>>())
    };
    answer(api, request, render).await
}

/// `{"name": "my.app"}`, or with the suffix of one kind of profiles, `my.app.cpu`.
pub(super) async fn delete_app(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let result = async {
        let body = body::read_within(&api, &parts.headers, body, MAX_BODY_BYTES).await?;
        let work = move |scope: &Scope| {
            let plain = body.plain(MAX_BODY_BYTES)?;
            let Named { name } = serde_json::from_slice(&plain).map_err(|err| {
                Error::invalid(format!("the body is not {{\"name\": \"my.app\"}}: {err}"))
            })?;
            delete(scope, of_app(scope, &name)?)
        };
        on_query_thread(&scope, work).await
    };
    respond(&api, result.await)
}

/// `?query={selector}`; the profile type may stand before it.
pub(super) async fn delete_series(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let parameters = Parameters::new(&parts);
    let work = move |scope: &Scope| {
        let text = parameters.get("query").unwrap_or_default();
        let at = text.find('{').ok_or(query::Error::NoSelector)?;
        let (profile_type, selector) = text.split_at(at);
        let mut selector = Selector::parse(selector).map_err(query::Error::from)?;
        if !profile_type.trim().is_empty() {
            selector = selector.and(labels::PROFILE_TYPE, profile_type.trim());
        }
        delete(scope, selector)
    };
    let result = on_query_thread(&scope, work).await;
    respond(&api, result)
}

fn matches(selector: &Selector, labels: &[(String, String)]) -> bool {
    selector.matches(|name| {
        labels.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    })
}

fn respond(api: &Api, result: Result<Rendered, Error>) -> Response {
    match result {
        Ok((body, content_type)) => connect::ok(connect::compressed(body, false), content_type),
        Err(error) => connect::fail(api, &error),
    }
}

fn of_app(scope: &Scope, name: &str) -> Result<Selector, Error> {
    if name.is_empty() {
        return Err(Error::invalid("the name of an application is missing"));
    }
    let (service, prefix) = suffix::profile_type(name);
    let selector = Selector::default();
    // A service may well be called `my.cpu`; then no other one's profiles are meant.
    Ok(if service == name || is_service(scope, name) {
        selector.and(labels::SERVICE, name)
    } else {
        selector.and(labels::SERVICE, service).and_begins_with(labels::PROFILE_TYPE, &prefix)
    })
}

fn is_service(scope: &Scope, name: &str) -> bool {
    let range = Range { start_ms: i64::MIN, end_ms: i64::MAX };
    let selector = Selector::default().and(labels::SERVICE, name);
    let names = [labels::SERVICE.to_owned()];
    !label_query::sets(&scope.everything(), &[selector], &names, &range).is_empty()
}

fn delete(scope: &Scope, selector: Selector) -> Result<Rendered, Error> {
    let names: Vec<String> = selector.names().map(str::to_owned).collect();
    let (selector, own) = (scope.own(selector), scope.own(Selector::default()));
    let is_meant = |labels: &Vec<(String, String)>| matches(&selector, labels);
    let is_own = |labels: &Vec<(String, String)>| matches(&own, labels);
    let deletion = Deletion { names: &names, is_meant: &is_meant, is_own: &is_own };
    let deleted = scope.store.delete(&deletion)?;
    tracing::info!(series = deleted.series, bytes = deleted.bytes, "profiles are deleted");
    if deleted.days_left > 0 {
        return Err(Error::new(
            Code::FailedPrecondition,
            format!(
                "{} series are deleted, but {} days are kept summed without a label of the selector; delete them without it",
                deleted.series, deleted.days_left
            ),
        ));
    }
    json(&json!({"series": deleted.series, "bytes": deleted.bytes}))
}
