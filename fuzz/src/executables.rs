//! ELF files and their sections, damaged in any way: their unwind tables and names.

use agent::unwind::{Extent, Table, build, place};
use agent::worker::fuzzing;

use crate::elf::{CODE_LEN, CODE_OFFSET, with_sections};

/// Sections of which a `sections` input is made, by number.
const SECTIONS: &[&str] = &[
    ".debug_abbrev",
    ".debug_info",
    ".debug_line",
    ".debug_str",
    ".debug_line_str",
    ".debug_rnglists",
    ".debug_ranges",
    ".debug_addr",
    ".debug_str_offsets",
    ".debug_aranges",
    ".symtab",
    ".strtab",
    ".gnu_debuglink",
    ".gnu_debugaltlink",
    ".note.gnu.build-id",
    ".debug_info.dwo",
    ".debug_abbrev.dwo",
    ".debug_line.dwo",
    ".debug_str.dwo",
    ".debug_str_offsets.dwo",
    ".debug_rnglists.dwo",
    ".debug_cu_index",
    ".gopclntab",
    ".go.module",
    ".eh_frame",
    ".debug_frame",
    ".gnu_debugdata",
    ".zdebug_info",
];
/// Words of a chunk of the kernel's memory.
const CHUNK_WORDS: u32 = 16 * 1024;

/// A whole file.
pub(crate) fn elf(bytes: &[u8]) {
    table_of(bytes);
    table_of_both(bytes);
    fuzzing::name_all(bytes, &offsets(bytes.len()));
}

pub(crate) fn eh_frame(bytes: &[u8]) {
    table_of(&with_sections(&[(".eh_frame", bytes)]));
}

pub(crate) fn debug_frame(bytes: &[u8]) {
    table_of(&with_sections(&[(".debug_frame", bytes)]));
}

/// Go's table, for stacks and for names.
pub(crate) fn gopclntab(bytes: &[u8]) {
    let file = with_sections(&[(".gopclntab", bytes)]);
    table_of(&file);
    fuzzing::name_all(&file, &offsets(file.len()));
}

/// Any sections: number, length in two bytes, contents.
pub(crate) fn sections(bytes: &[u8]) {
    let mut sections: Vec<(&str, &[u8])> = Vec::new();
    let mut rest = bytes;
    while let [number, low, high, after @ ..] = rest
        && sections.len() < 64
    {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (contents, next) = after.split_at(len);
        sections.push((SECTIONS[usize::from(*number) % SECTIONS.len()], contents));
        rest = next;
    }
    let file = with_sections(&sections);
    table_of(&file);
    fuzzing::name_all(&file, &offsets(file.len()));
}

/// What is read back from the disk, and what the worker answers.
pub(crate) fn unwind_table(bytes: &[u8]) {
    // With its checksum put right: a fuzzer does not guess it.
    let body = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    let mut right = body.to_vec();
    right.extend(crc32c::crc32c(body).to_le_bytes());
    for bytes in [bytes, &right] {
        if let Ok(table) = Table::decode(bytes) {
            assert!(table.encode() == bytes, "a table has one encoding");
            use_table(&table);
        }
    }
}

/// Offsets all over the code and the file.
fn offsets(len: usize) -> Vec<u64> {
    let code = (CODE_OFFSET..CODE_OFFSET + 0x100).step_by(7);
    let more = (CODE_OFFSET..CODE_OFFSET + CODE_LEN).step_by(0x133);
    let all = (0..len).step_by(len / 40 + 1);
    code.chain(more).chain(all).map(|offset| offset as u64).collect()
}

fn table_of(file: &[u8]) {
    if let Ok((table, _)) = build(file, None) {
        check_table(&table);
    }
}

fn table_of_both(file: &[u8]) {
    if let Ok((table, _)) = build(file, Some(file)) {
        check_table(&table);
    }
}

fn check_table(table: &Table) {
    let encoded = table.encode();
    assert!(encoded.len() <= agent::unwind::MAX_ENCODED, "{} bytes", encoded.len());
    assert!(Table::decode(&encoded).as_ref() == Ok(table), "what was built can be read back");
    use_table(table);
}

/// As the kernel's memory takes it, and as copied stacks are walked with it.
fn use_table(table: &Table) {
    let mut chunk = 0;
    let placed = place(table, |n_words| {
        assert!(n_words <= CHUNK_WORDS, "a piece fits into a chunk");
        chunk += 1;
        Some(Extent { chunk, first_word: 0, n_words })
    });
    if let Ok(placed) = placed {
        let n_words: usize = placed.pieces.iter().map(|piece| piece.words.len()).sum();
        assert!(n_words <= 2 * table.n_words() + CHUNK_WORDS as usize, "{n_words} words");
    }
    for offset in offsets(1 << 20) {
        table.rule_at(offset);
    }
}
