//! Distinct stacks in; the same stacks with named frames out. Asks the worker once per distinct address.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use agent_common::frame::FrameKind;
use tracing::warn;

use crate::process::{Executable, ExecutableId};
use crate::stack::{Frame, Stack};

use super::backoff::Backoff;
use super::cache::Cache;
use super::frames::{Entry, Names, Place, gap, module};
use super::link::{Link, Reply};
use super::metrics::{Metrics, Miss};
use super::wire::{
    Description, Detail, Hello, KernelText, Lookup, MAX_ADDRESSES, NoDescription, Request,
};
use super::{Config, Error, Module, SymbolizedStack, kernel_build_id, notes};

/// Files that something is remembered of; more than a machine runs at a time.
const MAX_FILES: usize = 8192;

/// Names frames. Blocks while the worker works, so it is called once per window on a thread that may wait.
#[derive(Debug)]
pub struct Symbolizer {
    config: Config,
    metrics: Metrics,
    link: Link,
    cache: Cache<Key, Entry>,
    files: HashMap<ExecutableId, KnownFile>,
    kernel: Kernel,
    unknown: Arc<Module>,
    jit: Arc<Module>,
    n_calls: u64,
}

/// What makes a frame distinct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Kernel(u64),
    Native(ExecutableId, u64),
    Anonymous(u64),
    Miss(&'static str),
    Cut(u64),
}

/// What is remembered of a file.
#[derive(Debug)]
struct KnownFile {
    module: Arc<Module>,
    description: Option<Description>,
    backoff: Backoff,
    last_call: u64,
}

/// What is remembered of the kernel's symbols.
#[derive(Debug, Default)]
struct Kernel {
    module: Option<Arc<Module>>,
    /// Which worker has them, since when, and what they cover.
    loaded: Option<(u64, Instant, KernelText)>,
    backoff: Backoff,
    told_hidden: bool,
}

/// Addresses of one file that have no name yet.
struct Wanted {
    executable: Arc<Executable>,
    offsets: Vec<u64>,
}

type Named = HashMap<Key, Entry>;

impl Key {
    fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Kernel { address } => Self::Kernel(*address),
            Frame::Native { executable, offset } => Self::Native(executable.id, *offset),
            Frame::Anonymous { address } => Self::Anonymous(*address),
            Frame::Miss { reason } => Self::Miss(reason),
            Frame::Cut { n_frames } => Self::Cut(*n_frames),
        }
    }
}

impl Symbolizer {
    /// The worker is started when a frame first needs it.
    pub fn new(config: Config, metrics: Metrics) -> Result<Self, Error> {
        if !config.worker_path.exists() {
            return Err(Error::WorkerMissing { path: config.worker_path });
        }
        let hello = Hello {
            uid: config.worker_uid,
            gid: config.worker_gid,
            resident_bytes: config.worker_resident_bytes,
            heap_bytes: config.worker_heap_bytes,
            debug_bytes: config.debug_bytes,
        };
        Ok(Self {
            link: Link::new(config.worker_path.clone(), hello, config.deadline, metrics.clone()),
            cache: Cache::new(config.cache_entries),
            config,
            metrics,
            files: HashMap::new(),
            kernel: Kernel::default(),
            unknown: module("[unknown]", String::new()),
            jit: module("[jit]", String::new()),
            n_calls: 0,
        })
    }

    /// Names every frame of the stacks, by the stacks' ids. Each frame in gives one frame out.
    pub fn symbolize(&mut self, stacks: &[Arc<Stack>]) -> HashMap<u64, SymbolizedStack> {
        self.n_calls += 1;
        let until = Instant::now() + self.config.call_budget;
        let mut named = Named::new();
        let (kernel_addresses, mut files) = self.gather(stacks, &mut named);
        if !kernel_addresses.is_empty() {
            self.name_kernel(&kernel_addresses, until, &mut named);
        }
        // Most addresses first: what is cut when time runs out matters least.
        files.sort_by_key(|wanted| std::cmp::Reverse(wanted.offsets.len()));
        for wanted in &files {
            self.name_file(wanted, until, &mut named);
        }
        for miss in named.values().filter_map(|entry| entry.miss) {
            self.metrics.count_miss(miss);
        }
        self.metrics.cache_entries.set(self.cache.len() as i64);
        stacks.iter().map(|stack| (stack.id, assemble(stack, &named))).collect()
    }

    /// The process id of the running worker.
    pub fn worker_pid(&self) -> Option<u32> {
        self.link.pid()
    }

