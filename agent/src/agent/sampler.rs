//! The first half of the road, per sample: kernel -> event -> (process) -> stack. Events and samples are merged by their
//! time, so that each sample meets its process as it was at that moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use agent_common::outcome::{Loss, UnwindOutcome};
use agent_common::sample::SampleRecord;

use crate::event::{
    CopiedStack, ProcessEvent, ProcessEventKind, Record, decode_process_event, decode_record,
    decode_stack_copy,
};
use crate::kernel::{self, Kernel, UnwindTables};
use crate::process::{ExecutableId, Mappings, OpenerTally, Processes};
use crate::stack::{CountedStack, Counts, Frame, Stack, Stacks};
use crate::symbolize::KernelCode;
use crate::unwind::{Walked, walk};

use super::Error;
use super::tables::Tables;
use super::waiting::{Waiting, WaitingSample};

/// A record is in its ring this long after its time at the latest.
const IN_FLIGHT: Duration = Duration::from_millis(10);
/// How often tables are looked for when nothing else is to be done.
const TABLE_POLL: Duration = Duration::from_millis(10);

/// Whose samples are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All processes.
    All,
    /// These processes.
    Pids(HashSet<u32>),
    /// This process and all that descend from it.
    Tree(HashSet<u32>),
}

/// What has happened to samples since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples that the programs took.
    pub captured: u64,
    /// Samples that were counted into windows.
    pub counted: u64,
    /// Samples of processes that are not wanted.
    pub filtered: u64,
    /// Counted samples whose stacks had no room and became `[other stacks]`.
    pub other_stacks: u64,
    /// Of these, how many were walked in user space, from a copy of the stack.
    pub copied: u64,
    /// Losses by reason.
    pub losses: Vec<(Loss, u64)>,
    /// Ends of user stacks by outcome.
    pub outcomes: Vec<(UnwindOutcome, u64)>,
}

/// Takes samples and counts them by stack.
#[derive(Debug)]
pub struct Sampler {
    kernel: Kernel,
    processes: Processes,
    stacks: Stacks,
    counts: Counts,
    tables: Tables,
    waiting: Waiting,
    target: Target,
    events: Vec<ProcessEvent>,
    samples: Vec<SampleRecord>,
    epoch: u32,
    n_counted: u64,
    n_filtered: u64,
    n_stack_missing: u64,
    n_copied: u64,
    n_copy_missing: u64,
    n_malformed: u64,
    n_other_before: u64,
    n_events_lost: u64,
    needs_scan: bool,
    kernel_code: Arc<KernelCode>,
    n_outcomes: [u64; UnwindOutcome::ALL.len()],
}

impl Sampler {
    /// Loads the programs and scans the processes. Sampling begins with [`Sampler::start`]. At most `max_stacks` distinct
    /// stacks are held. `tables` starts the thread that publishes unwind tables.
    pub(super) fn new(
        config: &kernel::Config,
        target: Target,
        max_stacks: usize,
        tables: impl FnOnce(UnwindTables) -> Result<Tables, Error>,
    ) -> Result<Self, Error> {
        // The process events flow before the scan begins: what happens meanwhile is not missed.
        let mut kernel = Kernel::load(config)?;
        let published = kernel.take_tables().expect("they are taken once");
        let tables = tables(published)?;
        let mut processes = Processes::default();
        processes.scan(monotonic_ns());
        Ok(Self {
            kernel,
            processes,
            stacks: Stacks::new(max_stacks),
            counts: Counts::new(2 * max_stacks),
            tables,
            waiting: Waiting::default(),
            target,
            events: Vec::new(),
            samples: Vec::new(),
            epoch: 1,
            n_counted: 0,
            n_filtered: 0,
            n_stack_missing: 0,
            n_copied: 0,
            n_copy_missing: 0,
            n_malformed: 0,
            n_other_before: 0,
            n_events_lost: 0,
            needs_scan: false,
            kernel_code: Arc::default(),
            n_outcomes: [0; UnwindOutcome::ALL.len()],
        })
    }

    /// Begins to sample.
    pub fn start(&mut self) -> Result<(), kernel::Error> {
        self.kernel.set_epoch(self.epoch)?;
        self.kernel.attach()
    }

