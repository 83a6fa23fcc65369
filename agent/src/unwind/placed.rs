//! A table and memory in chunks in; what to write where, and the header by which the kernel finds it, out.
//!
//! ```text
//! small   one extent: directory, shared rules, rows
//! large   whole chunks, the last one as long as needed. A directory and shared rules that fill more than one chunk begin
//!         at a chunk's start; a page's rows lie in one chunk
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::table::{
    CHUNK_WORDS, DirectoryEntry, ENTRIES_IN_CHUNK, ENTRY_WORDS, MAX_DIRECTORY_CHUNKS,
    MAX_SHARED_CHUNKS, Row, SHARED_IN_CHUNK, SHARED_WORDS, TableHeader,
};

use super::table::{Page, Table};

/// Memory that a table was given: a part of a chunk. `first_word` and the length are multiples of [`ALIGN_WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    pub chunk: u16,
    pub first_word: u32,
    pub n_words: u32,
}

/// Words that extents begin and end at a multiple of: shared rules are that long.
pub const ALIGN_WORDS: usize = SHARED_WORDS;

/// What to write into one extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub extent: Extent,
    pub words: Vec<u32>,
}

/// A table with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub header: TableHeader,
    pub pieces: Vec<Piece>,
}

/// Why a table has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    #[error("no memory is left for an unwind table")]
    MemoryFull,
    #[error("an unwind table has more parts than a header can name")]
    TooLarge,
}

/// Places a table. `allocate` gives an extent of the length that it is asked for, a multiple of [`ALIGN_WORDS`] of at most a
/// chunk, or nothing. On failure the extents that it gave hold nothing.
pub fn place(
    table: &Table,
    allocate: impl FnMut(u32) -> Option<Extent>,
) -> Result<Placed, NoPlace> {
    // Shared rules come behind the directory, aligned.
    let padding = table.pages.len().saturating_mul(ENTRY_WORDS) % ALIGN_WORDS;
    let n_words = table.n_words().saturating_add(padding);
    let mut writer = Writer { allocate, pieces: Vec::new(), left: n_words };
    let mut header = TableHeader {
        first_page: table.first_page,
        n_pages: u32::try_from(table.pages.len()).unwrap_or(u32::MAX),
        first_entry: 0,
        first_shared: 0,
        directory: [0; MAX_DIRECTORY_CHUNKS],
        shared: [0; MAX_SHARED_CHUNKS],
    };
    let rows = write_directory(table, &mut writer, &mut header)?;
    writer.align();
    for (number, block) in table.shared.chunks(SHARED_IN_CHUNK as usize).enumerate() {
        // Several chunks are filled from their start, or a rule's index would not say where it is.
        if table.shared.len() > SHARED_IN_CHUNK as usize {
            writer.open(CHUNK_WORDS)?;
        }
        let place = writer.place(block.iter().flat_map(|rule| rule.0))?;
        *header.shared.get_mut(number).ok_or(NoPlace::TooLarge)? = place.chunk;
        header.first_shared = place.first_word >> SHARED_WORDS.trailing_zeros();
    }
    write_rows(table, &mut writer, rows)?;
    Ok(Placed { header, pieces: writer.pieces })
}

/// Where a directory entry, whose page's rows have no place yet, was written.
#[derive(Clone, Copy)]
struct Entry {
    piece: usize,
    word: usize,
}

fn write_directory<A: FnMut(u32) -> Option<Extent>>(
    table: &Table,
    writer: &mut Writer<A>,
    header: &mut TableHeader,
) -> Result<Vec<Entry>, NoPlace> {
    let mut entries = Vec::with_capacity(table.pages.len());
    for (number, block) in table.pages.chunks(ENTRIES_IN_CHUNK as usize).enumerate() {
        // As with shared rules.
        if table.pages.len() > ENTRIES_IN_CHUNK as usize {
            writer.open(CHUNK_WORDS)?;
        }
        let place = writer.place(block.iter().flat_map(|page| entry(page, 0, 0)))?;
        *header.directory.get_mut(number).ok_or(NoPlace::TooLarge)? = place.chunk;
        header.first_entry = place.first_word >> ENTRY_WORDS.trailing_zeros();
        let words = (place.index..).step_by(ENTRY_WORDS).take(block.len());
        entries.extend(words.map(|word| Entry { piece: place.piece, word }));
    }
    Ok(entries)
}

