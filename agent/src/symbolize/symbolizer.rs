//! Distinct stacks in; the same stacks with named frames out. Asks the worker once per distinct address.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process::{Identity, Process, Root};
use crate::stack::{Frame, Stack};

use super::cache::Cache;
use super::debuginfod::Debuginfod;
use super::file_names::Wanted;
use super::frames::{Entry, gap, module};
use super::jit_names::{JitMaps, JitWanted};
use super::jvm::Jvms;
use super::kernel_code::KernelCode;
use super::kernel_names::Kernel;
use super::known_file::{FileId, KnownFiles};
use super::link::Link;
use super::metrics::Metrics;
use super::opener::Opener;
use super::quota::Quota;
use super::wire::{Hello, Lookup};
use super::{Config, Error, Module, SymbolizedStack};

/// How long one call waits for files that are still being opened.
const OPENING_LIMIT: Duration = Duration::from_secs(3);

/// A stack and a process that was in it.
#[derive(Clone, Debug)]
pub struct SampledStack {
    pub stack: Arc<Stack>,
    /// Its files are where debug information is looked for; JIT code is its alone.
    pub process: Arc<Process>,
}

impl SampledStack {
    /// Stacks with the same key are named alike.
    pub fn key(&self) -> (u64, Option<Identity>) {
        let is_own = |frame: &Frame| matches!(frame, Frame::Anonymous { .. });
        let has_own = self.stack.frames.iter().any(is_own);
        (self.stack.id, has_own.then_some(self.process.identity))
    }
}

/// Names frames. Blocks while the worker works, so it is called once per window on a thread that may wait.
#[derive(Debug)]
pub struct Symbolizer {
    pub(super) config: Config,
    metrics: Metrics,
    pub(super) link: Link,
    pub(super) cache: Cache<Key, Entry>,
    pub(super) files: KnownFiles,
    pub(super) kernel: Kernel,
    kernel_code: Arc<KernelCode>,
    pub(super) jit: JitMaps,
    pub(super) jvms: Jvms,
    pub(super) opener: Opener,
    pub(super) quota: Quota,
    pub(super) debuginfod: Option<Debuginfod>,
    pub(super) own_root: Option<Arc<Root>>,
    /// Answers of a request that failed later on.
    pub(super) partial: Vec<Lookup>,
    unknown: Arc<Module>,
}

/// What makes a frame distinct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Kernel(u64),
    Native(FileId, u64),
    Anonymous(Identity, u64),
    Miss(&'static str),
    Cut(u64),
}

pub(super) type Named = HashMap<Key, Entry>;

