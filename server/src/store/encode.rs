//! Payloads of the log: what a segment's tables gained, and the rows of profiles that refer to them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::ingest::symbols::{Function, Line, LocationHead, Mapping};
use crate::store::segment::{Data, NewProfile};
use crate::store::varint::{Reader, put, put_signed};

/// Stands for a name whose definition was damaged in the log.
const LOST: &str = "[lost]";

/// The lengths of a segment's tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    strings: usize,
    functions: usize,
    mappings: usize,
    lines: usize,
    locations: usize,
    stacks: usize,
    label_sets: usize,
}

pub(super) fn mark(data: &Data) -> Mark {
    Mark {
        strings: data.symbols.n_strings(),
        functions: data.symbols.functions.items().len(),
        mappings: data.symbols.mappings.items().len(),
        lines: data.symbols.lines.len(),
        locations: data.symbols.locations.items().len(),
        stacks: data.symbols.stacks.len(),
        label_sets: data.label_sets.len(),
    }
}

/// What the tables gained since `from`: for each table its length then, the number of new entries, and these.
pub(super) fn put_definitions(out: &mut Vec<u8>, data: &Data, from: &Mark) {
    let to = mark(data);
    let symbols = &data.symbols;
    for index in gained(out, from.strings, to.strings) {
        let text = symbols.string(index);
        put(out, text.len() as u64);
        out.extend(text.as_bytes());
    }
    for index in gained(out, from.functions, to.functions) {
        let function = symbols.functions.get(index).copied().unwrap_or_default();
        for name in [function.name, function.system_name, function.filename] {
            put(out, u64::from(name));
        }
        put_signed(out, function.start_line);
    }
    for index in gained(out, from.mappings, to.mappings) {
        put_mapping(out, symbols.mappings.get(index).copied().unwrap_or_default());
    }
    for index in gained(out, from.lines, to.lines) {
        let lines = symbols.lines.at(index);
        put(out, lines.len() as u64);
        for line in lines {
            put(out, u64::from(line.function));
            put_signed(out, line.line);
            put_signed(out, line.column);
        }
    }
    for index in gained(out, from.locations, to.locations) {
        let (head, lines) = symbols.locations.get(index).copied().unwrap_or_default();
        put(out, u64::from(head.mapping));
        put(out, head.address);
        out.push(u8::from(head.is_folded));
        put(out, u64::from(lines));
    }
    for index in gained(out, from.stacks, to.stacks) {
        let locations = symbols.stacks.at(index);
        put(out, locations.len() as u64);
        for location in locations {
            put(out, u64::from(*location));
        }
    }
    for index in gained(out, from.label_sets, to.label_sets) {
        let pairs = data.label_sets.at(index);
        put(out, pairs.len() as u64);
        for (name, value) in pairs {
            put(out, u64::from(*name));
            put(out, u64::from(*value));
        }
    }
}

fn gained(out: &mut Vec<u8>, from: usize, to: usize) -> std::ops::Range<u32> {
    put(out, from as u64);
    put(out, to.saturating_sub(from) as u64);
    from as u32..to as u32
}

fn put_mapping(out: &mut Vec<u8>, mapping: Mapping) {
    for value in [mapping.memory_start, mapping.memory_limit, mapping.file_offset] {
        put(out, value);
    }
    put(out, u64::from(mapping.filename));
    put(out, u64::from(mapping.build_id));
    out.push(mapping.has);
}

/// Entries of a table that a payload brings: `gap` were lost before them, the first `known` are there already.
struct Gain {
    gap: usize,
    known: usize,
    count: usize,
}

impl Gain {
    /// More entries than this are never lost at once: a segment is rotated long before.
    const MAX_GAP: usize = 1 << 24;

    fn take(reader: &mut Reader<'_>, have: usize) -> Option<Gain> {
        let from = usize::try_from(reader.take()?).ok()?;
        let count = reader.take_count()?;
        let gap = from.saturating_sub(have);
        (gap <= Gain::MAX_GAP).then_some(Gain {
            gap,
            known: have.saturating_sub(from).min(count),
            count,
        })
    }

    /// Whether each entry that follows is new.
    fn entries(&self) -> impl Iterator<Item = bool> + use<> {
        let known = self.known;
        (0..self.count).map(move |index| index >= known)
    }
}

/// Adds to `data` what it does not have yet; None where the payload is not what `put_definitions` writes.
pub(super) fn take_definitions(payload: &[u8], data: &mut Data) -> Option<()> {
    let reader = &mut Reader { rest: payload };
    let have = mark(data);
    take_strings(reader, data, have.strings)?;
    take_functions(reader, data, have.functions)?;
    take_mappings(reader, data, have.mappings)?;
    take_lines(reader, data, have.lines)?;
    take_locations(reader, data, have.locations)?;
    take_stacks(reader, data, have.stacks)?;
    take_label_sets(reader, data, have.label_sets)?;
    data.fill_series();
    Some(())
}

fn take_strings(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.symbols.strings.push(LOST.as_bytes());
    }
    for is_new in gain.entries() {
        let len = reader.take_count()?;
        let text = std::str::from_utf8(reader.take_bytes(len)?).ok()?;
        if is_new {
            data.symbols.strings.append(text.as_bytes());
        }
    }
    Some(())
}

