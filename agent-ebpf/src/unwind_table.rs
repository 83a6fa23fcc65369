//! A frame's place in its executable's file in; the rule that leads to its caller out.

use agent_common::table_slot::{NO_SLOT, TABLE_NONE, TABLE_READY};
use agent_common::unwind::rule::{PackedRule, SharedRule};
use agent_common::unwind::table::{self, find};

use crate::helpers;
use crate::maps;

/// How to step from a frame.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) rule: PackedRule,
    /// How many bytes behind the rule's row the frame is.
    pub(crate) distance: u32,
    /// Whose rule it is.
    pub(crate) slot: u32,
}

/// Nothing is known: go by the frame pointer.
pub(crate) const BY_FRAME_POINTER: Found =
    Found { rule: PackedRule::UNKNOWN, distance: 0, slot: NO_SLOT };

/// The rule at an offset in the file whose table has that slot; `None` when the table is not there yet.
#[inline(always)]
pub(crate) fn rule_at(slot: u32, offset: u64) -> Option<Found> {
    let table = maps::TABLES.get(slot)?;
    // The state is written after all else, and taken back before anything else is written.
    match helpers::read_again(&table.state) {
        TABLE_READY => {
            let (rule, distance) = find(&table.header, offset, maps::unwind_chunk, helpers::sign)?;
            Some(Found { rule, distance, slot })
        }
        TABLE_NONE => Some(BY_FRAME_POINTER),
        _ => None,
    }
}

/// A shared rule of the table in that slot.
#[inline(always)]
pub(crate) fn shared_rule(slot: u32, index: u32) -> Option<SharedRule> {
    table::shared_rule(&maps::TABLES.get(slot)?.header, index, maps::unwind_chunk)
}
