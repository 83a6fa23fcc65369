//! Everything that touches the kernel's BPF and perf interfaces. A configuration comes in; attached programs, whose records,
//! process events and counters can be read, come out.

mod probe;
mod btf;
mod load;
mod perf_ring;
mod sideband;
mod mappings;
mod slots;
mod chunks;
mod tables;
mod cpus;
mod log;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use agent_common::mapping::Mapping;
use agent_common::outcome::{CAPTURED_COUNTER, Loss};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::ProgramError;
use aya::programs::perf_event::{
    PerfEvent, PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use self::cpus::online_cpus;
pub use self::load::MapSizes;
use self::log::ProgramLog;
use self::mappings::MappingLists;
use self::sideband::Sideband;
use self::slots::Slots;
pub use self::tables::{Allocate, PlacedPart, PlacedTable, PublishError, UnwindTables};

/// What the kernel stage is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Samples per second and CPU, 1 to 1,000.
    pub frequency_hz: u32,
    /// Bytes of the ring of records; 0: from the number of CPUs and the frequency.
    pub ring_bytes: u32,
    /// Processes whose mapping lists the kernel holds; 0: from the number of CPUs.
    pub max_processes: u32,
    /// Stacks whose contents are remembered as sent; 0: from the number of CPUs.
    pub stack_slots: u32,
    /// Memory of the kernel that unwind tables may take.
    pub max_table_bytes: u64,
    /// Show what the programs log.
    pub log: bool,
}

