//! Which series of a segment a selector means.

use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::store::segment::{Data, Series};

/// The indices of the series that match one of the selectors (all, where there is none) and have profiles in the range.
pub(super) fn series(data: &Data, selectors: &[Selector], range: &Range) -> Vec<usize> {
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
        let label =
            |name: &str| data.labels(index).find(|(have, _)| *have == name).map(|(_, value)| value);
        selectors.is_empty() || selectors.iter().any(|selector| selector.matches(label))
    };
    data.series
        .iter()
        .enumerate()
        .filter(|(index, series)| matches(*index) && has_profiles(series))
        .map(|(index, _)| index)
        .collect()
}
