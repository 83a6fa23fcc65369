//! `GET /pyroscope/render`, `/pyroscope/render-diff` and `/pyroscope/label-values`: the calls of older pages.

use crate::api::error::{Code, Error};
use crate::api::scope::Scope;
use crate::api::selection::{Selection, max_nodes};
use crate::api::work::on_query_thread;
use crate::api::{Api, connect};
use crate::ingest::{attime, labels, suffix};
use crate::query;
use crate::query::labels as label_query;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::series::Aggregation;
use crate::query::tree::Tree;
use crate::render::flamebearer::{self, Asked, Timeline};
use crate::render::{diff, dot, flame_graph, folded, speedscope};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use protocol::pprof::encode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::form_urlencoded;

const MAX_DOT_NODES: usize = 200;
const TEXT: &str = "text/plain; charset=utf-8";
const HOUR_NS: i64 = 3_600 * 1_000_000_000;

pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    takes_apps: bool,
}

impl Parameters {
    pub(super) fn new(parts: &Parts) -> Parameters {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        Parameters {
            pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            takes_apps: !parts.uri.path().starts_with("/pyroscope/"),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Milliseconds. Without the parameter the last hour is meant; 0 is no time.
    fn range(&self, from: &str, until: &str, now_ns: i64) -> Result<Range, Error> {
        let time_ms = |name: &str, default_ns: i64| match self.get(name) {
            None | Some("") => Ok(default_ns / 1_000_000),
            Some(text) => match attime::parse(text, now_ns) {
                Some(time_ns) if time_ns != 0 => Ok(time_ns / 1_000_000),
                _ => Err(Error::invalid(format!("parameter '{name}' is no time: '{text}'"))),
            },
        };
        Ok(Range::new(time_ms(from, now_ns - HOUR_NS)?, time_ms(until, now_ns)?)?)
    }

    /// `<profile type>{<selector>}`, or on the routes of the first line of servers an app's name in place of the type.
    fn selection(&self, query: &str, range: Range) -> Result<Selection, Error> {
        let text = self.get(query).unwrap_or_default();
        if self.takes_apps {
            let text = if text.is_empty() { self.get("name").unwrap_or_default() } else { text };
            if !text.split('{').next().unwrap_or_default().contains(':') {
                return Selection::of_app(text, range);
            }
        }
        let Some((profile_type, selector)) = text.split_once('{') else {
            return Err(Error::invalid(format!(
                "parameter '{query}' is not of the form <profile type>{{<selector>}}"
            )));
        };
        let selector = format!("{{{selector}");
        Selection::new(profile_type.trim(), &selector, (range.start_ms, range.end_ms), None)
    }

    /// The selectors of a question for labels: none where there is no `query`.
    fn narrowed(&self) -> Result<Vec<Selector>, Error> {
        let text = self.get("query").unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let (front, selector) = text.split_at(text.find('{').unwrap_or(text.len()));
        let selector = if selector.is_empty() { "{}" } else { selector };
        let selector = Selector::parse(selector).map_err(query::Error::from)?;
        Ok(vec![match front.trim() {
            "" => selector,
            front if front.contains(':') => selector.and(labels::PROFILE_TYPE, front),
            app => {
                let (service, prefix) = suffix::profile_type(app);
                selector
                    .and(labels::SERVICE, service)
                    .and_begins_with(labels::PROFILE_TYPE, &prefix)
            }
        }])
    }

    /// What an old page wants to be told again.
    fn asked(&self, range: Range, max_nodes: i64) -> Option<Asked> {
        let query = self.get("query").or_else(|| self.get("name")).unwrap_or_default();
        self.takes_apps.then(|| Asked {
            app_name: query.split('{').next().unwrap_or_default().to_owned(),
            start_time: range.start_ms.div_euclid(1_000),
            end_time: range.end_ms.div_euclid(1_000),
            query: query.to_owned(),
            max_nodes,
        })
    }

    /// What is no number means the default.
    fn max_nodes(&self, api: &Scope) -> Result<i64, Error> {
        let text = self.get("max-nodes").or_else(|| self.get("maxNodes"));
        max_nodes(api, text.and_then(|text| text.parse().ok()))
    }
}

/// A body and its content type.
pub(super) type Rendered = (Vec<u8>, &'static str);

pub(super) async fn answer(
    api: Arc<Api>,
    request: Request,
    render: impl FnOnce(&Scope, &Parameters) -> Result<Rendered, Error> + Send + 'static,
) -> Response {
    let (parts, _) = request.into_parts();
    let gzip = connect::accepts_gzip(&parts.headers);
    let parameters = Parameters::new(&parts);
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let work = move |api: &Scope| {
        let (body, content_type) = render(api, &parameters)?;
        Ok((connect::compressed(body, gzip), content_type))
    };
    let result = on_query_thread(&scope, work).await;
    api.metrics.queries.inc();
    match result {
        Ok((body, content_type)) => connect::ok(body, content_type),
        Err(error) => connect::fail(&api, &error),
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<Rendered, Error> {
    let body =
        serde_json::to_vec(value).map_err(|err| Error::new(Code::Internal, err.to_string()))?;
    Ok((body, "application/json"))
}

pub(super) async fn render(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |api: &Scope, parameters: &Parameters| {
        rendered(api, parameters, parameters.get("format").unwrap_or_default())
    };
    answer(api, request, render).await
}

fn rendered(api: &Scope, parameters: &Parameters, format: &str) -> Result<Rendered, Error> {
    let range = parameters.range("from", "until", (api.clock)())?;
    let selection = parameters.selection("query", range)?;
    let max_nodes = parameters.max_nodes(api)?;
    if format == "pprof" {
        return Ok((encode(&selection.pprof(api)?), "application/octet-stream"));
    }
    let tree = Tree::new(&selection.stacks(api)?);
    match format {
        "dot" => return Ok((dot::render(&tree, MAX_DOT_NODES).into_bytes(), TEXT)),
        "collapsed" | "folded" => return Ok((folded::render(&tree).into_bytes(), TEXT)),
        "speedscope" => return json(&speedscope::render(&tree, &selection.profile_type)),
        _ => {}
    }
    let graph = flame_graph::render(&tree, max_nodes);
    let (timeline, groups) = timelines(api, &selection, parameters)?;
    let mut rendered = flamebearer::single(graph, &selection.profile_type, timeline, groups);
    rendered.metadata.asked = parameters.asked(range, max_nodes);
    json(&rendered)
}

/// The sum over time, and the same for each value of the label to group by.
fn timelines(
    api: &Scope,
    selection: &Selection,
    parameters: &Parameters,
) -> Result<(Timeline, BTreeMap<String, Timeline>), Error> {
    let (from_s, end_s) =
        (selection.range.start_ms.div_euclid(1_000), selection.range.end_ms.div_euclid(1_000));
    let step_s = flamebearer::step_s(end_s - from_s);
    let start_s = from_s.div_euclid(step_s) * step_s;
    let mut snapped = selection.clone();
    snapped.range.start_ms = start_s * 1_000;
    let aggregation = match parameters.get("aggregation") {
        Some("avg") => Aggregation::Average,
        _ => Aggregation::Sum,
    };
    let timeline = |points: &[(i64, f64)]| flamebearer::timeline(points, start_s, end_s, step_s);
    let all = snapped.series(api, step_s * 1_000, &[], aggregation)?;
    let mut groups = BTreeMap::new();
    if let Some(label) = parameters.get("groupBy").filter(|label| !label.is_empty()) {
        for series in snapped.series(api, step_s * 1_000, &[label.to_owned()], aggregation)? {
            let value =
                series.labels.into_iter().next().map(|(_, value)| value).unwrap_or_default();
            groups.insert(value, timeline(&series.points));
        }
    }
    Ok((timeline(all.first().map_or(&[], |series| series.points.as_slice())), groups))
}

/// What a query selects as a file, a pprof where no other format is asked for.
pub(super) async fn export(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let parameters = Parameters::new(&parts);
    let (format, name) = match parameters.get("format") {
        None | Some("" | "pprof") => ("pprof", "profile.pb.gz"),
        Some("collapsed" | "folded") => ("folded", "profile.folded"),
        Some("speedscope") => ("speedscope", "profile.speedscope.json"),
        Some("dot") => ("dot", "profile.dot"),
        Some(_) => ("json", "profile.json"),
    };
    let exported = move |api: &Scope, parameters: &Parameters| rendered(api, parameters, format);
    let mut response = answer(api, Request::from_parts(parts, body), exported).await;
    if response.status().is_success() {
        let disposition = format!("attachment; filename=\"{name}\"");
        if let Ok(disposition) = HeaderValue::try_from(disposition) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
        }
    }
    response
}

pub(super) async fn render_diff(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |api: &Scope, parameters: &Parameters| {
        let now_ns = (api.clock)();
        let left = parameters
            .selection("leftQuery", parameters.range("leftFrom", "leftUntil", now_ns)?)?;
        let right = parameters
            .selection("rightQuery", parameters.range("rightFrom", "rightUntil", now_ns)?)?;
        if left.profile_type != right.profile_type {
            return Err(Error::invalid("profile types must match"));
        }
        let max_nodes = parameters.max_nodes(api)?;
        let left_tree = Tree::new(&left.stacks(api)?);
        let right_tree = Tree::new(&right.stacks(api)?);
        json(&flamebearer::double(
            diff::render(&left_tree, &right_tree, max_nodes),
            &left.profile_type,
        ))
    };
    answer(api, request, render).await
}

pub(super) async fn label_values(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |api: &Scope, parameters: &Parameters| {
        let range = parameters.range("from", "until", (api.clock)())?;
        // The old name of profile types.
        let label = match parameters.get("label").unwrap_or_default() {
            "" => return Err(Error::invalid("parameter 'label' is missing")),
            labels::NAME => labels::PROFILE_TYPE,
            label => label,
        };
        let segments = api.view(range.start_ns(), range.end_ns())?;
        json(&label_query::values(&segments, label, &parameters.narrowed()?, &range))
    };
    answer(api, request, render).await
}

/// The names of labels, as the first line of servers gives them.
pub(super) async fn label_names(State(api): State<Arc<Api>>, request: Request) -> Response {
    let render = |api: &Scope, parameters: &Parameters| {
        let range = parameters.range("from", "until", (api.clock)())?;
        let segments = api.view(range.start_ns(), range.end_ns())?;
        json(&label_query::names(&segments, &parameters.narrowed()?, &range))
    };
    answer(api, request, render).await
}
