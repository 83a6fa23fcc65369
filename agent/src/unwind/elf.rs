//! The bytes of an ELF file in; its segments and sections out, as far as unwinding needs them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::io::Read;

use object::LittleEndian;
use object::elf::{
    DT_NEEDED, DT_NULL, ELFCLASS32, EM_X86_64, FileHeader32, FileHeader64, PF_X, PT_DYNAMIC,
    PT_GNU_EH_FRAME, PT_LOAD, SHF_COMPRESSED, SHT_NOBITS, SHT_NULL,
};
use object::read::elf::{CompressionHeader, Dyn, FileHeader, ProgramHeader, SectionHeader};

use super::NoTable;

/// Larger files have no table: rows say file offsets in 31 bits.
const MAX_FILE: usize = 2 << 30;
const MAX_PROGRAM_HEADERS: usize = 4096;
const MAX_SECTIONS: usize = 64 * 1024;
/// Entries of a dynamic section that are looked at.
const MAX_DYNAMIC: usize = 4096;
/// Size of a section when it is expanded.
const MAX_EXPANDED: u64 = 512 << 20;

type Header = FileHeader64<LittleEndian>;
const ENDIAN: LittleEndian = LittleEndian;

/// A loadable part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) file_size: u64,
    pub(super) is_code: bool,
}

/// A section that has a name.
#[derive(Clone, Copy, Debug)]
struct Section<'a> {
    name: &'a [u8],
    address: u64,
    data: &'a [u8],
    is_compressed: bool,
}

/// Bytes and where they are loaded.
#[derive(Clone, Debug)]
pub(super) struct Loaded<'a> {
    pub(super) address: u64,
    pub(super) data: Cow<'a, [u8]>,
}

/// An ELF file for `x86_64`.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    data: &'a [u8],
    /// By rising address.
    segments: Vec<Segment>,
    sections: Vec<Section<'a>>,
    /// Address and bytes of the segment that tells where `.eh_frame` is.
    eh_frame_hdr: Option<(u64, &'a [u8])>,
    /// It names no shared library that it needs.
    is_alone: bool,
}

