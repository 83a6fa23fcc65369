//! Offsets in open ELF files in; functions, files and lines out. Keeps parsed files for the next request, up to a bound.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer, evict};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::symbolize::wire::{Detail, FunctionBytes, Lookup};

use super::confine::MAX_COPY;
use super::demangle::demangle;

/// Files held parsed at a time.
const MAX_HELD: usize = 32;

/// Parsed files.
pub(super) struct ElfSymbols {
    symbolizer: Symbolizer,
    /// The least recently used first.
    held: Vec<Held>,
    resident_bytes: u64,
    page_bytes: u64,
}

/// A file that is parsed when first asked about.
struct Held {
    id: u32,
    /// Where it can be opened again as long as it is held: `/proc/self/fd/N`.
    path: PathBuf,
    /// Keeps the number in `path` taken.
    _file: File,
}

impl ElfSymbols {
    /// Holds files until the process is larger than `resident_bytes`. Made before the process is confined: the size of a page
    /// is asked for with a call that is refused later.
    pub(super) fn new(resident_bytes: u64) -> Self {
        // Debug files that other files name are not looked for: the worker sees the agent's file system, not the process's.
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_demangling(false)
            .set_debug_dirs(Some([] as [PathBuf; 0]))
            .build();
        Self {
            symbolizer,
            held: Vec::new(),
            resident_bytes,
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// Takes the file in, unless it is here already.
    pub(super) fn hold(&mut self, id: u32, file: File) -> io::Result<()> {
        if let Some(position) = self.held.iter().position(|held| held.id == id) {
            let held = self.held.remove(position);
            self.held.push(held);
            return Ok(());
        }
        if self.held.len() >= MAX_HELD {
            self.drop_oldest();
        }
        let file = openable(file)?;
        self.held.push(Held { id, path: path_of(&file), _file: file });
        Ok(())
    }

    /// What stands at an offset of a file that is held.
    pub(super) fn lookup(&self, id: u32, offset: u64, detail: Detail) -> Lookup {
        let Some(held) = self.held.iter().rfind(|held| held.id == id) else {
            return Lookup::NoSymbols;
        };
        match detail {
            // Damaged debug information must not cost the symbols.
            Detail::Debug => self
                .find(held, offset, true)
                .unwrap_or_else(|| self.lookup(id, offset, Detail::Symbols)),
            Detail::Symbols => self.find(held, offset, false).unwrap_or(Lookup::NoSymbols),
        }
    }

    /// Drops files until the process is small enough.
    pub(super) fn trim(&mut self) {
        while !self.held.is_empty() && resident_pages() * self.page_bytes > self.resident_bytes {
            self.drop_oldest();
        }
    }

    fn find(&self, held: &Held, offset: u64, debug_syms: bool) -> Option<Lookup> {
        let mut source = Elf::new(&held.path);
        source.debug_syms = debug_syms;
        match self.symbolizer.symbolize_single(&Source::Elf(source), Input::FileOffset(offset)) {
            Ok(Symbolized::Sym(sym)) => Some(functions(&sym)),
            Ok(Symbolized::Unknown(Reason::MissingSyms)) => Some(Lookup::NoSymbols),
            Ok(Symbolized::Unknown(_)) => Some(Lookup::Unknown),
            Err(_) => None,
        }
    }

    fn drop_oldest(&mut self) {
        let held = self.held.remove(0);
        // Eviction of data in memory cannot fail.
        drop(self.symbolizer.evict(&evict::Elf::new(held.path.clone()).into()));
    }
}

/// The functions of a symbol, innermost first. blazesym gives the outer function and then what was inlined into it, each
/// with the line that is executed in it.
fn functions(sym: &Sym<'_>) -> Lookup {
    let outer = function(&sym.name, sym.code_info.as_deref());
    let inlined =
        sym.inlined.iter().rev().map(|inlined| function(&inlined.name, inlined.code_info.as_ref()));
    let mut functions: Vec<_> = inlined.chain([outer]).collect();
    for function in &mut functions {
        if function.name.is_empty() {
            function.name = b"[unnamed]".to_vec();
        }
    }
    Lookup::Functions(functions)
}

fn function(name: &str, code: Option<&CodeInfo<'_>>) -> FunctionBytes {
    FunctionBytes {
        name: demangle(name).as_bytes().to_vec(),
        file: code.map(|code| code.to_path().as_os_str().as_bytes().to_vec()).unwrap_or_default(),
        line: code.and_then(|code| code.line).unwrap_or(0),
    }
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The file, or a copy of it when this user may not open it (a program that only root may read): blazesym takes paths, and
/// opening `/proc/self/fd/N` asks for permission again, whereas reading the descriptor that the agent opened does not.
fn openable(mut file: File) -> io::Result<File> {
    if File::open(path_of(&file)).is_ok() {
        return Ok(file);
    }
    if file.metadata()?.len() > MAX_COPY {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut copy = File::from(memfd_create("elf", MemfdFlags::CLOEXEC)?);
    io::Seek::rewind(&mut file)?;
    io::copy(&mut io::Read::take(file, MAX_COPY), &mut copy)?;
    Ok(copy)
}

/// Resident memory of this process: the second word of `/proc/self/statm`, in pages.
fn resident_pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}
