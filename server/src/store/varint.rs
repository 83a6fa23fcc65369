//! Integers of few bytes where they are small.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small negative numbers are short, too.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Reads what `put` wrote; None at the end or where nothing sensible is.
pub(super) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn take_signed(&mut self) -> Option<i64> {
        let value = self.take()?;
        Some((value >> 1) as i64 ^ (value & 1).wrapping_neg() as i64)
    }

    pub(super) fn take_u32(&mut self) -> Option<u32> {
        u32::try_from(self.take()?).ok()
    }

    /// A count of things that take at least one byte each, so that it cannot ask for more memory than was read.
    pub(super) fn take_count(&mut self) -> Option<usize> {
        usize::try_from(self.take()?).ok().filter(|count| *count <= self.rest.len())
    }

    pub(super) fn take_bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }
}
