//! A copied user stack, its process's mappings and unwind tables in; frames out. The step from frame to frame is the one that
//! the kernel takes (`agent_common::unwind::step`), so that both ways give the same stack.

use std::collections::VecDeque;

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::limits::{LEAF_FRAMES, MAX_STACK_COPY, MAX_WALKED_FRAMES, ROOT_FRAMES};
use agent_common::outcome::UnwindOutcome;
use agent_common::unwind::registers::{IN_LEAF, RBP, RSP, Registers};
use agent_common::unwind::rule::{PackedRule, SharedRule};
use agent_common::unwind::step::{Stepped, step};

use super::Table;
use crate::event::CopiedStack;
use crate::process::Mappings;

/// What is known of an executable's table.
#[derive(Clone, Copy, Debug)]
pub enum TableState<'a> {
    /// Here it is.
    Ready(&'a Table),
    /// There is none to be had: frame pointers lead on.
    None,
    /// It is not there yet.
    Pending,
}

/// A walked stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Leaf first: both ends, with what was cut between them, as the kernel leaves them.
    pub frames: Vec<RawFrame>,
    /// How it ended; [`UnwindOutcome::TablePending`] where a table was pending.
    pub outcome: UnwindOutcome,
    /// Executables whose tables were pending: frame pointers were followed instead.
    pub pending: Vec<u32>,
}

/// Walks a copied stack of a process with these mappings.
pub fn walk<'a>(
    copy: &CopiedStack,
    mappings: &Mappings,
    table: impl Fn(u32) -> TableState<'a>,
) -> Walked {
    let mut registers = start(copy);
    let mut frames = Frames::default();
    let mut pending = Vec::new();
    let mut outcome = UnwindOutcome::Truncated;
    for _ in 0..MAX_WALKED_FRAMES {
        let address = registers.lookup_address();
        let (frame, found) = place(address, mappings, &table, &mut pending);
        frames.push(frame);
        let ((rule, distance), table) = found.unwrap_or(((PackedRule::UNKNOWN, 0), None));
        let shared = |index| shared(table, index);
        match step(&mut registers, rule, distance, shared, |address| read(copy, address)) {
            Stepped::Caller => {}
            Stepped::End => {
                outcome = UnwindOutcome::Complete;
                break;
            }
            Stepped::Failed(why) => {
                outcome = if is_cut(copy, why) { UnwindOutcome::Truncated } else { why };
                break;
            }
        }
    }
    if !pending.is_empty() {
        outcome = UnwindOutcome::TablePending;
    }
    Walked { frames: frames.into_list(), outcome, pending }
}

fn start(copy: &CopiedStack) -> Registers {
    let leaf = copy.registers.general;
    Registers {
        rip: copy.registers.instruction_pointer,
        rsp: leaf[RSP as usize],
        rbp: leaf[RBP as usize],
        is_exact: 1,
        others: IN_LEAF,
        leaf,
    }
}

/// The rule at a frame with the distance from its row, and the table that it is from.
type Found<'a> = ((PackedRule, u32), Option<&'a Table>);

fn place<'a>(
    address: u64,
    mappings: &Mappings,
    table: &impl Fn(u32) -> TableState<'a>,
    pending: &mut Vec<u32>,
) -> (RawFrame, Option<Found<'a>>) {
    let Some(mapping) = mappings.find(address).filter(|mapping| mapping.executable != 0) else {
        return (RawFrame::new(FrameKind::Address, 0, address), None);
    };
    let offset = mapping.offset_of(address);
    let frame = RawFrame::new(FrameKind::Native, mapping.executable, offset);
    match table(mapping.executable) {
        TableState::Ready(table) => return (frame, Some((table.packed_at(offset), Some(table)))),
        TableState::None => {}
        TableState::Pending => {
            if !pending.contains(&mapping.executable) {
                pending.push(mapping.executable);
            }
        }
    }
    (frame, None)
}

fn shared(table: Option<&Table>, index: u32) -> Option<SharedRule> {
    table.and_then(|table| table.shared(index))
}

