//! A table as bytes, for the worker's answers and the cache on disk. What can be decoded can be given to the kernel.
//!
//! ```text
//! magic | version | first page | pages | rows | shared rules          words of 32 bits, little endian
//! pages: { rows:12 rule before:20 }
//! rows:  { offset in the page:12 rule:20 }
//! shared rules: four words each
//! CRC-32C of all before
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::rule::{MAX_SHARED, PackedRule, RULE_BITS, SharedRule};
use agent_common::unwind::table::{MAX_ROWS_IN_PAGE, Row, SHARED_WORDS};

use super::table::{Page, Table};

const MAGIC: u32 = u32::from_le_bytes(*b"PLUT");
/// Rises when the format or what it means changes: tables of other versions are built anew.
const VERSION: u32 = 1;
const HEADER_WORDS: usize = 6;
/// Pages of 2 GiB of file.
const MAX_PAGES: u32 = 1 << 19;
/// Rows of one table: those that it is built from may be as many, and one page may have one more for each source.
const MAX_ROWS: u32 = 24 << 20;
/// Bytes of the longest encoding.
pub const MAX_ENCODED: usize = 4
    * (HEADER_WORDS
        + MAX_PAGES as usize
        + MAX_ROWS as usize
        + SHARED_WORDS * MAX_SHARED as usize
        + 1);

/// Why bytes are no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not an unwind table")]
    Magic,
    #[error("an unwind table of another version")]
    Version,
    #[error("an unwind table that is damaged")]
    Checksum,
    #[error("an unwind table of another length than it says")]
    Length,
    #[error("an unwind table with senseless {0}")]
    Content(&'static str),
}

impl Table {
    /// The table as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let header = [
            MAGIC,
            VERSION,
            self.first_page,
            len(self.pages.len()),
            len(self.rows.len()),
            len(self.shared.len()),
        ];
        let pages =
            self.pages.iter().map(|page| page.n_rows << RULE_BITS | page.rule_before.bits());
        let words = header
            .into_iter()
            .chain(pages)
            .chain(self.rows.iter().map(|row| row.0))
            .chain(self.shared.iter().flat_map(|rule| rule.0));
        let mut bytes = Vec::with_capacity(self.n_words().saturating_mul(4).saturating_add(32));
        words.for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The table that was encoded, with every count, order and index checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(Malformed::Magic)?;
        let mut words = Words(body);
        if words.next() != Some(MAGIC) {
            return Err(Malformed::Magic);
        }
        if words.next() != Some(VERSION) {
            return Err(Malformed::Version);
        }
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(Malformed::Checksum);
        }
        let mut count = |max| words.next().filter(|n| *n <= max).ok_or(Malformed::Length);
        let (first_page, n_pages) = (count(MAX_PAGES)?, count(MAX_PAGES)?);
        let (n_rows, n_shared) = (count(MAX_ROWS)?, count(MAX_SHARED)?);
        let expected = (n_shared as usize)
            .saturating_mul(SHARED_WORDS)
            .saturating_add(n_pages as usize)
            .saturating_add(n_rows as usize)
            .saturating_mul(4);
        if words.0.len() != expected || first_page.saturating_add(n_pages) > MAX_PAGES {
            return Err(Malformed::Length);
        }
        let mut first_row = 0_u32;
        let pages = words.by_ref().take(n_pages as usize).map(|word| {
            let page = Page {
                first_row,
                n_rows: word >> RULE_BITS,
                rule_before: PackedRule::from_low_bits(word),
            };
            first_row = first_row.saturating_add(page.n_rows);
            page
        });
        let pages: Vec<Page> = pages.collect();
        let rows = words.by_ref().take(n_rows as usize).map(Row).collect();
        let table = Self { first_page, pages, rows, shared: words.shared().collect() };
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), Malformed> {
        let n_shared = u32::try_from(self.shared.len()).unwrap_or(u32::MAX);
        if !self.shared.iter().all(|rule| rule.is_valid()) {
            return Err(Malformed::Content("shared rules"));
        }
        let n_rows = self.pages.iter().fold(0_u64, |n, page| n.saturating_add(page.n_rows.into()));
        if n_rows != self.rows.len() as u64 {
            return Err(Malformed::Content("pages"));
        }
        for page in &self.pages {
            let is_run = page
                .rule_before
                .shared_index()
                .and_then(|index| self.shared.get(index as usize))
                .is_some_and(|rule| rule.is_run());
            if page.n_rows > MAX_ROWS_IN_PAGE || is_run || !page.rule_before.is_valid(n_shared) {
                return Err(Malformed::Content("pages"));
            }
            let rows = self.rows_of(page);
            let rise = rows.is_sorted_by(|a, b| a.offset_in_page() < b.offset_in_page());
            let first_is_inside = rows.first().is_none_or(|row| row.offset_in_page() > 0);
            let are_valid = rows.iter().all(|row| row.rule().is_valid(n_shared));
            if !rise || !first_is_inside || !are_valid {
                return Err(Malformed::Content("rows"));
            }
        }
        Ok(())
    }
}

/// Words of an encoding, one after the other.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn shared(self) -> impl Iterator<Item = SharedRule> {
        let mut words = self;
        std::iter::from_fn(move || {
            Some(SharedRule([words.next()?, words.next()?, words.next()?, words.next()?]))
        })
    }
}

impl Iterator for Words<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }
}
