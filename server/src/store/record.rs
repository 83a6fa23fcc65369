//! The frame of the log's files: a header, then records that are found again after damage.
//!
//! ```text
//! file    header, the same header again, record, record, ...
//! header  magic "PLOTWAL\0" | version u16 | 0 u16 | salt u32 | crc32c of these u32          20 bytes, little-endian
//! record  sync f0 9f 94 a5 | payload length u32 | crc u32 | kind u8 | flags u8 | 0 u16      16 bytes, then the payload
//! ```
//! A record's crc32c is of salt, payload length, the rest of its header and payload: what looks like a record inside a payload has not
//! the file's salt.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub(super) const VERSION: u16 = 1;
pub(super) const FILE_HEADER_LEN: usize = 40;
const HEADER_COPY_LEN: usize = 20;
const MAGIC: &[u8; 8] = b"PLOTWAL\0";
const SYNC: [u8; 4] = [0xf0, 0x9f, 0x94, 0xa5];
const RECORD_HEADER_LEN: usize = 16;
/// Payloads are smaller, as they are written and when decompressed.
pub(super) const MAX_PAYLOAD_BYTES: usize = 256 << 20;
/// Smaller payloads are not worth a compressor.
const COMPRESS_FROM_BYTES: usize = 1 << 10;
const FLAG_ZSTD: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Symbols and label sets. Written twice, for all later records of the file refer to them.
    Definitions = 1,
    Rows = 2,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Salt(u32),
    /// Neither copy is whole.
    Damaged,
    Newer(u16),
}

pub(super) fn file_header(salt: u32) -> Vec<u8> {
    let mut copy = MAGIC.to_vec();
    copy.extend(VERSION.to_le_bytes());
    copy.extend([0, 0]);
    copy.extend(salt.to_le_bytes());
    copy.extend(crc32c::crc32c(&copy).to_le_bytes());
    [copy.as_slice(), copy.as_slice()].concat()
}

pub(super) fn read_file_header(file: &[u8]) -> Header {
    for copy in file.chunks_exact(HEADER_COPY_LEN).take(2) {
        let Some((body, crc)) = copy.split_at_checked(16) else { continue };
        if u32_at(crc, 0) != Some(crc32c::crc32c(body)) || !body.starts_with(MAGIC) {
            continue;
        }
        let version = u32_at(body, 8).unwrap_or_default() & 0xffff;
        if version > u32::from(VERSION) {
            return Header::Newer(version as u16);
        }
        return u32_at(body, 12).map_or(Header::Damaged, Header::Salt);
    }
    Header::Damaged
}

pub(super) fn append(out: &mut Vec<u8>, salt: u32, kind: Kind, payload: &[u8]) {
    let compressed = if payload.len() >= COMPRESS_FROM_BYTES {
        zstd::bulk::compress(payload, 1).ok()
    } else {
        None
    };
    let (payload, flags) = match &compressed {
        Some(compressed) if compressed.len() < payload.len() => (compressed.as_slice(), FLAG_ZSTD),
        _ => (payload, 0),
    };
    let len = u32::try_from(payload.len()).expect("a request's symbols and rows are bounded");
    out.extend(SYNC);
    out.extend(len.to_le_bytes());
    let what = [kind as u8, flags, 0, 0];
    out.extend(crc(salt, len, what, payload).to_le_bytes());
    out.extend(what);
    out.extend(payload);
}

/// `what` is the end of the record's header: kind, flags and the unused bytes.
fn crc(salt: u32, len: u32, what: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(head_crc(salt, len, what), payload)
}

fn head_crc(salt: u32, len: u32, what: [u8; 4]) -> u32 {
    crc32c::crc32c(&[salt.to_le_bytes(), len.to_le_bytes(), what].concat())
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let end = offset.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// What a file held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// The end of the last whole record: what follows was never acknowledged.
    pub whole_bytes: usize,
    /// Stretches of damage before that end.
    pub damaged: usize,
    /// Records whose payload could not be read although its checksum held.
    pub unreadable: usize,
}

