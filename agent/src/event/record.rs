//! Records that our programs wrote (`agent_common::sample`).

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::limits::{LEAF_FRAMES, MAX_FRAMES, MAX_STACK_COPY, MAX_USER_FRAMES, ROOT_FRAMES};
use agent_common::sample::{
    LeafRegisters, RecordKind, STACK_COPY_HEADER_LEN, STACK_HEADER_LEN, SampleRecord,
};
use zerocopy::FromBytes;

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A sample.
    Sample(SampleRecord),
    /// A stack's contents.
    Stack(StackContents),
}

/// What a stack consists of: kernel frames before user frames, leaf first in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackContents {
    /// The name that samples use.
    pub hash: u64,
    /// The frames.
    pub frames: Box<[RawFrame]>,
}

/// Decodes one record; `None` when it is none of ours.
pub fn decode_record(bytes: &[u8]) -> Option<Record> {
    let (&kind, _) = bytes.split_first_chunk::<4>()?;
    let kind = u32::from_ne_bytes(kind);
    if kind == RecordKind::Sample as u32 {
        let (sample, _) = SampleRecord::read_from_prefix(bytes).ok()?;
        return Some(Record::Sample(sample));
    }
    (kind == RecordKind::Stack as u32).then(|| decode_stack(bytes)).flatten().map(Record::Stack)
}

fn decode_stack(bytes: &[u8]) -> Option<StackContents> {
    let (header, frames) = bytes.split_at_checked(STACK_HEADER_LEN)?;
    let n_frames = u32::from_ne_bytes(header.get(4..8)?.try_into().ok()?) as usize;
    let hash = u64::from_ne_bytes(header.get(8..16)?.try_into().ok()?);
    let n_kernel = u32::from_ne_bytes(header.get(16..20)?.try_into().ok()?) as usize;
    let n_walked = u32::from_ne_bytes(header.get(20..24)?.try_into().ok()?) as usize;
    if n_frames > MAX_FRAMES {
        return None;
    }
    let (frames, _) = <[RawFrame]>::ref_from_prefix_with_elems(frames, n_frames).ok()?;
    let (kernel, user) = frames.split_at_checked(n_kernel)?;
    Some(StackContents { hash, frames: in_order(kernel, user, n_walked)?.into() })
}

/// Kernel and user frames in the order of the stack, with what was cut between the ends of a deep one.
fn in_order(kernel: &[RawFrame], user: &[RawFrame], n_walked: usize) -> Option<Vec<RawFrame>> {
    if user.len() != n_walked.min(MAX_USER_FRAMES) {
        return None;
    }
    let mut frames = kernel.to_vec();
    let n_cut = n_walked.saturating_sub(MAX_USER_FRAMES);
    if n_cut == 0 {
        frames.extend(user);
        return Some(frames);
    }
    let (leaf, ring) = user.split_at_checked(LEAF_FRAMES)?;
    // The ring's oldest frame stands where the next one would have been written.
    let (newest, oldest) = ring.split_at_checked(n_walked % ROOT_FRAMES)?;
    frames.extend(leaf);
    frames.push(RawFrame::new(FrameKind::Cut, 0, n_cut as u64));
    frames.extend(oldest.iter().chain(newest));
    Some(frames)
}

/// A user stack that was copied, to be walked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedStack {
    /// The CPU of the sample that it belongs to.
    pub cpu: u32,
    /// The time of that sample.
    pub time_ns: u64,
    /// Where the walk begins.
    pub registers: LeafRegisters,
    /// The memory from the stack pointer on.
    pub bytes: Box<[u8]>,
}

/// Decodes one copy; `None` when it is none.
pub fn decode_stack_copy(bytes: &[u8]) -> Option<CopiedStack> {
    let (header, bytes) = bytes.split_at_checked(STACK_COPY_HEADER_LEN)?;
    let time_ns = u64::from_ne_bytes(header.get(..8)?.try_into().ok()?);
    let cpu = u32::from_ne_bytes(header.get(8..12)?.try_into().ok()?);
    let n_bytes = u32::from_ne_bytes(header.get(12..16)?.try_into().ok()?) as usize;
    let registers = LeafRegisters::read_from_bytes(header.get(16..)?).ok()?;
    if n_bytes > MAX_STACK_COPY {
        return None;
    }
    Some(CopiedStack { cpu, time_ns, registers, bytes: bytes.get(..n_bytes)?.into() })
}

#[cfg(test)]
mod tests {
    use agent_common::frame::{FrameKind, RawFrame};
    use agent_common::limits::{LEAF_FRAMES, MAX_USER_FRAMES, ROOT_FRAMES};
    use agent_common::sample::{RecordKind, STACK_COPY_HEADER_LEN, SampleRecord, StackCopy};
    use proptest::prelude::{any, proptest};
    use zerocopy::{FromZeros, IntoBytes};