fn write_rows<A: FnMut(u32) -> Option<Extent>>(
    table: &Table,
    writer: &mut Writer<A>,
    entries: Vec<Entry>,
) -> Result<(), NoPlace> {
    for (page, at) in table.pages.iter().zip(entries) {
        let place = writer.place(table.rows_of(page).iter().map(|row: &Row| row.0))?;
        let first_row = u16::try_from(place.first_word).map_err(|_large| NoPlace::TooLarge)?;
        let words = writer.pieces.get_mut(at.piece).map(|piece| piece.words.as_mut_slice());
        let words = words.and_then(|words| words.get_mut(at.word..)?.first_chunk_mut());
        *words.ok_or(NoPlace::TooLarge)? = entry(page, place.chunk, first_row);
    }
    Ok(())
}

fn entry(page: &Page, chunk: u16, first_row: u16) -> [u32; ENTRY_WORDS] {
    DirectoryEntry { chunk, first_row, n_rows: page.n_rows, rule_before: page.rule_before }
        .to_words()
}

/// Writes into the last extent as long as it has room, then into a new one.
struct Writer<A> {
    allocate: A,
    pieces: Vec<Piece>,
    /// Words of the table that are not written yet.
    left: usize,
}

/// Where words were written.
struct Place {
    chunk: u16,
    /// In the chunk.
    first_word: u32,
    piece: usize,
    /// In the piece.
    index: usize,
}

impl<A: FnMut(u32) -> Option<Extent>> Writer<A> {
    /// Writes words that must lie in one chunk.
    fn place(&mut self, words: impl Iterator<Item = u32> + Clone) -> Result<Place, NoPlace> {
        let n_words = words.clone().count();
        let has_room = self.pieces.last().is_some_and(|piece| {
            piece.words.len().saturating_add(n_words) <= piece.extent.n_words as usize
        });
        if !has_room {
            // All that is left, as far as it fits into a chunk.
            self.open(self.left.min(CHUNK_WORDS))?;
        }
        self.left = self.left.saturating_sub(n_words);
        let number = self.pieces.len().saturating_sub(1);
        let piece = self.pieces.last_mut().ok_or(NoPlace::TooLarge)?;
        let index = piece.words.len();
        piece.words.extend(words);
        if piece.words.len() > piece.extent.n_words as usize {
            return Err(NoPlace::TooLarge);
        }
        let first_word = piece.extent.first_word.saturating_add(index as u32);
        Ok(Place { chunk: piece.extent.chunk, first_word, piece: number, index })
    }

    /// Fills up to where a shared rule may stand.
    fn align(&mut self) {
        if let Some(last) = self.pieces.last_mut() {
            let n_words = last.words.len().next_multiple_of(ALIGN_WORDS);
            self.left = self.left.saturating_sub(n_words.saturating_sub(last.words.len()));
            last.words.resize(n_words, 0);
        }
    }

    /// Begins a new extent, unless the last one is new.
    fn open(&mut self, n_words: usize) -> Result<(), NoPlace> {
        let n_words = n_words.next_multiple_of(ALIGN_WORDS).min(CHUNK_WORDS);
        let asked = u32::try_from(n_words).map_err(|_large| NoPlace::TooLarge)?;
        if self
            .pieces
            .last()
            .is_some_and(|last| last.words.is_empty() && last.extent.n_words == asked)
        {
            return Ok(());
        }
        let extent = (self.allocate)(asked).ok_or(NoPlace::MemoryFull)?;
        self.pieces.push(Piece { extent, words: Vec::with_capacity(n_words) });
        Ok(())
    }
}