/// Gives each whole record's kind and payload to `each`, which says whether it understood it.
pub(super) fn scan(file: &[u8], salt: u32, mut each: impl FnMut(Kind, &[u8]) -> bool) -> Scan {
    let mut scan = Scan { whole_bytes: FILE_HEADER_LEN, ..Scan::default() };
    let mut at = FILE_HEADER_LEN;
    let mut in_damage = false;
    let mut prefixes = None;
    while let Some(rest) = file.get(at..).filter(|rest| !rest.is_empty()) {
        let found = if in_damage {
            let prefixes = prefixes.get_or_insert_with(|| Prefixes::new(file));
            record_at(
                rest,
                |head, len| prefixes.crc(head, at.saturating_add(RECORD_HEADER_LEN), len),
                salt,
            )
        } else {
            whole_record(rest, salt)
        };
        if let Some((record, len)) = found {
            scan.damaged = scan.damaged.saturating_add(usize::from(in_damage));
            in_damage = false;
            let understood = match record.payload() {
                Some((kind, payload)) => each(kind, &payload),
                None => false,
            };
            scan.unreadable = scan.unreadable.saturating_add(usize::from(!understood));
            at = at.saturating_add(len);
            scan.whole_bytes = at;
        } else {
            in_damage = true;
            let skip =
                rest.get(1..).and_then(find_sync).map_or(rest.len(), |skip| skip.saturating_add(1));
            at = at.saturating_add(skip);
        }
    }
    scan
}

struct Record<'a> {
    kind: u8,
    flags: u8,
    payload: &'a [u8],
}

fn whole_record(bytes: &[u8], salt: u32) -> Option<(Record<'_>, usize)> {
    let payload_crc = |head, len: usize| {
        let end = RECORD_HEADER_LEN.checked_add(len)?;
        Some(crc32c::crc32c_append(head, bytes.get(RECORD_HEADER_LEN..end)?))
    };
    record_at(bytes, payload_crc, salt)
}

/// `payload_crc` goes on from the checksum of the head over so many bytes behind it.
fn record_at(
    bytes: &[u8],
    payload_crc: impl Fn(u32, usize) -> Option<u32>,
    salt: u32,
) -> Option<(Record<'_>, usize)> {
    let bytes_after_sync = bytes.strip_prefix(&SYNC)?;
    let len = u32_at(bytes_after_sync, 0)?;
    let stored_crc = u32_at(bytes_after_sync, 4)?;
    let what: [u8; 4] = bytes_after_sync.get(8..12)?.try_into().ok()?;
    let end = RECORD_HEADER_LEN.checked_add(len as usize)?;
    let payload = bytes.get(RECORD_HEADER_LEN..end)?;
    let [kind, flags, ..] = what;
    let crc = payload_crc(head_crc(salt, len, what), len as usize)?;
    (crc == stored_crc).then_some((Record { kind, flags, payload }, end))
}

/// Checksums of a file's beginnings. Behind damage, anything may look like a record as long as the file: to sum up each would
/// take forever, and from these a checksum of any stretch is had at once.
struct Prefixes<'a> {
    file: &'a [u8],
    crcs: Vec<u32>,
}

impl<'a> Prefixes<'a> {
    const EVERY: usize = 256;

