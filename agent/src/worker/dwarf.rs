//! Debug information that is spread over several files, and addresses in; functions with inlined ones, files and lines out.
//! What one file holds alone is blazesym's; it takes further files by paths, which mean nothing here.

use std::cell::RefCell;
use std::sync::Arc;

use addr2line::{Context, Frame, FrameIter, LookupContinuation, LookupResult, SplitDwarfLoad};
use gimli::{
    DwarfPackage, DwarfPackageSections, DwarfSections, DwoId, EndianSlice, RunTimeEndian, SectionId,
};

use crate::symbolize::wire::{FunctionBytes, MAX_FUNCTIONS, MAX_SPLIT_WANTED, SplitPath};

use super::expand;
use super::image::{Image, Section};
use super::resident::Bound;

type Reader<'a> = EndianSlice<'a, RunTimeEndian>;

/// Split units that are kept open of one file.
const MAX_SPLIT: usize = 256;
/// Units of one file that are looked through for a split one.
const MAX_UNITS: usize = 4096;
/// Units by which a file is judged: the start files of a C library are never split.
const FIRST_UNITS: usize = 16;

/// The files of one program's debug information.
pub(super) struct Dwarf {
    image: Image,
    sections: DwarfSections<Section>,
    supplementary: Option<DwarfSections<Section>>,
    package: Option<DwarfPackageSections<Section>>,
    split: Vec<(u64, DwarfSections<Section>)>,
    budget: u64,
}

/// What stands at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Innermost first; empty where no function is described.
    pub functions: Vec<FunctionBytes>,
    /// File and line of the instruction, where only these are known.
    pub place: Option<(Vec<u8>, u32)>,
}

/// The answer to a request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// One for each address; `None` where time was up.
    pub found: Vec<Option<Found>>,
    /// Files with split units that would say more.
    pub wanted_split: Vec<SplitPath>,
}

impl Dwarf {
    /// The debug information of a file. Sections that are compressed may take `budget` bytes together.
    pub(super) fn open(image: &Image, mut budget: u64) -> Result<Self, expand::Error> {
        let sections = DwarfSections::load(|id| load(image, id.name(), id, &mut budget))?;
        let (image, split) = (image.clone(), Vec::new());
        Ok(Self { image, sections, supplementary: None, package: None, split, budget })
    }

    /// Takes in the file that holds what several debug files have in common (dwz).
    pub(super) fn supplement(&mut self, image: &Image) -> Result<(), expand::Error> {
        let budget = &mut self.budget;
        self.supplementary = Some(DwarfSections::load(|id| load(image, id.name(), id, budget))?);
        Ok(())
    }

    /// Takes in a package of split units (`.dwp`).
    pub(super) fn add_package(&mut self, image: &Image) -> Result<(), gimli::Error> {
        let budget = &mut self.budget;
        self.package = Some(DwarfPackageSections::load(|id| {
            let name = id.dwo_name().unwrap_or_default();
            load(image, name, id, budget).map_err(|_expand| gimli::Error::Io)
        })?);
        Ok(())
    }

    /// Takes in a file with split units (`.dwo`); whether it holds the unit of that id.
    pub(super) fn add_split(&mut self, image: &Image, id: u64) -> Result<bool, expand::Error> {
        let budget = &mut self.budget;
        let sections = DwarfSections::load(|section| {
            load(image, section.dwo_name().unwrap_or_default(), section, budget)
        })?;
        let is_it = has_unit(&sections, id);
        if is_it && self.split.iter().all(|(known, _)| *known != id) {
            if self.split.len() >= MAX_SPLIT {
                self.split.remove(0);
            }
            self.split.push((id, sections));
        }
        Ok(is_it)
    }

    /// What stands at the addresses. `go_on` is asked before each, and ends the work by false.
    pub(super) fn find(
        &self,
        addresses: &[u64],
        memory: Bound,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Answer {
        let mut answer = Answer { found: vec![None; addresses.len()], ..Answer::default() };
        if !go_on() {
            return answer;
        }
        let dwarf = || self.sections.borrow_with_sup(self.supplementary.as_ref(), reader);
        let empty = EndianSlice::new(&[], RunTimeEndian::Little);
        let split = Split {
            package: self.package.as_ref().and_then(|package| package.borrow(reader, empty).ok()),
            units: &self.split,
            wanted: RefCell::default(),
        };
        let mut context = Context::from_dwarf(dwarf());
        // One unit after the other: each is read once, and need not stay.
        let mut slots: Vec<_> = answer.found.iter_mut().zip(addresses).collect();
        slots.sort_unstable_by_key(|(_, address)| **address);
        for (slot, address) in slots {
            if !go_on() {
                break;
            }
            if memory.is_far_exceeded() {
                context = Context::from_dwarf(dwarf());
                self.image.release();
            }
            // What is damaged is no answer, but one that will not change.
            let found =
                context.as_ref().ok().and_then(|context| find_one(context, *address, &split));
            *slot = Some(found.unwrap_or_default());
        }
        answer.wanted_split = split.wanted.into_inner();
        self.image.release();
        answer
    }
}

/// Split units that are here, and those that are not.
struct Split<'a> {
    package: Option<DwarfPackage<Reader<'a>>>,
    units: &'a [(u64, DwarfSections<Section>)],
    wanted: RefCell<Vec<SplitPath>>,
}

