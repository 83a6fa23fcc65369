//! Stacks of names, one after the other -> a pprof, so that one normalization serves all formats.

use protocol::profile::{Function, Label, Line, Location, Profile, Sample, ValueType};
use std::collections::HashMap;

/// What one body may become; real profiles are far below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Samples, and distinct frames.
    pub samples: usize,
    /// Frames of all samples together.
    pub frames: usize,
    /// Frames of one sample; those nearest to the root are left out.
    pub depth: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the body has more than {limit} {what}; send a shorter time at once, or raise limits.profile_samples and limits.profile"
)]
pub struct TooMany {
    pub what: &'static str,
    pub limit: usize,
}

/// A type and its unit.
pub(super) type Named<'a> = (&'a str, &'a str);

pub(super) struct Builder {
    profile: Profile,
    bounds: Bounds,
    n_frames: usize,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<(u64, i64), u64>,
}

impl Builder {
    pub(super) fn new(types: &[Named<'_>], period_type: Named<'_>, bounds: Bounds) -> Builder {
        let mut builder = Builder {
            profile: Profile { string_table: vec![String::new()], ..Profile::default() },
            bounds,
            n_frames: 0,
            strings: HashMap::from([(String::new(), 0)]),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        let types = types.iter().map(|named| builder.value_type(*named)).collect();
        builder.profile.sample_type = types;
        builder.profile.period_type = Some(builder.value_type(period_type));
        builder
    }

    pub(super) fn set_period(&mut self, period: i64) {
        self.profile.period = period;
    }

    pub(super) fn depth(&self) -> usize {
        self.bounds.depth
    }

    pub(super) fn finish(self) -> Profile {
        self.profile
    }

    pub(super) fn string(&mut self, text: &str) -> i64 {
        if let Some(&index) = self.strings.get(text) {
            return index;
        }
        let index = i64::try_from(self.profile.string_table.len()).unwrap_or(i64::MAX);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    /// The id of the location of this function, file and line; a line of 0 is none.
    pub(super) fn location(&mut self, name: &str, file: &str, line: i64) -> Result<u64, TooMany> {
        let (name, filename) = (self.string(name), self.string(file));
        let next = next_id(self.functions.len());
        let functions = &mut self.profile.function;
        let function_id = *self.functions.entry((name, filename)).or_insert_with(|| {
            let system_name = name;
            functions.push(Function { id: next, name, system_name, filename, start_line: 0 });
            next
        });
        let next = next_id(self.locations.len());
        let locations = &mut self.profile.location;
        let id = *self.locations.entry((function_id, line)).or_insert_with(|| {
            let line = vec![Line { function_id, line, column: 0 }];
            locations.push(Location { id: next, line, ..Location::default() });
            next
        });
        let limit = self.bounds.samples;
        if self.locations.len() > limit {
            return Err(TooMany { what: "distinct frames", limit });
        }
        Ok(id)
    }

    /// `leaf_first` are ids of locations.
    pub(super) fn sample(
        &mut self,
        leaf_first: impl Iterator<Item = u64>,
        value: Vec<i64>,
        labels: &[(i64, i64)],
    ) -> Result<(), TooMany> {
        let location_id: Vec<u64> = leaf_first.take(self.bounds.depth).collect();
        self.n_frames = self.n_frames.saturating_add(location_id.len());
        if self.n_frames > self.bounds.frames {
            return Err(TooMany { what: "frames", limit: self.bounds.frames });
        }
        if self.profile.sample.len() >= self.bounds.samples {
            return Err(TooMany { what: "samples", limit: self.bounds.samples });
        }
        let label = |(key, str): &(i64, i64)| Label { key: *key, str: *str, ..Label::default() };
        let label = labels.iter().map(label).collect();
        self.profile.sample.push(Sample { location_id, value, label });
        Ok(())
    }

    fn value_type(&mut self, (name, unit): Named<'_>) -> ValueType {
        ValueType { r#type: self.string(name), unit: self.string(unit) }
    }
}

fn next_id(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX).saturating_add(1)
}
