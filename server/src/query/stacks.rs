//! Values summed by stack, for each segment of the head and each service of a block.

use crate::ingest::NormalizedProfile;
use crate::ingest::labels::Labels;
use crate::query::plan::{self, Grain, Part};
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::{Error, View, matching};
use crate::store::Source;
use crate::store::segment::{Data, Segment};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The sums of stacks, by their index in a segment: one of the head, or one that has the symbols of a block's service.
pub struct StackSums {
    pub segment: Arc<Segment>,
    pub sums: Vec<(u32, i64)>,
    pub period: i64,
}

/// Root-first names that a stack must begin with; empty for all stacks.
pub type CallSite = [String];

pub fn select(
    view: &View,
    selector: &Selector,
    range: &Range,
    call_site: &CallSite,
) -> Result<Vec<StackSums>, Error> {
    let selectors = std::slice::from_ref(selector);
    let mut selected = Vec::new();
    for part in plan::parts(&view.sources, range, Grain::Days, &plan::dropped(selectors, []))? {
        selected.extend(in_block(view, &part, selectors, range)?);
    }
    for source in &view.sources {
        if let Source::Head(segment) = source {
            selected.push(in_segment(view, segment, selectors, range));
        }
    }
    if !call_site.is_empty() {
        for StackSums { segment, sums, .. } in &mut selected {
            let data = segment.read();
            sums.retain(|(stack, _)| begins_with(&data, *stack, call_site));
        }
    }
    selected.retain(|one| !one.sums.is_empty());
    Ok(selected)
}

fn in_segment(
    view: &View,
    segment: &Arc<Segment>,
    selectors: &[Selector],
    range: &Range,
) -> StackSums {
    let data = segment.read();
    let mut by_stack = vec![0_i64; data.symbols.stacks.len()];
    let mut period = 0;
    for index in matching::series(view, &data, selectors, range) {
        let series = &data.series[index];
        period = series.period.max(period);
        for profile in series.profiles().filter(|profile| range.contains_ns(profile.time_ns)) {
            for (stack, value) in profile.stacks.iter().zip(profile.values) {
                // A stack beyond the table was lost with a damaged record.
                if let Some(sum) = by_stack.get_mut(*stack as usize) {
                    *sum = sum.saturating_add(*value);
                }
            }
        }
    }
    let sums = by_stack
        .into_iter()
        .zip(0_u32..)
        .filter(|(sum, _)| *sum != 0)
        .map(|(sum, stack)| (stack, sum));
    StackSums { segment: Arc::clone(segment), sums: sums.collect(), period }
}

fn in_block(
    view: &View,
    part: &Part,
    selectors: &[Selector],
    range: &Range,
) -> Result<Vec<StackSums>, Error> {
    let contents = matching::contents(&part.block)?;
    let series = matching::block_series(view, &contents, selectors, range);
    let times = (range.start_ns(), range.end_ns());
    let sums = part.block.sums(&series, times, part.days.as_deref());
    let sums = sums.map_err(|err| Error::Storage(err.to_string()))?;
    Ok(sums
        .into_iter()
        .map(|one| StackSums { segment: one.symbols, sums: one.sums, period: one.period })
        .collect())
}

/// The sums of a profile that is in no store, over the series that are meant.
pub fn of_profile(profile: &NormalizedProfile, is_meant: impl Fn(&Labels) -> bool) -> StackSums {
    let mut data = Data::default();
    let stacks = data.symbols.intern(&profile.symbols);
    let mut sums: HashMap<u32, i64> = HashMap::new();
    for series in profile.series.iter().filter(|series| is_meant(&series.labels)) {
        for (stack, value) in &series.rows {
            let sum = sums.entry(stacks.get(*stack as usize).copied().unwrap_or_default());
            let sum = sum.or_insert(0);
            *sum = sum.saturating_add(*value);
        }
    }
    let mut sums: Vec<(u32, i64)> = sums.into_iter().collect();
    sums.sort_unstable();
    StackSums { segment: Arc::new(Segment::new(0, data)), sums, period: 0 }
}

/// Whether the stack's frames, root first, begin with the call site.
pub(super) fn begins_with(data: &Data, stack: u32, call_site: &CallSite) -> bool {
    if call_site.is_empty() {
        return true;
    }
    let mut wanted = call_site.iter();
    let locations = data.symbols.frames(stack).iter().rev();
    for line in locations.flat_map(|location| data.symbols.lines(*location).iter().rev()) {
        let name = data
            .symbols
            .functions
            .get(line.function)
            .map_or("", |function| data.symbols.string(function.name));
        match wanted.next() {
            None => return true,
            Some(wanted) if wanted == name => {}
            Some(_) => return false,
        }
    }
    wanted.next().is_none()
}

/// Which requests' samples are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requests {
    All,
    Spans(HashSet<u64>),
    Traces(HashSet<u128>),
}

impl Requests {
    pub fn keep(&self, selected: &mut Vec<StackSums>) {
        if *self == Requests::All {
            return;
        }
        for StackSums { segment, sums, .. } in selected.iter_mut() {
            let data = segment.read();
            sums.retain(|(stack, _)| match self {
                Requests::All => true,
                Requests::Spans(spans) => {
                    data.symbols.span(*stack).is_some_and(|span| spans.contains(&span))
                }
                Requests::Traces(traces) => {
                    data.symbols.trace(*stack).is_some_and(|trace| traces.contains(&trace))
                }
            });
        }
        selected.retain(|one| !one.sums.is_empty());
    }
}
