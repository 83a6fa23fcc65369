//! Call frame information (`.eh_frame`, `.debug_frame`) in; exact rows of the functions that it describes out.
//!
//! Entries are walked by their lengths and each is parsed by gimli by itself: one that makes no sense costs only its function.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod expression;
mod rule;

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CommonInformationEntry, DebugFrame, EhFrame, EndianSlice, FrameDescriptionEntry,
    LittleEndian, Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindOffset,
    UnwindSection, UnwindTableRow,
};

use super::Counts;
use super::elf::{Elf, Loaded};
use super::rules::Rules;
use super::spans::Source;

/// Functions that one file may describe.
const MAX_FUNCTIONS: usize = 8 << 20;
/// Bytes of instructions of a common entry: every function that uses it runs them again.
const MAX_COMMON_LEN: usize = 1024;
/// Bytes of instructions that are run for one file.
const MAX_RUN_LEN: usize = 256 << 20;
/// Rows of one file.
const MAX_ROWS: u32 = 10 << 20;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Common<'a> = CommonInformationEntry<Slice<'a>>;

/// Bounds what one function may make gimli hold: registers with a rule, and states remembered.
struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 64];
    type Stack = [UnwindTableRow<usize, Self>; 16];
}

/// Which of the two encodings a section has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EhFrame,
    DebugFrame,
}

/// A function of the section: where it is in the file, and where its entry is.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u32,
    end: u32,
    entry: usize,
}

/// Rows of `.eh_frame`, found by its section or, without sections, by its segment.
pub(super) fn eh_frame(elf: &Elf<'_>, rules: &mut Rules, counts: &mut Counts) -> Source {
    let hdr = elf.eh_frame_hdr();
    let Some(section) = elf.section(b".eh_frame").or_else(|| by_segment(elf)) else {
        return Source::default();
    };
    let mut bases = BaseAddresses::default().set_eh_frame(section.address);
    if let Some((address, _)) = hdr {
        bases = bases.set_eh_frame_hdr(address);
    }
    if let Some(text) = elf.section(b".text") {
        bases = bases.set_text(text.address);
    }
    if let Some(got) = elf.section(b".got") {
        bases = bases.set_got(got.address);
    }
    let mut frame = EhFrame::new(&section.data, LittleEndian);
    frame.set_address_size(8);
    read(&frame, &bases, &section.data, Kind::EhFrame, elf, rules, counts)
}

/// Rows of `.debug_frame` for the code of `elf`; the section may stand in another file.
pub(super) fn debug_frame(
    elf: &Elf<'_>,
    holder: &Elf<'_>,
    rules: &mut Rules,
    counts: &mut Counts,
) -> Source {
    let Some(section) = holder.section(b".debug_frame") else { return Source::default() };
    let mut frame = DebugFrame::new(&section.data, LittleEndian);
    frame.set_address_size(8);
    let bases = BaseAddresses::default();
    read(&frame, &bases, &section.data, Kind::DebugFrame, elf, rules, counts)
}

/// `.eh_frame` as `PT_GNU_EH_FRAME` tells of it; its end is unknown, but it ends with a zero.
fn by_segment<'a>(elf: &Elf<'a>) -> Option<Loaded<'a>> {
    let (address, bytes) = elf.eh_frame_hdr()?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(address);
    let header = gimli::EhFrameHdr::new(bytes, LittleEndian).parse(&bases, 8).ok()?;
    let address = header.eh_frame_ptr().direct().ok()?;
    Some(Loaded { address, data: elf.bytes_from(address)?.into() })
}

fn read<'a, S>(
    section: &S,
    bases: &BaseAddresses,
    data: &'a [u8],
    kind: Kind,
    elf: &Elf<'_>,
    rules: &mut Rules,
    counts: &mut Counts,
) -> Source
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: UnwindOffset<usize>,
{
    let mut reader = Reader { section, bases, common: HashMap::new() };
    let mut functions = Vec::new();
    for entry in Entries::new(data, kind) {
        let Some(fde) = reader.function(entry) else {
            counts.entries_malformed = counts.entries_malformed.saturating_add(1);
            continue;
        };
        let Some((start, left)) = elf.code_at(fde.initial_address()) else { continue };
        let len = u32::try_from(fde.len()).unwrap_or(u32::MAX).min(left);
        if len > 0 && functions.len() < MAX_FUNCTIONS {
            functions.push(Function { start, end: start.saturating_add(len), entry });
        }
    }
    functions.sort_by_key(|function| function.start);
    counts.functions = counts.functions.saturating_add(functions.len() as u64);
    rows(&mut reader, &functions, rules, counts)
}

