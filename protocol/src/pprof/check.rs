//! Every reference of a decoded profile, followed once.

use crate::profile::Profile;
use std::collections::HashSet;

type Check = Result<(), &'static str>;

pub(super) fn check(profile: &Profile) -> Check {
    if profile.string_table.first().is_none_or(|first| !first.is_empty()) {
        return Err("the first string is not empty");
    }
    let string = |index: i64| {
        let in_table = usize::try_from(index).is_ok_and(|index| index < profile.string_table.len());
        if in_table { Ok(()) } else { Err("a string is out of range") }
    };
    header(profile, &string)?;
    let mappings = ids(
        profile.mapping.iter().map(|mapping| mapping.id),
        "a mapping id is 0",
        "a mapping id is repeated",
    )?;
    let functions = ids(
        profile.function.iter().map(|function| function.id),
        "a function id is 0",
        "a function id is repeated",
    )?;
    let locations = ids(
        profile.location.iter().map(|location| location.id),
        "a location id is 0",
        "a location id is repeated",
    )?;
    for mapping in &profile.mapping {
        string(mapping.filename)?;
        string(mapping.build_id)?;
    }
    for function in &profile.function {
        string(function.name)?;
        string(function.system_name)?;
        string(function.filename)?;
    }
    for location in &profile.location {
        // 0 = no mapping, as interpreters send it.
        if location.mapping_id != 0 && !mappings.contains(&location.mapping_id) {
            return Err("a location's mapping is missing");
        }
        if location.line.iter().any(|line| !functions.contains(&line.function_id)) {
            return Err("a line's function is missing");
        }
    }
    samples(profile, &locations, &string)
}

fn header(profile: &Profile, string: &impl Fn(i64) -> Check) -> Check {
    for value_type in profile.sample_type.iter().chain(&profile.period_type) {
        string(value_type.r#type)?;
        string(value_type.unit)?;
    }
    for &index in &profile.comment {
        string(index)?;
    }
    string(profile.drop_frames)?;
    string(profile.keep_frames)?;
    string(profile.default_sample_type)
}

fn samples(profile: &Profile, locations: &HashSet<u64>, string: &impl Fn(i64) -> Check) -> Check {
    for sample in &profile.sample {
        if sample.value.len() != profile.sample_type.len() {
            return Err("a sample has not one value for each sample type");
        }
        if sample.location_id.iter().any(|id| !locations.contains(id)) {
            return Err("a sample's location is missing");
        }
        for label in &sample.label {
            string(label.key)?;
            string(label.str)?;
            string(label.num_unit)?;
        }
    }
    Ok(())
}

fn ids(
    ids: impl Iterator<Item = u64>,
    zero: &'static str,
    repeated: &'static str,
) -> Result<HashSet<u64>, &'static str> {
    let mut seen = HashSet::new();
    for id in ids {
        if id == 0 {
            return Err(zero);
        }
        if !seen.insert(id) {
            return Err(repeated);
        }
    }
    Ok(seen)
}
