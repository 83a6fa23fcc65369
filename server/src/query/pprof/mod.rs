//! Sums by stack -> one pprof, with functions, lines, mappings and inlined frames as they were pushed.

mod truncate;

use crate::ingest::symbols::{Function, Line, Mapping};
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::stacks::StackSums;
use crate::store::symbols::{Merger, Symbols};
use foldhash::fast::RandomState;
use protocol::profile;
use std::collections::HashMap;

/// What is left of stacks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// What is below the largest nodes of the call tree becomes one frame, as in a flame graph.
    pub max_nodes: Option<i64>,
    pub go_pgo: Option<GoPgo>,
}

/// What a compiler of Go wants to know.
#[derive(Debug, Clone, Copy)]
pub struct GoPgo {
    /// Frames from the leaf on; 0 for all.
    pub keep_locations: usize,
    /// The leaf's line says nothing.
    pub aggregate_callees: bool,
}

pub fn merge(
    selected: &[StackSums],
    profile_type: &ProfileType,
    range: &Range,
    shape: Shape,
) -> profile::Profile {
    let mut symbols = Symbols::default();
    // The first string of a pprof is empty.
    symbols.intern_string("");
    let mut sums: HashMap<u32, i64, RandomState> = HashMap::default();
    let mut period = 0;
    for segment_sums in selected {
        period = segment_sums.period.max(period);
        let data = segment_sums.segment.read();
        let mut merger = Merger::new(&data.symbols, &mut symbols);
        for (stack, value) in &segment_sums.sums {
            let stack = self::stack(&mut merger, *stack, shape.go_pgo);
            let sum = sums.entry(stack).or_insert(0);
            *sum = sum.saturating_add(*value);
        }
    }
    if let Some(max_nodes) = shape.max_nodes {
        (symbols, sums) = truncate::largest(symbols, sums, max_nodes);
    }
    let value_type = profile::ValueType {
        r#type: i64::from(symbols.intern_string(&profile_type.sample_type)),
        unit: i64::from(symbols.intern_string(&profile_type.sample_unit)),
    };
    let period_type = profile::ValueType {
        r#type: i64::from(symbols.intern_string(&profile_type.period_type)),
        unit: i64::from(symbols.intern_string(&profile_type.period_unit)),
    };
    profile::Profile {
        sample_type: vec![value_type],
        sample: samples(&symbols, sums),
        mapping: symbols
            .mappings
            .items()
            .iter()
            .zip(1..)
            .map(|(mapping, id)| mapping_of(mapping, id))
            .collect(),
        location: (0..symbols.locations.items().len() as u32)
            .map(|index| location_of(&symbols, index))
            .collect(),
        function: symbols
            .functions
            .items()
            .iter()
            .zip(1..)
            .map(|(function, id)| function_of(function, id))
            .collect(),
        string_table: (0..symbols.n_strings() as u32)
            .map(|index| symbols.string(index).to_owned())
            .collect(),
        time_nanos: range.start_ns(),
        duration_nanos: range.end_ms.saturating_sub(range.start_ms).saturating_mul(1_000_000),
        period_type: Some(period_type),
        period,
        ..profile::Profile::default()
    }
}

/// Takes over a stack's frames, without the ids of its request.
fn stack(merger: &mut Merger<'_>, stack: u32, go_pgo: Option<GoPgo>) -> u32 {
    let from = merger.from;
    let mut locations = from.frames(stack);
    let mut leaf_without_line = false;
    if let Some(pgo) = go_pgo {
        if pgo.keep_locations > 0 {
            locations = locations.get(..pgo.keep_locations).unwrap_or(locations);
        }
        leaf_without_line = pgo.aggregate_callees;
    }
    let mut merged: Vec<u32> =
        locations.iter().map(|location| merger.location(*location)).collect();
    if let Some(leaf) = merged.first_mut().filter(|_| leaf_without_line) {
        *leaf = without_lines(merger.to, *leaf);
    }
    merger.to.intern_stack(&merged)
}

/// The same location whose lines are those of no place in their functions.
fn without_lines(symbols: &mut Symbols, location: u32) -> u32 {
    let (head, _) = symbols.locations.get(location).copied().unwrap_or_default();
    let lines: Vec<Line> =
        symbols.lines(location).iter().map(|line| Line { line: 0, column: 0, ..*line }).collect();
    symbols.intern_location(head, &lines)
}

fn samples(symbols: &Symbols, sums: HashMap<u32, i64, RandomState>) -> Vec<profile::Sample> {
    let mut sums: Vec<(u32, i64)> = sums.into_iter().collect();
    sums.sort_unstable();
    let sample = |(stack, value): (u32, i64)| profile::Sample {
        location_id: symbols
            .stacks
            .at(stack)
            .iter()
            .map(|location| u64::from(*location) + 1)
            .collect(),
        value: vec![value],
        label: Vec::new(),
    };
    sums.into_iter().map(sample).collect()
}

fn mapping_of(mapping: &Mapping, id: u64) -> profile::Mapping {
    profile::Mapping {
        id,
        memory_start: mapping.memory_start,
        memory_limit: mapping.memory_limit,
        file_offset: mapping.file_offset,
        filename: i64::from(mapping.filename),
        build_id: i64::from(mapping.build_id),
        has_functions: mapping.has & 1 != 0,
        has_filenames: mapping.has & 2 != 0,
        has_line_numbers: mapping.has & 4 != 0,
        has_inline_frames: mapping.has & 8 != 0,
    }
}

fn location_of(symbols: &Symbols, index: u32) -> profile::Location {
    let (head, _) = symbols.locations.get(index).copied().unwrap_or_default();
    let line = |line: &Line| profile::Line {
        function_id: u64::from(line.function) + 1,
        line: line.line,
        column: line.column,
    };
    profile::Location {
        id: u64::from(index) + 1,
        mapping_id: u64::from(head.mapping),
        address: head.address,
        line: symbols.lines(index).iter().map(line).collect(),
        is_folded: head.is_folded,
    }
}

fn function_of(function: &Function, id: u64) -> profile::Function {
    profile::Function {
        id,
        name: i64::from(function.name),
        system_name: i64::from(function.system_name),
        filename: i64::from(function.filename),
        start_line: function.start_line,
    }
}
