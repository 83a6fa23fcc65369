//! Requests of version 1.9 -> the same bytes as 1.10 has them: the fields of a sample have got other numbers.
//!
//! | field | until 1.9 | since 1.10 |
//! |---|---|---|
//! | `values` | 2 | 4 |
//! | `attribute_indices` | 3 | 2 |
//! | `link_index` | 4 | 3 |

use super::fields::{Field, Fields};

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// What the fields of samples say about the version.
#[derive(Default)]
struct Signs {
    /// Where the keys of fields 2, 3 and 4 of all samples stand.
    keys: Vec<usize>,
    /// A bit for the number of each field that is a list, and of each that is a number.
    lists: u8,
    numbers: u8,
}

impl Signs {
    /// Lists say it for sure, links nearly so. A sample with nothing but one list has values, unless it has timestamps,
    /// which may stand for them.
    fn are_old(&self) -> bool {
        let list = |number: u8| self.lists >> number & 1 == 1;
        let number = |number: u8| self.numbers >> number & 1 == 1;
        if list(4) || list(3) {
            return !list(4);
        }
        if number(4) || number(3) {
            return number(4);
        }
        list(2) && !list(5)
    }
}

pub(super) fn upgrade(body: &mut [u8]) {
    let mut signs = Signs::default();
    for profile in messages(body, &[1, 2, 2]) {
        for sample in profile_samples(body, &profile) {
            for field in Fields::new(body, sample.start, sample.end) {
                note(&mut signs, &field);
            }
        }
    }
    if !signs.are_old() {
        return;
    }
    for at in signs.keys {
        // Numbers below 16 are keys of one byte, so that no length changes.
        if let Some(key) = body.get_mut(at) {
            let number = match *key >> 3 {
                2 => 4,
                3 => 2,
                _ => 3,
            };
            *key = number << 3 | (*key & 7);
        }
    }
}

fn note(signs: &mut Signs, field: &Field) {
    if (2..=4).contains(&field.number) {
        signs.keys.push(field.key_at);
    }
    // The lists of fields 2 and 5 may also be written one number at a time.
    let bit = match field.number {
        number @ 2..=5 => 1_u8 << number,
        _ => 0,
    };
    if field.wire_type == LENGTH_DELIMITED || matches!(field.number, 2 | 5) {
        signs.lists |= bit;
    } else if field.wire_type == VARINT {
        signs.numbers |= bit;
    }
}

fn profile_samples<'a>(body: &'a [u8], profile: &Field) -> impl Iterator<Item = Field> + use<'a> {
    Fields::new(body, profile.start, profile.end)
        .filter(|field| field.number == 2 && field.wire_type == LENGTH_DELIMITED)
}

/// The messages that stand at the end of a path of field numbers.
fn messages(body: &[u8], path: &[u64]) -> Vec<Field> {
    let mut found = vec![Field {
        number: 0,
        wire_type: LENGTH_DELIMITED,
        key_at: 0,
        start: 0,
        end: body.len(),
    }];
    for number in path {
        let inside = |field: &Field| {
            Fields::new(body, field.start, field.end)
                .filter(|field| field.number == *number && field.wire_type == LENGTH_DELIMITED)
        };
        found = found.iter().flat_map(inside).collect();
    }
    found
}
