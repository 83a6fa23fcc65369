//! Open ELF files, those that hold their debug information, and offsets in; functions, files and lines out. Keeps parsed files
//! for the next request, up to a bound.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use blazesym::symbolize::{Symbolizer, evict};

use crate::symbolize::wire::{Detail, FunctionBytes, Links, Lookup, Role, SplitPath};

use super::demangle::Demangler;
use super::describe::{Described, describe};
use super::dwarf::{Answer, Dwarf, Found};
use super::elf_symbols::{self, Opened};
use super::go_table;
use super::image::Image;
use super::links;
use super::pace::Pace;
use super::resident::Bound;

/// Files held at a time, not counting those that belong to them.
const MAX_HELD: usize = 32;

/// How often a file is read anew within one request because too much of it is in memory; then its symbols must do.
const MAX_FORGOTTEN: u32 = 8;

/// Files that were asked about lately.
pub(super) struct Files {
    symbolizer: Symbolizer,
    /// The least recently used first.
    held: Vec<Held>,
    demangler: Demangler,
    memory: Bound,
    debug_bytes: u64,
}

/// A file and what belongs to it.
struct Held {
    id: u32,
    file: Opened,
    described: Described,
    links: Links,
    debug: Option<DebugFile>,
    /// Where debug information is spread over files.
    spread: Option<Dwarf>,
    attached: u8,
}

/// The file that holds the debug information.
struct DebugFile {
    file: Opened,
    links: Links,
    /// What it takes expanded.
    debug_bytes: u64,
}

/// The answer to a request for names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// In the order of the request.
    pub lookups: Vec<Lookup>,
    /// Files that would say more.
    pub wanted_split: Vec<SplitPath>,
}

/// How deep to look, and how long.
pub(super) struct Effort<'a, 'socket> {
    pub detail: Detail,
    pub pace: &'a mut Pace<'socket>,
}

impl Files {
    /// Holds files until the process is larger than `resident_bytes`. Made before the process is confined.
    pub(super) fn new(resident_bytes: u64, debug_bytes: u64, demangler: Demangler) -> Self {
        let (symbolizer, memory) = (elf_symbols::symbolizer(), Bound::new(resident_bytes));
        Self { symbolizer, held: Vec::new(), demangler, memory, debug_bytes }
    }

    /// Takes the file in, unless it is here already; what it links to, and the roles of the files that are here for it.
    pub(super) fn hold(
        &mut self,
        id: u32,
        file: File,
        described: Described,
    ) -> io::Result<(Links, u8)> {
        if let Some(position) = self.held.iter().position(|held| held.id == id) {
            let held = self.held.remove(position);
            self.held.push(held);
        } else {
            if self.held.len() >= MAX_HELD {
                self.drop_oldest();
            }
            let file = Opened::new(file)?;
            let links = links::read(&file.image, self.debug_bytes);
            let (debug, spread, attached) = (None, None, 0);
            self.held.push(Held { id, file, described, links, debug, spread, attached });
        }
        let held = self.held.last().ok_or(io::ErrorKind::NotFound)?;
        Ok((held.links.clone(), held.attached))
    }

    /// Takes in a file that belongs to another; `None` if it does not, else what it links to itself.
    pub(super) fn attach(
        &mut self,
        id: u32,
        role: Role,
        file: File,
        pace: &mut Pace<'_>,
    ) -> Option<Links> {
        let budget = self.debug_bytes;
        let held = self.held.iter_mut().find(|held| held.id == id)?;
        let described = describe(&file).ok()?;
        let links = match role {
            Role::Debug => {
                let file = Opened::new(file).ok()?;
                if !links::is_debug_file(&held.file.image, &file.image, &mut || pace.go_on()) {
                    return None;
                }
                let links = links::read(&file.image, budget);
                let debug_bytes = described.debug_bytes;
                held.debug = Some(DebugFile { file, links: links.clone(), debug_bytes });
                held.spread = None;
                links
            }
            Role::Supplementary => {
                let image = Image::open(&file).ok()?;
                if !links::is_supplementary_file(held.debug_image(), &image) {
                    return None;
                }
                held.spread(budget)?.supplement(&image).ok()?;
                links::read(&image, budget)
            }
            Role::Package => {
                let image = Image::open(&file).ok()?;
                held.spread(budget)?.add_package(&image).ok()?;
                links::read(&image, budget)
            }
            Role::Split(unit) => {
                let image = Image::open(&file).ok()?;
                held.spread(budget)?.add_split(&image, unit).ok().filter(|is_it| *is_it)?;
                links::read(&image, budget)
            }
        };
        held.attached |= role.bit();
        Some(links)
    }

