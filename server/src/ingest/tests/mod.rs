//! The protocol's rules for what is written.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

mod pprofs;
mod pushes;
mod forms;

use super::*;
use crate::ingest::form::Query;
use crate::ingest::normalize::normalize;
use expect_test::{Expect, expect};
use proptest::prelude::proptest;
use prost::Message as _;
use protocol::profile::{self, Profile};
use protocol::{push as wire, types};

const NOW_NS: i64 = 1_795_312_420_000_000_000;

/// Stack, values, labels.
type TestSample<'a> = (&'a str, &'a [i64], &'a [(&'a str, &'a str)]);

/// A profile with these sample types and one sample for each line `root;leaf value,value {label=value,...}`.
pub(crate) fn pprof_of(
    sample_types: &[&str],
    period_type: &str,
    samples: &[TestSample<'_>],
) -> Profile {
    let mut strings = vec![String::new()];
    let mut string = |text: &str| {
        let index = strings.iter().position(|have| have == text).unwrap_or_else(|| {
            strings.push(text.to_owned());
            strings.len() - 1
        });
        index as i64
    };
    let mut value_type = |text: &str| {
        let (name, unit) = text.split_once(':').unwrap();
        profile::ValueType { r#type: string(name), unit: string(unit) }
    };
    let mut profile = Profile {
        sample_type: sample_types.iter().map(|text| value_type(text)).collect(),
        period_type: Some(value_type(period_type)),
        period: 10,
        time_nanos: NOW_NS,
        mapping: vec![profile::Mapping {
            id: 1,
            memory_start: 0x1000,
            has_functions: true,
            ..profile::Mapping::default()
        }],
        ..Profile::default()
    };
    for (stack, value, labels) in samples {
        let mut location_id = Vec::new();
        for name in stack.split(';').rev() {
            let name = string(name);
            let known = profile
                .function
                .iter()
                .find(|function| function.name == name)
                .map(|function| function.id);
            location_id.push(known.unwrap_or_else(|| {
                let id = profile.function.len() as u64 + 1;
                profile.function.push(profile::Function {
                    id,
                    name,
                    ..profile::Function::default()
                });
                let line = vec![profile::Line { function_id: id, line: 5, column: 0 }];
                profile.location.push(profile::Location {
                    id,
                    mapping_id: 1,
                    address: 0x1000 + id,
                    line,
                    ..profile::Location::default()
                });
                id
            }));
        }
        let label = labels.iter().map(|(k, v)| profile::Label {
            key: string(k),
            str: string(v),
            ..profile::Label::default()
        });
        profile.sample.push(profile::Sample {
            location_id,
            value: value.to_vec(),
            label: label.collect(),
        });
    }
    profile.string_table = strings;
    profile
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The series as text: labels that are not of the type, the type, and rows.
fn text(normalized: &NormalizedProfile) -> String {
    let mut lines = Vec::new();
    for series in &normalized.series {
        let shown = |name: &str| {
            !["__type__", "__unit__", "__period_type__", "__period_unit__", "__service_name__"]
                .contains(&name)
        };
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|(name, _)| shown(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.push(labels.join(" "));
        for (stack, value) in &series.rows {
            lines.push(format!("  {} {value}", stack_text(&normalized.symbols, *stack)));
        }
    }
    lines.join("\n") + "\n"
}

fn stack_text(symbols: &Symbols, stack: u32) -> String {
    let mut names: Vec<String> = symbols.stacks[stack as usize]
        .iter()
        .map(|index| {
            let location = &symbols.locations[*index as usize];
            let lines =
                location.lines.iter().map(|line| symbols.functions[line.function as usize].name);
            let names: Vec<&str> =
                lines.map(|name| symbols.strings[name as usize].as_str()).collect();
            if location.head.address == 0 {
                names.join("<")
            } else {
                format!("{}@{:x}", names.join("<"), location.head.address)
            }
        })
        .collect();
    names.reverse();
    names.join(";")
}

fn check(profile: &Profile, client_labels: &[(&str, &str)], expected: &Expect) {
    let result = normalize(profile, &labels(client_labels), None, &Config::default(), NOW_NS);
    expected.assert_eq(
        &result
            .map_or_else(|error| format!("{}: {error}\n", error.reason().as_str()), |it| text(&it)),
    );
}
