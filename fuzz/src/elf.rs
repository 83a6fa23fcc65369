//! Sections in; a small ELF file that has them out, so that a fuzzer need not find out what an ELF file is.

/// Where the code stands in the file, and its length.
pub(crate) const CODE_OFFSET: usize = 0x1000;
pub(crate) const CODE_LEN: usize = 0x1000;
/// Where offset 0 of the file is loaded.
const BASE: u64 = 0x40_0000;
const HEADER_LEN: usize = 64;
const SECTION_HEADER_LEN: usize = 64;
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const NOTE: u32 = 7;
const SYMBOL_LEN: u64 = 24;

/// A file of one segment, with those sections behind its code.
pub(crate) fn with_sections(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; CODE_OFFSET];
    file.resize(CODE_OFFSET + CODE_LEN, 0x90);
    let mut names = vec![0];
    let mut headers = vec![section_header(0, 0, 0, 0, 0)];
    let code = ".text";
    headers.push(section_header(push_name(&mut names, code), PROGBITS, CODE_OFFSET, CODE_LEN, 0));
    // The table of names of symbols, if there is one, stands right behind the table of symbols.
    for (name, bytes) in sections {
        file.resize(file.len().next_multiple_of(16), 0);
        let kind = match *name {
            ".symtab" => SYMTAB,
            ".strtab" => STRTAB,
            ".note.gnu.build-id" => NOTE,
            _ => PROGBITS,
        };
        let strings = sections.iter().position(|(name, _)| *name == ".strtab");
        let link = strings.filter(|_| kind == SYMTAB).map_or(0, |position| position as u32 + 2);
        headers.push(section_header(
            push_name(&mut names, name),
            kind,
            file.len(),
            bytes.len(),
            link,
        ));
        file.extend(*bytes);
    }
    let name = push_name(&mut names, ".shstrtab");
    headers.push(section_header(name, STRTAB, file.len(), names.len(), 0));
    file.extend(names);
    file.resize(file.len().next_multiple_of(16), 0);
    let sections_at = file.len();
    file.extend(headers.concat());
    let header = header(sections_at, headers.len(), file.len());
    file[..header.len()].copy_from_slice(&header);
    file
}

fn push_name(names: &mut Vec<u8>, name: &str) -> u32 {
    let at = names.len() as u32;
    names.extend(name.as_bytes());
    names.push(0);
    at
}

fn section_header(name: u32, kind: u32, offset: usize, len: usize, link: u32) -> Vec<u8> {
    let mut header = [name, kind].map(u32::to_le_bytes).concat();
    let (offset, len) = (offset as u64, len as u64);
    header.extend([2, BASE + offset, offset, len].map(u64::to_le_bytes).concat());
    header.extend([link, 0].map(u32::to_le_bytes).concat());
    let entry_len = if kind == SYMTAB { SYMBOL_LEN } else { 0 };
    header.extend([1, entry_len].map(u64::to_le_bytes).concat());
    header.resize(SECTION_HEADER_LEN, 0);
    header
}

/// The file's header and that of its one segment.
fn header(sections_at: usize, n_sections: usize, len: usize) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    header.extend(1_u32.to_le_bytes());
    let entry = BASE + CODE_OFFSET as u64;
    header.extend([entry, HEADER_LEN as u64, sections_at as u64].map(u64::to_le_bytes).concat());
    header.extend(0_u32.to_le_bytes());
    let n_sections = n_sections as u16;
    header.extend([64, 56, 1, 64, n_sections, n_sections - 1].map(u16::to_le_bytes).concat());
    header.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    let len = len as u64;
    header.extend([0, BASE, BASE, len, len, 0x1000].map(u64::to_le_bytes).concat());
    header
}
