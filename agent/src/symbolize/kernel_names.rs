//! Addresses in the kernel in; their named frames out. Sees to it that the worker has the kernel's symbols.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use agent_common::frame::FrameKind;
use tracing::warn;

use super::Module;
use super::backoff::Backoff;
use super::frames::{self, Entry, Names, Place, module};
use super::kernel_build_id;
use super::link::Reply;
use super::metrics::Miss;
use super::names::escape;
use super::symbolizer::{Key, Named, Symbolizer, keep};
use super::wire::{KernelText, Lookup, MAX_ADDRESSES, Request};

/// What is remembered of the kernel's symbols.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    module: Option<Arc<Module>>,
    /// Which worker has them, since when, and what they cover.
    loaded: Option<(u64, Instant, KernelText)>,
    backoff: Backoff,
    told_hidden: bool,
    /// What the kernel said of its code was lost in part: its symbols must be read again.
    pub(super) must_read: bool,
}

impl Kernel {
    fn module(&mut self) -> Arc<Module> {
        let read_module = || module("[kernel.kallsyms]", kernel_build_id::read());
        Arc::clone(self.module.get_or_insert_with(read_module))
    }

    /// The frame of code of that name.
    pub(super) fn entry(&mut self, address: u64, name: &str) -> Entry {
        let module = self.module();
        let place = Place { kind: FrameKind::Kernel, module: &module, address };
        frames::named(place, &escape(name.as_bytes()))
    }
}

impl Symbolizer {
    pub(super) fn name_kernel(&mut self, addresses: &[u64], until: Instant, named: &mut Named) {
        let module = self.kernel.module();
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
            let is_fresh = since.elapsed() < age && !self.kernel.must_read;
            if is_fresh || addresses.iter().all(is_core) {
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
        self.kernel.must_read = false;
        self.kernel.loaded = Some((self.link.generation(), Instant::now(), text));
        Ok(())
    }

    fn tell_hidden(&mut self, why: &str) {
        if !std::mem::replace(&mut self.kernel.told_hidden, true) {
            warn!(path = %self.config.kallsyms_path.display(), why, "kernel frames have no names");
        }
    }
}
