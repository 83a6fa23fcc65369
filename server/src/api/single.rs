//! Series, heatmaps and the single profiles and spans in them -> messages.

use crate::api::querier::wire_labels;
use crate::query::exemplars::{Exemplar, Exemplars, Kind};
use crate::query::heatmap::Heatmap;
use crate::query::labels::LabelSet;
use crate::query::series;
use protocol::types;

/// None where no exemplars are asked for.
pub(super) fn kind(asked: types::ExemplarType) -> Option<Kind> {
    match asked {
        types::ExemplarType::Unspecified | types::ExemplarType::None => None,
        types::ExemplarType::Individual => Some(Kind::Profiles),
        types::ExemplarType::Span => Some(Kind::Spans),
    }
}

pub(super) fn wire_series(series: series::Points, exemplars: &Exemplars) -> types::Series {
    let labels = series.labels;
    let point = |(timestamp, value)| types::Point {
        value,
        timestamp,
        exemplars: of_point(exemplars, &labels, timestamp),
        ..types::Point::default()
    };
    let points = series.points.into_iter().map(point).collect();
    types::Series { points, labels: wire_labels(labels) }
}

pub(super) fn wire_heatmap(heatmap: Heatmap, exemplars: &Exemplars) -> types::HeatmapSeries {
    let Heatmap { labels, y_min, slots } = heatmap;
    let slot = |(timestamp, counts)| types::HeatmapSlot {
        timestamp,
        y_min: y_min.clone(),
        counts,
        exemplars: of_point(exemplars, &labels, timestamp),
    };
    let slots = slots.into_iter().map(slot).collect();
    types::HeatmapSeries { slots, labels: wire_labels(labels) }
}

fn of_point(exemplars: &Exemplars, labels: &LabelSet, time_ms: i64) -> Vec<types::Exemplar> {
    if exemplars.is_empty() {
        return Vec::new();
    }
    exemplars.get(&(labels.clone(), time_ms)).map(wire_exemplar).into_iter().collect()
}

fn wire_exemplar(exemplar: &Exemplar) -> types::Exemplar {
    let Exemplar { time_ms, profile_id, span_id, trace_id, value, labels } = exemplar;
    types::Exemplar {
        timestamp: *time_ms,
        profile_id: if *profile_id == 0 { String::new() } else { uuid(*profile_id) },
        span_id: span_id.map(|id| format!("{id:016x}")).unwrap_or_default(),
        trace_id: trace_id.map(|id| format!("{id:032x}")).unwrap_or_default(),
        value: *value,
        labels: wire_labels(labels.clone()),
    }
}

fn uuid(id: u128) -> String {
    let text = format!("{id:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &text[part]);
    parts.join("-")
}
