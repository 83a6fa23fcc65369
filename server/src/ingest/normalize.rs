//! A checked pprof and its series' labels -> `NormalizedProfile`: split by sample labels and sample types, duplicates summed.

use crate::ingest::labels::{self, Labels};
use crate::ingest::relabel::relabel;
use crate::ingest::symbols::{Function, Line, Location, LocationHead, Mapping, Symbols};
use crate::ingest::{Config, Error, NormalizedProfile, NormalizedSeries};
use protocol::profile::{self, Profile};
use std::collections::{BTreeMap, HashMap};

pub const UNKNOWN_SERVICE: &str = "unknown_service";
/// Labels of single samples that say which request or trace they belong to: a part of their stacks, not of the series.
const PER_SAMPLE: [&str; 3] = ["span_id", "trace_id", "profile_id"];

/// `profile` has passed `pprof::check`.
pub fn normalize(
    profile: &Profile,
    client_labels: &Labels,
    id: Option<u128>,
    config: &Config,
    now_ns: i64,
) -> Result<NormalizedProfile, Error> {
    let labels = series_labels(client_labels, config)?;
    let time_ns = if profile.time_nanos == 0 { now_ns } else { profile.time_nanos };
    check_window(time_ns, &labels, config, now_ns)?;
    if profile.sample.len() > config.max_samples {
        let samples = profile.sample.len();
        return Err(Error::TooManySamples { labels, samples, limit: config.max_samples });
    }
    let types = value_types(profile);
    if types.iter().any(|value_type| value_type.name.contains('-')) {
        return Err(Error::Malformed { labels, what: "the name of a sample type has a -" });
    }
    let mut split = Split::new(profile, config);
    for sample in &profile.sample {
        split.add(sample, &labels)?;
    }
    let period_type = profile
        .period_type
        .map(|value_type| value_type_of(profile, value_type))
        .unwrap_or_default();
    let mut series = Vec::new();
    for (pairs, group) in &split.groups {
        let group_labels = merged(&labels, pairs);
        group_labels
            .check(config)
            .map_err(|source| Error::Labels { labels: group_labels.clone(), source })?;
        for (value_type, rows) in types.iter().zip(group) {
            let rows: Vec<(u32, i64)> =
                rows.iter().filter(|(_, value)| **value != 0).map(|(s, v)| (*s, *v)).collect();
            if !rows.is_empty() {
                let labels = typed(group_labels.clone(), value_type, &period_type);
                series.push(NormalizedSeries { labels, period: profile.period.max(0), rows });
            }
        }
    }
    Ok(NormalizedProfile { time_ns, id, symbols: split.symbols.finish(), series })
}

fn series_labels(client_labels: &Labels, config: &Config) -> Result<Labels, Error> {
    let mut labels = client_labels.clone();
    labels.check(config).map_err(|source| Error::Labels { labels: labels.clone(), source })?;
    labels.remove(labels::SESSION);
    Ok(labels)
}

fn check_window(time_ns: i64, labels: &Labels, config: &Config, now_ns: i64) -> Result<(), Error> {
    let start_ns = now_ns.saturating_sub(config.retention_ns);
    let end_ns = now_ns.saturating_add(config.max_ahead_ns);
    if (start_ns..=end_ns).contains(&time_ns) {
        return Ok(());
    }
    Err(Error::OutsideWindow { labels: labels.clone(), time_ns, start_ns, end_ns })
}

#[derive(Default)]
struct ValueType<'a> {
    name: &'a str,
    unit: &'a str,
}

fn text(profile: &Profile, index: i64) -> &str {
    usize::try_from(index)
        .ok()
        .and_then(|index| profile.string_table.get(index))
        .map_or("", String::as_str)
}

