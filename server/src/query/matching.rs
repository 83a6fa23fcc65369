//! Which series a selector means.

use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::{Error, View};
use crate::store::block::{Block, Contents};
use crate::store::segment::{Data, Series};

/// The indices of the series that match one of the selectors (all, where there is none) and have profiles in the range.
pub(super) fn series(
    view: &View,
    data: &Data,
    selectors: &[Selector],
    range: &Range,
) -> Vec<usize> {
    let all_in_range = data
        .bounds()
        .is_some_and(|(oldest, newest)| range.contains_ns(oldest) && range.contains_ns(newest));
    let has_profiles = |series: &Series| {
        let mut profiles = series.profiles();
        if all_in_range {
            profiles.next().is_some()
        } else {
            profiles.any(|rows| range.contains_ns(rows.time_ns))
        }
    };
    let matches = |index: usize| {
        any_matches(view, selectors, |name| {
            data.labels(index).find(|(have, _)| *have == name).map(|(_, value)| value)
        })
    };
    data.series
        .iter()
        .enumerate()
        .filter(|(index, series)| matches(*index) && has_profiles(series))
        .map(|(index, _)| index)
        .collect()
}

/// The same of a block, by the times of each series' first and last profile.
pub(super) fn block_series(
    view: &View,
    contents: &Contents,
    selectors: &[Selector],
    range: &Range,
) -> Vec<usize> {
    (0..contents.n_series())
        .filter(|index| {
            contents.overlaps(*index, range.start_ns(), range.end_ns())
                && any_matches(view, selectors, |name| {
                    contents.labels(*index).find(|(have, _)| *have == name).map(|(_, value)| value)
                })
        })
        .collect()
}

pub(super) fn contents(block: &Block) -> Result<std::sync::Arc<Contents>, Error> {
    block.contents().map_err(|err| Error::Storage(err.to_string()))
}

/// The one place where series are chosen, and so the one that keeps tenants apart.
fn any_matches<'a>(
    view: &View,
    selectors: &[Selector],
    label: impl Fn(&str) -> Option<&'a str>,
) -> bool {
    if !view.has(&label) {
        return false;
    }
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(&label))
}
