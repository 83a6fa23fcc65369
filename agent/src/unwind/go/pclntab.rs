//! The bytes of a `.gopclntab` in; its functions, with their names and changes of the stack pointer, out.
//!
//! ```text
//! header   magic:4 0 0 quantum:1 pointer size:1, then words:
//!   1.2        functions, then at once the function table of (pc, offset) pairs; all offsets are from the header
//!   1.16       functions, files,             offsets of: names, compile units, files, pc tables, functions
//!   1.18,1.20  functions, files, text start, offsets of: names, compile units, files, pc tables, functions
//! ```
//! From 1.18 on the function table has 4-byte pairs (offset from the text start, offset from the function table).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Functions of one program.
const MAX_FUNCTIONS: u64 = 4 << 20;
/// Changes of the stack pointer in one function.
const MAX_CHANGES: usize = 64 * 1024;
/// Names that mean something to us are short.
const MAX_NAME: usize = 128;
/// Frames are smaller, and at most the return address is popped.
const DELTAS: std::ops::RangeInclusive<i64> = -8..=(1 << 31) - 64;

/// What of the layout differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V2,
    V16,
    V18,
    V20,
}

impl Version {
    pub(super) const ALL: [Self; 4] = [Self::V20, Self::V18, Self::V16, Self::V2];

    /// The first eight bytes of a table for `x86_64`.
    pub(super) const fn magic(self) -> [u8; 8] {
        let first = match self {
            Self::V2 => 0xfb,
            Self::V16 => 0xfa,
            Self::V18 => 0xf0,
            Self::V20 => 0xf1,
        };
        [first, 0xff, 0xff, 0xff, 0, 0, 1, 8]
    }
}

/// A parsed header: the parts of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct PcLnTab<'a> {
    version: Version,
    n_functions: u64,
    /// From where the offsets of functions count.
    functions: &'a [u8],
    /// The function table.
    table: &'a [u8],
    names: &'a [u8],
    pc_tables: &'a [u8],
    /// What the header says where code begins; 0 where it does not say.
    pub(super) text_start: u64,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    /// Addresses; from 1.18 on from the text start.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: &'a [u8],
    /// The outermost of its stack.
    pub(super) is_top: bool,
    /// It writes the stack pointer, so that its table says nothing from there on.
    pub(super) writes_sp: bool,
    /// Where its changes of the stack pointer are; 0 if there is no table, as in C.
    pcsp: u32,
}

/// Bits of a function's flags.
const TOP_FRAME: u8 = 1;
const SP_WRITE: u8 = 2;

impl<'a> PcLnTab<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let magic = data.get(..8)?;
        let version = Version::ALL.into_iter().find(|version| version.magic() == magic)?;
        let word = |index: usize| u64_at(data, index.checked_mul(8)?.checked_add(8)?);
        let part = |index: usize| data.get(usize::try_from(word(index)?).ok()?..);
        let n_functions = word(0).filter(|n| (1..=MAX_FUNCTIONS).contains(n))?;
        let (text_start, first_part) = match version {
            Version::V2 => {
                let table = data.get(16..)?;
                return Some(Self {
                    version,
                    n_functions,
                    functions: data,
                    table,
                    names: data,
                    pc_tables: data,
                    text_start: 0,
                });
            }
            Version::V16 => (0, 2_usize),
            Version::V18 | Version::V20 => (word(2)?, 3),
        };
        let functions = part(first_part.checked_add(4)?)?;
        Some(Self {
            version,
            n_functions,
            functions,
            table: functions,
            names: part(first_part)?,
            pc_tables: part(first_part.checked_add(3)?)?,
            text_start,
        })
    }

    /// Addresses count from the text start.
    pub(super) fn is_relative(&self) -> bool {
        self.version >= Version::V18
    }

    pub(super) fn n_functions(&self) -> u64 {
        self.n_functions
    }

    /// Where the function of that number begins; that of the number behind the last one is where the last one ends.
    pub(super) fn start(&self, index: u64) -> Option<u64> {
        self.pair(index).map(|(start, _)| start)
    }

    fn pair(&self, index: u64) -> Option<(u64, u64)> {
        let index = usize::try_from(index).ok()?;
        if self.is_relative() {
            let at = index.checked_mul(8)?;
            // Behind the last function stands only where it ends.
            let offset = u32_at(self.table, at.checked_add(4)?).unwrap_or(0);
            Some((u32_at(self.table, at)?.into(), offset.into()))
        } else {
            let at = index.checked_mul(16)?;
            let offset = u64_at(self.table, at.checked_add(8)?).unwrap_or(0);
            Some((u64_at(self.table, at)?, offset))
        }
    }

    pub(super) fn function(&self, index: u64) -> Option<Function<'a>> {
        let (start, offset) = self.pair(index)?;
        let end = self.start(index.checked_add(1)?).filter(|end| *end > start)?;
        let entry = self.functions.get(usize::try_from(offset).ok()?..)?;
        // The address is 8 bytes long before 1.18 and 4 from then on; then come name, arguments, deferred return, pcsp.
        let (name_at, flags_at) = match self.version {
            Version::V2 | Version::V16 => (8, 41),
            Version::V18 => (4, 37),
            Version::V20 => (4, 41),
        };
        let has_flags = self.version >= Version::V16;
        let flags = if has_flags { entry.get(flags_at).copied()? } else { 0 };
        Some(Function {
            start,
            end,
            name: self.name(u32_at(entry, name_at)?),
            is_top: flags & TOP_FRAME != 0,
            writes_sp: flags & SP_WRITE != 0,
            pcsp: u32_at(entry, name_at.checked_add(12)?)?,
        })
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let from = self.names.get(offset as usize..).unwrap_or_default();
        let name = from.get(..from.len().min(MAX_NAME)).unwrap_or_default();
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// How far the stack pointer is below where it was at the function's entry: each value, and the address from the
    /// function's start up to which it holds. `None` when there is no table, or a senseless one.
    pub(super) fn changes(&self, function: &Function<'_>) -> Option<Vec<(i32, u32)>> {
        if function.pcsp == 0 {
            return None;
        }
        let mut bytes = self.pc_tables.get(function.pcsp as usize..)?;
        let len = u32::try_from(function.end.checked_sub(function.start)?).ok()?;
        let (mut value, mut end) = (-1_i64, 0_u32);
        let mut changes = Vec::new();
        while end < len && changes.len() < MAX_CHANGES {
            let change = varint(&mut bytes)?;
            if change == 0 && !changes.is_empty() {
                break;
            }
            // Zigzag: the lowest bit is the sign.
            let magnitude = i64::from(change >> 1);
            let signed = if change & 1 == 0 { magnitude } else { !magnitude };
            value = value.checked_add(signed)?;
            end = end.checked_add(varint(&mut bytes)?)?;
            if !DELTAS.contains(&value) {
                return None;
            }
            changes.push((i32::try_from(value).ok()?, end));
        }
        Some(changes)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(super) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(super) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(data.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
