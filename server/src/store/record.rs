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
    let head = [salt.to_le_bytes(), len.to_le_bytes(), what].concat();
    crc32c::crc32c_append(crc32c::crc32c(&head), payload)
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
    while let Some(rest) = file.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some((record, len)) = whole_record(rest, salt) {
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
    let bytes_after_sync = bytes.strip_prefix(&SYNC)?;
    let len = u32_at(bytes_after_sync, 0)?;
    let stored_crc = u32_at(bytes_after_sync, 4)?;
    let what: [u8; 4] = bytes_after_sync.get(8..12)?.try_into().ok()?;
    let end = RECORD_HEADER_LEN.checked_add(len as usize)?;
    let payload = bytes.get(RECORD_HEADER_LEN..end)?;
    let [kind, flags, ..] = what;
    (crc(salt, len, what, payload) == stored_crc).then_some((Record { kind, flags, payload }, end))
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
