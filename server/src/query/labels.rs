//! Names, values and sets of labels, and the profile types that there are.

use crate::ingest::labels;
use crate::query::matching;
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::store::segment::Segment;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sorted by name.
pub type LabelSet = Vec<(String, String)>;

pub fn names(segments: &[Arc<Segment>], selectors: &[Selector], range: &Range) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    each(segments, selectors, range, |name, _| {
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
    });
    names
}

pub fn values(
    segments: &[Arc<Segment>],
    label: &str,
    selectors: &[Selector],
    range: &Range,
) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    each(segments, selectors, range, |name, value| {
        if name == label && !values.contains(value) {
            values.insert(value.to_owned());
        }
    });
    values
}

fn each(
    segments: &[Arc<Segment>],
    selectors: &[Selector],
    range: &Range,
    mut label: impl FnMut(&str, &str),
) {
    for segment in segments {
        let data = segment.read();
        for index in matching::series(&data, selectors, range) {
            data.labels(index).for_each(|(name, value)| label(name, value));
        }
    }
}

pub fn profile_types(segments: &[Arc<Segment>], range: &Range) -> Vec<ProfileType> {
    let ids = values(segments, labels::PROFILE_TYPE, &[], range);
    ids.iter().filter_map(|id| ProfileType::parse(id).ok()).collect()
}

/// Distinct label sets, cut down to the names that are asked for, if any are.
pub fn sets(
    segments: &[Arc<Segment>],
    selectors: &[Selector],
    names: &[String],
    range: &Range,
) -> BTreeSet<LabelSet> {
    let mut sets = BTreeSet::new();
    for segment in segments {
        let data = segment.read();
        for index in matching::series(&data, selectors, range) {
            let set: LabelSet = data
                .labels(index)
                .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            if !set.is_empty() {
                sets.insert(set);
            }
        }
    }
    sets
}
