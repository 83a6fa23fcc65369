//! Unwind tables and one step up a user stack: the code that the kernel runs, the agent for stacks that the kernel could not
//! walk, and the host's tests.
//!
//! A frame's address is looked up in its executable's table by file offset ([`table::find`]), which gives a
//! [`rule::Rule`]; [`step::step`] then turns the frame's registers into its caller's.

pub mod registers;
pub mod rule;
pub mod table;
pub mod step;
#[cfg(test)]
mod tests;

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A caller: its return address and the frame pointer to go on with.
    Caller { return_address: u64, frame_pointer: u64 },
    /// The outermost frame was reached.
    End,
    /// The frame pointer cannot be one.
    Invalid,
}

/// First address that user space cannot have on `x86_64` with 4-level page tables.
const USER_END: u64 = 1 << 47;
/// No code lies below: the first page is never mapped.
const FIRST_CODE: u64 = 4096;

/// Whether a frame record may lie at `frame_pointer`: not below the stack pointer, aligned, in user memory.
#[inline(always)]
pub const fn is_frame_pointer(frame_pointer: u64, stack_pointer: u64) -> bool {
    frame_pointer >= stack_pointer && frame_pointer.is_multiple_of(8) && frame_pointer < USER_END
}

/// Steps to the caller by the frame record at `frame_pointer`:
///
/// ```text
/// frame_pointer + 8   return address
/// frame_pointer       the caller's frame pointer
/// ```
///
/// `record` is what was read there. A saved frame pointer of 0 or one that does not lead up the stack does not make this
/// caller wrong: the next step ends there.
#[inline(always)]
pub const fn frame_pointer_step(record: [u64; 2]) -> Step {
    let [frame_pointer, return_address] = record;
    if return_address == 0 {
        return Step::End;
    }
    if return_address < FIRST_CODE || return_address >= USER_END {
        return Step::Invalid;
    }
    Step::Caller { return_address, frame_pointer }
}

#[cfg(test)]
mod frame_pointer_tests {
    use super::{Step, frame_pointer_step, is_frame_pointer};

    #[test]
    fn frame_pointers_lead_up_the_stack() {
        let sp = 0x7ffc_0000_1000;
        for (frame_pointer, expected) in [
            (sp, true),
            (sp + 8, true),
            (sp + 4, false),
            (sp - 8, false),
            (0, false),
            (1 << 47, false),
            (u64::MAX - 7, false),
        ] {
            assert_eq!(is_frame_pointer(frame_pointer, sp), expected, "{frame_pointer:#x}");
        }
    }

    #[test]
    fn steps() {
        let caller = |return_address, frame_pointer| Step::Caller { return_address, frame_pointer };
        for (record, expected) in [
            ([0x7ffc_0000_2000, 0x40_1000], caller(0x40_1000, 0x7ffc_0000_2000)),
            ([0, 0x40_1000], caller(0x40_1000, 0)),
            ([0x7ffc_0000_2000, 0], Step::End),
            ([0x7ffc_0000_2000, 1], Step::Invalid),
            ([0x7ffc_0000_2000, 0xffff_ffff_8100_0000], Step::Invalid),
        ] {
            assert_eq!(frame_pointer_step(record), expected, "{record:x?}");
        }
    }
}
