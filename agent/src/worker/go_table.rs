//! A Go program and addresses in; functions with inlined ones, files and lines by the table that the Go runtime prints its own
//! stacks with (`.gopclntab`) out. It is there also when the program was stripped.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use object::{Object, ObjectSection, ObjectSegment};

use crate::symbolize::wire::{FunctionBytes, MAX_FUNCTIONS, MAX_NAME};

use super::image::Image;

/// `runtime.pcHeader`'s first word since Go 1.20, and of Go 1.18 and 1.19.
const MAGIC_120: u32 = 0xffff_fff1;
const MAGIC_118: u32 = 0xffff_fff0;
/// Numbers of `internal/abi`: which table holds the index of the inlined call, and which the calls.
const PCDATA_INLINE_INDEX: u32 = 2;
const FUNCDATA_INLINE_TREE: u8 = 3;
/// Words of `runtime.moduledata`: the start of the code; the functions' data, which versions have at slightly different
/// places.
const MODULE_TEXT: usize = 22;
const MODULE_FUNCTION_DATA: std::ops::RangeInclusive<usize> = 36..=44;
/// Functions that a candidate for the functions' data is tried with, and functions that are looked at for it.
const N_TRIED: usize = 8;
const MAX_TRIED: usize = 20_000;
/// Steps of one table of values; the largest function has some 100,000.
const MAX_STEPS: usize = 1 << 20;

/// What stands at each of the addresses, which rise; `None` when the file has no table that can be read.
pub(super) fn find(
    image: &Image,
    addresses: &[u64],
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Vec<Option<Vec<FunctionBytes>>>> {
    let file = image.parse()?;
    let section = [".gopclntab", ".data.rel.ro.gopclntab"]
        .iter()
        .find_map(|name| file.section_by_name(name))?;
    let bytes = section.data().ok()?;
    let mut table = Table::parse(bytes)?;
    let program = Program { file: &file };
    let module = program.module(section.address(), bytes, &table);
    table.text = [table.text, module.as_ref().map_or(0, |module| module.text)]
        .into_iter()
        .find(|text| *text != 0)
        .or_else(|| Some(file.section_by_name(".text")?.address()))?;
    let calls = module.and_then(|module| module.calls(&program, &table));
    let mut found = Vec::with_capacity(addresses.len());
    for address in addresses {
        found.push(if go_on() { table.find(*address, calls) } else { None });
    }
    Some(found)
}

/// The table's parts.
#[derive(Clone, Copy, Debug)]
struct Table<'a> {
    names: &'a [u8],
    units: &'a [u8],
    files: &'a [u8],
    values: &'a [u8],
    /// The functions: an index by address, and what each is.
    functions: &'a [u8],
    n_functions: usize,
    quantum: u64,
    is_118: bool,
    text: u64,
}

