//! The symbols of one service, as they stand in a block: stacks sorted from the root, each stored as what differs from the one before.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::ingest::symbols::{Function, Line, LocationHead, Mapping};
use crate::store::symbols::Symbols;
use crate::store::varint::{Reader, put, put_signed};
use foldhash::fast::RandomState;
use std::collections::HashMap;

const COMPRESSION: i32 = 6;
/// Of a service's symbols without compression, and of its stacks' locations together.
const MAX_BYTES: usize = 1 << 30;
const MAX_LOCATIONS: usize = 1 << 28;

/// Numbers what is asked for in the order of the first time.
#[derive(Default)]
struct Numbers {
    new: HashMap<u32, u32, RandomState>,
    old: Vec<u32>,
}

impl Numbers {
    fn number(&mut self, old: u32) -> u32 {
        let next = self.old.len() as u32;
        let number = *self.new.entry(old).or_insert(next);
        if number == next {
            self.old.push(old);
        }
        number
    }
}

/// The bytes, and the new number of each of the stacks.
pub(super) fn encode(symbols: &Symbols, stacks: &[u32]) -> (Vec<u8>, Vec<u32>) {
    let mut order: Vec<u32> = (0..stacks.len() as u32).collect();
    let run = |place: &u32| {
        let stack = stacks.get(*place as usize).copied().unwrap_or(u32::MAX);
        symbols.stacks.at(stack)
    };
    order.sort_by(|a, b| run(a).iter().rev().cmp(run(b).iter().rev()));
    let mut numbers = vec![0; stacks.len()];
    let mut locations = Numbers::default();
    let (mut shared, mut counts, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let mut before: &[u32] = &[];
    for (place, number) in order.iter().zip(0_u32..) {
        if let Some(slot) = numbers.get_mut(*place as usize) {
            *slot = number;
        }
        let stack = run(place);
        let n_shared =
            stack.iter().rev().zip(before.iter().rev()).take_while(|(a, b)| a == b).count();
        put(&mut shared, n_shared as u64);
        put(&mut counts, stack.len().saturating_sub(n_shared) as u64);
        for location in stack.iter().rev().skip(n_shared) {
            let next = locations.old.len() as u32;
            // 0 is a new one, and those of late are small.
            put(&mut rest, u64::from(next.saturating_sub(locations.number(*location))));
        }
        before = stack;
    }
    let mut plain = Vec::new();
    put_tables(&mut plain, symbols, &locations.old);
    put(&mut plain, stacks.len() as u64);
    for column in [shared, counts, rest] {
        put_column(&mut plain, &column);
    }
    let packed = zstd::bulk::compress(&plain, COMPRESSION).unwrap_or_default();
    (packed, numbers)
}

fn put_column(out: &mut Vec<u8>, column: &[u8]) {
    put(out, column.len() as u64);
    out.extend(column);
}

fn put_tables(out: &mut Vec<u8>, symbols: &Symbols, locations: &[u32]) {
    let (mut strings, mut functions, mut mappings) =
        (Numbers::default(), Numbers::default(), Numbers::default());
    let mut columns: [Vec<u8>; 7] = Default::default();
    let [mapping_of, addresses, folded, n_lines, functions_of, lines, line_columns] = &mut columns;
    let mut address = 0_u64;
    for location in locations {
        let (head, _) = symbols.locations.get(*location).copied().unwrap_or_default();
        let mapping = head
            .mapping
            .checked_sub(1)
            .map_or(0, |mapping| u64::from(mappings.number(mapping)).saturating_add(1));
        put(mapping_of, mapping);
        put_signed(addresses, head.address.wrapping_sub(address) as i64);
        address = head.address;
        folded.push(u8::from(head.is_folded));
        let of_location = symbols.lines(*location);
        put(n_lines, of_location.len() as u64);
        for line in of_location {
            let next = functions.old.len() as u32;
            put(functions_of, u64::from(next.saturating_sub(functions.number(line.function))));
            put_signed(lines, line.line);
            put_signed(line_columns, line.column);
        }
    }
    let mut tables = Vec::new();
    put(&mut tables, mappings.old.len() as u64);
    for mapping in &mappings.old {
        let mapping = symbols.mappings.get(*mapping).copied().unwrap_or_default();
        for value in [mapping.memory_start, mapping.memory_limit, mapping.file_offset] {
            put(&mut tables, value);
        }
        put(&mut tables, u64::from(strings.number(mapping.filename)));
        put(&mut tables, u64::from(strings.number(mapping.build_id)));
        tables.push(mapping.has);
    }
    put(&mut tables, functions.old.len() as u64);
    for function in &functions.old {
        let function = symbols.functions.get(*function).copied().unwrap_or_default();
        for name in [function.name, function.system_name, function.filename] {
            let next = strings.old.len() as u32;
            put(&mut tables, u64::from(next.saturating_sub(strings.number(name))));
        }
        put_signed(&mut tables, function.start_line);
    }
    put(&mut tables, locations.len() as u64);
    put(out, strings.old.len() as u64);
    for string in &strings.old {
        put(out, symbols.string(*string).len() as u64);
    }
    for string in &strings.old {
        out.extend(symbols.string(*string).as_bytes());
    }
    out.extend(tables);
    for column in &columns {
        put_column(out, column);
    }
}

/// None where the bytes are not what `encode` writes.
pub(super) fn decode(packed: &[u8]) -> Option<Symbols> {
    let len = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_BYTES)?;
    let plain = zstd::bulk::decompress(packed, len).ok()?;
    let reader = &mut Reader { rest: &plain };
    let mut symbols = Symbols::default();
    take_strings(reader, &mut symbols)?;
    take_mappings(reader, &mut symbols)?;
    take_functions(reader, &mut symbols)?;
    take_locations(reader, &mut symbols)?;
    take_stacks(reader, &mut symbols)?;
    Some(symbols)
}

