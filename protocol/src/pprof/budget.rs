//! The memory that decoding would take, counted before it is taken: an empty message is two bytes on the wire and 72 in memory.

use super::Error;

/// Decoded messages may take this many times the bytes on the wire; real profiles take three to five.
const EXPANSION: usize = 8;
/// What a profile may always take, however small it is on the wire.
const FLOOR_BYTES: usize = 1 << 20;

/// Fails where decoding `plain` would take more than `EXPANSION` times `max_bytes`.
pub(super) fn check(plain: &[u8], max_bytes: usize) -> Result<(), Error> {
    let limit_bytes = max_bytes.saturating_mul(EXPANSION).max(FLOOR_BYTES);
    let mut total: usize = 0;
    for field in (Fields { rest: plain }) {
        total = total.saturating_add(cost_of(&field));
        if total > limit_bytes {
            return Err(Error::TooDense { limit_bytes });
        }
    }
    Ok(())
}

struct Field<'a> {
    number: u64,
    bytes: &'a [u8],
}

/// The length-delimited and other fields of a message; ends at the first byte that is none, where decoding fails too.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let len = match key & 7 {
            0 => {
                self.varint()?;
                0
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Field { number: key >> 3, bytes })
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
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
}

fn cost_of(field: &Field<'_>) -> usize {
    let nested = |cost: fn(&Field<'_>) -> usize| {
        (Fields { rest: field.bytes }).map(|inner| cost(&inner)).fold(0, usize::saturating_add)
    };
    match field.number {
        2 => nested(cost_in_sample).saturating_add(72),
        4 => nested(cost_in_location).saturating_add(64),
        6 => field.bytes.len().saturating_add(24),
        _ => 72,
    }
}

fn cost_in_sample(field: &Field<'_>) -> usize {
    match field.number {
        3 => 32,
        // Packed integers: each ends with the one byte whose high bit is clear.
        _ => field
            .bytes
            .iter()
            .filter(|byte| **byte < 0x80)
            .count()
            .saturating_add(1)
            .saturating_mul(8),
    }
}

fn cost_in_location(field: &Field<'_>) -> usize {
    if field.number == 4 { 24 } else { 0 }
}
