//! A jitdump and addresses in; the names, files and lines of JIT code there out.
//!
//! ```text
//! file    "DTiJ", version, length of this head, machine, 0, pid, time u64, flags u64; then records
//! record  kind, length with this head, time u64, and
//!   0 load   pid, tid, address u64, address u64, size u64, index u64, name, 0, the code
//!   1 move   pid, tid, address u64, old address u64, new address u64, size u64, index u64
//!   2 lines  address u64, n u64, n x (address u64, line, discriminator, file, 0): of the code that is loaded next
//!   3 close
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::symbolize::wire::{FunctionBytes, MAX_NAME};

/// What the first word is in the byte order of the machine that wrote it.
const MAGIC: u32 = 0x4a69_5444;
/// Bytes of a dump that are looked at; most of them are code, which is passed over.
const MAX_BYTES: u64 = 512 << 20;
/// Records of a dump that are looked at.
const MAX_RECORDS: u32 = 1_000_000;
/// Lines of one function that are looked at.
const MAX_LINES: u64 = 1 << 20;
/// Records between two looks at the clock.
const PACE: u32 = 1024;
/// Bytes that are read at a time.
const BLOCK: usize = 64 * 1024;
const RECORD_HEAD: u64 = 16;

/// The function at each of the addresses. Nothing of the dump is kept.
pub(super) fn find(
    file: &File,
    addresses: &[u64],
    go_on: &mut dyn FnMut() -> bool,
) -> Vec<Option<Vec<FunctionBytes>>> {
    let mut dump = Dump { file: Blocks::new(file), wanted: Wanted::new(addresses) };
    if dump.each(go_on, Wanted::note).is_some() && dump.wanted.has_moved() {
        // Moved code has its name where it was loaded first.
        dump.each(go_on, Wanted::note_moved);
    }
    let Dump { mut file, wanted } = dump;
    wanted.sources.iter().map(|source| describe(&mut file, source.as_ref()?)).collect()
}

/// Where the code at a wanted address comes from.
#[derive(Clone, Copy, Debug)]
struct Source {
    load: Option<Load>,
    index: u64,
    offset_in_code: u64,
}

/// A record that loads code, and the one with its lines.
#[derive(Clone, Copy, Debug)]
struct Load {
    record: Record,
    address: u64,
    lines: Option<Record>,
}

/// A record's body.
#[derive(Clone, Copy, Debug)]
struct Record {
    kind: u32,
    start: u64,
    end: u64,
}

struct Wanted {
    /// With the position of each, rising.
    addresses: Vec<(u64, usize)>,
    sources: Vec<Option<Source>>,
    /// Lines that were read last: they belong to the code that is loaded next.
    lines: Option<(u64, Record)>,
}

struct Dump<'a> {
    file: Blocks<'a>,
    wanted: Wanted,
}

impl Dump<'_> {
    /// Hands over each record; `None` when it is no dump. The first one that makes no sense is the end.
    fn each(
        &mut self,
        go_on: &mut dyn FnMut() -> bool,
        note: fn(&mut Wanted, &mut Blocks<'_>, Record) -> Option<()>,
    ) -> Option<()> {
        if self.file.u32(0)? != MAGIC {
            return None;
        }
        self.wanted.lines = None;
        let mut start = u64::from(self.file.u32(8)?).max(40);
        for n_records in 0..MAX_RECORDS {
            if n_records.is_multiple_of(PACE) && !go_on() || start > MAX_BYTES {
                break;
            }
            let (Some(kind), Some(len)) =
                (self.file.u32(start), self.file.u32(start.saturating_add(4)))
            else {
                break;
            };
            if u64::from(len) < RECORD_HEAD {
                break;
            }
            let end = start.saturating_add(len.into());
            let body = start.saturating_add(RECORD_HEAD);
            note(&mut self.wanted, &mut self.file, Record { kind, start: body, end });
            start = end;
        }
        Some(())
    }
}

impl Wanted {
    fn new(addresses: &[u64]) -> Self {
        let numbered = addresses.iter().enumerate();
        let mut numbered: Vec<_> =
            numbered.map(|(position, address)| (*address, position)).collect();
        numbered.sort_unstable();
        Self { addresses: numbered, sources: vec![None; addresses.len()], lines: None }
    }

    fn has_moved(&self) -> bool {
        self.sources.iter().flatten().any(|source| source.load.is_none())
    }

