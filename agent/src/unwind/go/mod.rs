//! A Go program in; exact rows of its functions out, from the table by which Go's runtime itself unwinds.
//!
//! The table says how far the stack pointer is from its place at entry. Where the caller's rbp is, it does not say: the code
//! that saves it is recognized.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod frame;
mod locate;
mod pclntab;

use agent_common::unwind::rule::{PackedRule, Special};

use self::pclntab::Function;
use super::Counts;
use super::elf::Elf;
use super::rules::Rules;
use super::spans::Source;

/// Rows of one program.
const MAX_ROWS: u32 = 10 << 20;

/// How a function is unwound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// By its table.
    Frame,
    /// By its table up to where its frame stands; from there on by the frame pointer, which may lead to another stack.
    StackSwitch,
    /// It is the outermost.
    End,
    /// Signal handlers return to it.
    Signal,
}

/// Functions that leave their stack and, before Go 1.17, did not say so.
const STACK_SWITCHES: [&[u8]; 14] = [
    b"runtime.systemstack",
    b"runtime.mcall",
    b"runtime.asmcgocall",
    b"runtime.asmcgocall_no_g",
    b"runtime.morestack",
    b"runtime.gogo",
    b"gogo",
    b"runtime.cgocallback",
    b"runtime.cgocallback_gofunc",
    b"runtime.nanotime1",
    b"runtime.nanotime",
    b"runtime.walltime1",
    b"runtime.walltime",
    b"runtime.sigfwd",
];
/// Functions that are the outermost and, before Go 1.17, did not say so.
const OUTERMOST: [&[u8]; 3] = [b"runtime.goexit", b"runtime.mstart", b"runtime.rt0_go"];

impl Manner {
    fn of(function: &Function<'_>) -> Self {
        let name = function.name.strip_suffix(b".abi0").unwrap_or(function.name);
        if name.starts_with(b"runtime.sigreturn") {
            return Self::Signal;
        }
        // Go's own tracebacks stop in signal handlers; what was interrupted is behind their trampoline.
        let is_trampoline = name.starts_with(b"runtime.sig") || name.starts_with(b"runtime.cgoSig");
        if (function.is_top && !is_trampoline)
            || OUTERMOST.contains(&name)
            || name.starts_with(b"_rt0_")
        {
            return Self::End;
        }
        if function.writes_sp || STACK_SWITCHES.contains(&name) {
            return Self::StackSwitch;
        }
        Self::Frame
    }
}

/// Rows of a Go program; none of any other.
pub(super) fn rows(elf: &Elf<'_>, rules: &mut Rules, counts: &mut Counts) -> Source {
    let mut source = Source::default();
    let Some((table, text_start)) = locate::locate(elf) else { return source };
    for index in 0..table.n_functions() {
        let Some(function) = table.function(index) else { continue };
        let Some(address) = text_start.checked_add(function.start) else { continue };
        let Some((offset, left)) = elf.code_at(address) else { continue };
        let len = function.end.saturating_sub(function.start);
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(left);
        let Some(code) = elf.file(offset, len) else { continue };
        let manner = Manner::of(&function);
        let changes = match manner {
            // The trampoline is returned to at its first byte, and looked up one before it.
            Manner::Signal => {
                source.begin(offset.saturating_sub(1), offset.saturating_add(len));
                source.push(0, PackedRule::special(Special::Signal));
                continue;
            }
            Manner::End => {
                source.begin(offset, offset.saturating_add(len));
                source.push(offset, PackedRule::special(Special::End));
                continue;
            }
            Manner::Frame | Manner::StackSwitch => table.changes(&function),
        };
        // C that Go's linker has linked has no changes; `.eh_frame` may know it.
        let Some(changes) = changes else { continue };
        if source.n_rows() > MAX_ROWS {
            counts.cut_off = counts.cut_off.saturating_add(1);
            break;
        }
        counts.go_functions = counts.go_functions.saturating_add(1);
        source.begin(offset, offset.saturating_add(len));
        for (at, rule) in frame::rows(code, &changes, manner == Manner::StackSwitch, rules) {
            source.push(offset.saturating_add(at), rule);
        }
    }
    source
}
