//! The hash that names a stack, the same in the kernel and in user space.

use crate::frame::RawFrame;

/// Odd constant of the 64-bit finalizer of `MurmurHash3` (public domain).
const MULTIPLIER: u64 = 0xff51_afd7_ed55_8ccd;

/// A hash over the frames of a stack, in order. The seed is secret and new at every start, so that no profiled process can
/// make its stacks collide with others'.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct StackHash(u64);

impl StackHash {
    /// The hash of no frames.
    #[inline(always)]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Goes on from a value that [`StackHash::value`] gave.
    #[inline(always)]
    pub const fn resume(value: u64) -> Self {
        Self(value)
    }

    /// Adds a number.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(MULTIPLIER);
        Self(mixed ^ (mixed >> 29))
    }

    /// Adds a frame.
    #[inline(always)]
    #[must_use]
    pub const fn add_frame(self, frame: &RawFrame) -> Self {
        self.add(frame.kind as u64 | (frame.executable as u64) << 32).add(frame.address)
    }

    /// The hash so far; never 0, which means "no stack" on the wire.
    #[inline(always)]
    pub const fn value(self) -> u64 {
        self.0 | 1
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;

    use super::StackHash;
    use crate::frame::{FrameKind, RawFrame};

    fn hash(frames: &[RawFrame]) -> u64 {
        frames.iter().fold(StackHash::new(7), StackHash::add_frame).value()
    }

    #[test]
    fn differs_by_every_field_and_by_order() {
        let a = RawFrame::new(FrameKind::Native, 1, 0x1000);
        let b = RawFrame::new(FrameKind::Native, 2, 0x1000);
        let c = RawFrame::new(FrameKind::Address, 1, 0x1000);
        let d = RawFrame::new(FrameKind::Native, 1, 0x1001);
        let stacks = [
            hash(&[]),
            hash(&[a]),
            hash(&[b]),
            hash(&[c]),
            hash(&[d]),
            hash(&[a, b]),
            hash(&[b, a]),
            hash(&[a, a]),
        ];
        assert_eq!(stacks.iter().collect::<HashSet<_>>().len(), stacks.len());
    }

    #[test]
    fn a_million_near_stacks_do_not_collide() {
        let mut seen = HashSet::new();
        for leaf in 0..1_000u64 {
            for caller in 0..1_000u64 {
                let frames = [
                    RawFrame::new(FrameKind::Native, 1, 0x1000 + leaf),
                    RawFrame::new(FrameKind::Native, 1, 0x2000 + caller),
                ];
                assert!(seen.insert(hash(&frames)), "collision at {leaf} {caller}");
            }
        }
    }
}
