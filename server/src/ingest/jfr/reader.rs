//! The primitives of a flight recording, out of a slice that ends where it ends, with a bound on the steps that are taken.

use crate::ingest::jfr::Error;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Steps that may still be taken: types without fields take no bytes.
    fuel: &'a std::cell::Cell<u64>,
}

/// A string as it stands in the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Null,
    Inline(String),
    /// The key of a constant.
    Constant(i64),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, fuel: &'a std::cell::Cell<u64>) -> Reader<'a> {
        Reader { bytes, at, fuel }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The same reader, for which the bytes end at `end`.
    pub(super) fn within(&self, end: usize) -> Result<Reader<'a>, Error> {
        let bytes = self.bytes.get(..end).ok_or(Error::Truncated)?;
        Ok(Reader { bytes, at: self.at, fuel: self.fuel })
    }

    pub(super) fn burn(&self) -> Result<(), Error> {
        let left = self.fuel.get().checked_sub(1).ok_or(Error::TooLong)?;
        self.fuel.set(left);
        Ok(())
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(len).ok_or(Error::Truncated)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Error::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.take(1)?.first().copied().ok_or(Error::Truncated)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().ok().ok_or(Error::Truncated)
    }

    pub(super) fn u16_be(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i64_be(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn i32_be(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_be_bytes)
    }

    /// Seven bits a byte, but for the ninth, which has eight.
    pub(super) fn long(&mut self) -> Result<i64, Error> {
        let mut value: u64 = 0;
        for shift in (0..56).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value.cast_signed());
            }
        }
        value |= u64::from(self.u8()?) << 56;
        Ok(value.cast_signed())
    }

    /// Lengths and counts: no more than there are bytes, for each thing takes one at least.
    pub(super) fn count(&mut self) -> Result<usize, Error> {
        let count = usize::try_from(self.long()?).ok().ok_or(Error::Truncated)?;
        if count <= self.remaining() { Ok(count) } else { Err(Error::Truncated) }
    }

    pub(super) fn text(&mut self) -> Result<Text, Error> {
        self.burn()?;
        Ok(match self.u8()? {
            0 => Text::Null,
            1 => Text::Inline(String::new()),
            2 => Text::Constant(self.long()?),
            3 => {
                let len = self.count()?;
                Text::Inline(String::from_utf8_lossy(self.take(len)?).into_owned())
            }
            4 => {
                let count = self.count()?;
                let mut units = Vec::with_capacity(count);
                for _ in 0..count {
                    units.push(u16::try_from(self.long()?).ok().ok_or(Error::String)?);
                }
                Text::Inline(String::from_utf16_lossy(&units))
            }
            5 => {
                let len = self.count()?;
                Text::Inline(self.take(len)?.iter().map(|byte| char::from(*byte)).collect())
            }
            _ => return Err(Error::String),
        })
    }
}
