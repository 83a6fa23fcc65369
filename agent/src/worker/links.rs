//! An ELF file in; what it says of itself and of the files that hold its debug information out, and whether one of those is the
//! right one.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use object::Object;

use crate::symbolize::wire::{AltLink, DebugLink, Links, MAX_BUILD_ID, MAX_LINK};

use super::dwarf;
use super::image::Image;

/// Bytes between two signs of life while a checksum is made.
const PIECE: usize = 8 << 20;

/// What the file links to. Finding that out may take `budget` bytes, if it is compressed.
pub(super) fn read(image: &Image, budget: u64) -> Links {
    let Some(file) = image.parse() else { return Links::default() };
    let debug_link = file.gnu_debuglink().ok().flatten().filter(|(name, _)| is_short(name));
    let alt_link = file.gnu_debugaltlink().ok().flatten();
    let alt_link = alt_link.filter(|(name, id)| is_short(name) && id.len() <= MAX_BUILD_ID);
    Links {
        has_debug: image.has_section(".debug_info") || image.has_section(".zdebug_info"),
        has_symbols: image.has_section(".symtab"),
        is_split: image.has_section(".debug_addr") && dwarf::is_split(image, budget),
        debug_link: debug_link.map(|(name, checksum)| DebugLink { name: name.to_vec(), checksum }),
        alt_link: alt_link.map(|(path, id)| AltLink { path: path.to_vec(), id: id.to_vec() }),
    }
}

fn is_short(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= MAX_LINK
}

/// The file's GNU build id; empty when it has none.
pub(super) fn build_id(image: &Image) -> Vec<u8> {
    let id = |file: object::File<'_>| Some(file.build_id().ok()??.to_vec());
    image.parse().and_then(id).unwrap_or_default()
}

/// Whether `other` is the debug file of `image`: it has the same build id, or where one of them has none, the checksum
/// that the link says.
pub(super) fn is_debug_file(image: &Image, other: &Image, go_on: &mut dyn FnMut() -> bool) -> bool {
    let (id, its_id) = (build_id(image), build_id(other));
    if !id.is_empty() && !its_id.is_empty() {
        return id == its_id;
    }
    let link =
        image.parse().and_then(|file| file.gnu_debuglink().ok().flatten().map(|(_, sum)| sum));
    link.is_some_and(|sum| checksum(other, go_on) == Some(sum))
}

/// Whether `other` is the supplementary file that `debug` names.
pub(super) fn is_supplementary_file(debug: &Image, other: &Image) -> bool {
    let link = debug.parse().and_then(|file| Some(file.gnu_debugaltlink().ok()??.1.to_vec()));
    link.is_some_and(|id| !id.is_empty() && id == build_id(other))
}

/// The CRC-32 of the whole file; `None` when time is up.
fn checksum(image: &Image, go_on: &mut dyn FnMut() -> bool) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    for piece in image.bytes().chunks(PIECE) {
        if !go_on() {
            return None;
        }
        hasher.update(piece);
        image.release();
    }
    Some(hasher.finalize())
}