    /// A later record is right where an earlier one says something else.
    fn note(&mut self, file: &mut Blocks<'_>, record: Record) -> Option<()> {
        match record.kind {
            0 => {
                let address = record.u64(file, 16)?;
                let load = Some(self.load(record, address));
                let index = record.u64(file, 32)?;
                self.place(
                    address,
                    record.u64(file, 24)?,
                    Source { load, index, offset_in_code: 0 },
                );
            }
            1 => {
                let (address, size) = (record.u64(file, 24)?, record.u64(file, 32)?);
                let index = record.u64(file, 40)?;
                self.place(address, size, Source { load: None, index, offset_in_code: 0 });
            }
            2 => self.lines = Some((record.u64(file, 0)?, record)),
            _ => {}
        }
        Some(())
    }

    fn note_moved(&mut self, file: &mut Blocks<'_>, record: Record) -> Option<()> {
        match record.kind {
            0 => {
                let (address, index) = (record.u64(file, 16)?, record.u64(file, 32)?);
                let load = self.load(record, address);
                let sources = self.sources.iter_mut().flatten();
                for source in
                    sources.filter(|source| source.load.is_none() && source.index == index)
                {
                    source.load = Some(load);
                }
            }
            2 => self.lines = Some((record.u64(file, 0)?, record)),
            _ => {}
        }
        Some(())
    }

    fn load(&mut self, record: Record, address: u64) -> Load {
        let lines = self.lines.take().filter(|(of, _)| *of == address).map(|(_, lines)| lines);
        Load { record, address, lines }
    }

    fn place(&mut self, start: u64, size: u64, source: Source) {
        let first = self.addresses.partition_point(|(address, _)| *address < start);
        let end = start.saturating_add(size);
        let covered = self.addresses.iter().skip(first).take_while(|(address, _)| *address < end);
        for (address, position) in covered {
            if let Some(slot) = self.sources.get_mut(*position) {
                *slot = Some(Source { offset_in_code: address.saturating_sub(start), ..source });
            }
        }
    }
}

impl Record {
    /// A number in the record's body.
    fn u64(&self, file: &mut Blocks<'_>, offset: u64) -> Option<u64> {
        let start = self.start.checked_add(offset)?;
        if start.checked_add(8)? <= self.end { file.u64(start) } else { None }
    }

    /// Text that ends with a zero byte within the record, and where the next thing begins.
    fn text(&self, file: &mut Blocks<'_>, start: u64) -> Option<(Vec<u8>, u64)> {
        let n_left = usize::try_from(self.end.checked_sub(start)?).ok()?;
        let bytes = file.at_most(start, n_left.min(MAX_NAME.saturating_add(1)))?;
        let len = bytes.iter().position(|byte| *byte == 0)?;
        Some((bytes.get(..len)?.to_vec(), start.checked_add(len as u64)?.checked_add(1)?))
    }
}

fn describe(file: &mut Blocks<'_>, source: &Source) -> Option<Vec<FunctionBytes>> {
    let load = source.load?;
    let (name, _) = load.record.text(file, load.record.start.checked_add(40)?)?;
    let address = load.address.checked_add(source.offset_in_code)?;
    let (path, line) = load.lines.and_then(|lines| line(file, lines, address)).unwrap_or_default();
    (!name.is_empty()).then(|| vec![FunctionBytes { name, file: path, line }])
}

/// The line whose address is the last one up to the wanted.
fn line(file: &mut Blocks<'_>, record: Record, wanted: u64) -> Option<(Vec<u8>, u32)> {
    let n_lines = record.u64(file, 8)?.min(MAX_LINES);
    let mut start = record.start.checked_add(16)?;
    let mut best: Option<(u64, Vec<u8>, u32)> = None;
    let mut path = Vec::new();
    for _ in 0..n_lines {
        let Some(address) = file.u64(start) else { break };
        let Some(line) = file.u32(start.checked_add(8)?) else { break };
        let Some((text, next)) = record.text(file, start.checked_add(16)?) else { break };
        // One byte 0xff: the same file as before.
        if text != [0xff] {
            path = text;
        }
        if address <= wanted && best.as_ref().is_none_or(|(known, ..)| *known <= address) {
            best = Some((address, path.clone(), line));
        }
        start = next;
    }
    best.map(|(_, path, line)| (path, line))
}

/// A file read in blocks.
struct Blocks<'a> {
    file: &'a File,
    start: u64,
    block: Vec<u8>,
}

impl<'a> Blocks<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, start: 0, block: Vec::new() }
    }

    /// The bytes at an offset, fewer than asked for at the end of the file.
    fn at_most(&mut self, start: u64, len: usize) -> Option<&[u8]> {
        let has = |blocks: &Self| {
            let offset = usize::try_from(start.checked_sub(blocks.start)?).ok()?;
            (offset.checked_add(len)? <= blocks.block.len()).then_some(offset)
        };
        let offset = if let Some(offset) = has(self) {
            offset
        } else {
            self.block.resize(BLOCK.max(len), 0);
            let n_read = self.file.read_at(&mut self.block, start).unwrap_or(0);
            self.block.truncate(n_read);
            self.start = start;
            0
        };
        let bytes = self.block.get(offset..)?;
        Some(bytes.get(..len).unwrap_or(bytes))
    }

    fn u32(&mut self, start: u64) -> Option<u32> {
        self.at_most(start, 4)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    fn u64(&mut self, start: u64) -> Option<u64> {
        self.at_most(start, 8)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "dumps are built here"
)]
pub(super) mod tests {
    use super::find;
    use std::fs::File;
    use std::io::Write;