/// A function.
#[derive(Clone, Copy, Debug)]
struct Function<'a> {
    start: u64,
    end: u64,
    /// `runtime._func` and what follows it.
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u32_at(bytes, 0)?;
        // Programs for 32 bits and of other byte orders are not profiled.
        if !matches!(magic, MAGIC_118 | MAGIC_120) || bytes.get(7) != Some(&8) {
            return None;
        }
        let word = |index: usize| usize::try_from(u64_at(bytes, index.checked_mul(8)?)?).ok();
        let part = |index| bytes.get(word(index)?..);
        Some(Self {
            n_functions: word(1)?,
            text: u64_at(bytes, 24)?,
            names: part(4)?,
            units: part(5)?,
            files: part(6)?,
            values: part(7)?,
            functions: part(8)?,
            quantum: u64::from(*bytes.get(6)?).max(1),
            is_118: magic == MAGIC_118,
        })
    }

    /// The innermost function at an address first.
    fn find(&self, address: u64, calls: Option<&[u8]>) -> Option<Vec<FunctionBytes>> {
        let function = self.function_at(address)?;
        let mut found = Vec::new();
        let mut at = address;
        let calls = calls.and_then(|calls| self.calls_of(&function, calls));
        while found.len() < MAX_FUNCTIONS {
            let (file, line) = (self.file(&function, at), self.line(&function, at));
            let call = calls.and_then(|calls| self.call_at(&function, calls, at));
            let name = call.map_or_else(|| function.name_offset(), |call| call.name);
            found.push(FunctionBytes {
                name: text_at(self.names, name as usize)?.to_vec(),
                file: file.unwrap_or_default(),
                line: line.unwrap_or(0),
            });
            let Some(call) = call else { return Some(found) };
            at = function.start.checked_add(call.parent.into())?;
        }
        Some(found)
    }

    fn function_at(&self, address: u64) -> Option<Function<'a>> {
        let offset = u32::try_from(address.checked_sub(self.text)?).ok()?;
        let (mut low, mut high) = (0, self.n_functions);
        while low < high {
            let middle = low.midpoint(high);
            if u32_at(self.functions, middle.checked_mul(8)?)? <= offset {
                low = middle.checked_add(1)?;
            } else {
                high = middle;
            }
        }
        let function = self.function(low.checked_sub(1)?)?;
        (function.start..function.end).contains(&address).then_some(function)
    }

    fn function(&self, index: usize) -> Option<Function<'a>> {
        let entry = index.checked_mul(8)?;
        let start = u32_at(self.functions, entry)?;
        let place = u32_at(self.functions, entry.checked_add(4)?)?;
        let end = u32_at(self.functions, entry.checked_add(8)?)?;
        Some(Function {
            start: self.text.checked_add(start.into())?,
            end: self.text.checked_add(end.into())?,
            bytes: self.functions.get(place as usize..)?,
        })
    }

    fn line(&self, function: &Function<'_>, address: u64) -> Option<u32> {
        let line = self.value(function, u32_at(function.bytes, 24)?, address)?;
        u32::try_from(line).ok()
    }

    fn file(&self, function: &Function<'_>, address: u64) -> Option<Vec<u8>> {
        let number = self.value(function, u32_at(function.bytes, 20)?, address)?;
        let unit = u32_at(function.bytes, 32)?;
        let index = u32::try_from(number).ok()?.checked_add(unit)?;
        let place = u32_at(self.units, (index as usize).checked_mul(4)?)?;
        Some(text_at(self.files, place as usize)?.to_vec())
    }

    /// The value at an address: a table is pairs of how much the value changes and for how many bytes of code it then holds.
    fn value(&self, function: &Function<'_>, table: u32, address: u64) -> Option<i32> {
        if table == 0 {
            return None;
        }
        let mut bytes = self.values.get(table as usize..)?;
        let (mut value, mut end) = (-1_i32, function.start);
        for step in 0..MAX_STEPS {
            let change = varint(&mut bytes)?;
            if change == 0 && step > 0 {
                return None;
            }
            let magnitude = (change >> 1) as i32;
            let change = if change & 1 == 1 { !magnitude } else { magnitude };
            value = value.wrapping_add(change);
            end = end.checked_add(u64::from(varint(&mut bytes)?).checked_mul(self.quantum)?)?;
            if address < end {
                return Some(value);
            }
        }
        None
    }

    /// The calls that were inlined into a function.
    fn calls_of<'calls>(
        &self,
        function: &Function<'_>,
        calls: &'calls [u8],
    ) -> Option<&'calls [u8]> {
        calls.get(function.inline_tree(self.is_118)? as usize..)
    }

    /// The innermost inlined call at an address.
    fn call_at(&self, function: &Function<'_>, calls: &[u8], address: u64) -> Option<Call> {
        let table = function.word_behind(PCDATA_INLINE_INDEX, self.is_118)?;
        let index = usize::try_from(self.value(function, table, address)?).ok()?;
        Call::read(calls, index, self.is_118)
    }
}

impl Function<'_> {
    fn name_offset(&self) -> u32 {
        u32_at(self.bytes, 4).unwrap_or(u32::MAX)
    }

    /// Offset of the inlined calls in the functions' data.
    fn inline_tree(&self, is_118: bool) -> Option<u32> {
        let n_words = u32_at(self.bytes, 28)?;
        let n_data = *self.bytes.get(if is_118 { 39 } else { 43 })?;
        if n_data <= FUNCDATA_INLINE_TREE {
            return None;
        }
        let index = n_words.checked_add(FUNCDATA_INLINE_TREE.into())?;
        self.raw_word_behind(index, is_118).filter(|offset| *offset != u32::MAX)
    }

    /// A word of the first list behind the function; `None` when the list is shorter.
    fn word_behind(&self, index: u32, is_118: bool) -> Option<u32> {
        if index >= u32_at(self.bytes, 28)? { None } else { self.raw_word_behind(index, is_118) }
    }

    fn raw_word_behind(&self, index: u32, is_118: bool) -> Option<u32> {
        let size: usize = if is_118 { 40 } else { 44 };
        u32_at(self.bytes, size.checked_add((index as usize).checked_mul(4)?)?)
    }
}