fn value_type_of(profile: &Profile, value_type: profile::ValueType) -> ValueType<'_> {
    ValueType { name: text(profile, value_type.r#type), unit: text(profile, value_type.unit) }
}

fn value_types(profile: &Profile) -> Vec<ValueType<'_>> {
    profile.sample_type.iter().map(|value_type| value_type_of(profile, *value_type)).collect()
}

/// The labels of samples join the labels of the series, which win.
fn merged(labels: &Labels, pairs: &[(&str, &str)]) -> Labels {
    let mut merged = labels.clone();
    for (name, value) in pairs {
        merged.set_if_absent(name, value);
    }
    merged.set_if_absent(labels::SERVICE, UNKNOWN_SERVICE);
    merged
}

fn typed(mut labels: Labels, value_type: &ValueType<'_>, period_type: &ValueType<'_>) -> Labels {
    labels.set(labels::TYPE, value_type.name);
    labels.set(labels::UNIT, value_type.unit);
    labels.set(labels::PERIOD_TYPE, period_type.name);
    labels.set(labels::PERIOD_UNIT, period_type.unit);
    relabel(&mut labels);
    let name = labels.get(labels::NAME).unwrap_or_default();
    let profile_type = format!(
        "{name}:{}:{}:{}:{}",
        value_type.name, value_type.unit, period_type.name, period_type.unit
    );
    labels.set(labels::PROFILE_TYPE, &profile_type);
    let service = labels.get(labels::SERVICE).unwrap_or(UNKNOWN_SERVICE).to_owned();
    labels.set(labels::SERVICE_KEY, &service);
    labels
}

/// Rows of each sample type: stack -> sum.
type Group = Vec<BTreeMap<u32, i64>>;

/// Series that one profile may make by the labels of its samples.
const MAX_SERIES: usize = 5_000;

/// The samples so far, by the labels that they bring.
struct Split<'a> {
    profile: &'a Profile,
    config: &'a Config,
    symbols: Collector<'a>,
    groups: BTreeMap<Vec<(&'a str, &'a str)>, Group>,
}

