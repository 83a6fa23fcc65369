//! The bytes of ELF notes in; the build id in them out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::wire::MAX_BUILD_ID;

const NT_GNU_BUILD_ID: u32 = 3;
const NT_GO_BUILD_ID: u32 = 4;

/// The GNU build id among the notes, else Go's; at most `MAX_BUILD_ID` bytes of it.
///
/// A note is three words (length of the name, length of the contents, type), the name and the contents, each padded to
/// `align` bytes: 4, or 8 in a segment of GNU properties.
pub fn build_id(mut notes: &[u8], align: usize) -> Option<Vec<u8>> {
    let mut go = None;
    while let Some((note, rest)) = split_note(notes, align) {
        match (note.name, note.kind) {
            (b"GNU\0", NT_GNU_BUILD_ID) if !note.contents.is_empty() => {
                return Some(capped(note.contents));
            }
            (b"Go\0\0" | b"Go\0", NT_GO_BUILD_ID) if !note.contents.is_empty() => {
                go = Some(capped(note.contents));
            }
            _ => {}
        }
        notes = rest;
    }
    go
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

struct Note<'a> {
    name: &'a [u8],
    contents: &'a [u8],
    kind: u32,
}

fn split_note(notes: &[u8], align: usize) -> Option<(Note<'_>, &[u8])> {
    let (name_len, rest) = split_word(notes)?;
    let (contents_len, rest) = split_word(rest)?;
    let (kind, rest) = split_word(rest)?;
    let (name, rest) = split_padded(rest, name_len, align)?;
    let (contents, rest) = split_padded(rest, contents_len, align)?;
    Some((Note { name, contents, kind }, rest))
}

fn split_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}

/// `len` bytes, and what comes after their padding (which the last note may lack).
fn split_padded(bytes: &[u8], len: u32, align: usize) -> Option<(&[u8], &[u8])> {
    let len = len as usize;
    let padded = len.checked_next_multiple_of(align)?;
    Some((bytes.get(..len)?, bytes.get(padded..).unwrap_or_default()))
}

fn capped(contents: &[u8]) -> Vec<u8> {
    contents.get(..MAX_BUILD_ID).unwrap_or(contents).to_vec()
}

#[cfg(test)]
mod tests {
    use super::{build_id, hex};
    use proptest::prelude::{any, proptest};

    fn note(name: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [name.len() as u32, contents.len() as u32, kind] {
            out.extend(word.to_le_bytes());
        }
        for part in [name, contents] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    #[test]
    fn the_gnu_build_id_wins_over_gos() {
        let gnu = note(b"GNU\0", 3, &[0xab, 0x0c]);
        let go = note(b"Go\0\0", 4, b"x/y");
        let abi = note(b"GNU\0", 1, &[0; 16]);
        let hex_of = |notes: &[&[u8]]| build_id(&notes.concat(), 4).map(|id| hex(&id));
        assert_eq!(hex_of(&[&abi, &go, &gnu]).as_deref(), Some("ab0c"));
        assert_eq!(hex_of(&[&abi, &go]).as_deref(), Some("782f79"));
        assert_eq!(hex_of(&[&abi]), None);
        assert_eq!(hex_of(&[gnu.get(..13).unwrap()]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_notes_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..100), align in 0_usize..9) {
            if let Some(id) = build_id(&bytes, align) {
                assert!(id.len() <= super::MAX_BUILD_ID);
            }
        }
    }
}
