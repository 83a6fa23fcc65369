//! An export request of OpenTelemetry -> normalized profiles, each judged alone.

use crate::ingest::labels::{self, Labels};
use crate::ingest::normalize::{self, UNKNOWN_SERVICE};
use crate::ingest::{Config, Error, NormalizedProfile};
use protocol::otlp::any_value::Value;
use protocol::otlp::{
    AnyValue, ExportProfilesServiceRequest, KeyValue, Profile as OtlpProfile, ProfilesDictionary,
    Sample,
};
use protocol::profile::{self, Label, Profile, ValueType};
use std::collections::HashMap;

const SERVICE: &str = "service.name";
const EXECUTABLE: &str = "process.executable.name";
const BUILD_ID: &str = "process.executable.build_id.gnu";

pub fn read(
    request: &ExportProfilesServiceRequest,
    config: &Config,
    now_ns: i64,
) -> Vec<Result<NormalizedProfile, Error>> {
    let mut results = Vec::new();
    let Some(dictionary) = &request.dictionary else {
        return vec![Err(Error::Otlp { what: "the dictionary is missing" })];
    };
    let tables = Tables::new(dictionary);
    for resource in &request.resource_profiles {
        let pair = |attribute: &KeyValue| pair(attribute, dictionary);
        let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
        let of_resource: Vec<(String, String)> = attributes.filter_map(pair).collect();
        for scope in &resource.scope_profiles {
            let attributes = scope.scope.iter().flat_map(|scope| &scope.attributes);
            let mut pairs = of_resource.clone();
            pairs.extend(attributes.filter_map(pair));
            for profile in &scope.profiles {
                results.push(one(&tables, profile, &pairs, config, now_ns));
            }
        }
    }
    if results.is_empty() {
        results.push(Err(Error::NoProfiles));
    }
    results
}

fn one(
    tables: &Tables<'_>,
    profile: &OtlpProfile,
    pairs: &[(String, String)],
    config: &Config,
    now_ns: i64,
) -> Result<NormalizedProfile, Error> {
    let service = service_of(pairs);
    let (name, converted) = tables.convert(profile, &service, config)?;
    protocol::pprof::check(&converted)
        .map_err(|source| Error::Profile { labels: Labels::default(), source })?;
    let id = <[u8; 16]>::try_from(profile.profile_id.as_slice()).ok().map(u128::from_be_bytes);
    let id = id.filter(|id| *id != 0);
    let mut labels = labels_of(&name, pairs);
    if !tables.names_services(profile) {
        labels.set(labels::SERVICE, &service);
    }
    normalize::normalize(&converted, &labels, id, config, now_ns)
}

/// The first value of an attribute counts, and the resource's come before the scope's.
fn labels_of(name: &str, pairs: &[(String, String)]) -> Labels {
    let mut labels = Labels::default();
    for (key, value) in pairs.iter().filter(|(key, value)| key != SERVICE && !value.is_empty()) {
        labels.set_if_absent(key, value);
    }
    labels.set(labels::NAME, name);
    labels.set(labels::DELTA, "false");
    labels.set("__otel__", "true");
    labels
}

fn service_of(pairs: &[(String, String)]) -> String {
    let attribute = |name: &str| {
        pairs.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value)
    };
    match (attribute(SERVICE), attribute(EXECUTABLE)) {
        (Some(service), _) => service.clone(),
        (None, Some(executable)) => format!("{UNKNOWN_SERVICE}:{executable}"),
        (None, None) => UNKNOWN_SERVICE.to_owned(),
    }
}

fn pair(attribute: &KeyValue, dictionary: &ProfilesDictionary) -> Option<(String, String)> {
    let key = match attribute.key.as_str() {
        "" => at(&dictionary.string_table, attribute.key_strindex)?,
        key => key,
    };
    Some((key.to_owned(), text_of(attribute.value.as_ref()?, dictionary)?))
}