impl<'a> Split<'a> {
    /// The split unit that a skeleton in the program stands for.
    fn load(&self, load: &SplitDwarfLoad<Reader<'a>>) -> Option<Arc<gimli::Dwarf<Reader<'a>>>> {
        let DwoId(id) = load.dwo_id;
        if let Some(package) = &self.package
            && let Ok(Some(dwarf)) = package.find_cu(load.dwo_id, &load.parent)
        {
            return Some(Arc::new(dwarf));
        }
        if let Some((_, sections)) = self.units.iter().find(|(known, _)| *known == id) {
            let mut dwarf = sections.borrow(reader);
            dwarf.make_dwo(&load.parent);
            return Some(Arc::new(dwarf));
        }
        let mut wanted = self.wanted.borrow_mut();
        if wanted.len() < MAX_SPLIT_WANTED && wanted.iter().all(|known| known.id != id) {
            let mut path = load.comp_dir.map(|folder| folder.slice().to_vec()).unwrap_or_default();
            let name = load.path?;
            if name.slice().first() == Some(&b'/') {
                path.clear();
            } else {
                path.push(b'/');
            }
            path.extend(name.slice());
            wanted.push(SplitPath { path, id });
        }
        None
    }
}

fn find_one<'a>(context: &Context<Reader<'a>>, address: u64, split: &Split<'a>) -> Option<Found> {
    let mut looked_up = context.find_frames(address);
    let mut frames: FrameIter<'_, Reader<'a>> = loop {
        match looked_up {
            LookupResult::Output(frames) => break frames.ok()?,
            LookupResult::Load { load, continuation } => {
                looked_up = continuation.resume(split.load(&load));
            }
        }
    };
    let mut found = Found::default();
    while let Ok(Some(frame)) = frames.next()
        && found.functions.len() < MAX_FUNCTIONS
    {
        let (file, line) = place(&frame);
        match frame.function.and_then(|function| Some(function.raw_name().ok()?.into_owned())) {
            Some(name) => {
                found.functions.push(FunctionBytes { name: name.into_bytes(), file, line });
            }
            None => found.place = Some((file, line)),
        }
    }
    Some(found)
}

fn place(frame: &Frame<'_, Reader<'_>>) -> (Vec<u8>, u32) {
    let location = frame.location.as_ref();
    let file = location.and_then(|location| location.file).unwrap_or_default();
    (file.as_bytes().to_vec(), location.and_then(|location| location.line).unwrap_or(0))
}

/// Whether the file's units stand for others, by the first of them.
pub(super) fn is_split(image: &Image, mut budget: u64) -> bool {
    let sections = DwarfSections::load(|id| load(image, id.name(), id, &mut budget));
    let is_split = sections.is_ok_and(|sections| {
        let dwarf = sections.borrow(reader);
        let mut headers = dwarf.units();
        (0..FIRST_UNITS).any(|_| {
            let header = headers.next().ok().flatten();
            header
                .and_then(|header| dwarf.unit(header).ok())
                .is_some_and(|unit| unit.dwo_id.is_some())
        })
    });
    image.release();
    is_split
}

/// Whether the split unit of that id is among the first units.
fn has_unit(sections: &DwarfSections<Section>, id: u64) -> bool {
    let dwarf = sections.borrow(reader);
    let mut headers = dwarf.units();
    for _ in 0..MAX_UNITS {
        let Ok(Some(header)) = headers.next() else { return false };
        if dwarf.unit(header).is_ok_and(|unit| unit.dwo_id == Some(DwoId(id))) {
            return true;
        }
    }
    false
}

fn reader(section: &Section) -> Reader<'_> {
    EndianSlice::new(section.bytes(), RunTimeEndian::Little)
}

fn load(
    image: &Image,
    name: &str,
    id: SectionId,
    budget: &mut u64,
) -> Result<Section, expand::Error> {
    // The rest of DWARF is about variables and macros.
    let is_used = matches!(
        id,
        SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugAranges
            | SectionId::DebugInfo
            | SectionId::DebugLine
            | SectionId::DebugLineStr
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
            | SectionId::DebugStr
            | SectionId::DebugStrOffsets
            | SectionId::DebugCuIndex
            | SectionId::DebugTuIndex
    );
    // A package's index speaks of parts of all its sections, and none of them may be missing.
    if is_used || name.strip_suffix(".dwo").is_some() {
        image.section(name, budget)
    } else {
        Ok(Section::Absent)
    }
}
