//! Code in; where signal handlers return to out: `mov $15, %rax; syscall`, which is what makes it that, whatever is said
//! elsewhere about how to unwind it (musl says that it is a function like others).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::rule::{PackedRule, Special};
use memchr::memmem;

use super::elf::Elf;
use super::spans::Source;

/// `syscall` with number 15, `rt_sigreturn`, in rax by an instruction of seven bytes and of five.
const PATTERNS: [&[u8]; 2] =
    [&[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05]];
/// Files that bring their own trampoline are those that need no C library: C libraries and what is linked with one.
/// Their code is searched up to here.
const MAX_SEARCH: usize = 128 << 20;
/// More would not be trampolines.
const MAX_FOUND: usize = 64;

/// Rows of all trampolines.
pub(super) fn rows(elf: &Elf<'_>) -> Source {
    let mut found = Vec::new();
    if elf.is_alone() {
        for segment in elf.segments().iter().filter(|segment| segment.is_code) {
            let Some((offset, _)) = elf.code_at(segment.address) else { continue };
            let code = elf.bytes_from(segment.address).unwrap_or_default();
            let code = code.get(..code.len().min(MAX_SEARCH)).unwrap_or_default();
            for pattern in PATTERNS {
                for at in memmem::find_iter(code, pattern).take(MAX_FOUND) {
                    let start = u32::try_from(at).ok().and_then(|at| at.checked_add(offset));
                    found.extend(start.map(|start| (start, pattern.len() as u32)));
                }
            }
        }
    }
    found.sort_unstable();
    let mut source = Source::default();
    for (start, len) in found {
        // A handler returns to the first byte; the frame is looked up one before it.
        source.begin(start.saturating_sub(1), start.saturating_add(len));
        source.push(0, PackedRule::special(Special::Signal));
    }
    source
}