/// Why the kernel stage cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process lacks the right to load BPF programs.
    #[error(
        "the kernel does not permit BPF: run as root, or with CAP_BPF and CAP_PERFMON (kernels before 5.8: CAP_SYS_ADMIN)"
    )]
    NotPermitted,
    /// `perf_event_open` was refused.
    #[error(
        "the kernel does not permit system-wide perf events: run as root, or with CAP_PERFMON and kernel.perf_event_paranoid <= 2 (it is {paranoid})"
    )]
    PerfNotPermitted {
        /// The sysctl's value.
        paranoid: String,
    },
    /// The object could not be loaded.
    #[error("cannot load the BPF object")]
    Load(#[source] aya::EbpfError),
    /// The verifier or the kernel refused a program.
    #[error("cannot load the BPF program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The verifier's words.
        #[source]
        source: ProgramError,
    },
    /// A map could not be used.
    #[error("cannot use the BPF map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: aya::maps::MapError,
    },
    /// The program could not be attached to a CPU.
    #[error("cannot sample CPU {cpu}")]
    Attach {
        /// The CPU.
        cpu: u32,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// Process events could not be had.
    #[error("cannot read process events of CPU {cpu}")]
    Sideband {
        /// The CPU.
        cpu: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Loaded and attached programs.
pub struct Kernel {
    ebpf: Ebpf,
    records: RingBuf<MapData>,
    copies: RingBuf<MapData>,
    epoch: Array<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    lists: MappingLists,
    tables: Option<UnwindTables>,
    links: HashMap<u32, PerfEventLinkId>,
    sidebands: Vec<Sideband>,
    sizes: MapSizes,
    program_log: Option<ProgramLog>,
    frequency_hz: u32,
    tier: &'static str,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("tier", &self.tier)
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads the programs and opens the process events of all CPUs. Nothing is sampled before [`Kernel::attach`].
    pub fn load(config: &Config) -> Result<Self, Error> {
        let cpus = online_cpus()?;
        let sizes = MapSizes::new(config, cpus.len() as u32);
        let sidebands =
            cpus.iter().map(|&cpu| Sideband::open(cpu)).collect::<Result<Vec<_>, _>>()?;
        let mut loaded = load::load(config, &sizes)?;
        let ebpf = &mut loaded.ebpf;
        Ok(Self {
            records: load::take_map(ebpf, "RECORDS")?,
            copies: load::take_map(ebpf, "STACK_COPIES")?,
            tables: Some(UnwindTables::new(
                load::take_map(ebpf, "TABLES")?,
                load::take_map(ebpf, "UNWIND_CHUNKS")?,
                config.max_table_bytes,
            )?),
            epoch: load::take_map(ebpf, "EPOCH")?,
            counters: load::take_map(ebpf, "COUNTERS")?,
            lists: MappingLists::new(
                load::take_map(ebpf, "PROCESSES")?,
                load::take_map(ebpf, "MAPPINGS")?,
                sizes.max_processes,
                Slots::new(sizes.max_tables),
            ),
            program_log: if config.log { ProgramLog::open(ebpf) } else { None },
            links: HashMap::new(),
            sidebands,
            sizes,
            frequency_hz: config.frequency_hz,
            tier: loaded.tier,
            ebpf: loaded.ebpf,
        })
    }

    /// Begins to sample all CPUs.
    pub fn attach(&mut self) -> Result<(), Error> {
        for cpu in online_cpus()? {
            self.attach_cpu(cpu)?;
        }
        Ok(())
    }

    fn attach_cpu(&mut self, cpu: u32) -> Result<(), Error> {
        let program: &mut PerfEvent = load::program(&mut self.ebpf, "on_cpu")?;
        let link = program
            .attach(
                PerfEventConfig::Software(SoftwareEvent::CpuClock),
                PerfEventScope::AllProcessesOneCpu { cpu },
                SamplePolicy::Period(period_ns(self.frequency_hz)),
                false,
            )
            .map_err(|source| attach_error(cpu, source))?;
        self.links.insert(cpu, link);
        Ok(())
    }

    /// Ends sampling. What has been sampled can still be drained.
    pub fn detach(&mut self) -> Result<(), Error> {
        let program: &mut PerfEvent = load::program(&mut self.ebpf, "on_cpu")?;
        for (cpu, link) in self.links.drain() {
            program.detach(link).map_err(|source| Error::Attach { cpu, source })?;
        }
        Ok(())
    }

    /// Follows CPUs that came or went since the last call; gives how many came and went.
    pub fn follow_cpus(&mut self) -> Result<(usize, usize), Error> {
        let online = online_cpus()?;
        // Off and on again between two looks: online, but nothing is sampled there any more.
        let mut gone: Vec<u32> =
            self.sidebands.iter_mut().filter_map(|s| s.has_died().then_some(s.cpu())).collect();
        let has_gone = |cpu: &u32| !online.contains(cpu) && !gone.contains(cpu);
        let more: Vec<u32> = self.links.keys().copied().filter(has_gone).collect();
        gone.extend(more);
        for cpu in &gone {
            self.sidebands.retain(|sideband| sideband.cpu() != *cpu);
            if let Some(link) = self.links.remove(cpu) {
                let program: &mut PerfEvent = load::program(&mut self.ebpf, "on_cpu")?;
                if let Err(error) = program.detach(link) {
                    tracing::debug!(cpu, %error, "cannot detach from a CPU that went offline");
                }
            }
        }
        let came: Vec<u32> =
            online.into_iter().filter(|cpu| !self.links.contains_key(cpu)).collect();
        for &cpu in &came {
            // A CPU can go again in between: the next call sees it.
            if let Err(error) = self.follow_cpu(cpu) {
                tracing::warn!(cpu, %error, "cannot sample a CPU that has come");
            }
        }
        Ok((came.len(), gone.len()))
    }

    fn follow_cpu(&mut self, cpu: u32) -> Result<(), Error> {
        self.sidebands.retain(|sideband| sideband.cpu() != cpu);
        let sideband = Sideband::open(cpu)?;
        self.attach_cpu(cpu)?;
        self.sidebands.push(sideband);
        Ok(())
    }

    /// Waits until a ring fills up, at most `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.records.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.copies.as_fd(), PollFlags::IN),
        ];
        fds.extend(
            self.sidebands.iter().map(|s| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)),
        );
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // An interrupted wait is as good as a finished one.
        if let Err(error) = poll(&mut fds, Some(&timeout)) {
            tracing::trace!(%error, "poll");
        }
    }

    /// Hands over all records that samples have left, oldest first.
    pub fn drain_records(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.records.next() {
            take(&record);
        }
        if let Some(log) = &mut self.program_log {
            log.flush();
        }
    }

    /// Hands over all copied stacks. Those whose sample [`Kernel::drain_records`] has handed over are among them.
    pub fn drain_copies(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(copy) = self.copies.next() {
            take(&copy);
        }
    }

    /// The unwind tables, for the thread that publishes them; `None` when they have been taken.
    pub fn take_tables(&mut self) -> Option<UnwindTables> {
        self.tables.take()
    }

    /// The slot of an executable's unwind table; [`agent_common::table_slot::NO_SLOT`] when all are taken.
    pub fn table_slot(&mut self, executable: u32) -> u32 {
        self.lists.slots_mut().of(executable)
    }

    /// Takes the slots of executables that are not known any more out of use; gives their numbers. They are used again after
    /// [`Kernel::free_table_slot`].
    pub fn forget_executables(&mut self, is_known: impl Fn(u32) -> bool) -> Vec<u32> {
        self.lists.slots_mut().forget(is_known)
    }

    /// A slot has no table any more and can be used again.
    pub fn free_table_slot(&mut self, slot: u32) {
        self.lists.slots_mut().free(slot);
    }

    /// How many executables had to go without a slot.
    pub fn tables_full(&self) -> u64 {
        self.lists.slots().n_full()
    }

    /// Hands over all process events that the kernel has left, CPU by CPU. Merge them by time.
    pub fn drain_events(&mut self, mut take: impl FnMut(&[u8])) {
        for sideband in &mut self.sidebands {
            sideband.drain(&mut take);
        }
    }

    /// Begins an epoch: each stack's contents will be sent once more.
    pub fn set_epoch(&mut self, epoch: u32) -> Result<(), Error> {
        self.epoch.set(0, epoch, 0).map_err(|source| Error::Map { map: "EPOCH", source })
    }

    /// Gives the kernel the mappings of a process, in rising order; tells the list's generation. `None` when they cannot be
    /// had in the kernel; the process's frames are then resolved in user space.
    pub fn publish(&mut self, pid: u32, mappings: &[Mapping]) -> Option<u32> {
        self.lists.publish(pid, mappings)
    }

    /// Takes back what [`Kernel::publish`] gave.
    pub fn unpublish(&mut self, pid: u32) {
        self.lists.unpublish(pid);
    }

    /// How many lists could not be published, and how many were pushed out by others.
    pub fn mappings_full(&self) -> u64 {
        self.lists.n_full()
    }

    /// Samples taken since the start, and losses by reason.
    pub fn counters(&self) -> Result<Counters, Error> {
        let read = |index: u32| -> Result<u64, Error> {
            let values = self
                .counters
                .get(&index, 0)
                .map_err(|source| Error::Map { map: "COUNTERS", source })?;
            Ok(values.iter().sum())
        };
        let mut losses = Vec::new();
        for loss in [
            Loss::SampleRingFull,
            Loss::StackRingFull,
            Loss::KernelStackError,
            Loss::ScratchMissing,
            Loss::StackCopyLimited,
            Loss::StackCopyRingFull,
        ] {
            losses.push((loss, read(loss as u32)?));
        }
        Ok(Counters { captured: read(CAPTURED_COUNTER)?, losses })
    }

    /// How it works on this kernel: `bpf, unwind tables`.
    pub fn tier(&self) -> &'static str {
        self.tier
    }

    /// Sizes of the maps.
    pub fn sizes(&self) -> &MapSizes {
        &self.sizes
    }
}

/// What the programs have counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Samples taken.
    pub captured: u64,
    /// Losses in the kernel.
    pub losses: Vec<(Loss, u64)>,
}

/// Nanoseconds that a sample stands for.
pub fn period_ns(frequency_hz: u32) -> u64 {
    1_000_000_000 / u64::from(frequency_hz.max(1))
}

fn attach_error(cpu: u32, source: ProgramError) -> Error {
    if let ProgramError::SyscallError(error) = &source
        && matches!(error.io_error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
    {
        return Error::PerfNotPermitted { paranoid: sideband::paranoid() };
    }
    Error::Attach { cpu, source }
}