impl<'a> Split<'a> {
    fn new(profile: &'a Profile, config: &'a Config) -> Split<'a> {
        Split { profile, config, symbols: Collector::new(profile, config), groups: BTreeMap::new() }
    }

    fn add(&mut self, sample: &'a profile::Sample, labels: &Labels) -> Result<(), Error> {
        if sample.label.len() > self.config.max_sample_labels {
            let (labels, count, limit) =
                (labels.clone(), sample.label.len(), self.config.max_sample_labels);
            return Err(Error::TooManySampleLabels { labels, count, limit });
        }
        if sample.value.iter().any(|value| *value < 0)
            || sample.value.iter().all(|value| *value == 0)
        {
            return Ok(());
        }
        let request = self.request(sample);
        let stack = self.symbols.stack(&sample.location_id, request);
        let n_types = sample.value.len();
        let pairs = self.pairs(sample).map_err(|source| {
            let labels = labels.clone();
            Error::Labels { labels, source }
        })?;
        // Each will have all the labels of the profile: the count is held before they are copied.
        let is_full = self.groups.len().saturating_mul(n_types) >= MAX_SERIES;
        if is_full && !self.groups.contains_key(&pairs) {
            let what = "the labels of its samples make more than 5,000 series";
            return Err(Error::Malformed { labels: labels.clone(), what });
        }
        let group = self.groups.entry(pairs).or_insert_with(|| vec![BTreeMap::new(); n_types]);
        for (rows, value) in group.iter_mut().zip(&sample.value) {
            let sum = rows.entry(stack).or_insert(0);
            *sum = sum.saturating_add(*value);
        }
        Ok(())
    }

    /// The ids of the request that was sampled, where they are hexadecimal numbers; others nobody can ask for.
    fn request(&self, sample: &profile::Sample) -> RequestId {
        let label = |names: &[&str], len: usize| {
            let mut labels = sample.label.iter();
            let label = labels.find(|label| names.contains(&text(self.profile, label.key)))?;
            let text = text(self.profile, label.str);
            let id = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == len)?;
            (id != 0).then_some(id)
        };
        RequestId {
            span: label(&["span_id", "profile_id"], 16).and_then(|id| u64::try_from(id).ok()),
            trace: label(&["trace_id"], 32),
        }
    }

    /// The sample's labels with a text, sorted, each name once; numeric ones are dropped. Lengths are held before texts are
    /// compared: every sample may have the same very long one.
    fn pairs(&self, sample: &'a profile::Sample) -> Result<Vec<(&'a str, &'a str)>, labels::Error> {
        let pair =
            |label: &profile::Label| (text(self.profile, label.key), text(self.profile, label.str));
        let mut pairs: Vec<(&str, &str)> = sample.label.iter().map(pair).collect();
        pairs.retain(|(name, value)| {
            !name.is_empty() && !value.is_empty() && !PER_SAMPLE.contains(name)
        });
        for (name, value) in &pairs {
            labels::check_lengths(name, value, self.config)?;
        }
        pairs.sort_unstable();
        pairs.dedup_by(|next, first| next.0 == first.0);
        Ok(pairs)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RequestId {
    span: Option<u64>,
    trace: Option<u128>,
}

impl RequestId {
    /// As they stand beyond a stack's root.
    fn marks(self) -> Vec<LocationHead> {
        let halves = self.trace.map(|id| [(id >> 64) as u64, id as u64]);
        let bits = self.span.into_iter().chain(halves.into_iter().flatten());
        bits.map(LocationHead::mark).collect()
    }
}

/// Takes over the symbols that a stack refers to, and no others.
struct Collector<'a> {
    profile: &'a Profile,
    config: &'a Config,
    out: Symbols,
    functions: HashMap<u64, &'a profile::Function>,
    mappings: HashMap<u64, &'a profile::Mapping>,
    locations: HashMap<u64, &'a profile::Location>,
    new_strings: HashMap<i64, u32>,
    new_functions: HashMap<u64, u32>,
    new_mappings: HashMap<u64, u32>,
    new_locations: HashMap<u64, u32>,
    new_marks: HashMap<LocationHead, u32>,
    new_stacks: HashMap<(&'a [u64], RequestId), u32>,
}

impl<'a> Collector<'a> {
    fn new(profile: &'a Profile, config: &'a Config) -> Collector<'a> {
        Collector {
            profile,
            config,
            out: Symbols { strings: vec![String::new()], ..Symbols::default() },
            functions: profile.function.iter().map(|function| (function.id, function)).collect(),
            mappings: profile.mapping.iter().map(|mapping| (mapping.id, mapping)).collect(),
            locations: profile.location.iter().map(|location| (location.id, location)).collect(),
            new_strings: HashMap::from([(0, 0)]),
            new_functions: HashMap::new(),
            new_mappings: HashMap::new(),
            new_locations: HashMap::new(),
            new_marks: HashMap::new(),
            new_stacks: HashMap::new(),
        }
    }

    fn finish(self) -> Symbols {
        self.out
    }

    fn stack(&mut self, location_ids: &'a [u64], request: RequestId) -> u32 {
        // Leaf first: what is cut off is the root's end.
        let kept = location_ids.get(..self.config.max_stack_depth).unwrap_or(location_ids);
        if let Some(&stack) = self.new_stacks.get(&(kept, request)) {
            return stack;
        }
        let mut locations: Vec<u32> = kept.iter().map(|id| self.location(*id)).collect();
        locations.extend(request.marks().into_iter().map(|mark| self.mark(mark)));
        self.out.stacks.push(locations);
        let stack = last_index(&self.out.stacks);
        self.new_stacks.insert((kept, request), stack);
        stack
    }

    fn mark(&mut self, head: LocationHead) -> u32 {
        let out = &mut self.out.locations;
        *self.new_marks.entry(head).or_insert_with(|| {
            out.push(Location { head, lines: Vec::new() });
            last_index(out)
        })
    }

    fn location(&mut self, id: u64) -> u32 {
        if let Some(&location) = self.new_locations.get(&id) {
            return location;
        }
        let Some(&old) = self.locations.get(&id) else { unreachable!("the profile is checked") };
        let lines: Vec<Line> = old
            .line
            .iter()
            .map(|line| Line {
                function: self.function(line.function_id),
                line: line.line,
                column: line.column,
            })
            .collect();
        let symbolized =
            self.mappings.get(&old.mapping_id).is_some_and(|mapping| mapping.has_functions);
        // Where a symbolized function lies differs from process to process and says nothing more; the address of a miss
        // is what a later look-up needs.
        let address =
            if symbolized && !lines.is_empty() && !self.is_miss(old) { 0 } else { old.address };
        let head = LocationHead {
            mapping: self.mapping(old.mapping_id),
            address,
            // It speaks of the lines, and is a mark's where there are none.
            is_folded: old.is_folded && !lines.is_empty(),
        };
        self.out.locations.push(Location { head, lines });
        let location = last_index(&self.out.locations);
        self.new_locations.insert(id, location);
        location
    }

    /// Whether the location's name is a stand-in as in `libc.so.6+0x1234`.
    fn is_miss(&self, location: &profile::Location) -> bool {
        location.line.iter().any(|line| {
            let name = self
                .functions
                .get(&line.function_id)
                .map_or("", |function| text(self.profile, function.name));
            let digits = name.rsplit_once("+0x").map_or("", |(_, digits)| digits);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    fn function(&mut self, id: u64) -> u32 {
        if let Some(&function) = self.new_functions.get(&id) {
            return function;
        }
        let Some(&old) = self.functions.get(&id) else { unreachable!("the profile is checked") };
        let function = Function {
            name: self.string(old.name),
            system_name: self.string(old.system_name),
            filename: self.string(old.filename),
            start_line: old.start_line,
        };
        self.out.functions.push(function);
        let function = last_index(&self.out.functions);
        self.new_functions.insert(id, function);
        function
    }

    /// Index plus one; 0 for no mapping.
    fn mapping(&mut self, id: u64) -> u32 {
        if let Some(&mapping) = self.new_mappings.get(&id) {
            return mapping;
        }
        let Some(&old) = self.mappings.get(&id) else { return 0 };
        let has =
            [old.has_functions, old.has_filenames, old.has_line_numbers, old.has_inline_frames];
        // With the addresses go the ranges that they lie in.
        let ranges = if old.has_functions {
            (0, 0, 0)
        } else {
            (old.memory_start, old.memory_limit, old.file_offset)
        };
        let mapping = Mapping {
            memory_start: ranges.0,
            memory_limit: ranges.1,
            file_offset: ranges.2,
            filename: self.string(old.filename),
            build_id: self.string(old.build_id),
            has: has
                .iter()
                .zip([1, 2, 4, 8])
                .map(|(has, bit)| if *has { bit } else { 0 })
                .fold(0, |all, bit| all | bit),
        };
        self.out.mappings.push(mapping);
        let index_plus_one = last_index(&self.out.mappings).saturating_add(1);
        self.new_mappings.insert(id, index_plus_one);
        index_plus_one
    }

    fn string(&mut self, index: i64) -> u32 {
        if let Some(&string) = self.new_strings.get(&index) {
            return string;
        }
        let text = text(self.profile, index);
        let end = text.floor_char_boundary(self.config.max_symbol_bytes);
        self.out.strings.push(text.get(..end).unwrap_or_default().to_owned());
        let string = last_index(&self.out.strings);
        self.new_strings.insert(index, string);
        string
    }
}

fn last_index<T>(items: &[T]) -> u32 {
    u32::try_from(items.len().saturating_sub(1)).expect("a profile has fewer than 2^32 of anything")
}
