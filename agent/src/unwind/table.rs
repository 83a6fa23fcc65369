//! An executable's unwind table before it is placed in memory, and the look-up in it for stacks that user space unwinds.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::rule::{PackedRule, Rule, SharedRule};
use agent_common::unwind::table::{
    ENTRY_WORDS, MAX_ROWS_IN_PAGE, PAGE_SHIFT, Row, SHARED_WORDS, search, sign,
};

/// A page of the file that has code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Index in [`Table::rows`] of its first row.
    pub(super) first_row: u32,
    pub(super) n_rows: u32,
    /// The rule where the page begins; never a run.
    pub(super) rule_before: PackedRule,
}

/// How to unwind the code of one file. Says nothing where it has no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub(super) first_page: u32,
    pub(super) pages: Vec<Page>,
    /// Rows of all pages, in their order.
    pub(super) rows: Vec<Row>,
    pub(super) shared: Vec<SharedRule>,
}

impl Table {
    /// The rule for the code at that offset in the file.
    pub fn rule_at(&self, offset: u64) -> Rule {
        self.packed(offset)
            .and_then(|(rule, distance)| rule.resolve(|index| self.shared(index), distance))
            .unwrap_or(Rule::Special(agent_common::unwind::rule::Special::Unknown))
    }

    /// The same in the form that the kernel has it, and how far behind the rule's row that is.
    pub fn packed_at(&self, offset: u64) -> (PackedRule, u32) {
        self.packed(offset).unwrap_or((PackedRule::UNKNOWN, 0))
    }

    fn packed(&self, offset: u64) -> Option<(PackedRule, u32)> {
        let page = (offset >> PAGE_SHIFT).checked_sub(u64::from(self.first_page))?;
        let page = self.pages.get(usize::try_from(page).ok()?)?;
        let rows = self.rows_of(page);
        let nothing = Row::new(0, PackedRule::UNKNOWN);
        Some(search(
            page.n_rows,
            page.rule_before,
            offset as u32 & MAX_ROWS_IN_PAGE,
            |index| rows.get(index as usize).copied().unwrap_or(nothing),
            sign,
        ))
    }

    /// A shared rule by its index.
    pub fn shared(&self, index: u32) -> Option<SharedRule> {
        self.shared.get(index as usize).copied()
    }

    pub(super) fn rows_of(&self, page: &Page) -> &[Row] {
        let first = page.first_row as usize;
        self.rows.get(first..first.saturating_add(page.n_rows as usize)).unwrap_or_default()
    }

    /// Nothing is known of any code of the file.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    pub fn n_pages(&self) -> usize {
        self.pages.len()
    }

    pub fn n_shared(&self) -> usize {
        self.shared.len()
    }

    /// A table of about so many bytes.
    #[cfg(test)]
    pub(crate) fn of_size(bytes: usize) -> Self {
        Self { rows: vec![Row::new(0, PackedRule::UNKNOWN); bytes / 4], ..Self::default() }
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        self.n_words().saturating_mul(4)
    }

    /// Words of all its parts: what it takes in the kernel but for what is lost at the ends of chunks.
    pub fn n_words(&self) -> usize {
        let directory = self.pages.len().saturating_mul(ENTRY_WORDS);
        let shared = self.shared.len().saturating_mul(SHARED_WORDS);
        self.rows.len().saturating_add(directory).saturating_add(shared)
    }
}
