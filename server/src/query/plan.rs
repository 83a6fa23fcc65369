//! Which blocks a question is put to: those of days, or a month's in place of days that it has as a whole.

use crate::query::Error;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::store::Source;
use crate::store::block::Block;
use crate::store::block::merge::DROPPED_LABELS;
use crate::store::block::period::{Flushes, Period};
use std::sync::Arc;

/// A block, and of a month's the days that are meant.
pub(super) struct Part {
    pub block: Arc<Block>,
    pub days: Option<Vec<u32>>,
}

/// How coarse an answer may be where finer rows are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// Whole days at once.
    Days,
    /// As fine as there is.
    Finest,
}

/// Names of labels that a question is about, and that days do not have.
pub(super) fn dropped<'a>(
    selectors: &'a [Selector],
    group_by: impl IntoIterator<Item = &'a String>,
) -> Vec<String> {
    let names =
        selectors.iter().flat_map(Selector::names).chain(group_by.into_iter().map(String::as_str));
    let mut dropped: Vec<String> =
        names.filter(|name| DROPPED_LABELS.contains(name)).map(str::to_owned).collect();
    dropped.sort_unstable();
    dropped.dedup();
    dropped
}

/// A day is asked of its month where the range has all of it, or where nothing finer is left.
pub(super) fn parts(
    sources: &[Source],
    range: &Range,
    grain: Grain,
    dropped: &[String],
) -> Result<Vec<Part>, Error> {
    let blocks: Vec<&Arc<Block>> = sources
        .iter()
        .filter_map(|source| match source {
            Source::Block(block) => Some(block),
            Source::Head(_) => None,
        })
        .collect();
    let mut by_month: Vec<Part> = Vec::new();
    let mut covered: Vec<(Period, &Flushes)> = Vec::new();
    for month in blocks.iter().filter(|block| matches!(block.period(), Period::Month(_))) {
        let mut days = Vec::new();
        for (window, flushes) in month.days() {
            let start_ns = month.period().window_start_ns(*window);
            let end_ns = start_ns.saturating_add(month.period().window_ns() - 1);
            if start_ns > range.end_ns() || end_ns < range.start_ns() {
                continue;
            }
            let day = Period::day_of(start_ns);
            let of_day: Vec<&&Arc<Block>> =
                blocks.iter().filter(|block| block.period() == day).collect();
            let is_gone = !of_day.iter().any(|block| block.flushes().overlaps(flushes));
            if is_gone && !dropped.is_empty() {
                return Err(Error::TooOld { labels: dropped.join(", "), day: day.to_string() });
            }
            // Where a block has flushes that the month has and others, too, the month's day is behind.
            let is_current = of_day.iter().all(|block| {
                block.flushes().is_subset(flushes) || !block.flushes().overlaps(flushes)
            });
            let is_whole = range.start_ns() <= start_ns && end_ns <= range.end_ns();
            let is_enough = grain == Grain::Days && dropped.is_empty() && is_whole && is_current;
            if is_gone || is_enough {
                days.push(*window);
                covered.push((day, flushes));
            }
        }
        if !days.is_empty() {
            by_month.push(Part { block: Arc::clone(month), days: Some(days) });
        }
    }
    let is_covered = |block: &Arc<Block>| {
        covered
            .iter()
            .any(|(day, flushes)| *day == block.period() && block.flushes().is_subset(flushes))
    };
    let of_days = blocks
        .iter()
        .filter(|block| {
            matches!(block.period(), Period::Day(_))
                && block.overlaps(range.start_ns(), range.end_ns())
                && !is_covered(block)
        })
        .map(|block| Part { block: Arc::clone(block), days: None });
    Ok(of_days.chain(by_month).collect())
}
