//! An ELF file in; its `.gopclntab`, and the address that the table's offsets count from, out.
//!
//! The address is in the table's header up to Go 1.25, if no relocation is to write it; it is in Go's `moduledata`; and it
//! is where a program without C begins. Sections may have no names, or lie in `.data.rel.ro`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use memchr::memmem;

use super::pclntab::{PcLnTab, Version, u64_at};
use crate::unwind::elf::Elf;

/// Bytes of segments that are searched.
const MAX_SEARCH: usize = 512 << 20;
/// Words of `moduledata` among which the text's bounds are.
const MODULE_DATA_WORDS: usize = 64;
/// Places that may be `moduledata`.
const MAX_CANDIDATES: usize = 64;
/// Size of an entry of `.rela.dyn`, and the type of relocation that adds the load address.
const RELA_LEN: usize = 24;
const R_X86_64_RELATIVE: u64 = 8;
/// Sections that a Go program has, whatever it was linked by.
const GO_SECTIONS: [&[u8]; 4] =
    [b".gopclntab", b".go.buildinfo", b".note.go.buildid", b".data.rel.ro.gopclntab"];

/// A table, and where its text begins (0 if its addresses are absolute).
pub(super) fn locate<'a>(elf: &Elf<'a>) -> Option<(PcLnTab<'a>, u64)> {
    if elf.has_sections() && !elf.section_names().any(|name| GO_SECTIONS.contains(&name)) {
        return None;
    }
    for name in [&b".gopclntab"[..], b".data.rel.ro.gopclntab"] {
        if let Some(section) = elf.section(name)
            && let Some(bytes) = elf.bytes_from(section.address)
            && let Some(found) = at(elf, section.address, bytes)
        {
            return Some(found);
        }
    }
    let mut left = MAX_SEARCH;
    for segment in elf.segments().iter().filter(|segment| !segment.is_code) {
        let bytes = elf.bytes_from(segment.address).unwrap_or_default();
        let bytes = bytes.get(..bytes.len().min(left)).unwrap_or_default();
        left = left.saturating_sub(bytes.len());
        for version in Version::ALL {
            for offset in memmem::find_iter(bytes, &version.magic()).take(MAX_CANDIDATES) {
                let address = segment.address.checked_add(offset as u64)?;
                let found = bytes.get(offset..).and_then(|bytes| at(elf, address, bytes));
                if found.is_some() {
                    return found;
                }
            }
        }
    }
    None
}

/// The table at that address, if it is one.
fn at<'a>(elf: &Elf<'a>, address: u64, bytes: &'a [u8]) -> Option<(PcLnTab<'a>, u64)> {
    let table = PcLnTab::parse(bytes)?;
    let first = table.start(0)?;
    let end = table.start(table.n_functions())?;
    let is_text = |start: u64| {
        let code = start.checked_add(first).and_then(|address| elf.code_at(address));
        code.is_some_and(|(_, left)| end.saturating_sub(first) <= u64::from(left))
    };
    if !table.is_relative() {
        return is_text(0).then_some((table, 0));
    }
    let said = Some(table.text_start).filter(|start| *start != 0);
    let candidates = [
        by_module_data(elf, address, first, end),
        by_relocations(elf, address, first, end),
        said,
        elf.section(b".text").map(|text| text.address),
        elf.segments().iter().find(|segment| segment.is_code).map(|segment| {
            // The ELF header is before the text.
            segment.address.saturating_add(if segment.offset == 0 { 4096 } else { 0 })
        }),
    ];
    candidates.into_iter().flatten().find(|start| is_text(*start)).map(|start| (table, start))
}

/// `moduledata` begins with the table's address; some words behind are the addresses of the first and the last function.
fn by_module_data(elf: &Elf<'_>, address: u64, first: u64, end: u64) -> Option<u64> {
    let needle = address.to_le_bytes();
    for segment in elf.segments().iter().filter(|segment| !segment.is_code) {
        let bytes = elf.bytes_from(segment.address).unwrap_or_default();
        let bytes = bytes.get(..bytes.len().min(MAX_SEARCH)).unwrap_or_default();
        for offset in memmem::find_iter(bytes, &needle).take(MAX_CANDIDATES) {
            let words = |index: usize| {
                u64_at(bytes, index.checked_mul(8).and_then(|at| at.checked_add(offset))?)
            };
            if let Some(start) = text_start((1..MODULE_DATA_WORDS).map_while(words), first, end) {
                return Some(start);
            }
        }
    }
    None
}

/// The same where the linker left the addresses to the loader: they are in `.rela.dyn`, in the order of their places.
fn by_relocations(elf: &Elf<'_>, address: u64, first: u64, end: u64) -> Option<u64> {
    let section = elf.section(b".rela.dyn").or_else(|| elf.section(b".rela"))?;
    let needle = address.to_le_bytes();
    for at in memmem::find_iter(&section.data, &needle).take(MAX_CANDIDATES) {
        // The address is the third word of its entry.
        if at % RELA_LEN != 16 {
            continue;
        }
        let entries = section.data.get(at.checked_sub(16)?..).unwrap_or_default();
        let addends = entries.chunks_exact(RELA_LEN).take(MODULE_DATA_WORDS).map_while(|entry| {
            u64_at(entry, 16).filter(|_| u64_at(entry, 8) == Some(R_X86_64_RELATIVE))
        });
        if let Some(start) = text_start(addends, first, end) {
            return Some(start);
        }
    }
    None
}

/// Two words one after the other that are as far from each other as the first function and the end of the last.
fn text_start(words: impl Iterator<Item = u64>, first: u64, end: u64) -> Option<u64> {
    let len = end.checked_sub(first)?;
    let mut before = None::<u64>;
    for word in words {
        if before.is_some_and(|before| word.checked_sub(before) == Some(len)) {
            return before?.checked_sub(first);
        }
        before = Some(word);
    }
    None
}