    /// What stands at offsets of a file that is held.
    pub(super) fn name(&mut self, id: u32, offsets: &[u64], effort: &mut Effort<'_, '_>) -> Names {
        let Some(held) = self.held.iter_mut().rfind(|held| held.id == id) else {
            let lookups = vec![Lookup::NoSymbols; offsets.len()];
            return Names { lookups, ..Names::default() };
        };
        let address = |offset: &u64| held.described.description.virtual_address(*offset);
        let of_offsets: Vec<Option<u64>> = offsets.iter().map(address).collect();
        let addresses: Vec<u64> = of_offsets.iter().flatten().copied().collect();
        let mut look = Look {
            symbolizer: &mut self.symbolizer,
            demangler: self.demangler,
            memory: self.memory,
            debug_bytes: self.debug_bytes,
        };
        let (lookups, wanted_split) = held.name(&addresses, &mut look, effort);
        held.file.image.release();
        let mut lookups = lookups.into_iter();
        let lookup =
            |address: &Option<u64>| address.and_then(|_| lookups.next()).unwrap_or(Lookup::Unknown);
        Names { lookups: of_offsets.iter().map(lookup).collect(), wanted_split }
    }

    /// Drops files until the process is small enough.
    pub(super) fn trim(&mut self) {
        while !self.held.is_empty() && self.memory.is_exceeded() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.held.remove(0).forget(&mut self.symbolizer);
    }
}

/// What debug information that is spread over files says of an address.
struct Spread {
    found: Option<Found>,
    /// There was no time to look.
    is_late: bool,
}

/// What all files are looked into with.
struct Look<'a> {
    symbolizer: &'a mut Symbolizer,
    demangler: Demangler,
    memory: Bound,
    debug_bytes: u64,
}

impl Held {
    /// The file that has the debug information, or would have it.
    fn debug_image(&self) -> &Image {
        let debug = self.debug.as_ref().filter(|debug| debug.links.has_debug);
        debug.map_or(&self.file.image, |debug| &debug.file.image)
    }

    fn spread(&mut self, budget: u64) -> Option<&mut Dwarf> {
        if self.spread.is_none() {
            self.spread = Dwarf::open(self.debug_image(), budget).ok();
        }
        self.spread.as_mut()
    }

    /// What stands at the addresses, by the best source that knows.
    fn name(
        &mut self,
        addresses: &[u64],
        look: &mut Look<'_>,
        effort: &mut Effort<'_, '_>,
    ) -> (Vec<Lookup>, Vec<SplitPath>) {
        let links = self.debug.as_ref().map_or(&self.links, |debug| &debug.links);
        // blazesym would look for such files by their paths.
        let is_spread = links.alt_link.is_some() || links.is_split || self.spread.is_some();
        let mut spread = Answer::default();
        if effort.detail == Detail::Debug
            && is_spread
            && let Some(dwarf) = self.spread(look.debug_bytes)
        {
            spread = dwarf.find(addresses, look.memory, &mut || effort.pace.go_on());
        }
        let go = go_table::find(&self.file.image, addresses, &mut || effort.pace.go_on_shallow());
        // One unit of debug information after the other: each is read once, and need not stay.
        let mut order: Vec<(u64, usize)> = addresses
            .iter()
            .copied()
            .enumerate()
            .map(|(index, address)| (address, index))
            .collect();
        order.sort_unstable();
        let mut lookups = vec![Lookup::Unknown; addresses.len()];
        let mut n_forgotten = 0;
        for (address, index) in order {
            if look.memory.is_far_exceeded() && n_forgotten < MAX_FORGOTTEN {
                self.forget(look.symbolizer);
                n_forgotten += 1;
            }
            if n_forgotten == MAX_FORGOTTEN {
                effort.pace.exhaust();
            }
            // No answer at all means that there was no time for one.
            let slot = spread.found.get_mut(index);
            let is_late = slot.as_ref().is_some_and(|slot| slot.is_none());
            let found = slot.and_then(Option::take);
            let go = go.as_ref().and_then(|go| go.get(index)).cloned().flatten();
            let spread = Spread { found, is_late };
            if let Some(lookup) = lookups.get_mut(index) {
                *lookup = self.name_one(address, spread, go, look, effort);
            }
        }
        (lookups, spread.wanted_split)
    }

