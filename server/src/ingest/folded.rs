//! Folded stacks, `a;b;c 12` a line, root first -> a pprof with one sample type, so that one normalization serves all formats.

use crate::ingest::suffix::Kind;
use protocol::profile::{Function, Line, Location, Profile, Sample, ValueType};
use std::collections::HashMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// Each line ends with its count.
    Folded,
    /// Each line counts 1.
    Lines,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("folded stacks are not UTF-8")]
    NotText,
    #[error("line {0} of the folded stacks does not end with a count")]
    NoCount(usize),
    #[error("the folded stacks have more than {0} distinct functions or lines")]
    TooMany(usize),
}

/// Every value is multiplied by `scale`.
pub(super) fn parse(
    body: &[u8],
    counting: Counting,
    kind: Kind,
    scale: i64,
    max: usize,
) -> Result<Profile, Error> {
    let Ok(text) = std::str::from_utf8(body) else { return Err(Error::NotText) };
    let mut builder = Builder::new(kind, scale);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (stack, count) = match counting {
            Counting::Lines => (line, 1),
            Counting::Folded => line
                .rsplit_once(char::is_whitespace)
                .and_then(|(stack, count)| Some((stack.trim_end(), count.parse::<i64>().ok()?)))
                .ok_or(Error::NoCount(index.saturating_add(1)))?,
        };
        builder.add(stack, count);
        if builder.ids.len() > max || builder.profile.sample.len() > max {
            return Err(Error::TooMany(max));
        }
    }
    Ok(builder.profile)
}

struct Builder<'a> {
    profile: Profile,
    scale: i64,
    ids: HashMap<&'a str, u64>,
}

impl<'a> Builder<'a> {
    fn new(kind: Kind, scale: i64) -> Builder<'a> {
        let strings = ["", kind.sample_type, kind.sample_unit, kind.period_type, kind.period_unit];
        let profile = Profile {
            string_table: strings.map(str::to_owned).to_vec(),
            sample_type: vec![ValueType { r#type: 1, unit: 2 }],
            period_type: Some(ValueType { r#type: 3, unit: 4 }),
            period: if kind.is_time { scale } else { 0 },
            ..Profile::default()
        };
        Builder { profile, scale, ids: HashMap::new() }
    }

    fn add(&mut self, stack: &'a str, count: i64) {
        let location_id = stack
            .split(';')
            .rev()
            .filter(|name| !name.is_empty())
            .map(|name| self.location(name))
            .collect();
        let value = vec![count.saturating_mul(self.scale)];
        self.profile.sample.push(Sample { location_id, value, label: Vec::new() });
    }

    fn location(&mut self, name: &'a str) -> u64 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let index = i64::try_from(self.profile.string_table.len()).unwrap_or(i64::MAX);
        let id = u64::try_from(self.ids.len()).unwrap_or(u64::MAX).saturating_add(1);
        self.profile.string_table.push(name.to_owned());
        self.profile.function.push(Function {
            id,
            name: index,
            system_name: index,
            ..Function::default()
        });
        let line = vec![Line { function_id: id, ..Line::default() }];
        self.profile.location.push(Location { id, line, ..Location::default() });
        self.ids.insert(name, id);
        id
    }
}
