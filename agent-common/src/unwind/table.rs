//! Unwind tables as they lie in the kernel's memory, and the look-up of a file offset in them.
//!
//! ```text
//! TableHeader --> directory: one entry for each 4 KiB of the file, from the first to the last page of code
//!                   { first row:16 chunk:16 | rows:12 rule before:20 }
//!                       |
//!                       v
//!                 rows of a page, rising, all in one chunk: { offset in the page:12 rule:20 }
//!                                                                                  |
//!             --> shared rules, four words each                       <------------+
//! ```
//!
//! A page's `rule before` is the rule in effect where the page begins, so that no row is repeated; it is never a run.
//! Directory, rows and shared rules lie in chunks of 64 KiB. Tables are keyed by file offset, not by virtual address: frames
//! are (executable, file offset), and layouts in which the two differ are settled when the table is built.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::rule::{PackedRule, RULE_BITS, SharedRule};

/// Words of a chunk.
pub const CHUNK_WORDS: usize = 16 * 1024;
/// The unit of memory that tables are placed in.
pub type Chunk = [u32; CHUNK_WORDS];

/// Bytes of a file that a directory entry stands for, as a power of two.
pub const PAGE_SHIFT: u32 = 12;
/// Rows of a page: one for each byte but the first.
pub const MAX_ROWS_IN_PAGE: u32 = (1 << PAGE_SHIFT) - 1;
/// Bits of a row above its rule: the offset in its page.
const ROW_OFFSET_SHIFT: u32 = RULE_BITS;

/// Words of a directory entry, and of a shared rule.
pub const ENTRY_WORDS: usize = 2;
pub const SHARED_WORDS: usize = 4;
/// How many of them a chunk holds.
pub const ENTRIES_IN_CHUNK: u32 = (CHUNK_WORDS / ENTRY_WORDS) as u32;
pub const SHARED_IN_CHUNK: u32 = (CHUNK_WORDS / SHARED_WORDS) as u32;
/// Chunks of a directory: 2 GiB of file.
pub const MAX_DIRECTORY_CHUNKS: usize = 64;
/// Chunks of shared rules: as many as rows can refer to.
pub const MAX_SHARED_CHUNKS: usize = 64;
/// Steps of a search that end in one of [`MAX_ROWS_IN_PAGE`] rows.
const SEARCH_STEPS: u32 = PAGE_SHIFT;

/// Where an executable's table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TableHeader {
    /// The page of the file that the directory begins with.
    pub first_page: u32,
    /// How many it has.
    pub n_pages: u32,
    /// Index of the first directory entry in the first of its chunks. Other chunks are filled from their start.
    pub first_entry: u32,
    /// Index of the first shared rule in the first of their chunks.
    pub first_shared: u32,
    /// The directory's chunks.
    pub directory: [u16; MAX_DIRECTORY_CHUNKS],
    /// The shared rules' chunks.
    pub shared: [u16; MAX_SHARED_CHUNKS],
}

const _: () = assert!(size_of::<TableHeader>() == 272);

/// A page of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The chunk that holds its rows.
    pub chunk: u16,
    /// Index in the chunk of the first.
    pub first_row: u16,
    /// How many there are.
    pub n_rows: u32,
    /// The rule at the page's first byte.
    pub rule_before: PackedRule,
}

impl DirectoryEntry {
    /// As it lies in memory.
    pub const fn to_words(self) -> [u32; ENTRY_WORDS] {
        [
            (self.first_row as u32) << 16 | self.chunk as u32,
            self.n_rows << RULE_BITS | self.rule_before.bits(),
        ]
    }

    #[inline(always)]
    pub const fn from_words(words: [u32; ENTRY_WORDS]) -> Self {
        Self {
            chunk: words[0] as u16,
            first_row: (words[0] >> 16) as u16,
            n_rows: words[1] >> RULE_BITS,
            rule_before: PackedRule::from_low_bits(words[1]),
        }
    }
}

/// A row: from its offset on, up to the next row, its rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row(pub u32);

impl Row {
    pub const fn new(offset_in_page: u32, rule: PackedRule) -> Self {
        Self(offset_in_page << ROW_OFFSET_SHIFT | rule.bits())
    }

