//! A selector and a range of times -> the single profiles that are kept as they came, with or without their rows.

use crate::ingest::labels::TENANT;
use crate::query::labels::LabelSet;
use crate::query::plan::{self, Grain};
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::stacks::{self, CallSite, StackSums};
use crate::query::{Error, View, matching};
use crate::store::Source;
use crate::store::block::{Block, Kind};
use crate::store::segment::{Data, Segment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows of a block are read for so long a time at once, which is what its windows last.
const SLICE_NS: i64 = 3_600 * 1_000_000_000;
/// Each profile's rows are looked for by its time.
pub const MAX_IDS: usize = 200;

/// One profile of a series.
pub struct One<'a> {
    pub labels: &'a LabelSet,
    pub time_ns: i64,
    /// What the client calls it; 0 where it did not say.
    pub id: u128,
    pub total: i64,
    pub period: i64,
}

/// What a profile is made of.
pub struct Rows<'a> {
    pub segment: &'a Arc<Segment>,
    pub data: &'a Data,
    pub rows: &'a [(u32, i64)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Totals,
    Rows,
}

type Each<'a> = dyn FnMut(&One<'_>, Option<&Rows<'_>>) + 'a;

/// Gives each profile. What is returned is a day of which no more than sums are left, if there is one in the range.
pub fn each(
    view: &View,
    selector: &Selector,
    range: &Range,
    depth: Depth,
    each: &mut Each<'_>,
) -> Result<Option<String>, Error> {
    let selectors = std::slice::from_ref(selector);
    let mut summed = None;
    for part in plan::parts(&view.sources, range, Grain::Finest, &plan::dropped(selectors, []))? {
        let contents = matching::contents(&part.block)?;
        if contents.finest() != Some(Kind::Raw) {
            summed = Some(part.block.period().to_string());
            continue;
        }
        let series = matching::block_series(view, &contents, selectors, range);
        let labels: Vec<(LabelSet, i64)> = series
            .iter()
            .map(|index| (owned(contents.labels(*index)), contents.period(*index)))
            .collect();
        in_block(&part.block, &series, &labels, range, depth, each)?;
    }
    for source in &view.sources {
        if let Source::Head(segment) = source {
            in_segment(view, segment, selectors, range, depth, each);
        }
    }
    Ok(summed)
}

fn owned<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> LabelSet {
    labels
        .filter(|(name, _)| *name != TENANT)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn in_block(
    block: &Block,
    series: &[usize],
    labels: &[(LabelSet, i64)],
    range: &Range,
    depth: Depth,
    each: &mut Each<'_>,
) -> Result<(), Error> {
    let failed = |err: crate::store::block::Error| Error::Storage(err.to_string());
    if depth == Depth::Totals {
        let times = (range.start_ns(), range.end_ns());
        let read = block.totals_with_ids(series, times, |index, total| {
            if let Some((labels, period)) = labels.get(index) {
                let (time_ns, id, total) = (total.time_ns, total.id, total.total);
                each(&One { labels, time_ns, id, total, period: *period }, None);
            }
        });
        return read.map_err(failed);
    }
    for times in slices(block, range) {
        let read = block.profiles(series, times, |index, segment, total, rows| {
            if let Some((labels, period)) = labels.get(index) {
                let (time_ns, id, total) = (total.time_ns, total.id, total.total);
                let data = segment.read();
                let rows = Rows { segment, data: &data, rows };
                each(&One { labels, time_ns, id, total, period: *period }, Some(&rows));
            }
        });
        read.map_err(failed)?;
    }
    Ok(())
}

/// The times of a block that are in the range, hour by hour.
fn slices(block: &Block, range: &Range) -> Vec<(i64, i64)> {
    let (oldest_ns, newest_ns) = block.bounds();
    let (mut start_ns, end_ns) = (range.start_ns().max(oldest_ns), range.end_ns().min(newest_ns));
    let mut slices = Vec::new();
    while start_ns <= end_ns {
        let slice_end_ns = start_ns
            .div_euclid(SLICE_NS)
            .saturating_add(1)
            .saturating_mul(SLICE_NS)
            .saturating_sub(1)
            .min(end_ns);
        slices.push((start_ns, slice_end_ns));
        start_ns = slice_end_ns.saturating_add(1);
    }
    slices
}

fn in_segment(
    view: &View,
    segment: &Arc<Segment>,
    selectors: &[Selector],
    range: &Range,
    depth: Depth,
    each: &mut Each<'_>,
) {
    let data = segment.read();
    for index in matching::series(view, &data, selectors, range) {
        let Some(series) = data.series.get(index) else { continue };
        let labels = owned(data.labels(index));
        for profile in series.profiles().filter(|profile| range.contains_ns(profile.time_ns)) {
            let total = profile.values.iter().copied().fold(0, i64::saturating_add);
            let (time_ns, id, period) = (profile.time_ns, profile.id, series.period);
            let one = One { labels: &labels, time_ns, id, total, period };
            if depth == Depth::Totals {
                each(&one, None);
                continue;
            }
            let rows: Vec<(u32, i64)> =
                profile.stacks.iter().copied().zip(profile.values.iter().copied()).collect();
            each(&one, Some(&Rows { segment, data: &data, rows: &rows }));
        }
    }
}

/// The sums over the profiles with one of these ids.
pub fn select(
    view: &View,
    selector: &Selector,
    range: &Range,
    call_site: &CallSite,
    ids: &BTreeSet<u128>,
) -> Result<Vec<StackSums>, Error> {
    let (mut times_ms, mut found) = (BTreeSet::new(), BTreeSet::new());
    let summed = each(view, selector, range, Depth::Totals, &mut |one, _| {
        if ids.contains(&one.id) {
            times_ms.insert(crate::query::range::to_ms(one.time_ns));
            found.insert(one.id);
        }
    })?;
    if let Some(day) = summed.filter(|_| found.len() < ids.len()) {
        return Err(Error::Summed { day });
    }
    let mut by_segment: Vec<(Arc<Segment>, BTreeMap<u32, i64>, i64)> = Vec::new();
    for time_ms in times_ms {
        let moment = Range { start_ms: time_ms, end_ms: time_ms };
        each(view, selector, &moment, Depth::Rows, &mut |one, rows| {
            let Some(rows) = rows.filter(|_| ids.contains(&one.id)) else { return };
            let known = by_segment.iter().position(|(other, ..)| Arc::ptr_eq(other, rows.segment));
            let place = known.unwrap_or_else(|| {
                by_segment.push((Arc::clone(rows.segment), BTreeMap::new(), 0));
                by_segment.len() - 1
            });
            let Some((_, sums, period)) = by_segment.get_mut(place) else { return };
            *period = one.period.max(*period);
            for (stack, value) in rows.rows {
                if stacks::begins_with(rows.data, *stack, call_site) {
                    let sum = sums.entry(*stack).or_insert(0);
                    *sum = sum.saturating_add(*value);
                }
            }
        })?;
    }
    let sums = by_segment.into_iter().map(|(segment, sums, period)| StackSums {
        segment,
        sums: sums.into_iter().collect(),
        period,
    });
    Ok(sums.filter(|one| !one.sums.is_empty()).collect())
}
