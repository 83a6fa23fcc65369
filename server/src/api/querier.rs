//! The calls of `querier.v1`.

use crate::api::error::{Code, Error};
use crate::api::{Api, connect};
use crate::ingest::{labels, suffix};
use crate::query;
use crate::query::labels as label_query;
use crate::query::pprof::{self, GoPgo, Shape};
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::series::{self, Aggregation, SeriesQuery};
use crate::query::stacks::{self, Requests, StackSums};
use crate::query::tree::Tree;
use crate::render::{diff as diff_render, dot, flame_graph, tree_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use protocol::profile::Profile;
use protocol::querier as wire;
use protocol::types;
use std::sync::Arc;

/// Where no range is given, profile types are those of the last hour.
const HOUR_MS: i64 = 3_600_000;
/// A call graph of more functions cannot be read.
const MAX_DOT_NODES: usize = 200;

pub(super) async fn profile_types(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, request: wire::ProfileTypesRequest| {
        let now_ms = (api.clock)() / 1_000_000;
        let range = match (request.start, request.end) {
            (0, 0) => Range::new(now_ms - HOUR_MS, now_ms)?,
            (start, end) => Range::new(start, end)?,
        };
        let segments = api.store.select(range.start_ns(), range.end_ns());
        let found = label_query::profile_types(&segments, &range);
        Ok(wire::ProfileTypesResponse { profile_types: found.into_iter().map(wire_type).collect() })
    };
    connect::query(api, request, answer).await
}

fn wire_type(found: ProfileType) -> types::ProfileType {
    types::ProfileType {
        id: found.id,
        name: found.name,
        sample_type: found.sample_type,
        sample_unit: found.sample_unit,
        period_type: found.period_type,
        period_unit: found.period_unit,
    }
}

pub(super) async fn label_names(State(api): State<Arc<Api>>, request: Request) -> Response {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let all_names = accept.split(';').any(|part| part.trim() == "allow-utf8-labelnames=true");
    let answer = move |api: &Api, request: types::LabelNamesRequest| {
        let range = Range::new(request.start, request.end)?;
        let selectors = selectors(&request.matchers)?;
        let segments = api.store.select(range.start_ns(), range.end_ns());
        let names = label_query::names(&segments, &selectors, &range);
        Ok(types::LabelNamesResponse {
            names: names.into_iter().filter(|name| all_names || is_plain(name)).collect(),
        })
    };
    connect::query(api, request, answer).await
}

/// Whether clients that know no other names can use it.
fn is_plain(name: &str) -> bool {
    name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        && !name.starts_with(|char: char| char.is_ascii_digit())
}

pub(super) async fn label_values(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, request: types::LabelValuesRequest| {
        if request.name.is_empty() {
            return Err(query::Error::NoLabelName.into());
        }
        let range = Range::new(request.start, request.end)?;
        let selectors = selectors(&request.matchers)?;
        let segments = api.store.select(range.start_ns(), range.end_ns());
        let values = label_query::values(&segments, &request.name, &selectors, &range);
        Ok(types::LabelValuesResponse { names: values.into_iter().collect() })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn series(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, request: wire::SeriesRequest| {
        let range = Range::new(request.start, request.end)?;
        let selectors = selectors(&request.matchers)?;
        let segments = api.store.select(range.start_ns(), range.end_ns());
        let sets = label_query::sets(&segments, &selectors, &request.label_names, &range);
        let labels_set =
            sets.into_iter().map(|set| types::Labels { labels: wire_labels(set) }).collect();
        Ok(wire::SeriesResponse { labels_set })
    };
    connect::query(api, request, answer).await
}

fn wire_labels(set: label_query::LabelSet) -> Vec<types::LabelPair> {
    set.into_iter().map(|(name, value)| types::LabelPair { name, value }).collect()
}

/// Each matcher is a selector; none matches all.
fn selectors(matchers: &[String]) -> Result<Vec<Selector>, Error> {
    let parsed: Result<Vec<Selector>, _> =
        matchers.iter().map(|matcher| Selector::parse(matcher)).collect();
    Ok(parsed.map_err(query::Error::from)?)
}

/// What all the calls that select profiles say.
#[derive(Clone)]
pub(super) struct Selection {
    pub profile_type: ProfileType,
    pub selector: Selector,
    pub range: Range,
    call_site: Vec<String>,
    requests: Requests,
    pub shape: Shape,
}

impl Selection {
    pub(super) fn new(
        profile_type: &str,
        selector: &str,
        (start, end): (i64, i64),
        stack_selector: Option<&types::StackTraceSelector>,
    ) -> Result<Selection, Error> {
        let profile_type = ProfileType::parse(profile_type)?;
        if selector.trim().is_empty() {
            return Err(query::Error::NoSelector.into());
        }
        let selector = Selector::parse(selector).map_err(query::Error::from)?;
        let selector = selector.and(labels::PROFILE_TYPE, &profile_type.id);
        let call_site = stack_selector
            .map(|selector| selector.call_site.iter().map(|frame| frame.name.clone()).collect());
        let go_pgo = stack_selector.and_then(|selector| selector.go_pgo).map(|pgo| GoPgo {
            keep_locations: pgo.keep_locations as usize,
            aggregate_callees: pgo.aggregate_callees,
        });
        Ok(Selection {
            profile_type,
            selector,
            range: Range::new(start, end)?,
            call_site: call_site.unwrap_or_default(),
            requests: Requests::All,
            shape: Shape { max_nodes: None, go_pgo },
        })
    }

    /// Of an old name, `my.app.cpu{tag="value"}`: its suffix says the kind of profiles.
    pub(super) fn of_app(text: &str, range: Range) -> Result<Selection, Error> {
        let (app, selector) = text.split_at(text.find('{').unwrap_or(text.len()));
        let (service, prefix) = suffix::profile_type(app.trim());
        if service.is_empty() {
            return Err(Error::invalid("the name of an application is missing"));
        }
        let selector = if selector.trim().is_empty() { "{}" } else { selector };
        let selector = Selector::parse(selector).map_err(query::Error::from)?;
        let selector =
            selector.and(labels::SERVICE, service).and_begins_with(labels::PROFILE_TYPE, &prefix);
        Ok(Selection {
            profile_type: ProfileType::parse(&format!("{prefix}:"))?,
            selector,
            range,
            call_site: Vec::new(),
            requests: Requests::All,
            shape: Shape::default(),
        })
    }

    /// Narrows to spans, to traces, or to neither.
    fn of_requests(mut self, spans: &[String], traces: &[String]) -> Result<Selection, Error> {
        self.requests = match (spans, traces) {
            ([], []) => Requests::All,
            (spans, []) => Requests::Spans(ids(spans, 16, "span")?.map(|id| id as u64).collect()),
            ([], traces) => Requests::Traces(ids(traces, 32, "trace")?.collect()),
            _ => {
                return Err(Error::invalid(
                    "a span selector and a trace selector exclude each other",
                ));
            }
        };
        Ok(self)
    }

    /// Profiles are whole where no limit is asked for: they may be saved, the default is for what is drawn.
    fn truncated(mut self, api: &Api, asked: Option<i64>) -> Result<Selection, Error> {
        if let Some(asked) = asked.filter(|asked| *asked != 0) {
            self.shape.max_nodes = Some(max_nodes(api, Some(asked))?);
        }
        Ok(self)
    }

    pub(super) fn pprof(&self, api: &Api) -> Result<Profile, Error> {
        Ok(pprof::merge(&self.stacks(api)?, &self.profile_type, &self.range, self.shape))
    }

    pub(super) fn stacks(&self, api: &Api) -> Result<Vec<StackSums>, Error> {
        let sources = api.store.select(self.range.start_ns(), self.range.end_ns());
        let mut selected = stacks::select(&sources, &self.selector, &self.range, &self.call_site)?;
        self.requests.keep(&mut selected);
        Ok(selected)
    }

    pub(super) fn series(
        &self,
        api: &Api,
        step_ms: i64,
        group_by: &[String],
        aggregation: Aggregation,
    ) -> Result<Vec<series::Points>, Error> {
        let reach = series::reach(&self.range, step_ms);
        let segments = api.store.select(reach.start_ns(), reach.end_ns());
        let (selector, range, call_site) = (&self.selector, self.range, self.call_site.as_slice());
        Ok(series::select(
            &segments,
            &SeriesQuery { selector, range, step_ms, group_by, aggregation, call_site },
        )?)
    }
}

/// Hexadecimal numbers of so many digits.
fn ids<'a>(
    texts: &'a [String],
    len: usize,
    what: &'static str,
) -> Result<impl Iterator<Item = u128> + use<'a>, Error> {
    let id =
        move |text: &'a String| u128::from_str_radix(text, 16).ok().filter(|_| text.len() == len);
    if let Some(wrong) = texts.iter().find(|text| id(text).is_none()) {
        return Err(Error::invalid(format!(
            "'{wrong}' is no {what} id of {len} hexadecimal digits"
        )));
    }
    Ok(texts.iter().filter_map(id))
}

/// Profiles are not found by their ids.
fn no_profile_ids(selector: &[String]) -> Result<(), Error> {
    if selector.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::Unimplemented, "this server does not select profiles by id"))
}