    fn new(file: &'a [u8]) -> Prefixes<'a> {
        let mut crcs = vec![0];
        let mut crc = 0;
        for chunk in file.chunks_exact(Prefixes::EVERY) {
            crc = crc32c::crc32c_append(crc, chunk);
            crcs.push(crc);
        }
        Prefixes { file, crcs }
    }

    fn until(&self, end: usize) -> Option<u32> {
        let whole = end.checked_div(Prefixes::EVERY)?;
        let rest = self.file.get(whole.checked_mul(Prefixes::EVERY)?..end)?;
        Some(crc32c::crc32c_append(*self.crcs.get(whole)?, rest))
    }

    /// Of what `head` is the checksum of, and then these bytes of the file.
    fn crc(&self, head: u32, start: usize, len: usize) -> Option<u32> {
        let until_end = self.until(start.checked_add(len)?)?;
        // The checksum of two parts is that of the first, shifted over the second, and that of the second.
        let shift = shift_by(len);
        let stretch = product(shift, self.until(start)?) ^ until_end;
        Some(product(shift, head) ^ stretch)
    }
}

/// Checksums are polynomials over two elements, the highest power in the lowest bit, modulo this one.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;

const fn product(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    while a != 0 {
        if a & ONE != 0 {
            product ^= b;
        }
        a <<= 1;
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
    }
    product
}

/// x to the power of 8, squared again and again: what shifts over 1, 2, 4, 8 ... bytes.
const SHIFTS: [u32; 32] = {
    let mut shifts = [0; 32];
    let (mut index, mut shift) = (0, ONE >> 8);
    while index < 32 {
        #[expect(clippy::indexing_slicing, reason = "constants have no iterators")]
        {
            shifts[index] = shift;
        }
        shift = product(shift, shift);
        index += 1;
    }
    shifts
};

/// What a checksum is multiplied with when so many bytes follow.
fn shift_by(len: usize) -> u32 {
    let bits = SHIFTS
        .iter()
        .zip(0_u32..)
        .filter(|(_, bit)| len.checked_shr(*bit).is_some_and(|rest| rest & 1 != 0));
    bits.fold(ONE, |shift, (power, _)| product(*power, shift))
}

impl Record<'_> {
    fn payload(&self) -> Option<(Kind, Vec<u8>)> {
        let kind = match self.kind {
            1 => Kind::Definitions,
            2 => Kind::Rows,
            _ => return None,
        };
        let payload = match self.flags {
            0 => self.payload.to_vec(),
            FLAG_ZSTD => decompress(self.payload)?,
            _ => return None,
        };
        Some((kind, payload))
    }
}

fn decompress(compressed: &[u8]) -> Option<Vec<u8>> {
    let len = zstd::zstd_safe::get_frame_content_size(compressed).ok()??;
    let capacity = usize::try_from(len).ok()?;
    if capacity > MAX_PAYLOAD_BYTES {
        return None;
    }
    zstd::bulk::decompress(compressed, capacity).ok()
}

fn find_sync(bytes: &[u8]) -> Option<usize> {
    bytes.windows(SYNC.len()).position(|window| window == SYNC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn checksums_of_stretches_are_those_of_their_bytes() {
        let file: Vec<u8> = (0..5_000_u32).map(|index| ((index * index) >> 3) as u8).collect();
        let prefixes = Prefixes::new(&file);
        for (start, len) in [(0, 0), (0, 1), (255, 2), (256, 256), (1, 4_999), (300, 4_000)] {
            let head = crc32c::crc32c(b"head");
            let expected =
                crc32c::crc32c_append(head, file.get(start..start + len).expect("it is there"));
            assert_eq!(prefixes.crc(head, start, len), Some(expected), "{start} {len}");
        }
        assert_eq!(prefixes.crc(0, 1, 5_000), None);
    }

    #[test]
    fn behind_damage_each_candidate_is_looked_at_once() {
        let salt = 7;
        let mut file = file_header(salt);
        append(&mut file, salt, Kind::Rows, b"before");
        // Headers of records that reach to the end of the file.
        let n_candidates: u32 = 200_000;
        file.push(0);
        for index in 0..n_candidates {
            file.extend(SYNC);
            file.extend(((n_candidates - index - 1) * 16).to_le_bytes());
            file.extend([0, 0, 0, 0, 2, 0, 0, 0]);
        }
        append(&mut file, salt, Kind::Rows, b"behind");
        let mut found = Vec::new();
        let begun = Instant::now();
        let scan = scan(&file, salt, |_, payload| {
            found.push(payload.to_vec());
            true
        });
        assert_eq!(found, [b"before", b"behind"]);
        assert_eq!((scan.whole_bytes, scan.damaged), (file.len(), 1));
        // Summed up one by one they would be hundreds of gigabytes.
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    }
}
