//! A question for a series of sums -> of each point the largest profile, or the largest span, that is in it.

use crate::query::labels::LabelSet;
use crate::query::profiles::{self, Depth, One, Rows};
use crate::query::range::to_ms;
use crate::query::series::{self, SeriesQuery};
use crate::query::{Error, View};
use std::collections::HashMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Profiles,
    Spans,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemplar {
    pub time_ms: i64,
    pub profile_id: u128,
    pub span_id: Option<u64>,
    pub trace_id: Option<u128>,
    pub value: i64,
    /// Those that the series is not grouped by.
    pub labels: LabelSet,
}

/// By the labels of a series and the time of a point.
pub type Exemplars = HashMap<(LabelSet, i64), Exemplar>;

pub fn select(view: &View, query: &SeriesQuery<'_>, kind: Kind) -> Result<Exemplars, Error> {
    let reach = series::reach(&query.range, query.step_ms);
    let mut largest = Exemplars::new();
    let mut add = |one: &One<'_>, value: i64, span_id: Option<u64>, trace_id: Option<u128>| {
        let Some(point_ms) = query.point_ms(one.time_ns) else { return };
        let is_group = |name: &str| query.group_by.iter().any(|wanted| wanted == name);
        let (group, labels): (LabelSet, LabelSet) =
            one.labels.iter().cloned().partition(|(name, _)| is_group(name));
        let (time_ms, profile_id) = (to_ms(one.time_ns), one.id);
        let new = Exemplar { time_ms, profile_id, span_id, trace_id, value, labels };
        let known = largest.entry((group, point_ms)).or_insert_with(|| new.clone());
        if new.value > known.value {
            *known = new;
        }
    };
    match kind {
        Kind::Profiles => {
            let mut each = |one: &One<'_>, _: Option<&Rows<'_>>| {
                // One without an id cannot be asked for.
                if one.id != 0 {
                    add(one, one.total, None, None);
                }
            };
            profiles::each(view, query.selector, &reach, Depth::Totals, &mut each)?;
        }
        Kind::Spans => {
            let mut each = |one: &One<'_>, rows: Option<&Rows<'_>>| {
                for (span, (value, trace)) in rows.map(by_span).unwrap_or_default() {
                    add(one, value, Some(span), trace);
                }
            };
            profiles::each(view, query.selector, &reach, Depth::Rows, &mut each)?;
        }
    }
    Ok(largest)
}

/// The sum of each span of a profile, and the trace that it is of.
pub(super) fn by_span(rows: &Rows<'_>) -> HashMap<u64, (i64, Option<u128>)> {
    let mut spans: HashMap<u64, (i64, Option<u128>)> = HashMap::new();
    for (stack, value) in rows.rows {
        if let Some(span) = rows.data.symbols.span(*stack) {
            let (sum, trace) = spans.entry(span).or_default();
            *sum = sum.saturating_add(*value);
            *trace = trace.or_else(|| rows.data.symbols.trace(*stack));
        }
    }
    spans
}
