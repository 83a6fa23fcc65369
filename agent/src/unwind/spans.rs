//! Exact rows by function, from several sources; one sequence of rows out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::rule::PackedRule;

/// A gap of at most this many bytes between two functions is padding: no code runs there, so that no row need say so.
const MAX_PADDING: u32 = 15;

/// From this file offset on, up to the next row, a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExactRow {
    pub(super) offset: u32,
    pub(super) rule: PackedRule,
}

/// A function: where it is in the file, and its rows in [`Source::rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
    first_row: u32,
    end_row: u32,
}

/// What one source knows: functions by rising offset that do not overlap. A function's first row begins where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    rows: Vec<ExactRow>,
    spans: Vec<Span>,
}

impl Source {
    /// Begins a function, behind all others; its rows follow. Until there is one, nothing is known of it.
    pub(super) fn begin(&mut self, start: u32, end: u32) {
        let first_row = self.n_rows();
        let start = start.max(self.spans.last().map_or(0, |span| span.end));
        let end = end.max(start);
        self.spans.push(Span { start, end, first_row, end_row: first_row });
        self.push(start, PackedRule::UNKNOWN);
    }

    /// Appends a row to the last function; an earlier one at the same place is replaced, one before the function moves to
    /// its start, and one that says what the row before it says is left out.
    pub(super) fn push(&mut self, offset: u32, rule: PackedRule) {
        let Some(span) = self.spans.last_mut() else { return };
        let offset = offset.max(span.start);
        if offset >= span.end {
            return;
        }
        let rows = self.rows.get_mut(span.first_row as usize..).unwrap_or_default();
        match rows {
            [.., last] if offset <= last.offset => last.rule = rule,
            [.., last] if last.rule == rule => {}
            _ => self.rows.push(ExactRow { offset, rule }),
        }
        // A row that was replaced may say what the one before it says.
        if let Some([.., before, last]) = self.rows.get(span.first_row as usize..)
            && before.rule == last.rule
        {
            self.rows.pop();
        }
        span.end_row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
    }

    /// Where the last row begins.
    pub(super) fn last_offset(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.offset)
    }

    pub(super) fn n_rows(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn rows_of(&self, span: &Span) -> &[ExactRow] {
        self.rows.get(span.first_row as usize..span.end_row as usize).unwrap_or_default()
    }

    /// Both; where they overlap, what `self` says.
    pub(super) fn over(self, below: Self) -> Self {
        if below.is_empty() {
            return self;
        }
        if self.is_empty() {
            return below;
        }
        let mut merged = Self::default();
        let mut tops = self.spans.iter().peekable();
        for span in &below.spans {
            // What of the span is behind all that was copied, up to the next one above it, again and again.
            let mut start = span.start;
            while let Some(top) = tops.next_if(|top| top.start < span.end) {
                merged.copy(&below, span, start, top.start);
                merged.copy(&self, top, top.start, top.end);
                start = start.max(top.end);
            }
            merged.copy(&below, span, start, span.end);
        }
        for top in tops {
            merged.copy(&self, top, top.start, top.end);
        }
        merged
    }

    /// Appends what a span of another source says from `start` to `end`, as far as it is behind what is there.
    fn copy(&mut self, from: &Self, span: &Span, start: u32, end: u32) {
        let start = start.max(self.spans.last().map_or(0, |span| span.end));
        if start >= end {
            return;
        }
        self.begin(start, end);
        for row in from.rows_of(span) {
            // Rows before the start move to it: the last of them is the one in effect there.
            self.push(row.offset, row.rule);
        }
    }

    /// All rows in one sequence, each with another rule than the one before it. Behind the last function, and in gaps that
    /// may hold code, nothing is known.
    pub(super) fn flatten(&self) -> Vec<ExactRow> {
        let mut flat: Vec<ExactRow> = Vec::with_capacity(self.rows.len());
        let mut push = |row: ExactRow| {
            if flat.last().is_none_or(|last| last.rule != row.rule) {
                flat.push(row);
            }
        };
        let mut behind = None::<u32>;
        for span in &self.spans {
            if let Some(end) = behind
                && span.start.saturating_sub(end) > MAX_PADDING
            {
                push(ExactRow { offset: end, rule: PackedRule::UNKNOWN });
            }
            self.rows_of(span).iter().copied().for_each(&mut push);
            behind = Some(span.end);
        }
        if let Some(end) = behind {
            push(ExactRow { offset: end, rule: PackedRule::UNKNOWN });
        }
        flat
    }
}