impl<'a> Elf<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, NoTable> {
        if data.len() > MAX_FILE {
            return Err(NoTable::TooLarge);
        }
        if FileHeader32::<LittleEndian>::parse(data)
            .is_ok_and(|header| header.e_ident().class == ELFCLASS32)
        {
            return Err(NoTable::Class32);
        }
        let header = Header::parse(data).map_err(|_foreign| NoTable::NotElf)?;
        if header.e_machine(ENDIAN) != EM_X86_64 || !header.is_little_endian() {
            return Err(NoTable::OtherMachine);
        }
        let mut elf = Self {
            data,
            segments: Vec::new(),
            sections: Vec::new(),
            eh_frame_hdr: None,
            is_alone: true,
        };
        elf.read_program_headers(header)?;
        // A file without sections, or with senseless ones, is described by its segments.
        elf.sections = sections(header, data).unwrap_or_default();
        Ok(elf)
    }

    fn read_program_headers(&mut self, header: &Header) -> Result<(), NoTable> {
        let malformed = |_| NoTable::Malformed;
        if header.phnum(ENDIAN, self.data).map_err(malformed)? > MAX_PROGRAM_HEADERS {
            return Err(NoTable::Malformed);
        }
        for part in header.program_headers(ENDIAN, self.data).map_err(malformed)? {
            let (address, offset) = (part.p_vaddr(ENDIAN), part.p_offset(ENDIAN));
            match part.p_type(ENDIAN) {
                PT_LOAD => {
                    let left = (self.data.len() as u64).saturating_sub(offset);
                    self.segments.push(Segment {
                        address,
                        offset,
                        file_size: part
                            .p_filesz(ENDIAN)
                            .min(left)
                            .min(u64::MAX.saturating_sub(address)),
                        is_code: part.p_flags(ENDIAN) & PF_X != 0,
                    });
                }
                PT_GNU_EH_FRAME => {
                    let bytes = part.data(ENDIAN, self.data).unwrap_or_default();
                    self.eh_frame_hdr = Some((address, bytes));
                }
                PT_DYNAMIC => {
                    let entries = part.dynamic(ENDIAN, self.data).ok().flatten().unwrap_or(&[]);
                    self.is_alone = !entries
                        .iter()
                        .take(MAX_DYNAMIC)
                        .map(|entry| entry.tag32(ENDIAN))
                        .take_while(|tag| *tag != Some(DT_NULL))
                        .any(|tag| tag == Some(DT_NEEDED));
                }
                _ => {}
            }
        }
        self.segments.sort_by_key(|segment| segment.address);
        Ok(())
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Names of all sections.
    pub(super) fn section_names(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.sections.iter().map(|section| section.name)
    }

    /// A section by name, expanded.
    pub(super) fn section(&self, name: &[u8]) -> Option<Loaded<'a>> {
        let section = self
            .sections
            .iter()
            .find(|section| section.name == name && !section.data.is_empty())?;
        let data = if section.is_compressed {
            Cow::Owned(expand(section.data)?)
        } else {
            Cow::Borrowed(section.data)
        };
        Some(Loaded { address: section.address, data })
    }

    /// Where `.eh_frame_hdr` lies, and its bytes.
    pub(super) fn eh_frame_hdr(&self) -> Option<(u64, &'a [u8])> {
        self.eh_frame_hdr
    }

    /// The file offset of code at that address, and how much code follows in the segment.
    pub(super) fn code_at(&self, address: u64) -> Option<(u32, u32)> {
        self.at(address, |segment| segment.is_code)
    }

    /// What the file has from that address on, to the end of its segment.
    pub(super) fn bytes_from(&self, address: u64) -> Option<&'a [u8]> {
        let (offset, left) = self.at(address, |_| true)?;
        self.file(offset, left)
    }

    /// Bytes of the file by offset.
    pub(super) fn file(&self, offset: u32, len: u32) -> Option<&'a [u8]> {
        let start = offset as usize;
        self.data.get(start..start.checked_add(len as usize)?)
    }

    fn at(&self, address: u64, is_wanted: impl Fn(&Segment) -> bool) -> Option<(u32, u32)> {
        // The last one that begins at or before the address; segments that overlap are nobody's.
        let n = self.segments.partition_point(|segment| segment.address <= address);
        let segment = self.segments.get(..n)?.iter().rev().find(|segment| is_wanted(segment))?;
        let distance = address.checked_sub(segment.address)?;
        let left = segment.file_size.checked_sub(distance).filter(|left| *left > 0)?;
        let offset = segment.offset.checked_add(distance)?;
        Some((u32::try_from(offset).ok()?, u32::try_from(left).ok()?))
    }
}

fn sections<'a>(header: &Header, data: &'a [u8]) -> Option<Vec<Section<'a>>> {
    if header.shnum(ENDIAN, data).ok()? > MAX_SECTIONS {
        return None;
    }
    let table = header.sections(ENDIAN, data).ok()?;
    let mut found = Vec::new();
    for section in table.iter() {
        if matches!(section.sh_type(ENDIAN), SHT_NULL | SHT_NOBITS) {
            continue;
        }
        found.push(Section {
            name: table.section_name(ENDIAN, section).unwrap_or_default(),
            address: section.sh_addr(ENDIAN),
            data: section.data(ENDIAN, data).unwrap_or_default(),
            is_compressed: section.sh_flags(ENDIAN) & u64::from(SHF_COMPRESSED) != 0,
        });
    }
    Some(found)
}

/// The contents of a compressed section (`ELFCOMPRESS_ZLIB`, `ELFCOMPRESS_ZSTD`).
fn expand(data: &[u8]) -> Option<Vec<u8>> {
    const ZLIB: u32 = object::elf::ELFCOMPRESS_ZLIB;
    const ZSTD: u32 = object::elf::ELFCOMPRESS_ZSTD;
    let header_len = size_of::<object::elf::CompressionHeader64<LittleEndian>>();
    let (header, _) =
        object::pod::from_bytes::<object::elf::CompressionHeader64<LittleEndian>>(data).ok()?;
    let (size, body) = (header.ch_size(ENDIAN), data.get(header_len..)?);
    if size > MAX_EXPANDED {
        return None;
    }
    let mut expanded = Vec::new();
    match header.ch_type(ENDIAN) {
        ZLIB => flate2::read::ZlibDecoder::new(body).take(size).read_to_end(&mut expanded).ok()?,
        ZSTD => zstd::stream::read::Decoder::new(body)
            .ok()?
            .take(size)
            .read_to_end(&mut expanded)
            .ok()?,
        _ => return None,
    };
    (expanded.len() as u64 == size).then_some(expanded)
}
