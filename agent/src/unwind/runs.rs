//! Exact rows in; the pages of a table, with pushes and pops merged into runs, out.
//!
//! A run is one row that stands for several. It costs a shared rule, so it is used where that pays for itself.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use agent_common::unwind::rule::{MAX_RUN, NEVER, PackedRule, Plain, Run, SharedRule};
use agent_common::unwind::table::{MAX_ROWS_IN_PAGE, PAGE_SHIFT, Row};

use super::rules::Rules;
use super::spans::ExactRow;
use super::table::{Page, Table};

/// Bytes of a shared rule, and of a row.
const SHARED_BYTES: usize = size_of::<SharedRule>();
const ROW_BYTES: usize = size_of::<Row>();

/// Splits rows into pages.
pub(super) fn table(exact: &[ExactRow], mut rules: Rules) -> Table {
    let Some((first, last)) = exact.first().zip(exact.last()) else { return Table::default() };
    let first_page = first.offset >> PAGE_SHIFT;
    // The last row says that nothing is known from there on, as does the end of the table.
    let end_page = last.offset.saturating_sub(1) >> PAGE_SHIFT;
    let runs = worthwhile(exact);
    let mut table = Table { first_page, ..Table::default() };
    let mut rule_before = PackedRule::UNKNOWN;
    let mut rest = exact;
    for page in first_page..=end_page {
        let n = rest.partition_point(|row| row.offset >> PAGE_SHIFT <= page);
        let (mut here, behind) = rest.split_at_checked(n).unwrap_or((rest, &[]));
        rest = behind;
        if let [at_start, others @ ..] = here
            && at_start.offset & MAX_ROWS_IN_PAGE == 0
        {
            rule_before = at_start.rule;
            here = others;
        }
        let first_row = u32::try_from(table.rows.len()).unwrap_or(u32::MAX);
        append_page(here, &runs, &mut rules, &mut table.rows);
        let n_rows = u32::try_from(table.rows.len()).unwrap_or(u32::MAX).saturating_sub(first_row);
        table.pages.push(Page { first_row, n_rows, rule_before });
        rule_before = here.last().map_or(rule_before, |row| row.rule);
    }
    table.shared = rules.into_shared();
    table
}

fn append_page(
    mut rows: &[ExactRow],
    runs: &HashMap<SharedRule, usize>,
    rules: &mut Rules,
    into: &mut Vec<Row>,
) {
    while let [first, others @ ..] = rows {
        let prefixes = prefixes(rows);
        let best = prefixes.iter().rev().find(|prefix| runs.contains_key(&prefix.rule));
        let (rule, n) =
            best.map_or((first.rule, 1), |prefix| (rules.shared(prefix.rule), prefix.n_rows));
        into.push(Row::new(first.offset & MAX_ROWS_IN_PAGE, rule));
        rows = rows.get(n..).unwrap_or(others);
    }
}

/// The runs that save more than they cost, and how many bytes each saves.
fn worthwhile(exact: &[ExactRow]) -> HashMap<SharedRule, usize> {
    let mut saved = HashMap::<SharedRule, usize>::new();
    let mut rows = exact;
    while let [first, others @ ..] = rows {
        if first.offset & MAX_ROWS_IN_PAGE == 0 {
            rows = others;
            continue;
        }
        let longest = prefixes(rows).pop();
        if let Some(prefix) = &longest {
            let saving = prefix.n_rows.saturating_sub(1).saturating_mul(ROW_BYTES);
            let total = saved.entry(prefix.rule).or_default();
            *total = total.saturating_add(saving);
        }
        rows = rows.get(longest.map_or(1, |prefix| prefix.n_rows)..).unwrap_or_default();
    }
    saved.retain(|_, saved| *saved > SHARED_BYTES);
    saved
}

/// The first rows of a sequence as one run.
struct Prefix {
    n_rows: usize,
    rule: SharedRule,
}

/// All runs that begin with the first row and stay in its page, the longest last.
fn prefixes(rows: &[ExactRow]) -> Vec<Prefix> {
    let mut found = Vec::new();
    let Some((first, others)) = rows.split_first() else { return found };
    let Some(mut last) = Rules::plain(first.rule).filter(|plain| !plain.is_rbp) else {
        return found;
    };
    let slot = last.slot as u8;
    let mut run = Run {
        cfa: last.cfa as u16,
        mask: 0,
        shrinks: false,
        slot_before: slot,
        slot_after: slot,
        slot_at: 0,
        base_at: NEVER,
    };
    let page = first.offset >> PAGE_SHIFT;
    for row in others.iter().take_while(|row| row.offset >> PAGE_SHIFT == page) {
        let distance = row.offset.saturating_sub(first.offset);
        let Some(next) =
            Rules::plain(row.rule).filter(|next| extend(&mut run, last, *next, distance))
        else {
            break;
        };
        last = next;
        found.push(Prefix { n_rows: found.len().saturating_add(2), rule: SharedRule::run(run) });
    }
    found
}

/// Makes the run say `next` from that distance on; false if it cannot.
fn extend(run: &mut Run, last: Plain, next: Plain, distance: u32) -> bool {
    if last.is_rbp || distance >= u32::from(NEVER) {
        return false;
    }
    let mut longer = *run;
    if next.cfa != last.cfa {
        let shrinks = next.cfa < last.cfa;
        let is_first = run.mask == 0;
        if next.cfa.abs_diff(last.cfa) != 1
            || distance > MAX_RUN
            || !(is_first || shrinks == run.shrinks)
        {
            return false;
        }
        longer.shrinks = shrinks;
        longer.mask |= 1_u32.checked_shl(distance.saturating_sub(1)).unwrap_or(0);
    }
    if next.slot != last.slot {
        if run.slot_before != run.slot_after {
            return false;
        }
        longer.slot_after = next.slot as u8;
        longer.slot_at = distance as u8;
    }
    if next.is_rbp {
        longer.base_at = distance as u8;
    }
    *run = longer;
    true
}
