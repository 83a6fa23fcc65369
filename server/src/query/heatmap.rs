//! A selector and a range of times -> how many profiles, or spans, of which size there were in each step.

use crate::query::exemplars::{self, Kind};
use crate::query::labels::LabelSet;
use crate::query::profiles::{self, Depth, One, Rows};
use crate::query::series::{self, SeriesQuery};
use crate::query::{Error, View};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Sizes are told apart by so many equal parts of the range from the smallest to the largest.
const N_SIZES: usize = 20;
/// More single values are not for a picture.
const MAX_VALUES: usize = 5_000_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    pub labels: LabelSet,
    /// The smallest value of each size, the same in all slots.
    pub y_min: Vec<f64>,
    /// By time in milliseconds: how many there were of each size.
    pub slots: BTreeMap<i64, Vec<i32>>,
}

/// The series with the largest sum comes first.
pub fn select(view: &View, query: &SeriesQuery<'_>, kind: Kind) -> Result<Vec<Heatmap>, Error> {
    let reach = series::reach(&query.range, query.step_ms);
    let mut by_group: BTreeMap<LabelSet, Vec<(i64, i64)>> = BTreeMap::new();
    let mut n_values = 0;
    let mut add = |one: &One<'_>, value: i64| {
        let Some(point_ms) = query.point_ms(one.time_ns) else { return };
        n_values += 1;
        if n_values > MAX_VALUES {
            return;
        }
        let is_group = |name: &str| query.group_by.iter().any(|wanted| wanted == name);
        let group = one.labels.iter().filter(|(name, _)| is_group(name)).cloned().collect();
        by_group.entry(group).or_default().push((point_ms, value));
    };
    let depth = if kind == Kind::Spans { Depth::Rows } else { Depth::Totals };
    let mut each = |one: &One<'_>, rows: Option<&Rows<'_>>| match rows {
        Some(rows) => {
            for (value, _) in exemplars::by_span(rows).into_values() {
                add(one, value);
            }
        }
        None => add(one, one.total),
    };
    let summed = profiles::each(view, query.selector, &reach, depth, &mut each)?;
    if let Some(day) = summed {
        return Err(Error::Summed { day });
    }
    if n_values > MAX_VALUES {
        return Err(Error::TooManyValues { limit: MAX_VALUES });
    }
    Ok(drawn(by_group))
}

fn drawn(by_group: BTreeMap<LabelSet, Vec<(i64, i64)>>) -> Vec<Heatmap> {
    let values = || by_group.values().flatten().map(|(_, value)| *value);
    let (Some(smallest), Some(largest)) = (values().min(), values().max()) else {
        return Vec::new();
    };
    let width = (largest.saturating_sub(smallest) as f64 / N_SIZES as f64).max(1.0);
    let y_min: Vec<f64> = (0..N_SIZES).map(|size| smallest as f64 + size as f64 * width).collect();
    let mut heatmaps: Vec<(i64, Heatmap)> = Vec::new();
    for (labels, values) in by_group {
        let sum = values.iter().map(|(_, value)| *value).fold(0, i64::saturating_add);
        let mut slots: BTreeMap<i64, Vec<i32>> = BTreeMap::new();
        for (point_ms, value) in values {
            let size = (value.saturating_sub(smallest) as f64 / width) as usize;
            let counts = slots.entry(point_ms).or_insert_with(|| vec![0; N_SIZES]);
            if let Some(count) = counts.get_mut(size.min(N_SIZES - 1)) {
                *count = count.saturating_add(1);
            }
        }
        heatmaps.push((sum, Heatmap { labels, y_min: y_min.clone(), slots }));
    }
    heatmaps.sort_by_key(|(sum, _)| Reverse(*sum));
    heatmaps.into_iter().map(|(_, heatmap)| heatmap).collect()
}
