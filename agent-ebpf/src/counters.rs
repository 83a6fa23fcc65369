//! Counts what was taken and what was lost.

use agent_common::outcome::{CAPTURED_COUNTER, Loss};

use crate::helpers;

/// One more sample was taken.
#[inline(always)]
pub(crate) fn captured() {
    helpers::count(CAPTURED_COUNTER);
}

/// Something was lost.
#[inline(always)]
pub(crate) fn lost(loss: Loss) {
    helpers::count(loss as u32);
}
