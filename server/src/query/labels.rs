//! Names, values and sets of labels, and the profile types that there are.

use crate::ingest::labels;
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::{View, matching};
use crate::store::Source;
use crate::store::segment::Series;
use std::collections::BTreeSet;

/// Sorted by name.
pub type LabelSet = Vec<(String, String)>;

pub fn names(view: &View, selectors: &[Selector], range: &Range) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    each(view, selectors, range, |name, _| {
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
    });
    names
}

pub fn values(view: &View, label: &str, selectors: &[Selector], range: &Range) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    each(view, selectors, range, |name, value| {
        if name == label && !values.contains(value) {
            values.insert(value.to_owned());
        }
    });
    values
}

fn each(view: &View, selectors: &[Selector], range: &Range, mut label: impl FnMut(&str, &str)) {
    sets_of(view, selectors, range, |set| set.for_each(|(name, value)| label(name, value)));
}

/// Gives the labels of each series that is meant. A block that cannot be read has none.
fn sets_of(
    view: &View,
    selectors: &[Selector],
    range: &Range,
    mut each: impl FnMut(&mut dyn Iterator<Item = (&str, &str)>),
) {
    for source in &view.sources {
        match source {
            Source::Head(segment) => {
                let data = segment.read();
                for index in matching::series(view, &data, selectors, range) {
                    each(&mut data.labels(index).filter(is_shown));
                }
            }
            Source::Block(block) => match matching::contents(block) {
                Ok(contents) => {
                    for index in matching::block_series(view, &contents, selectors, range) {
                        each(&mut contents.labels(index).filter(is_shown));
                    }
                }
                Err(error) => tracing::error!(%error, "labels are missing"),
            },
        }
    }
}

/// The label that says whose a series is is ours alone.
fn is_shown((name, _): &(&str, &str)) -> bool {
    *name != labels::TENANT
}

/// The times of the oldest and newest profile, as well as blocks know them.
pub fn bounds(view: &View) -> Option<(i64, i64)> {
    let everything = Range { start_ms: i64::MIN, end_ms: i64::MAX };
    let mut all: Option<(i64, i64)> = None;
    let mut add = |(from, to): (i64, i64)| {
        let (oldest, newest) = all.unwrap_or((from, to));
        all = Some((oldest.min(from), newest.max(to)));
    };
    for source in &view.sources {
        match source {
            Source::Head(segment) => {
                let data = segment.read();
                for index in matching::series(view, &data, &[], &everything) {
                    let profiles = data.series.get(index).into_iter().flat_map(Series::profiles);
                    profiles.for_each(|profile| add((profile.time_ns, profile.time_ns)));
                }
            }
            Source::Block(block) => {
                if let Ok(contents) = matching::contents(block) {
                    let series = matching::block_series(view, &contents, &[], &everything);
                    series
                        .into_iter()
                        .filter_map(|index| contents.bounds(index))
                        .for_each(&mut add);
                }
            }
        }
    }
    all
}

pub fn profile_types(view: &View, range: &Range) -> Vec<ProfileType> {
    let ids = values(view, labels::PROFILE_TYPE, &[], range);
    ids.iter().filter_map(|id| ProfileType::parse(id).ok()).collect()
}

/// Distinct label sets, cut down to the names that are asked for, if any are.
pub fn sets(
    view: &View,
    selectors: &[Selector],
    names: &[String],
    range: &Range,
) -> BTreeSet<LabelSet> {
    let mut sets = BTreeSet::new();
    sets_of(view, selectors, range, |labels| {
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
