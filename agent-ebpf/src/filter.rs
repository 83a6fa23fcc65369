//! Drops what is not wanted before anything is done for it.

use crate::helpers;

/// Whether the current task is sampled: all but the idle tasks, whose pid is 0.
#[inline(always)]
pub(crate) fn is_wanted() -> bool {
    helpers::pid_tgid() != 0
}
