//! Profiles that count from the start of their program, as the first Go agents sent them: the one before is taken off.

use protocol::profile::Profile;
use std::collections::HashMap;

/// A sample's frames and labels, said without ids: those differ from profile to profile.
type Key<'a> = (Vec<u32>, Vec<(&'a str, &'a str, i64)>);
/// Name, file and line of each of its functions, or the address where there are none.
type Frame<'a> = (u64, Vec<(&'a str, &'a str, i64)>);

/// Where `is_cumulative` says so, the values of `previous` are subtracted; what would be less than 0 began anew and stays.
pub(super) fn subtract(
    current: &mut Profile,
    previous: &Profile,
    is_cumulative: impl Fn(&str) -> bool,
) {
    let types = |profile: &Profile| -> Vec<String> {
        let name =
            |value_type: &protocol::profile::ValueType| text(profile, value_type.r#type).to_owned();
        profile.sample_type.iter().map(name).collect()
    };
    let columns = types(current);
    if columns != types(previous) {
        return;
    }
    let columns: Vec<bool> = columns.iter().map(|name| is_cumulative(name)).collect();
    let mut before: HashMap<Key<'_>, Vec<i64>> = HashMap::new();
    let mut numbers: HashMap<Frame<'_>, u32> = HashMap::new();
    let frames = Frames::new(previous, &mut numbers);
    for sample in &previous.sample {
        let sums = before.entry(frames.key(sample)).or_insert_with(|| vec![0; sample.value.len()]);
        for (sum, value) in sums.iter_mut().zip(&sample.value) {
            *sum = sum.saturating_add(*value);
        }
    }
    let mut values: Vec<Vec<i64>> = Vec::with_capacity(current.sample.len());
    let frames = Frames::new(current, &mut numbers);
    for sample in &current.sample {
        // Duplicates of a stack share what is to be taken off.
        let mut left = before.get_mut(&frames.key(sample));
        let mut new = sample.value.clone();
        for (column, value) in new.iter_mut().enumerate() {
            let is_cumulative = columns.get(column).copied().unwrap_or_default();
            let taken = left.as_mut().and_then(|left| left.get_mut(column));
            if let Some(taken) = taken.filter(|_| is_cumulative)
                && *taken <= *value
            {
                *value = value.saturating_sub(*taken);
                *taken = 0;
            }
        }
        values.push(new);
    }
    for (sample, value) in current.sample.iter_mut().zip(values) {
        sample.value = value;
    }
}

struct Frames<'a> {
    profile: &'a Profile,
    by_location: HashMap<u64, u32>,
}

impl<'a> Frames<'a> {
    fn new(profile: &'a Profile, numbers: &mut HashMap<Frame<'a>, u32>) -> Frames<'a> {
        let functions: HashMap<u64, &protocol::profile::Function> =
            profile.function.iter().map(|function| (function.id, function)).collect();
        let by_location = profile.location.iter().map(|location| {
            let lines = location.line.iter().map(|line| {
                let function = functions.get(&line.function_id);
                let part = |index: Option<i64>| text(profile, index.unwrap_or_default());
                let name = part(function.map(|function| function.name));
                (name, part(function.map(|function| function.filename)), line.line)
            });
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let address = if location.line.is_empty() { location.address } else { 0 };
            let number = *numbers.entry((address, lines.collect())).or_insert(next);
            (location.id, number)
        });
        Frames { profile, by_location: by_location.collect() }
    }

    fn key(&self, sample: &'a protocol::profile::Sample) -> Key<'a> {
        let frames = sample.location_id.iter().filter_map(|id| self.by_location.get(id));
        let labels = sample
            .label
            .iter()
            .map(|label| (text(self.profile, label.key), text(self.profile, label.str), label.num));
        (frames.copied().collect(), labels.collect())
    }
}

fn text(profile: &Profile, index: i64) -> &str {
    usize::try_from(index)
        .ok()
        .and_then(|index| profile.string_table.get(index))
        .map_or("", String::as_str)
}