    #[inline(always)]
    pub const fn offset_in_page(self) -> u32 {
        self.0 >> ROW_OFFSET_SHIFT
    }

    #[inline(always)]
    pub const fn rule(self) -> PackedRule {
        PackedRule::from_low_bits(self.0)
    }
}

/// Looks a file offset up; `chunk` gives a chunk's words by its number. Gives the rule and how many bytes behind its row the
/// offset is; `None`: the table is not there (any more). Of an offset outside of the table nothing is known. `sign` is as for
/// [`search`].
#[inline(always)]
pub fn find<'a>(
    header: &TableHeader,
    offset: u64,
    chunk: impl Fn(u16) -> Option<&'a Chunk>,
    sign: impl Fn(i64) -> i64,
) -> Option<(PackedRule, u32)> {
    let page = (offset >> PAGE_SHIFT).wrapping_sub(u64::from(header.first_page));
    if page >= u64::from(header.n_pages) {
        return Some((PackedRule::UNKNOWN, 0));
    }
    let index = header.first_entry.wrapping_add(page as u32);
    let number = header.directory[(index / ENTRIES_IN_CHUNK) as usize & (MAX_DIRECTORY_CHUNKS - 1)];
    let words = chunk(number)?;
    let at = (index % ENTRIES_IN_CHUNK) as usize * ENTRY_WORDS;
    let entry = DirectoryEntry::from_words([words[at & MASK], words[(at + 1) & MASK]]);
    if entry.n_rows == 0 {
        return Some((entry.rule_before, 0));
    }
    let rows = chunk(entry.chunk)?;
    let first = u32::from(entry.first_row);
    let offset_in_page = offset as u32 & MAX_ROWS_IN_PAGE;
    let row = |index| Row(rows[(first + index) as usize & MASK]);
    Some(search(entry.n_rows, entry.rule_before, offset_in_page, row, sign))
}

/// Masks an index of a chunk's word, so that the verifier, and the compiler, know that it is one.
const MASK: usize = CHUNK_WORDS - 1;

/// A shared rule by its index; `chunk` as for [`find`].
#[inline(always)]
pub fn shared_rule<'a>(
    header: &TableHeader,
    index: u32,
    chunk: impl Fn(u16) -> Option<&'a Chunk>,
) -> Option<SharedRule> {
    let index = header.first_shared.wrapping_add(index);
    let number = header.shared[(index / SHARED_IN_CHUNK) as usize & (MAX_SHARED_CHUNKS - 1)];
    let words = chunk(number)?;
    let at = (index % SHARED_IN_CHUNK) as usize * SHARED_WORDS;
    Some(SharedRule([
        words[at & MASK],
        words[(at + 1) & MASK],
        words[(at + 2) & MASK],
        words[(at + 3) & MASK],
    ]))
}

/// The rule at an offset in a page, and how far behind the rule's row that is; `row` gives the page's rows by index, `sign` the
/// sign of a number, as [`sign`] does.
///
/// No branch depends on what is compared: each would double the paths that the verifier walks.
#[inline(always)]
pub fn search(
    n_rows: u32,
    rule_before: PackedRule,
    offset_in_page: u32,
    row: impl Fn(u32) -> Row,
    sign: impl Fn(i64) -> i64,
) -> (PackedRule, u32) {
    // The last row that is not behind the offset is the one before `low`, or among the `n` from there on.
    let mut low = 0;
    let mut n = n_rows;
    for _ in 0..SEARCH_STEPS {
        if n == 0 {
            break;
        }
        let half = n.div_ceil(2);
        let ahead = i64::from(offset_in_page) - i64::from(row(low + half - 1).offset_in_page());
        low += half & !(sign(ahead) as u32);
        n -= half;
    }
    if low == 0 {
        return (rule_before, 0);
    }
    let found = row(low - 1);
    (found.rule(), offset_in_page.wrapping_sub(found.offset_in_page()))
}

/// -1 for negative numbers, else 0.
pub const fn sign(number: i64) -> i64 {
    number >> 63
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya::Pod marks types that may be copied to the kernel")]

    use super::TableHeader;

    // SAFETY: `repr(C)`, integers only, no padding (zerocopy's IntoBytes proves it).
    unsafe impl aya::Pod for TableHeader {}
}