    /// The kernel's side.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Processes that are alive, without the kernel's own.
    pub fn n_processes(&self) -> usize {
        self.processes.n_alive()
    }

    /// Distinct stacks that are held.
    pub fn n_stacks(&self) -> usize {
        self.stacks.len()
    }

    /// Executables that are known.
    pub fn n_executables(&self) -> usize {
        self.processes.n_executables()
    }

    /// What has become of the executables' files.
    pub fn opener_tally(&self) -> OpenerTally {
        self.processes.opener_tally()
    }

    /// Waits for `timeout` at most, or until a ring fills up.
    pub fn wait(&self, timeout: Duration) {
        self.kernel.wait(timeout);
    }

    /// Follows CPUs that came or went.
    pub fn follow_cpus(&mut self) -> Result<(), kernel::Error> {
        let (n_came, n_gone) = self.kernel.follow_cpus()?;
        if n_came + n_gone > 0 {
            tracing::info!(n_came, n_gone, "the set of online CPUs has changed");
            // Its process events were not read while it came or went.
            self.needs_scan = true;
        }
        Ok(())
    }

    /// Forgets what is not needed any more though the window goes on. Call it about once a second.
    pub fn tidy(&mut self) {
        self.processes.tidy();
    }

    /// Ends sampling and waits until all that was sampled before `end_ns` can be drained. Samples that wait for unwind tables are
    /// waited for as well.
    pub fn finish(&mut self, end_ns: u64) -> Result<(), kernel::Error> {
        self.kernel.detach()?;
        let until = end_ns + IN_FLIGHT.as_nanos() as u64 + 1;
        std::thread::sleep(Duration::from_nanos(until.saturating_sub(monotonic_ns())));
        while self.waiting.oldest_ns() != u64::MAX {
            std::thread::sleep(TABLE_POLL);
            self.walk_waiting();
        }
        Ok(())
    }

    /// Takes over what the kernel has left, up to `end_ns`; what is later stays for the next call. Gives the time up to
    /// which everything has been taken.
    pub fn drain(&mut self, end_ns: u64) -> u64 {
        let complete_ns = monotonic_ns().saturating_sub(IN_FLIGHT.as_nanos() as u64).min(end_ns);
        self.read_rings();
        self.events.sort_by_key(|event| event.time_ns);
        self.samples.sort_by_key(|sample| sample.time_ns);
        let n_events = self.events.partition_point(|event| event.time_ns < complete_ns);
        let n_samples = self.samples.partition_point(|sample| sample.time_ns < complete_ns);
        let mut events = self.events.drain(..n_events).collect::<Vec<_>>().into_iter().peekable();
        let samples: Vec<SampleRecord> = self.samples.drain(..n_samples).collect();
        for sample in samples {
            while let Some(event) = events.next_if(|event| event.time_ns <= sample.time_ns) {
                self.apply(event);
            }
            self.count(&sample);
        }
        for event in events {
            self.apply(event);
        }
        self.scan_again();
        self.settle();
        self.walk_waiting();
        self.waiting.forget_copies_before(complete_ns);
        complete_ns.min(self.waiting.oldest_ns())
    }

    fn read_rings(&mut self) {
        let Self { kernel, stacks, samples, events, epoch, n_malformed, waiting, .. } = self;
        kernel.drain_records(|bytes| match decode_record(bytes) {
            Some(Record::Sample(sample)) => samples.push(sample),
            Some(Record::Stack(contents)) => stacks.insert(contents, *epoch),
            None => *n_malformed += 1,
        });
        kernel.drain_copies(|bytes| match decode_stack_copy(bytes) {
            Some(copy) => waiting.insert(copy),
            None => *n_malformed += 1,
        });
        kernel.drain_events(|bytes| events.extend(decode_process_event(bytes)));
    }

