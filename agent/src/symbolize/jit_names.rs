//! Addresses of JIT code in one process in; their named frames out, by the map or dump that the process writes, if it writes one.

use std::collections::HashMap;
use std::fs::File;
use std::os::linux::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use agent_common::frame::FrameKind;

use crate::process::{Identity, OpenFile, Process};

use super::Module;
use super::frames::{Entry, Names, Place, module};
use super::link::Reply;
use super::metrics::Miss;
use super::symbolizer::{Key, Named, Symbolizer};
use super::wire::{Lookup, MAX_ADDRESSES, Request};

/// Names kept of one process.
const MAX_NAMES: usize = 16 * 1024;
/// Windows after which what is known of a process that was not sampled is forgotten.
const KEPT_CALLS: u64 = 6;
/// The page that old programs call for the time of day, at the same address in all processes.
const VSYSCALL: std::ops::Range<u64> = 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000;

/// Addresses of one process.
pub(super) struct JitWanted {
    pub process: Arc<Process>,
    pub addresses: Vec<u64>,
}

/// What is remembered of processes with JIT code.
#[derive(Debug)]
pub(super) struct JitMaps {
    by_process: HashMap<Identity, JitMap>,
    module: Arc<Module>,
    vsyscall: Arc<Module>,
    n_calls: u64,
}

#[derive(Debug, Default)]
struct JitMap {
    /// Held open: the process may end before its last samples are named.
    map: Option<Arc<OpenFile>>,
    stamps: [Option<Stamp>; 2],
    names: HashMap<u64, Entry>,
    last_call: u64,
}

/// What changes when a file grows or is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Some(Self {
            device: metadata.st_dev(),
            inode: metadata.st_ino(),
            len: metadata.len(),
            modified: (metadata.st_mtime(), metadata.st_mtime_nsec()),
        })
    }
}

impl JitMaps {
    pub(super) fn new() -> Self {
        let module = |name| module(name, String::new());
        let (jit, vsyscall) = (module("[jit]"), module("[vsyscall]"));
        Self { by_process: HashMap::new(), module: jit, vsyscall, n_calls: 0 }
    }

    /// A window begins.
    pub(super) fn begin_call(&mut self) {
        self.n_calls += 1;
        let now = self.n_calls;
        self.by_process.retain(|_, map| now - map.last_call <= KEPT_CALLS);
    }

    /// The frame of an address that no map has to be asked for.
    pub(super) fn known(&self, address: u64) -> Option<Entry> {
        let place = Place { kind: FrameKind::Jit, module: &self.vsyscall, address };
        let named =
            || super::frames::named(Place { kind: FrameKind::Native, ..place }, "[vsyscall]");
        VSYSCALL.contains(&address).then(named)
    }
}

impl Symbolizer {
    pub(super) fn name_jit(&mut self, wanted: &JitWanted, until: Instant, named: &mut Named) {
        let JitWanted { process, addresses } = wanted;
        self.look_into_maps(wanted, until);
        let names = self.jit.by_process.get(&process.identity).map(|known| &known.names);
        let is_unnamed = |address| {
            names.and_then(|names| names.get(address)).is_none_or(|entry| entry.miss.is_some())
        };
        if addresses.iter().any(is_unnamed) && self.jvms.ask(process.identity, until) {
            self.look_into_maps(wanted, until);
        }
        let known = self.jit.by_process.entry(process.identity).or_default();
        for address in addresses {
            let place = Place { kind: FrameKind::Jit, module: &self.jit.module, address: *address };
            let unnamed = || Names::default().entry(place, Err(Miss::Jit));
            let entry = known.names.get(address).cloned().unwrap_or_else(unnamed);
            named.insert(Key::Anonymous(process.identity, *address), entry);
        }
    }

    /// Names the addresses that have none yet by the files that there are now.
    fn look_into_maps(&mut self, wanted: &JitWanted, until: Instant) {
        let JitWanted { process, addresses } = wanted;
        let map = self.open_map(process);
        let dump = process.jit_dump.as_ref().and_then(|dump| dump.file.get().cloned());
        let n_calls = self.jit.n_calls;
        let known = self.jit.by_process.entry(process.identity).or_default();
        known.last_call = n_calls;
        known.map = map.or(known.map.take());
        let sources = [dump, known.map.clone()];
        let stamps =
            sources.each_ref().map(|file| file.as_deref().and_then(|file| Stamp::of(file)));
        if stamps != known.stamps || known.names.len() > MAX_NAMES {
            known.stamps = stamps;
            known.names.clear();
        }
        let new: Vec<u64> = addresses
            .iter()
            .copied()
            .filter(|address| !known.names.contains_key(address))
            .collect();
        for addresses in new.chunks(MAX_ADDRESSES) {
            self.ask_maps(process, addresses, &sources, until);
        }
    }

    /// Asks the dump, which knows lines, and then the map for what the dump does not know.
    fn ask_maps(
        &mut self,
        process: &Process,
        addresses: &[u64],
        sources: &[Option<Arc<OpenFile>>; 2],
        until: Instant,
    ) {
        let mut names = Names::default();
        let mut left = addresses.to_vec();
        let requests: [fn(Vec<u64>) -> Request; 2] = [Request::JitDump, Request::PerfMap];
        for (file, request) in sources.iter().zip(requests) {
            let Some(file) = file.as_deref().filter(|_| !left.is_empty()) else { continue };
            let (mut reply, started) = (Reply::default(), Instant::now());
            let about = format!("JIT map of pid {}", process.identity.pid);
            let asked =
                self.link.ask(&request(left.clone()), Some(file), until, &about, &mut reply);
            self.quota.spend(started.elapsed());
            let known = self.jit.by_process.entry(process.identity).or_default();
            let mut unknown = Vec::new();
            let lookups = reply.lookups.into_iter().chain(std::iter::repeat(Lookup::Unknown));
            for (address, lookup) in left.iter().zip(lookups) {
                if lookup == Lookup::Unknown {
                    unknown.push(*address);
                    continue;
                }
                let place =
                    Place { kind: FrameKind::Jit, module: &self.jit.module, address: *address };
                known.names.insert(*address, names.entry(place, Ok(lookup)));
            }
            left = unknown;
            if asked.is_err() {
                return;
            }
        }
        // Asked for again only when a file has changed.
        let known = self.jit.by_process.entry(process.identity).or_default();
        for address in left {
            let place = Place { kind: FrameKind::Jit, module: &self.jit.module, address };
            known.names.insert(address, names.entry(place, Err(Miss::Jit)));
        }
    }

    /// The map of a process, where it or root has written one.
    fn open_map(&mut self, process: &Process) -> Option<Arc<OpenFile>> {
        let root = Arc::clone(process.root.as_ref()?);
        let pid = process.identity.pid;
        let open = move || {
            let path = format!("/tmp/perf-{}.map", root.pid_inside);
            let file = root.open(path.as_bytes()).ok()?;
            let owner = file.metadata().ok()?.st_uid();
            (owner == 0 || root.has_uid(pid, owner)).then(|| Arc::new(OpenFile::from(file)))
        };
        self.opener.run(open).flatten()
    }
}