    /// A dump under construction.
    pub(in crate::worker) struct Builder(Vec<u8>);

    impl Builder {
        pub(in crate::worker) fn new() -> Self {
            let mut bytes = Vec::new();
            for word in [super::MAGIC, 1, 40, 62, 0, 4711] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend([0; 16]);
            Self(bytes)
        }

        fn record(mut self, kind: u32, body: &[u8]) -> Self {
            self.0.extend(kind.to_ne_bytes());
            self.0.extend((body.len() as u32 + 16).to_ne_bytes());
            self.0.extend([0; 8]);
            self.0.extend(body);
            self
        }

        pub(in crate::worker) fn load(
            self,
            address: u64,
            size: u64,
            index: u64,
            name: &str,
        ) -> Self {
            let mut body = [0; 8].to_vec();
            for word in [address, address, size, index] {
                body.extend(word.to_ne_bytes());
            }
            body.extend(name.as_bytes());
            body.push(0);
            body.extend(vec![0x90; size as usize]);
            self.record(0, &body)
        }

        pub(in crate::worker) fn moved(self, from: u64, to: u64, size: u64, index: u64) -> Self {
            let mut body = [0; 8].to_vec();
            for word in [to, from, to, size, index] {
                body.extend(word.to_ne_bytes());
            }
            self.record(1, &body)
        }

        pub(in crate::worker) fn lines(self, address: u64, lines: &[(u64, u32, &[u8])]) -> Self {
            let mut body = [address, lines.len() as u64].map(u64::to_ne_bytes).concat();
            for (address, line, file) in lines {
                body.extend(address.to_ne_bytes());
                body.extend(line.to_ne_bytes());
                body.extend([0; 4]);
                body.extend(*file);
                body.push(0);
            }
            self.record(2, &body)
        }

        pub(in crate::worker) fn bytes(self) -> Vec<u8> {
            self.0
        }
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn names(bytes: &[u8], addresses: &[u64]) -> Vec<String> {
        let found = find(&file(bytes), addresses, &mut || true);
        let shown = |found: Option<Vec<super::FunctionBytes>>| match found.as_deref() {
            Some([function]) => format!(
                "{}@{}:{}",
                String::from_utf8_lossy(&function.name),
                String::from_utf8_lossy(&function.file),
                function.line
            ),
            Some(other) => format!("{other:?}"),
            None => "-".to_owned(),
        };
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn code_that_is_loaded_again_or_moved_has_its_last_name() {
        let dump = Builder::new()
            .load(0x1000, 0x100, 1, "first")
            .load(0x1080, 0x20, 2, "over")
            .lines(0x3000, &[(0x3000, 7, b"/a.js"), (0x3010, 9, b"\xff"), (0x3020, 3, b"/b.js")])
            .load(0x3000, 0x40, 3, "lined")
            .moved(0x3000, 0x5000, 0x40, 3)
            .record(3, &[])
            .bytes();
        let addresses = [0x5015, 0x1000, 0x1080, 0x10a0, 0x3005, 0x301f, 0x303f, 0x5025, 0x2000];
        assert_eq!(
            names(&dump, &addresses),
            [
                "lined@/a.js:9",
                "first@:0",
                "over@:0",
                "first@:0",
                "lined@/a.js:7",
                "lined@/a.js:9",
                "lined@/b.js:3",
                "lined@/b.js:3",
                "-"
            ]
        );
    }

    #[test]
    fn the_first_record_that_makes_no_sense_is_the_end() {
        let whole = Builder::new().load(0x1000, 0x10, 1, "first");
        let mut bad = whole.bytes();
        bad.extend([0, 0, 0, 0, 3, 0, 0, 0]);
        let mut after = Builder(bad).load(0x2000, 0x10, 2, "after").bytes();
        assert_eq!(names(&after, &[0x1000, 0x2000]), ["first@:0", "-"]);
        after[0] ^= 1;
        assert_eq!(names(&after, &[0x1000]), ["-"], "no dump at all");
        let cut = Builder::new().load(0x1000, 0x10, 1, "name").bytes();
        assert_eq!(names(&cut[..100], &[0x1000]), ["-"], "the name is not whole");
    }
}