fn take_strings(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Option<()> {
    let lens: Option<Vec<u64>> = (0..reader.take_count()?).map(|_| reader.take()).collect();
    for len in lens? {
        let text = reader.take_bytes(usize::try_from(len).ok()?)?;
        symbols.strings.push(text);
    }
    Some(())
}

fn take_mappings(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Option<()> {
    for _ in 0..reader.take_count()? {
        symbols.mappings.push(Mapping {
            memory_start: reader.take()?,
            memory_limit: reader.take()?,
            file_offset: reader.take()?,
            filename: reader.take_u32()?,
            build_id: reader.take_u32()?,
            has: *reader.take_bytes(1)?.first()?,
        });
    }
    Some(())
}

/// Something met before, or the next new one.
fn take_back(reader: &mut Reader<'_>, next: &mut u32) -> Option<u32> {
    let number = next.checked_sub(reader.take_u32()?)?;
    if number == *next {
        *next = next.checked_add(1)?;
    }
    Some(number)
}

fn take_functions(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Option<()> {
    let n_functions = reader.take_count()?;
    // The mappings' names come first.
    let last = symbols.mappings.items().iter().flat_map(|one| [one.filename, one.build_id]).max();
    let mut next = last.map_or(Some(0), |last| last.checked_add(1))?;
    for _ in 0..n_functions {
        let name = take_back(reader, &mut next)?;
        let system_name = take_back(reader, &mut next)?;
        let filename = take_back(reader, &mut next)?;
        let start_line = reader.take_signed()?;
        symbols.functions.push(Function { name, system_name, filename, start_line });
    }
    Some(())
}

fn take_column<'a>(reader: &mut Reader<'a>) -> Option<Reader<'a>> {
    let len = reader.take_count()?;
    Some(Reader { rest: reader.take_bytes(len)? })
}

fn take_locations(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Option<()> {
    let n_locations = reader.take_count()?;
    let [
        mut mappings,
        mut addresses,
        mut folded,
        mut n_lines,
        mut functions,
        mut lines,
        mut columns,
    ] = [
        take_column(reader)?,
        take_column(reader)?,
        take_column(reader)?,
        take_column(reader)?,
        take_column(reader)?,
        take_column(reader)?,
        take_column(reader)?,
    ];
    let (mut address, mut next) = (0_u64, 0);
    let mut of_location = Vec::new();
    for number in 0..n_locations {
        address = address.wrapping_add(addresses.take_signed()? as u64);
        let head = LocationHead {
            mapping: mappings.take_u32()?,
            address,
            is_folded: *folded.take_bytes(1)?.first()? != 0,
        };
        of_location.clear();
        for _ in 0..n_lines.take()? {
            of_location.push(Line {
                function: take_back(&mut functions, &mut next)?,
                line: lines.take_signed()?,
                column: columns.take_signed()?,
            });
        }
        symbols.lines.push(&of_location);
        symbols.locations.push((head, u32::try_from(number).ok()?));
    }
    Some(())
}

fn take_stacks(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Option<()> {
    let n_stacks = reader.take()?;
    let (mut shared, mut counts, mut rest) =
        (take_column(reader)?, take_column(reader)?, take_column(reader)?);
    let mut root_first: Vec<u32> = Vec::new();
    let mut leaf_first = Vec::new();
    let (mut next, mut n_locations) = (0, 0_usize);
    for _ in 0..n_stacks {
        let n_shared = usize::try_from(shared.take()?).ok()?;
        if n_shared > root_first.len() {
            return None;
        }
        root_first.truncate(n_shared);
        for _ in 0..counts.take()? {
            root_first.push(take_back(&mut rest, &mut next)?);
        }
        n_locations = n_locations.checked_add(root_first.len())?;
        if n_locations > MAX_LOCATIONS {
            return None;
        }
        leaf_first.clear();
        leaf_first.extend(root_first.iter().rev());
        symbols.stacks.push(&leaf_first);
    }
    Some(())
}