    fn apply(&mut self, event: ProcessEvent) {
        match (&event.kind, &mut self.target) {
            (ProcessEventKind::Lost { n_records }, _) => {
                self.n_events_lost += n_records;
                self.needs_scan = true;
                Arc::make_mut(&mut self.kernel_code).lose();
            }
            (ProcessEventKind::KernelCode { start, end, name, is_gone }, _) => {
                let code = Arc::make_mut(&mut self.kernel_code);
                if *is_gone {
                    code.unload(*start, *end, name);
                } else {
                    code.load(*start, *end, name);
                }
            }
            (ProcessEventKind::Fork { pid, parent_pid }, Target::Tree(pids))
                if pids.contains(parent_pid) =>
            {
                pids.insert(*pid);
            }
            _ => {}
        }
        self.processes.apply(event);
    }

    /// One scan a batch, however many events were lost in it.
    fn scan_again(&mut self) {
        if !std::mem::take(&mut self.needs_scan) {
            return;
        }
        let n_lost = self.n_events_lost;
        tracing::warn!(n_lost, "process events were missed: scanning all processes again");
        self.processes.scan(monotonic_ns());
        if let Target::Tree(pids) = &mut self.target {
            self.processes.add_descendants(pids);
        }
    }

    fn count(&mut self, sample: &SampleRecord) {
        if !self.is_wanted(sample.pid) {
            self.n_filtered += 1;
            return;
        }
        let (generation, time_ns) = (sample.mapping_generation, sample.time_ns);
        let instance = self.processes.sampled(sample.pid, &sample.comm, generation, time_ns).key;
        if sample.is_copied != 0 {
            self.n_copied += 1;
            match self.waiting.copy_of(sample) {
                Some(copy) => return self.count_copied(sample, instance, copy),
                None => self.n_copy_missing += 1,
            }
        }
        let stack = self
            .processes
            .get(sample.pid)
            .and_then(|instance| self.stacks.of_sample(sample, instance, &self.processes))
            .unwrap_or_else(|| {
                self.n_stack_missing += 1;
                self.stacks.missing(self.epoch)
            });
        if sample.outcome == UnwindOutcome::TablePending as u8 {
            self.ask_for_tables_of(sample.pid, &stack);
        }
        self.add(sample, instance, stack);
    }

    fn add(&mut self, sample: &SampleRecord, instance: u64, stack: Arc<Stack>) {
        if let Some(n) = self.n_outcomes.get_mut(stack.outcome as usize) {
            *n += 1;
        }
        self.counts.add(sample, instance, stack);
        self.n_counted += 1;
    }

    /// Walks a copied stack, now or when the tables that it needs are there.
    fn count_copied(&mut self, sample: &SampleRecord, instance: u64, copy: CopiedStack) {
        let Some(process) = self.processes.get(sample.pid) else { return };
        // Between an exec and the first mapping of the new program the thread's user registers are the old program's.
        if process.is_between_programs() {
            let (frames, outcome) = (Vec::new(), UnwindOutcome::Complete);
            let nothing = Walked { frames, outcome, pending: Vec::new() };
            let mappings = Arc::clone(&process.mappings);
            let stack = self.stacks.of_walk(sample, &nothing, &mappings, &self.processes);
            return self.add(sample, instance, stack);
        }
        let mappings = Arc::clone(&process.mappings);
        self.walk_or_wait(WaitingSample { sample: *sample, instance, mappings, copy }, true);
    }

    fn walk_or_wait(&mut self, mut waiting: WaitingSample, may_wait: bool) {
        let walked = walk(&waiting.copy, &waiting.mappings, |id| self.tables.state(id));
        if may_wait && !walked.pending.is_empty() {
            let mappings = Arc::clone(&waiting.mappings);
            for &executable in &walked.pending {
                self.ask_for_table(executable, waiting.sample.pid, &mappings);
            }
            match self.waiting.push(waiting) {
                Ok(()) => return,
                Err(too_many) => waiting = *too_many,
            }
        }
        let WaitingSample { sample, instance, mappings, copy: _ } = waiting;
        let stack = self.stacks.of_walk(&sample, &walked, &mappings, &self.processes);
        self.add(&sample, instance, stack);
    }

    /// Walks what has waited, if tables have come or its time is over.
    fn walk_waiting(&mut self) {
        let have_come = self.take_tables();
        let now_ns = monotonic_ns();
        for waiting in self.waiting.take() {
            let is_overdue = waiting.is_overdue(now_ns);
            if have_come || is_overdue {
                self.walk_or_wait(waiting, !is_overdue);
            } else if let Err(waiting) = self.waiting.push(waiting) {
                self.walk_or_wait(*waiting, false);
            }
        }
    }

