//! Addresses in one open ELF file in; functions, files and lines out, by blazesym.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::symbolize::wire::{FunctionBytes, Lookup};

use super::confine::MAX_COPY;
use super::image::Image;

/// A file that is held open: both as bytes and under a path.
pub(super) struct Opened {
    /// Where it can be opened again as long as it is held: `/proc/self/fd/N`.
    path: PathBuf,
    pub image: Image,
    /// Keeps the number in `path` taken.
    _file: File,
}

impl Opened {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let file = openable(file)?;
        Ok(Self { path: path_of(&file), image: Image::open(&file)?, _file: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Debug files that other files name are handed over, not looked for: the worker sees the agent's file system, not the
/// process's.
pub(super) fn symbolizer() -> Symbolizer {
    Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_demangling(false)
        .set_debug_dirs(Some([] as [PathBuf; 0]))
        .build()
}

/// What stands at a virtual address; `None` when the file cannot be made sense of. Names are as the linker has them.
pub(super) fn find(
    symbolizer: &Symbolizer,
    file: &Opened,
    address: u64,
    debug_syms: bool,
) -> Option<Lookup> {
    let mut source = Elf::new(&file.path);
    source.debug_syms = debug_syms;
    match symbolizer.symbolize_single(&Source::Elf(source), Input::VirtOffset(address)) {
        Ok(Symbolized::Sym(sym)) => Some(functions(&sym)),
        Ok(Symbolized::Unknown(Reason::MissingSyms)) => Some(Lookup::NoSymbols),
        Ok(Symbolized::Unknown(_)) => Some(Lookup::Unknown),
        Err(_) => None,
    }
}

/// The functions of a symbol, innermost first. blazesym gives the outer function and then what was inlined into it, each
/// with the line that is executed in it.
fn functions(sym: &Sym<'_>) -> Lookup {
    let outer = function(&sym.name, sym.code_info.as_deref());
    let inlined =
        sym.inlined.iter().rev().map(|inlined| function(&inlined.name, inlined.code_info.as_ref()));
    Lookup::Functions(inlined.chain([outer]).collect())
}

fn function(name: &str, code: Option<&CodeInfo<'_>>) -> FunctionBytes {
    FunctionBytes {
        name: name.as_bytes().to_vec(),
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