    /// Names what needs no worker; gives back what does.
    fn gather(&mut self, stacks: &[Arc<Stack>], named: &mut Named) -> (Vec<u64>, Vec<Wanted>) {
        let mut seen = HashSet::new();
        let mut kernel_addresses = Vec::new();
        let mut files: HashMap<ExecutableId, Wanted> = HashMap::new();
        for frame in stacks.iter().flat_map(|stack| &stack.frames) {
            let key = Key::of(frame);
            if !seen.insert(key) {
                continue;
            }
            if let Some(entry) = self.cache.get(&key) {
                named.insert(key, entry);
                continue;
            }
            match frame {
                Frame::Kernel { address } => kernel_addresses.push(*address),
                Frame::Native { executable, offset } => files
                    .entry(executable.id)
                    .or_insert_with(|| Wanted {
                        executable: Arc::clone(executable),
                        offsets: Vec::new(),
                    })
                    .offsets
                    .push(*offset),
                Frame::Anonymous { address } => {
                    let place =
                        Place { kind: FrameKind::Jit, module: &self.jit, address: *address };
                    named.insert(key, Names::default().entry(place, Err(Miss::Jit)));
                }
                Frame::Miss { reason } => {
                    named.insert(key, gap(&self.unknown, reason, reason));
                }
                Frame::Cut { n_frames } => {
                    let text = format!("{n_frames} frames cut");
                    named.insert(key, gap(&self.unknown, &text, "frames_cut"));
                }
            }
        }
        (kernel_addresses, files.into_values().collect())
    }

    fn name_file(&mut self, wanted: &Wanted, until: Instant, named: &mut Named) {
        let id = wanted.executable.id;
        let mut names = Names::default();
        for offsets in wanted.offsets.chunks(MAX_ADDRESSES) {
            let (lookups, miss) = self.ask_file(&wanted.executable, offsets, until);
            let known = self.files.get(&id).expect("it was asked for just now");
            let mut lookups = lookups.into_iter();
            for offset in offsets {
                let description = known.description.as_ref();
                let address =
                    description.and_then(|d| d.virtual_address(*offset)).unwrap_or(*offset);
                let place = Place { kind: FrameKind::Native, module: &known.module, address };
                let entry = names.entry(place, lookups.next().ok_or(miss));
                keep(&mut self.cache, Key::Native(id, *offset), entry, named);
            }
        }
    }

    /// What the worker finds at the offsets (in their order, perhaps of the first ones only), and why there is no more.
    fn ask_file(
        &mut self,
        executable: &Executable,
        offsets: &[u64],
        until: Instant,
    ) -> (Vec<Lookup>, Miss) {
        let id = executable.id;
        self.forget_files();
        let known = self.files.entry(id).or_insert_with(|| KnownFile {
            module: module(&executable.path, String::new()),
            description: None,
            backoff: Backoff::default(),
            last_call: 0,
        });
        known.last_call = self.n_calls;
        let Some(file) = executable.file.get() else { return (Vec::new(), Miss::FileUnreadable) };
        if known.backoff.is_blocked(Instant::now()) {
            return (Vec::new(), Miss::FileBlocked);
        }
        // A file over which the worker was lost once is looked into less deeply the next time.
        let detail = if known.backoff.has_failed() { Detail::Symbols } else { Detail::Debug };
        let request = Request::File { id: id.0, detail, offsets: offsets.to_vec() };
        let mut reply = Reply::default();
        let asked = self.link.ask(&request, Some(file), until, &known.module.path, &mut reply);
        if let Err(Miss::WorkerDied | Miss::WorkerHung) = asked {
            known.backoff.fail(Instant::now(), self.config.block_time);
        }
        let undescribed = match reply.description {
            Some(Ok(description)) => {
                known.describe(&executable.path, description);
                None
            }
            Some(Err(why)) => Some(why),
            None => None,
        };
        let miss = match (asked, undescribed) {
            (Err(miss), _) => miss,
            (Ok(()), Some(NoDescription::Unreadable)) => Miss::FileUnreadable,
            (Ok(()), Some(NoDescription::TooLarge)) => Miss::FileTooLarge,
            (Ok(()), Some(NoDescription::Malformed)) => Miss::FileMalformed,
            (Ok(()), None) => Miss::UnknownAddress,
        };
        if undescribed.is_some() { (Vec::new(), miss) } else { (reply.lookups, miss) }
    }

