//! Sums over time: one point for each step, one series for each group of labels.

use crate::query::labels::LabelSet;
use crate::query::plan::{self, Grain, Part};
use crate::query::range::{Range, to_ms};
use crate::query::selector::Selector;
use crate::query::stacks::{self, CallSite};
use crate::query::{Error, View, matching};
use crate::store::Source;
use crate::store::block::Keep;
use crate::store::segment::{Data, Rows, Segment};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// A chart has a few thousand points at most.
const MAX_POINTS: i64 = 1_000_000;

pub struct SeriesQuery<'a> {
    pub selector: &'a Selector,
    pub range: Range,
    pub step_ms: i64,
    pub group_by: &'a [String],
    pub aggregation: Aggregation,
    pub call_site: &'a CallSite,
}

impl SeriesQuery<'_> {
    fn n_steps(&self) -> Option<i64> {
        self.range.end_ms.saturating_sub(self.range.start_ms).checked_div(self.step_ms)
    }

    /// The number of the point that a profile of this time is in.
    fn step_of(&self, time_ns: i64) -> Option<i64> {
        let offset_ms = to_ms(time_ns).saturating_sub(self.range.start_ms);
        // Rounded up: the ends of the buckets are closed on the right.
        let step = offset_ms.checked_div_euclid(self.step_ms)?
            + i64::from(offset_ms.rem_euclid(self.step_ms) != 0);
        (0..=self.n_steps()?).contains(&step).then_some(step)
    }

    fn time_ms(&self, step: i64) -> i64 {
        self.range.start_ms.saturating_add(step.saturating_mul(self.step_ms))
    }

    /// The time of the point that a profile of this time is in.
    pub(super) fn point_ms(&self, time_ns: i64) -> Option<i64> {
        Some(self.time_ms(self.step_of(time_ns)?))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    Sum,
    Average,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    pub labels: LabelSet,
    /// Milliseconds and values, ascending; steps without profiles have no point.
    pub points: Vec<(i64, f64)>,
}

#[derive(Default)]
struct Bucket {
    sum: i64,
    count: i64,
}

/// The step in milliseconds of one in seconds.
pub fn step_ms(seconds: f64) -> Result<i64, Error> {
    // Not a number fails, too.
    if seconds >= 0.001 { Ok((seconds * 1_000.0) as i64) } else { Err(Error::Step) }
}

/// The times that a query looks at: the first point sums what came in the step before the start.
pub fn reach(range: &Range, step_ms: i64) -> Range {
    let start_ms = range.start_ms.saturating_sub(step_ms).saturating_add(1);
    Range { start_ms, end_ms: range.end_ms }
}

/// Point k stands at start + k x step and sums what came after the point before it, up to and including its own time.
/// The largest series comes first.
pub fn select(view: &View, query: &SeriesQuery<'_>) -> Result<Vec<Points>, Error> {
    if query.n_steps().ok_or(Error::Step)? > MAX_POINTS {
        return Err(Error::TooManyPoints { limit: MAX_POINTS });
    }
    let reach = reach(&query.range, query.step_ms);
    let selectors = std::slice::from_ref(query.selector);
    let dropped = plan::dropped(selectors, query.group_by);
    let mut groups = Groups { view, query, by_labels: BTreeMap::new() };
    for part in plan::parts(&view.sources, &reach, Grain::Finest, &dropped)? {
        groups.add_block(&part, &reach)?;
    }
    for source in &view.sources {
        if let Source::Head(segment) = source {
            groups.add_segment(segment, &reach);
        }
    }
    Ok(sorted(groups.by_labels, query))
}

struct Groups<'a> {
    view: &'a View,
    query: &'a SeriesQuery<'a>,
    by_labels: BTreeMap<LabelSet, HashMap<i64, Bucket>>,
}

impl Groups<'_> {
    fn add_segment(&mut self, segment: &Segment, reach: &Range) {
        let query = self.query;
        let data = segment.read();
        for index in matching::series(self.view, &data, std::slice::from_ref(query.selector), reach)
        {
            let group = self.group(data.labels(index));
            for profile in data.series[index].profiles() {
                self.add(&group, profile.time_ns, sum(&data, &profile, query.call_site), 1);
            }
        }
    }

    fn add_block(&mut self, part: &Part, reach: &Range) -> Result<(), Error> {
        let query = self.query;
        let contents = matching::contents(&part.block)?;
        let selectors = std::slice::from_ref(query.selector);
        let series = matching::block_series(self.view, &contents, selectors, reach);
        let groups: Vec<LabelSet> =
            series.iter().map(|index| self.group(contents.labels(*index))).collect();
        let begins = |data: &Data, stack| stacks::begins_with(data, stack, query.call_site);
        let keep: Option<Keep<'_>> = if query.call_site.is_empty() { None } else { Some(&begins) };
        let times = (reach.start_ns(), reach.end_ns());
        let read = part.block.totals(&series, times, keep, |index, total| {
            let is_wanted = part.days.as_ref().is_none_or(|days| days.contains(&total.seq));
            if is_wanted && let Some(group) = groups.get(index) {
                self.add(group, total.time_ns, total.total, i64::from(total.n_profiles));
            }
        });
        read.map_err(|err| Error::Storage(err.to_string()))
    }

    fn group<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> LabelSet {
        let names = self.query.group_by;
        let labels = labels.filter(|(name, _)| names.iter().any(|wanted| wanted == name));
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn add(&mut self, group: &LabelSet, time_ns: i64, sum: i64, count: i64) {
        let Some(step) = self.query.step_of(time_ns) else { return };
        if !self.by_labels.contains_key(group) {
            self.by_labels.insert(group.clone(), HashMap::new());
        }
        let Some(buckets) = self.by_labels.get_mut(group) else { return };
        let bucket = buckets.entry(step).or_default();
        bucket.sum = bucket.sum.saturating_add(sum);
        bucket.count += count;
    }
}

fn sum(data: &Data, profile: &Rows<'_>, call_site: &CallSite) -> i64 {
    if call_site.is_empty() {
        return profile.values.iter().copied().fold(0, i64::saturating_add);
    }
    let rows = profile.stacks.iter().zip(profile.values);
    rows.filter(|(stack, _)| stacks::begins_with(data, **stack, call_site))
        .map(|(_, value)| *value)
        .fold(0, i64::saturating_add)
}

fn sorted(
    groups: BTreeMap<LabelSet, HashMap<i64, Bucket>>,
    query: &SeriesQuery<'_>,
) -> Vec<Points> {
    let mut series: Vec<(i64, Points)> = groups
        .into_iter()
        .filter(|(_, buckets)| !buckets.is_empty())
        .map(|(labels, buckets)| {
            let total = buckets.values().map(|bucket| bucket.sum).fold(0, i64::saturating_add);
            let mut points: Vec<(i64, f64)> = buckets
                .into_iter()
                .map(|(step, bucket)| {
                    let value = match query.aggregation {
                        Aggregation::Sum => bucket.sum as f64,
                        Aggregation::Average => bucket.sum as f64 / bucket.count.max(1) as f64,
                    };
                    (query.time_ms(step), value)
                })
                .collect();
            points.sort_unstable_by_key(|(time_ms, _)| *time_ms);
            (total, Points { labels, points })
        })
        .collect();
    series.sort_by_key(|(total, _)| Reverse(*total));
    series.into_iter().map(|(_, points)| points).collect()
}