/// What needs the worker.
#[derive(Default)]
struct Open {
    kernel_addresses: Vec<u64>,
    files: HashMap<FileId, Wanted>,
    jit: HashMap<Identity, JitWanted>,
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
            demangle: config.demangle,
        };
        Ok(Self {
            link: Link::new(config.worker_path.clone(), hello, config.deadline, metrics.clone()),
            cache: Cache::new(config.cache_entries),
            jvms: Jvms::new(config.jvm_perf_map, metrics.clone()),
            metrics,
            files: KnownFiles::default(),
            kernel: Kernel::default(),
            kernel_code: Arc::default(),
            jit: JitMaps::new(),
            opener: Opener::new(),
            quota: Quota::new(config.cpu_percent, Instant::now()),
            debuginfod: Debuginfod::new(&config.debuginfod)?,
            own_root: Root::own().ok().map(Arc::new),
            partial: Vec::new(),
            unknown: module("[unknown]", String::new()),
            config,
        })
    }

    /// From now on the kernel's code is this, and what `/proc/kallsyms` says.
    pub fn set_kernel_code(&mut self, code: Arc<KernelCode>) {
        if code.n_lost() != self.kernel_code.n_lost() {
            self.kernel.must_read = true;
        }
        self.kernel_code = code;
    }

    /// Names every frame of the stacks; the answers are in their order. Each frame in gives one frame out.
    pub fn symbolize(&mut self, sampled: &[SampledStack]) -> Vec<SymbolizedStack> {
        let begun = Instant::now();
        self.files.begin_call();
        self.jit.begin_call();
        self.jvms.begin_call();
        self.forget_worse_names();
        wait_for_files(sampled, Instant::now() + OPENING_LIMIT.min(self.config.call_budget / 2));
        let until = Instant::now() + self.config.call_budget;
        let mut named = Named::new();
        let open = self.gather(sampled, &mut named);
        if !open.kernel_addresses.is_empty() {
            self.name_kernel(&open.kernel_addresses, until, &mut named);
        }
        for wanted in open.jit.values() {
            self.name_jit(wanted, until, &mut named);
        }
        // Most addresses first: what is cut when time runs out matters least.
        let mut files: Vec<Wanted> = open.files.into_values().collect();
        files.sort_by_key(|wanted| std::cmp::Reverse(wanted.offsets.len()));
        for wanted in &files {
            self.name_file(wanted, until, &mut named);
        }
        for miss in named.values().filter_map(|entry| entry.miss) {
            self.metrics.count_miss(miss);
        }
        self.metrics.cache_entries.set(self.cache.len() as i64);
        self.metrics.window_seconds.observe(begun.elapsed().as_secs_f64());
        sampled.iter().map(|sampled| self.assemble(sampled, &named)).collect()
    }

    /// Debug files have come from a server: names that were given without them are looked up again.
    fn forget_worse_names(&mut self) {
        let fetched = self.debuginfod.as_mut().map(|servers| servers.take_fetched(Instant::now()));
        for id in fetched.unwrap_or_default() {
            let lacking = self.files.lacking_debug(&id);
            self.cache.retain(|key| !matches!(key, Key::Native(file, _) if lacking.contains(file)));
        }
    }

    /// The process id of the running worker.
    pub fn worker_pid(&self) -> Option<u32> {
        self.link.pid()
    }

    /// Spends all the time that reading debug information has now: for tests.
    pub fn exhaust_quota(&mut self) {
        self.quota.spend(std::time::Duration::from_hours(1));
    }

    /// Names what needs no worker; gives back what does.
    fn gather(&mut self, sampled: &[SampledStack], named: &mut Named) -> Open {
        let mut seen = HashSet::new();
        let mut open = Open::default();
        for SampledStack { stack, process } in sampled {
            for frame in &stack.frames {
                let key = self.key_of(frame, process);
                if !seen.insert(key) {
                    continue;
                }
                // Never from the cache: other code may stand there today.
                if let Frame::Kernel { address } = frame
                    && let Some(name) = self.kernel_code.name(*address)
                {
                    named.insert(key, self.kernel.entry(*address, name));
                    continue;
                }
                if let Some(entry) = self.cache.get(&key) {
                    named.insert(key, entry);
                    continue;
                }
                match (frame, key) {
                    (Frame::Native { executable, offset }, Key::Native(id, _)) => {
                        let new = || Wanted {
                            id,
                            executable: Arc::clone(executable),
                            root: process.root.clone(),
                            offsets: Vec::new(),
                        };
                        open.files.entry(id).or_insert_with(new).offsets.push(*offset);
                    }
                    (Frame::Anonymous { address }, _) => {
                        if let Some(entry) = self.jit.known(*address) {
                            named.insert(key, entry);
                        } else {
                            open.jit
                                .entry(process.identity)
                                .or_insert_with(|| JitWanted {
                                    process: Arc::clone(process),
                                    addresses: Vec::new(),
                                })
                                .addresses
                                .push(*address);
                        }
                    }
                    (Frame::Kernel { address }, _) => open.kernel_addresses.push(*address),
                    (Frame::Miss { reason }, _) => {
                        named.insert(key, gap(&self.unknown, reason, reason));
                    }
                    (Frame::Cut { n_frames }, _) => {
                        let text = format!("{n_frames} frames cut");
                        named.insert(key, gap(&self.unknown, &text, "frames_cut"));
                    }
                    (Frame::Native { .. }, _) => {}
                }
            }
        }
        open
    }

    fn key_of(&mut self, frame: &Frame, process: &Process) -> Key {
        match frame {
            Frame::Kernel { address } => Key::Kernel(*address),
            Frame::Native { executable, offset } => {
                Key::Native(self.files.id_of(executable, &mut self.opener), *offset)
            }
            Frame::Anonymous { address } => Key::Anonymous(process.identity, *address),
            Frame::Miss { reason } => Key::Miss(reason),
            Frame::Cut { n_frames } => Key::Cut(*n_frames),
        }
    }

    fn assemble(&mut self, sampled: &SampledStack, named: &Named) -> SymbolizedStack {
        let frame = |frame: &Frame| {
            let key = self.key_of(frame, &sampled.process);
            let entry = named.get(&key).expect("every frame of the stacks was named");
            Arc::clone(&entry.frame)
        };
        SymbolizedStack {
            id: sampled.stack.id,
            frames: sampled.stack.frames.iter().map(frame).collect(),
        }
    }
}

/// Takes a frame over into the window's names and, unless a better name may come, into the cache.
pub(super) fn keep(cache: &mut Cache<Key, Entry>, key: Key, entry: Entry, named: &mut Named) {
    if !entry.is_provisional && entry.miss.is_none_or(|miss| !miss.may_pass()) {
        cache.insert(key, entry.clone());
    }
    named.insert(key, entry);
}

/// Waits for the files that are being opened: what they are is asked for once.
fn wait_for_files(sampled: &[SampledStack], until: Instant) {
    for frame in sampled.iter().flat_map(|sampled| &sampled.stack.frames) {
        if let Frame::Native { executable, .. } = frame {
            executable.file.wait(until);
        }
    }
}