    /// Takes over what the tables' thread has done; whether there is something new.
    fn take_tables(&mut self) -> bool {
        let Self { kernel, tables, .. } = self;
        tables.take_events(|slot| kernel.free_table_slot(slot))
    }

    fn ask_for_tables_of(&mut self, pid: u32, stack: &Stack) {
        let Some(mappings) = self.processes.get(pid).map(|known| Arc::clone(&known.mappings))
        else {
            return;
        };
        for frame in &stack.frames {
            if let Frame::Native { executable, .. } = frame {
                self.ask_for_table(executable.id.0, pid, &mappings);
            }
        }
    }

    fn ask_for_table(&mut self, executable: u32, pid: u32, mappings: &Mappings) {
        if !self.tables.is_wanted(executable) {
            return;
        }
        let Some(known) = self.processes.executable(ExecutableId(executable)) else { return };
        if known.file.get().is_none()
            && let Some(instance) = self.processes.get(pid)
            && let Some(mapping) =
                mappings.list().iter().find(|mapping| mapping.executable == executable)
        {
            self.processes.open_executable(instance, mapping);
        }
        self.tables.ask(known, self.kernel.table_slot(executable));
    }

    fn is_wanted(&self, pid: u32) -> bool {
        match &self.target {
            Target::All => true,
            Target::Pids(pids) | Target::Tree(pids) => pids.contains(&pid),
        }
    }

    fn settle(&mut self) {
        let Self { kernel, processes, .. } = self;
        processes.settle(|pid, mappings| {
            if mappings.is_none() {
                kernel.unpublish(pid);
            }
            kernel.publish(pid, mappings?)
        });
    }

    /// Ends the window: what was counted in it, and the kernel's code in it. Each stack's contents are sent once more in the next.
    pub fn close_window(&mut self) -> Result<(Vec<CountedStack>, Arc<KernelCode>), kernel::Error> {
        let kernel_code = Arc::clone(&self.kernel_code);
        if kernel_code.has_gone() {
            Arc::make_mut(&mut self.kernel_code).forget_gone();
        }
        let n_all = self.n_other_stacks();
        let n_other = n_all - std::mem::replace(&mut self.n_other_before, n_all);
        if n_other > 0 {
            tracing::warn!(
                n_other,
                "more distinct stacks than sampling.max_stacks: these samples are in [other stacks]"
            );
        }
        let stacks = self.counts.take(&self.processes);
        self.tables.used(&stacks);
        self.processes.close_window();
        let processes = &self.processes;
        let is_known = |executable| processes.executable(ExecutableId(executable)).is_some();
        self.tables.forget(self.kernel.forget_executables(is_known), is_known);
        self.epoch = self.epoch.wrapping_add(1);
        self.stacks.close_window(self.epoch);
        self.kernel.set_epoch(self.epoch)?;
        Ok((stacks, kernel_code))
    }

    /// What has happened to samples so far.
    pub fn tally(&self) -> Result<Tally, kernel::Error> {
        let counters = self.kernel.counters()?;
        let mut losses = counters.losses;
        losses.extend([
            (Loss::StackMissing, self.n_stack_missing),
            (Loss::StackCopyMissing, self.n_copy_missing),
            (Loss::RecordMalformed, self.n_malformed),
            (Loss::EventsLost, self.n_events_lost),
            (Loss::MappingsFull, self.kernel.mappings_full()),
        ]);
        let outcomes = UnwindOutcome::ALL.into_iter().zip(self.n_outcomes).collect();
        let (counted, filtered) = (self.n_counted, self.n_filtered);
        let other_stacks = self.n_other_stacks();
        let (captured, copied) = (counters.captured, self.n_copied);
        Ok(Tally { captured, counted, filtered, other_stacks, copied, losses, outcomes })
    }

    fn n_other_stacks(&self) -> u64 {
        self.stacks.n_other() + self.counts.n_merged()
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of samples and events.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