    /// Keeps the memory of files bounded: those of past calls go, but for those that are in the worker's way.
    fn forget_files(&mut self) {
        if self.files.len() >= MAX_FILES {
            let (now, this_call) = (Instant::now(), self.n_calls);
            self.files
                .retain(|_, known| known.last_call == this_call || known.backoff.is_blocked(now));
        }
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
    }

    fn name_kernel(&mut self, addresses: &[u64], until: Instant, named: &mut Named) {
        let read_module = || module("[kernel.kallsyms]", kernel_build_id::read());
        let module = Arc::clone(self.kernel.module.get_or_insert_with(read_module));
        let mut names = Names::default();
        for addresses in addresses.chunks(MAX_ADDRESSES) {
            let (lookups, miss) = self.ask_kernel(addresses, until);
            let mut lookups = lookups.into_iter();
            for address in addresses {
                let place = Place { kind: FrameKind::Kernel, module: &module, address: *address };
                let entry = names.entry(place, lookups.next().ok_or(miss));
                keep(&mut self.cache, Key::Kernel(*address), entry, named);
            }
        }
    }

    fn ask_kernel(&mut self, addresses: &[u64], until: Instant) -> (Vec<Lookup>, Miss) {
        if self.kernel.backoff.is_blocked(Instant::now()) {
            return (Vec::new(), Miss::WorkerDied);
        }
        let mut reply = Reply::default();
        let asked = self.load_kernel(addresses, until).and_then(|()| {
            let request = Request::KernelAddresses(addresses.to_vec());
            self.link.ask(&request, None, until, "[kernel.kallsyms]", &mut reply)
        });
        if let Err(Miss::WorkerDied | Miss::WorkerHung) = asked {
            self.kernel.backoff.fail(Instant::now(), self.config.block_time);
        }
        (reply.lookups, asked.err().unwrap_or(Miss::KernelUnknown))
    }

    /// Hands the worker the kernel's symbols if it has none, or old ones and an address is not the core kernel's: modules
    /// and BPF programs come and go. Only the opener of `/proc/kallsyms` needs `CAP_SYSLOG` (`kallsyms_open` keeps the answer
    /// of `kallsyms_show_value` since 5.8), so the worker reads it without rights.
    fn load_kernel(&mut self, addresses: &[u64], until: Instant) -> Result<(), Miss> {
        self.link.start()?;
        if let Some((generation, since, text)) = self.kernel.loaded
            && generation == self.link.generation()
        {
            let is_core = |address: &u64| (text.start..text.end).contains(address);
            // Hidden symbols rarely come to light, and looking is not free.
            let age = self.config.kallsyms_age * if text.n_symbols == 0 { 10 } else { 1 };
            if since.elapsed() < age || addresses.iter().all(is_core) {
                return Ok(());
            }
            self.cache.retain(|key| !matches!(key, Key::Kernel(address) if !is_core(address)));
        }
        let file = File::open(&self.config.kallsyms_path).map_err(|err| {
            self.tell_hidden(&err.to_string());
            Miss::KernelHidden
        })?;
        let mut reply = Reply::default();
        self.link.ask(&Request::Kernel, Some(&file), until, "[kernel.kallsyms]", &mut reply)?;
        let text = reply.kernel.unwrap_or_default();
        if text.n_symbols == 0 {
            self.tell_hidden("all its addresses are 0: see kernel.kptr_restrict and CAP_SYSLOG");
        }
        self.kernel.loaded = Some((self.link.generation(), Instant::now(), text));
        Ok(())
    }

    fn tell_hidden(&mut self, why: &str) {
        if !std::mem::replace(&mut self.kernel.told_hidden, true) {
            warn!(path = %self.config.kallsyms_path.display(), why, "kernel frames have no names");
        }
    }
}

impl KnownFile {
    fn describe(&mut self, path: &str, description: Description) {
        if self.description.is_none() {
            self.module = module(path, notes::hex(&description.build_id));
        }
        self.description = Some(description);
    }
}

/// Takes a frame over into the window's names and, unless its miss may pass, into the cache.
fn keep(cache: &mut Cache<Key, Entry>, key: Key, entry: Entry, named: &mut Named) {
    if entry.miss.is_none_or(|miss| !miss.may_pass()) {
        cache.insert(key, entry.clone());
    }
    named.insert(key, entry);
}

fn assemble(stack: &Stack, named: &Named) -> SymbolizedStack {
    let frame = |frame: &Frame| {
        let entry = named.get(&Key::of(frame)).expect("every frame of the stacks was named");
        Arc::clone(&entry.frame)
    };
    SymbolizedStack { id: stack.id, frames: stack.frames.iter().map(frame).collect() }
}