/// Lists and bytes are no labels.
fn text_of(value: &AnyValue, dictionary: &ProfilesDictionary) -> Option<String> {
    match value.value.as_ref()? {
        Value::StringValueStrindex(index) => at(&dictionary.string_table, *index).cloned(),
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_) => None,
    }
}

/// The dictionary, and texts of its attributes.
struct Tables<'a> {
    dictionary: &'a ProfilesDictionary,
    /// Key and value, for those that can be a label.
    attributes: Vec<Option<(&'a str, String)>>,
}

fn at<T>(table: &[T], index: i32) -> Option<&T> {
    usize::try_from(index).ok().and_then(|index| table.get(index))
}

impl<'a> Tables<'a> {
    fn new(dictionary: &'a ProfilesDictionary) -> Tables<'a> {
        let text = |index: i32| at(&dictionary.string_table, index).map_or("", String::as_str);
        let attribute = |attribute: &'a protocol::otlp::KeyValueAndUnit| {
            let key = text(attribute.key_strindex);
            let value = text_of(attribute.value.as_ref()?, dictionary)?;
            (!key.is_empty() && !value.is_empty()).then_some((key, value))
        };
        let attributes = dictionary.attribute_table.iter().map(attribute).collect();
        Tables { dictionary, attributes }
    }

    fn text(&self, index: i32) -> Result<&'a str, Error> {
        match at(&self.dictionary.string_table, index) {
            Some(text) => Ok(text),
            // The first is empty; a table without it has it all the same.
            None if index == 0 => Ok(""),
            None => Err(Error::Otlp { what: "a string is out of range" }),
        }
    }

    fn attribute(&self, index: i32) -> Option<(&'a str, &str)> {
        let (key, value) = at(&self.attributes, index)?.as_ref()?;
        Some((key, value))
    }

    /// Whether samples say themselves of which service they are.
    fn names_services(&self, profile: &OtlpProfile) -> bool {
        let names = |index: &i32| self.attribute(*index).is_some_and(|(key, _)| key == SERVICE);
        profile.samples.iter().any(|sample| sample.attribute_indices.iter().any(names))
    }

    /// The name of the profile, and the profile as a pprof of what its samples refer to. Where some samples name their
    /// service, `service` is that of the others.
    fn convert(
        &self,
        from: &OtlpProfile,
        service: &str,
        config: &Config,
    ) -> Result<(String, Profile), Error> {
        if from.samples.len() > config.max_samples {
            let (samples, limit) = (from.samples.len(), config.max_samples);
            return Err(Error::TooManySamples { labels: Labels::default(), samples, limit });
        }
        let value_type = |value_type: Option<&protocol::otlp::ValueType>| match value_type {
            None => Ok(("", "")),
            Some(found) => Ok((self.text(found.type_strindex)?, self.text(found.unit_strindex)?)),
        };
        let sampled = value_type(from.sample_type.as_ref())?;
        let period_type = value_type(from.period_type.as_ref())?;
        let is_cpu = sampled == ("samples", "count") && period_type == ("cpu", "nanoseconds");
        let (name, sampled, factor) = match (sampled, period_type.0) {
            _ if is_cpu => ("process_cpu", ("cpu", "nanoseconds"), from.period.max(1)),
            (("off_cpu", "nanoseconds"), _) => ("off_cpu", sampled, 1),
            (_, "") => (sampled.0, sampled, 1),
            (_, period) => (period, sampled, 1),
        };
        let mut conversion = Conversion::new(self, config);
        let types = [sampled, period_type].map(|(name, unit)| ValueType {
            r#type: conversion.string(name),
            unit: conversion.string(unit),
        });
        let others = self.names_services(from).then_some(service);
        for sample in &from.samples {
            conversion.sample(sample, factor, others)?;
        }
        let [sample_type, period_type] = types;
        let profile = Profile {
            sample_type: vec![sample_type],
            period_type: Some(period_type),
            period: from.period,
            time_nanos: i64::try_from(from.time_unix_nano).unwrap_or(i64::MAX),
            ..conversion.profile
        };
        Ok((plain_name(name), profile))
    }
}