fn take_functions(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.symbols.functions.push(Function::default());
    }
    for is_new in gain.entries() {
        let function = Function {
            name: reader.take_u32()?,
            system_name: reader.take_u32()?,
            filename: reader.take_u32()?,
            start_line: reader.take_signed()?,
        };
        if is_new {
            data.symbols.functions.append(function);
        }
    }
    Some(())
}

fn take_mappings(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.symbols.mappings.push(Mapping::default());
    }
    for is_new in gain.entries() {
        let mapping = Mapping {
            memory_start: reader.take()?,
            memory_limit: reader.take()?,
            file_offset: reader.take()?,
            filename: reader.take_u32()?,
            build_id: reader.take_u32()?,
            has: *reader.take_bytes(1)?.first()?,
        };
        if is_new {
            data.symbols.mappings.append(mapping);
        }
    }
    Some(())
}

fn take_lines(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.symbols.lines.push(&[]);
    }
    let mut lines = Vec::new();
    for is_new in gain.entries() {
        lines.clear();
        for _ in 0..reader.take_count()? {
            let (function, line, column) =
                (reader.take_u32()?, reader.take_signed()?, reader.take_signed()?);
            lines.push(Line { function, line, column });
        }
        if is_new {
            data.symbols.lines.append(&lines);
        }
    }
    Some(())
}

fn take_locations(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.symbols.locations.push((LocationHead::default(), u32::MAX));
    }
    for is_new in gain.entries() {
        let head = LocationHead {
            mapping: reader.take_u32()?,
            address: reader.take()?,
            is_folded: *reader.take_bytes(1)?.first()? != 0,
        };
        let lines = reader.take_u32()?;
        if is_new {
            data.symbols.locations.append((head, lines));
        }
    }
    Some(())
}

fn take_stacks(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.symbols.stacks.push(&[]);
    }
    let mut locations = Vec::new();
    for is_new in gain.entries() {
        locations.clear();
        for _ in 0..reader.take_count()? {
            locations.push(reader.take_u32()?);
        }
        if is_new {
            data.symbols.stacks.append(&locations);
        }
    }
    Some(())
}

fn take_label_sets(reader: &mut Reader<'_>, data: &mut Data, have: usize) -> Option<()> {
    let gain = Gain::take(reader, have)?;
    for _ in 0..gain.gap {
        data.label_sets.push(&[]);
    }
    let mut pairs = Vec::new();
    for is_new in gain.entries() {
        pairs.clear();
        for _ in 0..reader.take_count()? {
            pairs.push((reader.take_u32()?, reader.take_u32()?));
        }
        if is_new {
            data.label_sets.append(&pairs);
        }
    }
    Some(())
}

/// One profile of one series. Values are multiples of the sampling period more often than not: their greatest common
/// divisor is written once.
pub(super) fn put_rows(out: &mut Vec<u8>, profile: &NewProfile, rows: &[(u32, i64)]) {
    put(out, u64::from(profile.series));
    put_signed(out, profile.time_ns);
    put_signed(out, profile.period);
    match profile.id {
        None => out.push(0),
        Some(id) => {
            out.push(1);
            out.extend(id.to_le_bytes());
        }
    }
    let divisor = rows.iter().map(|(_, value)| value.unsigned_abs()).fold(0, gcd).max(1);
    put(out, divisor);
    put(out, rows.len() as u64);
    let mut previous = 0;
    for (stack, value) in rows {
        put(out, u64::from(stack.wrapping_sub(previous)));
        put(out, value.unsigned_abs().checked_div(divisor).unwrap_or_default());
        previous = *stack;
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

/// Reads every profile of a payload into `data`. None where the payload is not what `put_rows` writes, else how many had a
/// series that is unknown.
pub(super) fn take_rows(payload: &[u8], data: &mut Data) -> Option<usize> {
    let reader = &mut Reader { rest: payload };
    let mut rows = Vec::new();
    let mut without_series: usize = 0;
    while !reader.rest.is_empty() {
        let profile = take_profile(reader, &mut rows)?;
        if !data.push(&profile, &rows) {
            without_series = without_series.saturating_add(1);
        }
    }
    Some(without_series)
}

fn take_profile(reader: &mut Reader<'_>, rows: &mut Vec<(u32, i64)>) -> Option<NewProfile> {
    let series = reader.take_u32()?;
    let time_ns = reader.take_signed()?;
    let period = reader.take_signed()?;
    let id = match reader.take_bytes(1)? {
        [0] => None,
        _ => Some(u128::from_le_bytes(reader.take_bytes(16)?.try_into().ok()?)),
    };
    let divisor = reader.take()?;
    rows.clear();
    let mut stack: u32 = 0;
    for _ in 0..reader.take_count()? {
        stack = stack.wrapping_add(reader.take_u32()?);
        let value = reader.take()?.checked_mul(divisor)?;
        rows.push((stack, i64::try_from(value).ok()?));
    }
    Some(NewProfile { series, time_ns, period, id })
}
