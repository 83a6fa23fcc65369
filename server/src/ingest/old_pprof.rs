//! What older clients mean by a pprof: its metric name, and repairs of what some of them got wrong.

use protocol::profile::Profile;
use serde::Deserialize;
use std::collections::HashMap;

/// What a client says of a sample type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SampleType {
    #[serde(rename = "display-name")]
    display_name: String,
    cumulative: Option<bool>,
}

/// The sample types of a form, by name.
pub(super) type SampleTypes = HashMap<String, SampleType>;

/// Whether values count from the start of the program where nothing says so: those that only grow do.
pub(super) fn is_cumulative(types: &SampleTypes, name: &str) -> bool {
    let said = types.get(name).and_then(|configured| configured.cumulative);
    said.unwrap_or(matches!(name, "alloc_objects" | "alloc_space" | "contentions" | "delay"))
}

fn string(profile: &Profile, index: i64) -> &str {
    usize::try_from(index)
        .ok()
        .and_then(|index| profile.string_table.get(index))
        .map_or("", String::as_str)
}

/// The kind of profile by its sample types, as the clients' own configuration calls them.
pub(super) fn metric_name(profile: &Profile, types: &SampleTypes) -> String {
    let names: Vec<&str> =
        profile.sample_type.iter().map(|value_type| string(profile, value_type.r#type)).collect();
    if names.contains(&"wall") {
        return "wall".to_owned();
    }
    for name in &names {
        let display = match types.get(*name).map(|configured| configured.display_name.as_str()) {
            Some(configured) if !configured.is_empty() => configured,
            _ => match *name {
                "samples" => "cpu",
                "goroutine" => "goroutines",
                "contentions" => "mutex_count",
                "delay" => "mutex_duration",
                other => other,
            },
        };
        let has = |part| display.contains(part);
        if has("cpu") {
            return "process_cpu".to_owned();
        }
        if ["alloc_", "inuse_", "space", "objects"].iter().any(|part| has(part)) {
            return "memory".to_owned();
        }
        for kind in ["mutex_", "block_"] {
            if has(kind) {
                return kind.trim_end_matches('_').to_owned();
            }
        }
        if has("goroutines") {
            return "goroutines".to_owned();
        }
    }
    names.first().map_or_else(String::new, |name| (*name).to_owned())
}

/// Interpreters' functions are found by their file.
///
/// One long file name may belong to every function, so what is added is bounded too.
pub(super) fn file_before_function(profile: &mut Profile, only_relative: bool, max_bytes: usize) {
    let mut added_bytes: usize = 0;
    for index in 0..profile.function.len() {
        let Some(function) = profile.function.get(index) else { continue };
        let (file, name) = (string(profile, function.filename), string(profile, function.name));
        if file.is_empty() || (only_relative && file.starts_with('/')) {
            continue;
        }
        let joined_bytes = file.len().saturating_add(name.len()).saturating_add(1);
        added_bytes = added_bytes.saturating_add(joined_bytes);
        if added_bytes > max_bytes {
            return;
        }
        let joined = format!("{file} {name}");
        let new = i64::try_from(profile.string_table.len()).unwrap_or(i64::MAX);
        profile.string_table.push(joined);
        if let Some(function) = profile.function.get_mut(index) {
            function.name = new;
        }
    }
}

/// Old .NET clients send function ids of 0, meaning the id of the location with the same index, and `-` in sample types.
pub(super) fn repair_dotnet(profile: &mut Profile) {
    let types: Vec<i64> = profile.sample_type.iter().map(|value_type| value_type.r#type).collect();
    for index in types {
        if let Some(text) =
            usize::try_from(index).ok().and_then(|index| profile.string_table.get_mut(index))
        {
            *text = text.replace('-', "_");
        }
    }
    let broken = profile.function.iter().all(|function| function.id == 0);
    if broken && profile.function.len() == profile.location.len() {
        for (function, location) in profile.function.iter_mut().zip(&profile.location) {
            function.id = location.id;
        }
    }
}