/// As names of profiles are written.
fn plain_name(name: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || char == ':' { char } else { '_' };
    name.chars().map(plain).collect()
}

/// The pprof of one profile as it grows.
struct Conversion<'a> {
    tables: &'a Tables<'a>,
    profile: Profile,
    max_frames: usize,
    n_frames: usize,
    max_depth: usize,
    strings: HashMap<String, i64>,
    attributes: HashMap<i32, Option<(i64, i64)>>,
    locations: HashMap<i32, u64>,
    functions: HashMap<i32, u64>,
    mappings: HashMap<i32, u64>,
}

impl<'a> Conversion<'a> {
    fn new(tables: &'a Tables<'a>, config: &Config) -> Conversion<'a> {
        Conversion {
            tables,
            profile: Profile { string_table: vec![String::new()], ..Profile::default() },
            max_frames: config.max_profile_bytes,
            n_frames: 0,
            max_depth: config.max_stack_depth,
            strings: HashMap::from([(String::new(), 0)]),
            attributes: HashMap::new(),
            locations: HashMap::new(),
            functions: HashMap::new(),
            mappings: HashMap::new(),
        }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&index) = self.strings.get(text) {
            return index;
        }
        let index = i64::try_from(self.profile.string_table.len()).unwrap_or(i64::MAX);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    fn sample(&mut self, sample: &Sample, factor: i64, service: Option<&str>) -> Result<(), Error> {
        let stack = match at(&self.tables.dictionary.stack_table, sample.stack_index) {
            Some(stack) => stack.location_indices.as_slice(),
            None if sample.stack_index == 0 => &[],
            None => return Err(Error::Otlp { what: "a stack is out of range" }),
        };
        let kept = stack.get(..self.max_depth).unwrap_or(stack);
        self.n_frames = self.n_frames.saturating_add(kept.len());
        if self.n_frames > self.max_frames {
            return Err(Error::Otlp { what: "its stacks have too many frames" });
        }
        let mut location_id = Vec::with_capacity(kept.len());
        for index in kept {
            location_id.push(self.location(*index)?);
        }
        let sum = if sample.values.is_empty() {
            i64::try_from(sample.timestamps_unix_nano.len()).unwrap_or(i64::MAX)
        } else {
            sample.values.iter().copied().fold(0, i64::saturating_add)
        };
        let label = self.labels(sample, service)?;
        let value = vec![sum.saturating_mul(factor)];
        self.profile.sample.push(profile::Sample { location_id, value, label });
        Ok(())
    }

    fn labels(&mut self, sample: &Sample, service: Option<&str>) -> Result<Vec<Label>, Error> {
        let label = |(key, str)| Label { key, str, ..Label::default() };
        let mut labels = Vec::new();
        for index in &sample.attribute_indices {
            labels.extend(self.attribute(*index)?.map(label));
        }
        let service_key = self.string(labels::SERVICE);
        if let Some(service) = service
            && labels.iter().all(|label| label.key != service_key)
        {
            labels.push(label((service_key, self.string(service))));
        }
        let link = match at(&self.tables.dictionary.link_table, sample.link_index) {
            Some(link) => link,
            None if sample.link_index == 0 => return Ok(labels),
            None => return Err(Error::Otlp { what: "a link is out of range" }),
        };
        if let Ok(id) = <[u8; 16]>::try_from(link.trace_id.as_slice()).map(u128::from_be_bytes)
            && id != 0
        {
            labels.push(label((self.string("trace_id"), self.string(&format!("{id:032x}")))));
        }
        if let Ok(id) = <[u8; 8]>::try_from(link.span_id.as_slice()).map(u64::from_be_bytes)
            && id != 0
        {
            labels.push(label((self.string("span_id"), self.string(&format!("{id:016x}")))));
        }
        Ok(labels)
    }

    /// Indices of the strings of a label; none for what is no label.
    fn attribute(&mut self, index: i32) -> Result<Option<(i64, i64)>, Error> {
        if let Some(&known) = self.attributes.get(&index) {
            return Ok(known);
        }
        let tables = self.tables;
        let strings = match tables.attribute(index) {
            Some((SERVICE, service)) => Some((self.string(labels::SERVICE), self.string(service))),
            Some((key, value)) => Some((self.string(key), self.string(value))),
            None if at(&tables.attributes, index).is_some() || index == 0 => None,
            None => return Err(Error::Otlp { what: "an attribute is out of range" }),
        };
        self.attributes.insert(index, strings);
        Ok(strings)
    }

    fn location(&mut self, index: i32) -> Result<u64, Error> {
        if let Some(&id) = self.locations.get(&index) {
            return Ok(id);
        }
        let location = at(&self.tables.dictionary.location_table, index)
            .ok_or(Error::Otlp { what: "a location is out of range" })?;
        let mut line = Vec::with_capacity(location.lines.len());
        for found in &location.lines {
            let function_id = self.function(found.function_index)?;
            line.push(profile::Line { function_id, line: found.line, column: found.column });
        }
        let mapping_id = self.mapping(location.mapping_index, !line.is_empty())?;
        let id = next_id(self.profile.location.len());
        self.profile.location.push(profile::Location {
            id,
            mapping_id,
            address: location.address,
            line,
            is_folded: false,
        });
        self.locations.insert(index, id);
        Ok(id)
    }

    fn function(&mut self, index: i32) -> Result<u64, Error> {
        if let Some(&id) = self.functions.get(&index) {
            return Ok(id);
        }
        let found = at(&self.tables.dictionary.function_table, index)
            .ok_or(Error::Otlp { what: "a function is out of range" })?;
        let (name, system_name, filename) = (
            self.tables.text(found.name_strindex)?,
            self.tables.text(found.system_name_strindex)?,
            self.tables.text(found.filename_strindex)?,
        );
        let id = next_id(self.profile.function.len());
        let function = profile::Function {
            id,
            name: self.string(name),
            system_name: self.string(system_name),
            filename: self.string(filename),
            start_line: found.start_line,
        };
        self.profile.function.push(function);
        self.functions.insert(index, id);
        Ok(id)
    }

    /// The first mapping of the table stands for none where it is empty.
    fn mapping(&mut self, index: i32, has_functions: bool) -> Result<u64, Error> {
        if let Some(&id) = self.mappings.get(&index) {
            let known = id.checked_sub(1).and_then(|index| usize::try_from(index).ok());
            if let Some(mapping) = known.and_then(|index| self.profile.mapping.get_mut(index)) {
                mapping.has_functions |= has_functions;
            }
            return Ok(id);
        }
        let found = match at(&self.tables.dictionary.mapping_table, index) {
            Some(found) if index != 0 || found.filename_strindex != 0 => found,
            _ if index == 0 => return Ok(0),
            _ => return Err(Error::Otlp { what: "a mapping is out of range" }),
        };
        let attributes = found.attribute_indices.iter().filter_map(|at| self.tables.attribute(*at));
        let build_id = attributes.into_iter().find(|(key, _)| *key == BUILD_ID);
        let build_id = build_id.map_or(String::new(), |(_, value)| value.to_owned());
        let filename = self.tables.text(found.filename_strindex)?;
        let id = next_id(self.profile.mapping.len());
        let mapping = profile::Mapping {
            id,
            memory_start: found.memory_start,
            memory_limit: found.memory_limit,
            file_offset: found.file_offset,
            filename: self.string(filename),
            build_id: self.string(&build_id),
            has_functions,
            ..profile::Mapping::default()
        };
        self.profile.mapping.push(mapping);
        self.mappings.insert(index, id);
        Ok(id)
    }
}

fn next_id(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX).saturating_add(1)
}
