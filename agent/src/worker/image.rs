//! A mapped ELF file in; its sections, expanded where they are compressed, out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use object::{CompressionFormat, Object, ObjectSection};

use super::expand::{self, Format, expand};
use super::mapped::Mapped;

/// A file that looks like ELF; what is in it is looked for anew each time.
#[derive(Clone)]
pub(super) struct Image(Rc<Mapped>);

/// A section's bytes.
#[derive(Clone, Default)]
pub(super) enum Section {
    #[default]
    Absent,
    /// A part of an image.
    Part(Image, Range<usize>),
    /// Expanded.
    Expanded(Rc<Vec<u8>>),
}

impl Section {
    /// The bytes; none when the section is absent.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Absent => &[],
            Self::Part(image, range) => image.bytes().get(range.clone()).unwrap_or_default(),
            Self::Expanded(bytes) => bytes,
        }
    }
}

impl Image {
    /// Maps a file.
    pub(super) fn open(file: &File) -> io::Result<Self> {
        Ok(Self(Rc::new(Mapped::new(file)?)))
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Its headers; `None` when they make no sense.
    pub(super) fn parse(&self) -> Option<object::File<'_>> {
        object::File::parse(self.bytes()).ok()
    }

    /// Gives back what was read of it.
    pub(super) fn release(&self) {
        self.0.release();
    }

    /// Whether it has a section of that name with contents.
    pub(super) fn has_section(&self, name: &str) -> bool {
        let has = |file: object::File<'_>| Some(file.section_by_name(name)?.file_range()?.1 > 0);
        self.parse().and_then(has).unwrap_or(false)
    }

    /// A section; what it takes expanded is taken off `budget`, and one that would take more is an error.
    pub(super) fn section(&self, name: &str, budget: &mut u64) -> Result<Section, expand::Error> {
        let Some(file) = self.parse() else { return Ok(Section::Absent) };
        let Some(section) = file.section_by_name(name) else { return Ok(Section::Absent) };
        let Ok(range) = section.compressed_file_range() else {
            return Err(expand::Error::Malformed);
        };
        let start = usize::try_from(range.offset).map_err(|_overflow| expand::Error::TooLarge)?;
        let len =
            usize::try_from(range.compressed_size).map_err(|_overflow| expand::Error::TooLarge)?;
        let end = start.checked_add(len).ok_or(expand::Error::Malformed)?;
        let bytes = self.bytes().get(start..end).ok_or(expand::Error::Malformed)?;
        let format = match range.format {
            CompressionFormat::None => return Ok(Section::Part(self.clone(), start..end)),
            CompressionFormat::Zlib => Format::Zlib,
            CompressionFormat::Zstandard => Format::Zstd,
            _ => return Err(expand::Error::Malformed),
        };
        if range.uncompressed_size > *budget {
            return Err(expand::Error::TooLarge);
        }
        let expanded = expand(format, bytes, range.uncompressed_size)?;
        *budget = budget.saturating_sub(expanded.len() as u64);
        Ok(Section::Expanded(Rc::new(expanded)))
    }
}
