//! The calls of `querier.v1`.

use crate::api::error::Error;
use crate::api::scope::Scope;
use crate::api::selection::{Selection, max_nodes};
use crate::api::{Api, connect, single};
use crate::query;
use crate::query::exemplars::{self, Exemplars};
use crate::query::heatmap;
use crate::query::labels as label_query;
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::series::{self, Aggregation};
use crate::query::tree::Tree;
use crate::render::{diff as diff_render, dot, flame_graph, tree_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use protocol::querier as wire;
use protocol::types;
use std::sync::Arc;

/// Where no range is given, profile types are those of the last hour.
const HOUR_MS: i64 = 3_600_000;
/// A call graph of more functions cannot be read.
const MAX_DOT_NODES: usize = 200;

pub(super) async fn profile_types(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::ProfileTypesRequest| {
        let now_ms = (api.clock)() / 1_000_000;
        let range = match (request.start, request.end) {
            (0, 0) => Range::new(now_ms - HOUR_MS, now_ms)?,
            (start, end) => Range::new(start, end)?,
        };
        let segments = api.view(range.start_ns(), range.end_ns())?;
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
    let answer = move |api: &Scope, request: types::LabelNamesRequest| {
        let range = Range::new(request.start, request.end)?;
        let selectors = selectors(&request.matchers)?;
        let segments = api.view(range.start_ns(), range.end_ns())?;
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
    let answer = |api: &Scope, request: types::LabelValuesRequest| {
        if request.name.is_empty() {
            return Err(query::Error::NoLabelName.into());
        }
        let range = Range::new(request.start, request.end)?;
        let selectors = selectors(&request.matchers)?;
        let segments = api.view(range.start_ns(), range.end_ns())?;
        let values = label_query::values(&segments, &request.name, &selectors, &range);
        Ok(types::LabelValuesResponse { names: values.into_iter().collect() })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn series(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::SeriesRequest| {
        let range = Range::new(request.start, request.end)?;
        let selectors = selectors(&request.matchers)?;
        let segments = api.view(range.start_ns(), range.end_ns())?;
        let sets = label_query::sets(&segments, &selectors, &request.label_names, &range);
        let labels_set =
            sets.into_iter().map(|set| types::Labels { labels: wire_labels(set) }).collect();
        Ok(wire::SeriesResponse { labels_set })
    };
    connect::query(api, request, answer).await
}

pub(super) fn wire_labels(set: label_query::LabelSet) -> Vec<types::LabelPair> {
    set.into_iter().map(|(name, value)| types::LabelPair { name, value }).collect()
}

/// Each matcher is a selector; none matches all.
fn selectors(matchers: &[String]) -> Result<Vec<Selector>, Error> {
    let parsed: Result<Vec<Selector>, _> =
        matchers.iter().map(|matcher| Selector::parse(matcher)).collect();
    Ok(parsed.map_err(query::Error::from)?)
}

pub(super) async fn select_series(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::SelectSeriesRequest| {
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
        let step_ms = series::step_ms(request.step)?;
        let mut found = selection.series(api, step_ms, &request.group_by, aggregation)?;
        if let Some(limit) = request.limit
            && limit > 0
        {
            found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let query = selection.series_query(step_ms, &request.group_by, aggregation);
        let exemplars = match single::kind(request.exemplar_type()) {
            // They are of whole profiles, the points of a part of them.
            Some(kind) if stack_selector.is_none() => {
                exemplars::select(&selection.reached(api, step_ms)?, &query, kind)?
            }
            _ => Exemplars::new(),
        };
        let series = found.into_iter().map(|series| single::wire_series(series, &exemplars));
        Ok(wire::SelectSeriesResponse { series: series.collect() })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn select_heatmap(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::SelectHeatmapRequest| {
        let times = (request.start, request.end);
        let selection =
            Selection::new(&request.profile_type_id, &request.label_selector, times, None)?;
        let step_ms = series::step_ms(request.step)?;
        let query = selection.series_query(step_ms, &request.group_by, Aggregation::Sum);
        let kind = match request.query_type() {
            wire::HeatmapQueryType::Span => exemplars::Kind::Spans,
            _ => exemplars::Kind::Profiles,
        };
        let sources = selection.reached(api, step_ms)?;
        let mut found = heatmap::select(&sources, &query, kind)?;
        if let Some(limit) = request.limit.filter(|limit| *limit > 0) {
            found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let exemplars = match single::kind(request.exemplar_type()) {
            Some(kind) => exemplars::select(&sources, &query, kind)?,
            None => Exemplars::new(),
        };
        let series = found.into_iter().map(|heatmap| single::wire_heatmap(heatmap, &exemplars));
        Ok(wire::SelectHeatmapResponse { series: series.collect() })
    };
    connect::query(api, request, answer).await
}

fn stacktraces_selection(
    api: &Scope,
    request: &wire::SelectMergeStacktracesRequest,
) -> Result<Selection, Error> {
    let times = (request.start, request.end);
    let selection = Selection::new(
        &request.profile_type_id,
        &request.label_selector,
        times,
        request.stack_trace_selector.as_ref(),
    )?;
    selection
        .of_requests(&request.span_selector, &request.trace_id_selector)?
        .of_profiles(&request.profile_id_selector)?
        .truncated(api, request.max_nodes)
}

pub(super) async fn select_merge_stacktraces(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response {
    let answer = |api: &Scope, request: wire::SelectMergeStacktracesRequest| {
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
    let answer = |api: &Scope, request: wire::SelectMergeSpanProfileRequest| {
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
    let answer = |api: &Scope, request: wire::SelectMergeProfileRequest| {
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
            .of_profiles(&request.profile_id_selector)?
            .truncated(api, request.max_nodes)?;
        selection.pprof(api)
    };
    connect::query(api, request, answer).await
}

pub(super) async fn diff(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::DiffRequest| {
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
    let answer = |api: &Scope, _: types::GetProfileStatsRequest| -> Result<_, Error> {
        let bounds = if api.account.multitenancy {
            label_query::bounds(&api.everything())
        } else {
            api.store.bounds()
        };
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
    let answer = |api: &Scope, request: wire::AnalyzeQueryRequest| {
        let range = Range::new(request.start, request.end)?;
        let selector = request.query.find('{').map_or("{}", |at| &request.query[at..]);
        let selectors = selectors(&[selector.to_owned()])?;
        let segments = api.view(range.start_ns(), range.end_ns())?;
        let n_series = label_query::sets(&segments, &selectors, &[], &range).len() as u64;
        let scope = wire::QueryScope {
            component_type: "store".to_owned(),
            component_count: 1,
            block_count: segments.n_sources() as u64,
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