/// An inlined call: `runtime.inlinedCall`.
#[derive(Clone, Copy, Debug)]
struct Call {
    name: u32,
    /// Where the call stands, from the start of the function.
    parent: u32,
}

impl Call {
    fn read(calls: &[u8], index: usize, is_118: bool) -> Option<Self> {
        let (size, name, parent): (usize, usize, usize) =
            if is_118 { (20, 12, 16) } else { (16, 4, 8) };
        let start = size.checked_mul(index)?;
        let call = calls.get(start..start.checked_add(size)?)?;
        Some(Self { name: u32_at(call, name)?, parent: u32_at(call, parent)? })
    }
}

/// The program's data.
struct Program<'a> {
    file: &'a object::File<'a>,
}

/// What `runtime.moduledata` says of the table.
struct Module {
    text: u64,
    function_data: Vec<u64>,
}

impl Program<'_> {
    /// Finds the module by its first word, which is the table's address, and the second, which is that of the names.
    fn module(&self, address: u64, bytes: &[u8], table: &Table<'_>) -> Option<Module> {
        let names = address.checked_add(bytes.len().checked_sub(table.names.len())? as u64)?;
        for section in self.file.sections() {
            let name = section.name().unwrap_or_default();
            if !matches!(name, ".go.module" | ".noptrdata" | ".data" | ".data.rel.ro") {
                continue;
            }
            let data = section.data().unwrap_or_default();
            let words = data.as_chunks::<8>().0;
            let begins = |pair: &[[u8; 8]]| pair == [address.to_le_bytes(), names.to_le_bytes()];
            if let Some(start) = words.windows(2).position(begins) {
                let word = |index: usize| words.get(start.checked_add(index)?).copied();
                let function_data = MODULE_FUNCTION_DATA.filter_map(word).map(u64::from_le_bytes);
                let text = u64::from_le_bytes(word(MODULE_TEXT)?);
                return Some(Module { text, function_data: function_data.collect() });
            }
        }
        None
    }

    /// The bytes from an address to the end of its segment.
    fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        self.file.segments().find_map(|segment| {
            let offset = usize::try_from(address.checked_sub(segment.address())?).ok()?;
            segment.data().ok()?.get(offset..).filter(|bytes| !bytes.is_empty())
        })
    }
}

impl Module {
    /// The functions' data: that of the candidates with which inlined calls have names and stand within their functions.
    fn calls<'p>(&self, program: &'p Program<'_>, table: &Table<'_>) -> Option<&'p [u8]> {
        let candidates = self.function_data.iter().filter_map(|address| program.bytes_at(*address));
        let functions: Vec<Function<'_>> = (0..table.n_functions.min(MAX_TRIED))
            .filter_map(|index| table.function(index))
            .filter(|function| function.inline_tree(table.is_118).is_some())
            .take(N_TRIED)
            .collect();
        let fits = |data: &[u8], function: &Function<'_>| {
            let call =
                table.calls_of(function, data).and_then(|calls| Call::read(calls, 0, table.is_118));
            call.is_some_and(|call| {
                u64::from(call.parent) < function.end.saturating_sub(function.start)
                    && is_start_of_text(table.names, call.name as usize)
            })
        };
        candidates.into_iter().find(|data| {
            !functions.is_empty() && functions.iter().all(|function| fits(data, function))
        })
    }
}

fn is_start_of_text(texts: &[u8], offset: usize) -> bool {
    let before = offset.checked_sub(1).and_then(|before| texts.get(before));
    before == Some(&0) && texts.get(offset).is_some_and(|byte| *byte != 0)
}

/// The text that ends with a zero byte; `None` when it is empty.
fn text_at(texts: &[u8], offset: usize) -> Option<&[u8]> {
    let rest = texts.get(offset..)?;
    let rest = rest.get(..MAX_NAME).unwrap_or(rest);
    let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then_some(text)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// A number of up to 32 bits, seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value: u32 = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(first & 0x7f).wrapping_shl(shift);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