/// Eight bytes of the copied stack.
fn read(copy: &CopiedStack, address: u64) -> Option<u64> {
    let offset = address.checked_sub(copy.registers.general[RSP as usize])?;
    let rest = copy.bytes.get(usize::try_from(offset).ok()?..)?;
    rest.first_chunk().copied().map(u64::from_ne_bytes)
}

/// Whether the walk left a copy that was cut at its greatest length, rather than the stack.
fn is_cut(copy: &CopiedStack, why: UnwindOutcome) -> bool {
    why == UnwindOutcome::StackFault && copy.bytes.len() + 4096 > MAX_STACK_COPY
}

/// Both ends of a stack.
#[derive(Debug, Default)]
struct Frames {
    leaf: Vec<RawFrame>,
    root: VecDeque<RawFrame>,
    n_cut: u64,
}

impl Frames {
    fn push(&mut self, frame: RawFrame) {
        if self.leaf.len() < LEAF_FRAMES {
            self.leaf.push(frame);
            return;
        }
        if self.root.len() == ROOT_FRAMES {
            self.root.pop_front();
            self.n_cut += 1;
        }
        self.root.push_back(frame);
    }

    fn into_list(self) -> Vec<RawFrame> {
        let mut list = self.leaf;
        if self.n_cut > 0 {
            list.push(RawFrame::new(FrameKind::Cut, 0, self.n_cut));
        }
        list.extend(self.root);
        list
    }
}

#[cfg(test)]
mod tests {
    use agent_common::frame::FrameKind;
    use agent_common::limits::MAX_WALKED_FRAMES;
    use agent_common::outcome::UnwindOutcome;
    use agent_common::sample::LeafRegisters;

    use super::{TableState, walk};
    use crate::event::CopiedStack;
    use crate::process::Mappings;

    const STACK: u64 = 0x7ffc_0000_0000;

    /// A stack of frame records: each points at the next; the last one's saved frame pointer is 0.
    fn frame_records(n: u64) -> CopiedStack {
        let mut bytes = Vec::new();
        for i in 0..n {
            let next = if i + 1 == n { 0 } else { STACK + (i + 1) * 16 };
            bytes.extend(next.to_ne_bytes());
            bytes.extend((0x5000 + i).to_ne_bytes());
        }
        let mut registers = LeafRegisters { general: [0; 16], instruction_pointer: 0x4000 };
        registers.general[6] = STACK;
        registers.general[7] = STACK;
        CopiedStack { cpu: 0, time_ns: 0, registers, bytes: bytes.into() }
    }

    #[test]
    fn memory_without_a_file_is_walked_by_frame_pointers() {
        let walked = walk(&frame_records(3), &Mappings::default(), |_| TableState::Pending);
        let addresses: Vec<u64> = walked.frames.iter().map(|frame| frame.address).collect();
        assert_eq!(addresses, [0x4000, 0x4fff, 0x5000, 0x5001]);
        assert_eq!((walked.outcome, &*walked.pending), (UnwindOutcome::Complete, &[][..]));
    }

    #[test]
    fn a_deep_stack_keeps_both_ends() {
        let walked = walk(&frame_records(1000), &Mappings::default(), |_| TableState::None);
        assert_eq!(walked.frames.len(), 513);
        assert_eq!(walked.frames[256].kind(), Some(FrameKind::Cut));
        assert_eq!(walked.frames[256].address, 1001 - 512);
        assert_eq!(walked.frames[512].address, 0x5000 + 998);
        let walked = walk(&frame_records(5000), &Mappings::default(), |_| TableState::None);
        assert_eq!(walked.outcome, UnwindOutcome::Truncated);
        assert_eq!(walked.frames[256].address, MAX_WALKED_FRAMES as u64 - 512);
    }

    #[test]
    fn a_copy_that_ends_too_soon_is_a_fault() {
        let mut copy = frame_records(3);
        copy.bytes = copy.bytes[..20].into();
        let walked = walk(&copy, &Mappings::default(), |_| TableState::None);
        assert_eq!((walked.frames.len(), walked.outcome), (2, UnwindOutcome::StackFault));
    }
}