/// Runs the functions' instructions in the order of their addresses.
fn rows<'a, S>(
    reader: &mut Reader<'a, '_, S>,
    functions: &[Function],
    rules: &mut Rules,
    counts: &mut Counts,
) -> Source
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: UnwindOffset<usize>,
{
    let mut context: Box<UnwindContext<usize, Storage>> = Box::new(UnwindContext::new_in());
    let mut source = Source::default();
    let mut budget = MAX_RUN_LEN;
    let mut behind = 0;
    for function in functions {
        // The first of two that overlap wins; what sticks out of it is a function cut off.
        let start = function.start.max(behind);
        if start >= function.end {
            continue;
        }
        let Some(fde) = reader.function(function.entry) else { continue };
        let cost = fde.entry_len().saturating_add(fde.cie().entry_len());
        if cost > budget || source.n_rows() > MAX_ROWS {
            counts.cut_off = counts.cut_off.saturating_add(1);
            break;
        }
        budget = budget.saturating_sub(cost);
        behind = function.end;
        source.begin(start, function.end);
        let run =
            Run { section: reader.section, bases: reader.bases, fde: &fde, function: *function };
        if run.append_to(&mut source, &mut context, rules, counts).is_err() {
            counts.functions_malformed = counts.functions_malformed.saturating_add(1);
            source.push(source.last_offset(), rule::UNSUPPORTED);
        }
    }
    source
}

/// One function's instructions.
struct Run<'r, 'a, S> {
    section: &'r S,
    bases: &'r BaseAddresses,
    fde: &'r FrameDescriptionEntry<Slice<'a>>,
    function: Function,
}

impl<'a, S> Run<'_, 'a, S>
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: UnwindOffset<usize>,
{
    /// Appends its rows to the source's last span.
    fn append_to(
        &self,
        source: &mut Source,
        context: &mut UnwindContext<usize, Storage>,
        rules: &mut Rules,
        counts: &mut Counts,
    ) -> gimli::Result<()> {
        let encoding = self.fde.cie().encoding();
        let mut table = self.fde.rows(self.section, self.bases, context)?;
        while let Some(row) = table.next_row()? {
            let distance = row.start_address().wrapping_sub(self.fde.initial_address());
            let offset = u64::from(self.function.start).saturating_add(distance);
            if offset >= u64::from(self.function.end) {
                break;
            }
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            source.push(offset, rule::pack(row, self.section, encoding, rules, counts));
        }
        Ok(())
    }
}

/// Parses entries; common entries once each.
struct Reader<'a, 's, S> {
    section: &'s S,
    bases: &'s BaseAddresses,
    common: HashMap<usize, Option<Common<'a>>>,
}

impl<'a, S> Reader<'a, '_, S>
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: UnwindOffset<usize>,
{
    fn function(&mut self, entry: usize) -> Option<FrameDescriptionEntry<Slice<'a>>> {
        let common = &mut self.common;
        self.section
            .fde_from_offset(self.bases, entry.into(), |section, bases, offset| {
                let common = common.entry(UnwindOffset::into(offset)).or_insert_with(|| {
                    let common = section.cie_from_offset(bases, offset).ok()?;
                    (common.entry_len() <= MAX_COMMON_LEN).then_some(common)
                });
                common.clone().ok_or(gimli::Error::UnsupportedEvaluation)
            })
            .ok()
    }
}

/// Offsets of the entries that describe functions.
struct Entries<'a> {
    data: &'a [u8],
    at: usize,
    kind: Kind,
}

impl<'a> Entries<'a> {
    fn new(data: &'a [u8], kind: Kind) -> Self {
        Self { data, at: 0, kind }
    }

    /// The entry at `at`: where the next one begins, and whether this one describes a function.
    fn entry(&self) -> Option<(usize, bool)> {
        let short = u64::from(self.u32_at(self.at)?);
        let body = self.at.checked_add(4)?;
        if short == 0 {
            // The end of `.eh_frame`; in `.debug_frame` a mistake of some assemblers.
            return (self.kind == Kind::DebugFrame).then_some((body, false));
        }
        let (len, id_at, is_long) = if short == u64::from(u32::MAX) {
            let low = u64::from(self.u32_at(body)?);
            let high = u64::from(self.u32_at(body.checked_add(4)?)?);
            (low | high << 32, body.checked_add(8)?, true)
        } else {
            (short, body, false)
        };
        let next = id_at.checked_add(usize::try_from(len).ok()?)?;
        let id = self.u32_at(id_at)?;
        let is_common = match (self.kind, is_long) {
            (Kind::EhFrame, _) => id == 0,
            (Kind::DebugFrame, false) => id == u32::MAX,
            (Kind::DebugFrame, true) => {
                id == u32::MAX && self.u32_at(id_at.checked_add(4)?)? == u32::MAX
            }
        };
        Some((next, !is_common))
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = self.data.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}

impl Iterator for Entries<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let (next, is_function) = self.entry()?;
            let at = std::mem::replace(&mut self.at, next);
            if is_function {
                return Some(at);
            }
        }
    }
}