/// 0 and nothing mean the default.
pub(super) fn max_nodes(api: &Api, asked: Option<i64>) -> Result<i64, Error> {
    let limit = api.config.max_max_nodes;
    match asked {
        None | Some(0) => Ok(api.config.default_max_nodes),
        Some(asked) if (1..=limit).contains(&asked) => Ok(asked),
        Some(asked) => Err(query::Error::MaxNodes { asked, limit }.into()),
    }
}

pub(super) async fn select_series(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, request: wire::SelectSeriesRequest| {
        let times = (request.start, request.end);
        let stack_selector = request.stack_trace_selector.as_ref();
        let selection = Selection::new(
            &request.profile_type_id,
            &request.label_selector,
            times,
            stack_selector,
        )?;
        let aggregation = match request.aggregation() {
            types::TimeSeriesAggregationType::Sum => Aggregation::Sum,
            types::TimeSeriesAggregationType::Average => Aggregation::Average,
        };
        let mut found = selection.series(
            api,
            series::step_ms(request.step)?,
            &request.group_by,
            aggregation,
        )?;
        if let Some(limit) = request.limit
            && limit > 0
        {
            found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let point =
            |(timestamp, value)| types::Point { value, timestamp, ..types::Point::default() };
        let series = found.into_iter().map(|series| types::Series {
            labels: wire_labels(series.labels),
            points: series.points.into_iter().map(point).collect(),
        });
        Ok(wire::SelectSeriesResponse { series: series.collect() })
    };
    connect::query(api, request, answer).await
}

fn stacktraces_selection(
    api: &Api,
    request: &wire::SelectMergeStacktracesRequest,
) -> Result<Selection, Error> {
    no_profile_ids(&request.profile_id_selector)?;
    let times = (request.start, request.end);
    let selection = Selection::new(
        &request.profile_type_id,
        &request.label_selector,
        times,
        request.stack_trace_selector.as_ref(),
    )?;
    selection
        .of_requests(&request.span_selector, &request.trace_id_selector)?
        .truncated(api, request.max_nodes)
}

pub(super) async fn select_merge_stacktraces(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response {
    let answer = |api: &Api, request: wire::SelectMergeStacktracesRequest| {
        let selection = stacktraces_selection(api, &request)?;
        let max_nodes = max_nodes(api, request.max_nodes)?;
        let tree = || Ok::<_, Error>(Tree::new(&selection.stacks(api)?));
        let mut response = wire::SelectMergeStacktracesResponse::default();
        match request.format() {
            wire::ProfileFormat::Unspecified | wire::ProfileFormat::Flamegraph => {
                response.flamegraph = Some(wire_graph(flame_graph::render(&tree()?, max_nodes)));
            }
            wire::ProfileFormat::Tree => response.tree = tree_bytes::render(&tree()?, max_nodes),
            wire::ProfileFormat::Dot => response.dot = dot::render(&tree()?, MAX_DOT_NODES),
            wire::ProfileFormat::Pprof => {
                response.pprof = Some(wire::PprofProfile { profile: Some(selection.pprof(api)?) });
            }
        }
        Ok(response)
    };
    connect::query(api, request, answer).await
}

pub(super) async fn select_merge_span_profile(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response {
    let answer = |api: &Api, request: wire::SelectMergeSpanProfileRequest| {
        let times = (request.start, request.end);
        let selection =
            Selection::new(&request.profile_type_id, &request.label_selector, times, None)?
                .of_requests(&request.span_selector, &[])?;
        let max_nodes = max_nodes(api, request.max_nodes)?;
        let tree = Tree::new(&selection.stacks(api)?);
        let mut response = wire::SelectMergeSpanProfileResponse::default();
        match request.format() {
            wire::ProfileFormat::Tree => response.tree = tree_bytes::render(&tree, max_nodes),
            _ => response.flamegraph = Some(wire_graph(flame_graph::render(&tree, max_nodes))),
        }
        Ok(response)
    };
    connect::query(api, request, answer).await
}

fn wire_graph(graph: flame_graph::FlameGraph) -> wire::FlameGraph {
    wire::FlameGraph {
        names: graph.names,
        levels: graph.levels.into_iter().map(|values| wire::Level { values }).collect(),
        total: graph.total,
        max_self: graph.max_self,
    }
}

pub(super) async fn select_merge_profile(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response {
    let answer = |api: &Api, request: wire::SelectMergeProfileRequest| {
        no_profile_ids(&request.profile_id_selector)?;
        let times = (request.start, request.end);
        let stack_selector = request.stack_trace_selector.as_ref();
        let selection = Selection::new(
            &request.profile_type_id,
            &request.label_selector,
            times,
            stack_selector,
        )?;
        let selection = selection
            .of_requests(&[], &request.trace_id_selector)?
            .truncated(api, request.max_nodes)?;
        selection.pprof(api)
    };
    connect::query(api, request, answer).await
}

pub(super) async fn diff(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, request: wire::DiffRequest| {
        let (Some(left), Some(right)) = (request.left, request.right) else {
            return Err(Error::invalid("a diff has a left and a right side"));
        };
        let nodes = max_nodes(api, left.max_nodes)?.max(max_nodes(api, right.max_nodes)?);
        let sides = [stacktraces_selection(api, &left)?, stacktraces_selection(api, &right)?];
        let [left, right] = sides.map(|selection| selection.stacks(api));
        let (left, right) = (Tree::new(&left?), Tree::new(&right?));
        let graph = diff_render::render(&left, &right, nodes);
        let flamegraph = wire::FlameGraphDiff {
            names: graph.names,
            levels: graph.levels.into_iter().map(|values| wire::Level { values }).collect(),
            total: graph.total,
            max_self: graph.max_self,
            left_ticks: graph.left_ticks,
            right_ticks: graph.right_ticks,
        };
        Ok(wire::DiffResponse { flamegraph: Some(flamegraph) })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn profile_stats(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, _: types::GetProfileStatsRequest| -> Result<_, Error> {
        let bounds = api.store.bounds();
        let (oldest_ns, newest_ns) = bounds.unwrap_or_default();
        Ok(types::GetProfileStatsResponse {
            data_ingested: bounds.is_some(),
            oldest_profile_time: oldest_ns / 1_000_000,
            newest_profile_time: newest_ns / 1_000_000,
        })
    };
    connect::query(api, request, answer).await
}

/// What a question would look at; the page warns of large ones.
pub(super) async fn analyze_query(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Api, request: wire::AnalyzeQueryRequest| {
        let range = Range::new(request.start, request.end)?;
        let selector = request.query.find('{').map_or("{}", |at| &request.query[at..]);
        let selectors = selectors(&[selector.to_owned()])?;
        let segments = api.store.select(range.start_ns(), range.end_ns());
        let n_series = label_query::sets(&segments, &selectors, &[], &range).len() as u64;
        let scope = wire::QueryScope {
            component_type: "store".to_owned(),
            component_count: 1,
            block_count: segments.len() as u64,
            series_count: n_series,
            ..wire::QueryScope::default()
        };
        Ok(wire::AnalyzeQueryResponse {
            query_scopes: vec![scope],
            query_impact: Some(wire::QueryImpact {
                total_queried_series: n_series,
                ..wire::QueryImpact::default()
            }),
        })
    };
    connect::query(api, request, answer).await
}