    /// Gives back what was read of the file; it is read again when it is looked into again.
    fn forget(&self, symbolizer: &mut Symbolizer) {
        let debug = self.debug.as_ref().map(|debug| &debug.file);
        for file in [Some(&self.file), debug].into_iter().flatten() {
            // Eviction of data in memory cannot fail.
            drop(symbolizer.evict(&evict::Elf::new(PathBuf::from(file.path())).into()));
            file.image.release();
        }
    }

    /// What stands at one address.
    fn name_one(
        &self,
        address: u64,
        spread: Spread,
        go: Option<Vec<FunctionBytes>>,
        look: &Look<'_>,
        effort: &mut Effort<'_, '_>,
    ) -> Lookup {
        let is_wanted = effort.detail == Detail::Debug;
        let has_debug =
            self.links.has_debug || self.debug.as_ref().is_some_and(|d| d.links.has_debug);
        let Spread { found, mut is_late } = spread;
        let mut place = None;
        match found {
            Some(found) if !found.functions.is_empty() => {
                return Lookup::Functions(finish(found.functions, look.demangler));
            }
            Some(found) => place = found.place,
            None => {}
        }
        if is_wanted && has_debug && !is_late && place.is_none() {
            if effort.pace.go_on() {
                if let Some(found) = self.by_debug(address, look) {
                    return Lookup::Functions(finish(found, look.demangler));
                }
            } else {
                is_late = true;
            }
        }
        if let Some(go) = go {
            return if is_late { Lookup::Provisional(go) } else { Lookup::Functions(go) };
        }
        match self.by_symbols(address, look) {
            Lookup::Functions(mut functions) => {
                if let (Some((file, line)), Some(function)) = (place, functions.last_mut()) {
                    (function.file, function.line) = (file, line);
                }
                let functions = finish(functions, look.demangler);
                if is_late { Lookup::Provisional(functions) } else { Lookup::Functions(functions) }
            }
            _ if is_late => Lookup::Later,
            other => other,
        }
    }

    /// The function with its line, in the debug file or the file itself.
    fn by_debug(&self, address: u64, look: &Look<'_>) -> Option<Vec<FunctionBytes>> {
        let debug = self.debug.as_ref().filter(|debug| debug.debug_bytes <= look.debug_bytes);
        let debug = debug.filter(|debug| debug.links.has_debug && debug.links.alt_link.is_none());
        let own = Some(&self.file).filter(|_| {
            self.links.has_debug
                && self.links.alt_link.is_none()
                && self.described.debug_bytes <= look.debug_bytes
        });
        let files = [debug.map(|debug| &debug.file), own];
        files.into_iter().flatten().find_map(|file| {
            match elf_symbols::find(look.symbolizer, file, address, true) {
                // A function without a line may be Go's, whose own table says more; or assembly's.
                Some(Lookup::Functions(functions)) => Some(functions),
                _ => None,
            }
        })
    }

    fn by_symbols(&self, address: u64, look: &Look<'_>) -> Lookup {
        let debug = self.debug.as_ref().filter(|debug| debug.links.has_symbols);
        let mut best = Lookup::NoSymbols;
        for file in [debug.map(|debug| &debug.file), Some(&self.file)].into_iter().flatten() {
            match elf_symbols::find(look.symbolizer, file, address, false) {
                Some(Lookup::Functions(functions)) => return Lookup::Functions(functions),
                Some(Lookup::Unknown) => best = Lookup::Unknown,
                _ => {}
            }
        }
        best
    }
}

/// Names as people read them; a function without a name says so.
fn finish(mut functions: Vec<FunctionBytes>, demangler: Demangler) -> Vec<FunctionBytes> {
    for function in &mut functions {
        function.name = demangler.demangle(&function.name);
        if function.name.is_empty() {
            function.name = b"[unnamed]".to_vec();
        }
    }
    functions
}
