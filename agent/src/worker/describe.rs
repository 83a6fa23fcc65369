//! An open file in; its segments and build id out, read piece by piece and never mapped: a file that shrinks is an error
//! here, not the end of the process.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;

use object::elf::{FileHeader32, FileHeader64, PT_LOAD, PT_NOTE};
use object::read::elf::{CompressionHeader, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};

use crate::symbolize::notes;
use crate::symbolize::wire::{Description, MAX_SEGMENTS, NoDescription, Segment};

/// Larger files are not looked into.
const MAX_FILE: u64 = 2 << 30;
/// Program headers that a file may have.
const MAX_PROGRAM_HEADERS: usize = 4096;
/// Sections that a file may have.
const MAX_SECTIONS: usize = 64 * 1024;
/// Notes in one segment.
const MAX_NOTES: u64 = 64 * 1024;

/// What was learnt of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// For the agent.
    pub description: Description,
    /// What the debug sections that are compressed take when they are expanded.
    pub debug_bytes: u64,
}

/// Reads the headers and notes of a file.
pub(super) fn describe(file: &File) -> Result<Described, NoDescription> {
    let metadata = file.metadata().ok().ok_or(NoDescription::Unreadable)?;
    if !metadata.is_file() {
        return Err(NoDescription::Unreadable);
    }
    if metadata.len() > MAX_FILE {
        return Err(NoDescription::TooLarge);
    }
    describe_bytes(&ReadCache::new(file))
}

/// The same of anything that can be read.
pub(super) fn describe_bytes<'data, R: ReadRef<'data>>(
    data: R,
) -> Result<Described, NoDescription> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => describe_class::<FileHeader64<Endianness>, R>(data),
        Ok(FileKind::Elf32) => describe_class::<FileHeader32<Endianness>, R>(data),
        _ => Err(NoDescription::Malformed),
    }
}

fn describe_class<'data, Elf, R>(data: R) -> Result<Described, NoDescription>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let malformed = |_| NoDescription::Malformed;
    let header = Elf::parse(data).map_err(malformed)?;
    let endian = header.endian().map_err(malformed)?;
    if header.phnum(endian, data).map_err(malformed)? > MAX_PROGRAM_HEADERS {
        return Err(NoDescription::Malformed);
    }
    let program_headers = header.program_headers(endian, data).map_err(malformed)?;
    let mut description = Description::default();
    for program_header in program_headers {
        match program_header.p_type(endian) {
            PT_LOAD if description.segments.len() < MAX_SEGMENTS => {
                description.segments.push(Segment {
                    offset: program_header.p_offset(endian).into(),
                    address: program_header.p_vaddr(endian).into(),
                    file_size: program_header.p_filesz(endian).into(),
                });
            }
            PT_NOTE if description.build_id.is_empty() => {
                let (offset, size) = program_header.file_range(endian);
                let align =
                    if Into::<u64>::into(program_header.p_align(endian)) == 8 { 8 } else { 4 };
                let bytes = data.read_bytes_at(offset, size.min(MAX_NOTES)).unwrap_or_default();
                description.build_id = notes::build_id(bytes, align).unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(Described { description, debug_bytes: debug_bytes(header, endian, data).unwrap_or(0) })
}

/// Size of the compressed debug sections when they are expanded; the others are mapped. `None` when the sections make no sense (then there is no debug
/// information to be found either).
fn debug_bytes<'data, Elf, R>(header: &Elf, endian: Endianness, data: R) -> Option<u64>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    if header.shnum(endian, data).ok()? > MAX_SECTIONS {
        return None;
    }
    let sections = header.sections(endian, data).ok()?;
    let mut total: u64 = 0;
    for section in sections.iter() {
        let name = sections.section_name(endian, section).unwrap_or_default();
        if !name.starts_with(b".debug_") && !name.starts_with(b".zdebug_") {
            continue;
        }
        let expanded: u64 = match section.compression(endian, data) {
            Ok(Some((compression, _, _))) => compression.ch_size(endian).into(),
            // The old way of compressing, which is rare: at the most so much smaller.
            _ if name.starts_with(b".z") => {
                Into::<u64>::into(section.sh_size(endian)).saturating_mul(8)
            }
            _ => 0,
        };
        total = total.saturating_add(expanded);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::describe_bytes;
    use crate::symbolize::wire::NoDescription;
    use proptest::prelude::{any, proptest};

    /// An ELF header, one segment and one note: enough to be described.
    fn small_elf() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
        let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
        let long = |elf: &mut Vec<u8>, value: u64| elf.extend(value.to_le_bytes());
        half(&mut elf, 3);
        half(&mut elf, 62);
        word(&mut elf, 1);
        for value in [0, 64, 0] {
            long(&mut elf, value);
        }
        word(&mut elf, 0);
        for value in [64, 56, 2, 64, 0, 0] {
            half(&mut elf, value);
        }
        for (kind, offset, address, size) in [(1, 0x1000, 0x40_2000, 0x300), (4, 176, 176, 20)] {
            word(&mut elf, kind);
            word(&mut elf, 5);
            for value in [offset, address, address, size, size, 4] {
                long(&mut elf, value);
            }
        }
        for value in [4, 4, 3] {
            word(&mut elf, value);
        }
        elf.extend(b"GNU\0\xde\xad\xbe\xef");
        elf
    }

    #[test]
    fn segments_and_build_id_are_found() {
        let described = describe_bytes(small_elf().as_slice()).unwrap().description;
        assert_eq!(described.build_id, b"\xde\xad\xbe\xef");
        assert_eq!(described.virtual_address(0x1010), Some(0x40_2010));
        assert_eq!(described.virtual_address(0x1300), None);
    }

    #[test]
    fn what_is_no_elf_file_is_malformed() {
        for bytes in
            [&b""[..], b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"]
        {
            assert_eq!(describe_bytes(bytes), Err(NoDescription::Malformed));
        }
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(3000))]
        #[test]
        fn damaged_files_are_described_or_refused(
            changes in proptest::collection::vec((0_usize..196, any::<u8>()), 0..6),
            len in 0_usize..200,
        ) {
            let mut elf = small_elf();
            for (position, value) in changes {
                if let Some(byte) = elf.get_mut(position) {
                    *byte = value;
                }
            }
            elf.truncate(len);
            if let Ok(described) = describe_bytes(elf.as_slice()) {
                assert!(described.description.segments.len() <= super::MAX_SEGMENTS);
            }
        }
    }
}
