//! `POST /ingest`: query parameters and a body in one of several formats -> normalized profiles.

use crate::ingest::folded::{self, Counting};
use crate::ingest::labels::{self, Labels};
use crate::ingest::{Config, NormalizedProfile, attime, multipart, name, normalize, suffix};
use protocol::pprof;
use protocol::profile::Profile;
use serde::Deserialize;
use std::collections::HashMap;

const DEFAULT_SAMPLE_RATE: u32 = 100;
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// The query parameters, all texts: clients send empty ones and wrong numbers, which mean the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Query {
    pub name: String,
    pub from: String,
    pub until: String,
    #[serde(rename = "sampleRate")]
    pub sample_rate: String,
    #[serde(rename = "spyName")]
    pub spy_name: String,
    pub format: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("query parameter 'name' is missing; send the name of the application in it")]
    NoName,
    #[error(transparent)]
    Name(#[from] name::Error),
    #[error("format '{0}' is not supported; send pprof, folded or lines")]
    Format(&'static str),
    #[error("form has no part 'profile'")]
    NoProfile,
    #[error("body is no multipart form")]
    NotAForm,
    #[error(
        "unsupported client version. Please update github.com/grafana/pyroscope-go to the latest version"
    )]
    PreviousProfile,
    #[error("part 'sample_type_config' is not JSON: {0}")]
    SampleTypes(#[source] serde_json::Error),
    #[error(transparent)]
    Folded(#[from] folded::Error),
    #[error(transparent)]
    Pprof(#[from] pprof::Error),
    #[error(transparent)]
    Profile(#[from] super::Error),
}

#[derive(Debug, Default, Deserialize)]
struct SampleType {
    #[serde(default, rename = "display-name")]
    display_name: String,
}

enum Format {
    Pprof,
    Form,
    Folded(Counting),
}

pub fn read(
    query: &Query,
    content_type: &str,
    body: &[u8],
    config: &Config,
    now_ns: i64,
) -> Result<NormalizedProfile, Error> {
    if query.name.is_empty() {
        return Err(Error::NoName);
    }
    let name = name::parse(&query.name)?;
    let from_ns = attime::parse(&query.from, now_ns).unwrap_or(now_ns);
    let (mut profile, labels) = match format(query, content_type)? {
        Format::Folded(counting) => stacks(query, name, counting, body, config)?,
        Format::Pprof => decoded(query, name, body, &HashMap::new(), config)?,
        Format::Form => form(query, name, content_type, body, config)?,
    };
    // Profiles without a time of their own, or with one in the first day of 1970 (milliseconds taken for nanoseconds).
    if profile.time_nanos < DAY_NS {
        profile.time_nanos = from_ns;
    }
    Ok(normalize::normalize(&profile, &labels, None, config, now_ns)?)
}

/// The order of these questions is visible to clients.
fn format(query: &Query, content_type: &str) -> Result<Format, Error> {
    let format = query.format.as_str();
    if format == "trie" || content_type == "binary/octet-stream+trie" {
        return Err(Error::Format("trie"));
    }
    if format == "tree" || content_type == "binary/octet-stream+tree" {
        return Err(Error::Format("tree"));
    }
    match format {
        "lines" => Ok(Format::Folded(Counting::Lines)),
        "jfr" => Err(Error::Format("jfr")),
        "pprof" => Ok(Format::Pprof),
        "speedscope" => Err(Error::Format("speedscope")),
        _ if content_type.contains("multipart/form-data") => Ok(Format::Form),
        _ => Ok(Format::Folded(Counting::Folded)),
    }
}

fn sample_rate(query: &Query) -> u32 {
    query.sample_rate.parse().unwrap_or(DEFAULT_SAMPLE_RATE)
}

fn stacks(
    query: &Query,
    name: name::Name,
    counting: Counting,
    body: &[u8],
    config: &Config,
) -> Result<(Profile, Labels), Error> {
    let text = pprof::gunzip(body, config.max_profile_bytes)?;
    let (app, mut kind) = suffix::split(&name.app);
    let rate = sample_rate(query);
    if kind.is_time && rate == 0 {
        kind = suffix::UNSCALED;
    }
    let scale =
        if kind.is_time { 1_000_000_000_i64.checked_div(i64::from(rate)).unwrap_or(1) } else { 1 };
    let profile = folded::parse(&text, counting, kind, scale, config.max_samples)?;
    let labels = app_labels(app, name.labels, kind.name, query);
    Ok((profile, labels))
}

fn form(
    query: &Query,
    name: name::Name,
    content_type: &str,
    body: &[u8],
    config: &Config,
) -> Result<(Profile, Labels), Error> {
    let plain = pprof::gunzip(body, config.max_profile_bytes)?;
    let parts = multipart::parts(content_type, &plain).ok_or(Error::NotAForm)?;
    if parts.get("prev_profile").is_some_and(|previous| !previous.is_empty()) {
        return Err(Error::PreviousProfile);
    }
    let types = match parts.get("sample_type_config") {
        Some(json) => serde_json::from_slice(json).map_err(Error::SampleTypes)?,
        None => HashMap::new(),
    };
    decoded(query, name, parts.get("profile").ok_or(Error::NoProfile)?, &types, config)
}

fn decoded(
    query: &Query,
    name: name::Name,
    raw: &[u8],
    types: &HashMap<String, SampleType>,
    config: &Config,
) -> Result<(Profile, Labels), Error> {
    let mut profile = pprof::parse(raw, config.max_profile_bytes)?;
    if query.spy_name == "dotnetspy" {
        repair_dotnet(&mut profile);
    }
    pprof::check(&profile)?;
    if matches!(query.spy_name.as_str(), "pyspy" | "rbspy" | "scripting") {
        file_before_function(&mut profile, query.spy_name == "pyspy", config.max_profile_bytes);
    }
    let labels = app_labels(&name.app, name.labels, &metric_name(&profile, types), query);
    Ok((profile, labels))
}

fn app_labels(app: &str, pairs: Vec<(String, String)>, metric_name: &str, query: &Query) -> Labels {
    let mut labels = Labels::new(pairs);
    let spy = if query.spy_name.is_empty() { "unknown" } else { &query.spy_name };
    labels.set(labels::NAME, metric_name);
    labels.set_if_absent(labels::DELTA, "false");
    labels.set_if_absent("pyroscope_spy", spy);
    if labels.get(labels::SERVICE).is_some() {
        labels.set_if_absent("app_name", app);
    } else {
        labels.set(labels::SERVICE, app);
    }
    labels
}

fn string(profile: &Profile, index: i64) -> &str {
    usize::try_from(index)
        .ok()
        .and_then(|index| profile.string_table.get(index))
        .map_or("", String::as_str)
}

/// The kind of profile by its sample types, as the clients' own configuration calls them.
fn metric_name(profile: &Profile, types: &HashMap<String, SampleType>) -> String {
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
fn file_before_function(profile: &mut Profile, only_relative: bool, max_bytes: usize) {
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
fn repair_dotnet(profile: &mut Profile) {
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
