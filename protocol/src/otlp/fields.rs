//! The fields of a message, and the memory that decoding would take: an empty message is two bytes on the wire.

use super::Error;

/// Decoded messages may take this many times the bytes that a request may have; real ones take three to five.
const EXPANSION: usize = 8;
const FLOOR_BYTES: usize = 1 << 20;
/// No message in a request is larger than this where it is empty.
const MESSAGE_BYTES: usize = 160;

pub(super) struct Field {
    pub number: u64,
    pub wire_type: u8,
    /// Where the field's key stands, and where its contents begin and end.
    pub key_at: usize,
    pub start: usize,
    pub end: usize,
}

/// The fields between two places of `bytes`; ends where there is no field, where decoding fails too.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], start: usize, end: usize) -> Fields<'a> {
        Fields { bytes, at: start, end: end.min(bytes.len()) }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            if self.at >= self.end {
                return None;
            }
            let byte = *self.bytes.get(self.at)?;
            self.at = self.at.checked_add(1)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Iterator for Fields<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let key_at = self.at;
        let key = self.varint()?;
        let wire_type = u8::try_from(key & 7).ok()?;
        let mut start = self.at;
        match wire_type {
            0 => {
                self.varint()?;
            }
            1 => self.at = self.at.checked_add(8)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                start = self.at;
                self.at = self.at.checked_add(len)?;
            }
            5 => self.at = self.at.checked_add(4)?,
            _ => return None,
        }
        if self.at > self.end {
            return None;
        }
        Some(Field { number: key >> 3, wire_type, key_at, start, end: self.at })
    }
}

/// What a length-delimited field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Dictionary,
    ResourceProfiles,
    ScopeProfiles,
    Profile,
    Sample,
    /// A key with its value, a value, or a list of either: all may nest.
    Any,
    Location,
    /// Without messages inside.
    Leaf,
    /// Bytes, texts and packed numbers.
    Plain,
}

fn kind(of: Kind, number: u64) -> Kind {
    match (of, number) {
        (Kind::Request, 1) => Kind::ResourceProfiles,
        (Kind::Request, 2) => Kind::Dictionary,
        (Kind::Dictionary, 2) => Kind::Location,
        (Kind::Dictionary, 6)
        | (Kind::ResourceProfiles | Kind::ScopeProfiles, 1)
        // A text is taken for a message, too: that counts it once more, at most.
        | (Kind::Any, 1 | 2 | 5 | 6) => Kind::Any,
        (Kind::Dictionary, 1 | 3 | 4 | 7) | (Kind::Location, 3) | (Kind::Profile, 1 | 5) => {
            Kind::Leaf
        }
        (Kind::ResourceProfiles, 2) => Kind::ScopeProfiles,
        (Kind::ScopeProfiles, 2) => Kind::Profile,
        (Kind::Profile, 2) => Kind::Sample,
        _ => Kind::Plain,
    }
}

pub(super) fn check_budget(body: &[u8], max_bytes: usize) -> Result<(), Error> {
    let limit_bytes = max_bytes.saturating_mul(EXPANSION).max(FLOOR_BYTES);
    let mut total: usize = 0;
    let mut waiting = vec![(Kind::Request, 0, body.len())];
    while let Some((of, start, end)) = waiting.pop() {
        for field in Fields::new(body, start, end) {
            let inside = kind(of, field.number);
            let len = field.end.saturating_sub(field.start);
            total = total.saturating_add(match (field.wire_type, inside) {
                // A packed number of one byte takes eight.
                (2, Kind::Plain) if of != Kind::Dictionary => {
                    len.saturating_mul(8).saturating_add(24)
                }
                (2, Kind::Plain) => len.saturating_add(24),
                (2, _) => MESSAGE_BYTES,
                _ => 8,
            });
            if total > limit_bytes {
                return Err(Error::TooDense { limit_bytes });
            }
            if field.wire_type == 2 && inside != Kind::Plain {
                waiting.push((inside, field.start, field.end));
            }
        }
    }
    Ok(())
}