    use super::{Record, StackContents, decode_record, decode_stack_copy};

    fn stack_bytes(hash: u64, frames: &[RawFrame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((RecordKind::Stack as u32).to_ne_bytes());
        bytes.extend((frames.len() as u32).to_ne_bytes());
        bytes.extend(hash.to_ne_bytes());
        let n_kernel =
            frames.iter().take_while(|frame| frame.kind() == Some(FrameKind::Kernel)).count();
        bytes.extend((n_kernel as u32).to_ne_bytes());
        bytes.extend(((frames.len() - n_kernel) as u32).to_ne_bytes());
        bytes.extend(frames.as_bytes());
        bytes
    }

    /// As the ring gives it: aligned.
    fn words(bytes: &[u8]) -> Vec<u64> {
        bytes.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    fn native(n: u64) -> RawFrame {
        RawFrame::new(FrameKind::Native, 1, n)
    }

    #[test]
    fn samples_and_stacks() {
        let mut sample = SampleRecord::new_zeroed();
        sample.record_kind = RecordKind::Sample as u32;
        sample.pid = 42;
        assert_eq!(decode_record(sample.as_bytes()), Some(Record::Sample(sample)));
        let frames = [
            RawFrame::new(FrameKind::Kernel, 0, 0xffff_ffff_8100_0000),
            RawFrame::new(FrameKind::Native, 3, 0x1234),
        ];
        for n in 0..=2 {
            let expected = StackContents { hash: 7, frames: frames[..n].into() };
            let bytes = stack_bytes(7, &frames[..n]);
            assert_eq!(decode_record(words(&bytes).as_bytes()), Some(Record::Stack(expected)));
        }
    }

    /// What the kernel leaves of a walk of `n_walked` frames.
    fn walked(n_walked: usize) -> Vec<u8> {
        let mut kept = Vec::new();
        for i in 0..n_walked {
            let at = if i < LEAF_FRAMES { i } else { LEAF_FRAMES + i % ROOT_FRAMES };
            kept.resize(kept.len().max(at + 1), native(0));
            kept[at] = native(i as u64);
        }
        let mut bytes = stack_bytes(7, &kept);
        bytes[20..24].copy_from_slice(&(n_walked as u32).to_ne_bytes());
        bytes
    }

    #[test]
    fn deep_stacks_keep_both_ends_in_order() {
        for n_walked in [1, LEAF_FRAMES, LEAF_FRAMES + 1, MAX_USER_FRAMES, 513, 700, 768, 4096] {
            let Some(Record::Stack(stack)) = decode_record(words(&walked(n_walked)).as_bytes())
            else {
                panic!("{n_walked} frames are a stack")
            };
            let n_cut = n_walked.saturating_sub(MAX_USER_FRAMES) as u64;
            let mut expected: Vec<RawFrame> = (0..n_walked as u64).map(native).collect();
            if n_cut > 0 {
                let cut = [RawFrame::new(FrameKind::Cut, 0, n_cut)];
                expected.splice(LEAF_FRAMES..n_walked - ROOT_FRAMES, cut);
            }
            assert_eq!(*stack.frames, *expected, "{n_walked}");
        }
    }

    #[test]
    fn copies_of_stacks() {
        let mut copy = StackCopy::new_zeroed();
        (copy.time_ns, copy.cpu, copy.n_bytes) = (5, 3, 16);
        copy.registers.instruction_pointer = 0x40_1000;
        copy.registers.general[7] = 0x7ffc_0000_0000;
        copy.bytes[..16].copy_from_slice(&[9; 16]);
        let bytes = copy.as_bytes();
        let decoded = decode_stack_copy(&bytes[..STACK_COPY_HEADER_LEN + 16]).unwrap();
        assert_eq!((decoded.time_ns, decoded.cpu, &*decoded.bytes), (5, 3, &[9; 16][..]));
        assert_eq!(decoded.registers, copy.registers);
        for len in 0..STACK_COPY_HEADER_LEN + 16 {
            assert_eq!(decode_stack_copy(&bytes[..len]), None, "{len}");
        }
        copy.n_bytes = u32::MAX;
        assert_eq!(decode_stack_copy(copy.as_bytes()), None);
    }

    #[test]
    fn cut_records_are_refused() {
        let bytes = stack_bytes(7, &[RawFrame::new(FrameKind::Native, 3, 0x1234)]);
        for len in 0..bytes.len() {
            assert_eq!(decode_record(&bytes[..len]), None, "{len}");
        }
        let mut lying = bytes.clone();
        lying[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(decode_record(&lying), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode_record(&bytes));
            drop(decode_stack_copy(&bytes));
        }
    }
}
