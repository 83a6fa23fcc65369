//! Records that our programs wrote (`agent_common::sample`).

use agent_common::frame::RawFrame;
use agent_common::limits::MAX_FRAMES;
use agent_common::sample::{RecordKind, STACK_HEADER_LEN, SampleRecord};
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
    if n_frames > MAX_FRAMES {
        return None;
    }
    let (frames, _) = <[RawFrame]>::ref_from_prefix_with_elems(frames, n_frames).ok()?;
    Some(StackContents { hash, frames: frames.into() })
}

#[cfg(test)]
mod tests {
    use agent_common::frame::{FrameKind, RawFrame};
    use agent_common::sample::{RecordKind, SampleRecord};
    use proptest::prelude::{any, proptest};
    use zerocopy::{FromZeros, IntoBytes};

    use super::{Record, StackContents, decode_record};

    fn stack_bytes(hash: u64, frames: &[RawFrame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((RecordKind::Stack as u32).to_ne_bytes());
        bytes.extend((frames.len() as u32).to_ne_bytes());
        bytes.extend(hash.to_ne_bytes());
        bytes.extend(frames.as_bytes());
        bytes
    }

    #[test]
    fn samples_and_stacks() {
        let mut sample = SampleRecord::new_zeroed();
        sample.record_kind = RecordKind::Sample as u32;
        sample.pid = 42;
        assert_eq!(decode_record(sample.as_bytes()), Some(Record::Sample(sample)));
        let frames = [
            RawFrame::new(FrameKind::Native, 3, 0x1234),
            RawFrame::new(FrameKind::Kernel, 0, 0xffff_ffff_8100_0000),
        ];
        for n in 0..=2 {
            let expected = StackContents { hash: 7, frames: frames[..n].into() };
            let bytes = stack_bytes(7, &frames[..n]);
            // An aligned copy, as the ring gives it.
            let words: Vec<u64> =
                bytes.chunks(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap())).collect();
            assert_eq!(decode_record(words.as_bytes()), Some(Record::Stack(expected)));
        }
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
        }
    }
}
