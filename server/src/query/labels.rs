//! Names, values and sets of labels, and the profile types that there are.

use crate::ingest::labels;
use crate::query::matching;
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::store::Source;
use std::collections::BTreeSet;

/// Sorted by name.
pub type LabelSet = Vec<(String, String)>;

pub fn names(sources: &[Source], selectors: &[Selector], range: &Range) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    each(sources, selectors, range, |name, _| {
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
    });
    names
}

pub fn values(
    sources: &[Source],
    label: &str,
    selectors: &[Selector],
    range: &Range,
) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    each(sources, selectors, range, |name, value| {
        if name == label && !values.contains(value) {
            values.insert(value.to_owned());
        }
    });
    values
}

fn each(
    sources: &[Source],
    selectors: &[Selector],
    range: &Range,
    mut label: impl FnMut(&str, &str),
) {
    sets_of(sources, selectors, range, |set| set.for_each(|(name, value)| label(name, value)));
}

/// Gives the labels of each series that is meant. A block that cannot be read has none.
fn sets_of(
    sources: &[Source],
    selectors: &[Selector],
    range: &Range,
    mut each: impl FnMut(&mut dyn Iterator<Item = (&str, &str)>),
) {
    for source in sources {
        match source {
            Source::Head(segment) => {
                let data = segment.read();
                for index in matching::series(&data, selectors, range) {
                    each(&mut data.labels(index));
                }
            }
            Source::Block(block) => match matching::contents(block) {
                Ok(contents) => {
                    for index in matching::block_series(&contents, selectors, range) {
                        each(&mut contents.labels(index));
                    }
                }
                Err(error) => tracing::error!(%error, "labels are missing"),
            },
        }
    }
}

pub fn profile_types(sources: &[Source], range: &Range) -> Vec<ProfileType> {
    let ids = values(sources, labels::PROFILE_TYPE, &[], range);
    ids.iter().filter_map(|id| ProfileType::parse(id).ok()).collect()
}

/// Distinct label sets, cut down to the names that are asked for, if any are.
pub fn sets(
    sources: &[Source],
    selectors: &[Selector],
    names: &[String],
    range: &Range,
) -> BTreeSet<LabelSet> {
    let mut sets = BTreeSet::new();
    sets_of(sources, selectors, range, |labels| {
        let set: LabelSet = labels
            .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if !set.is_empty() {
            sets.insert(set);
        }
    });
    sets
}
