//! Samples whose stack was copied, and is walked when the tables that it needs are there. A sample waits a bounded time; then it
//! is walked by what is known.

use std::collections::HashMap;
use std::sync::Arc;

use agent_common::sample::SampleRecord;

use crate::event::CopiedStack;
use crate::process::Mappings;

/// How long a sample waits for tables, in nanoseconds.
const PATIENCE_NS: u64 = 2_000_000_000;
/// Bytes of copied stacks that may wait; what comes beyond is walked at once.
const MAX_BYTES: usize = 16 << 20;

/// A sample that waits.
#[derive(Debug)]
pub(super) struct WaitingSample {
    pub(super) sample: SampleRecord,
    /// The process instance that it belongs to.
    pub(super) instance: u64,
    /// What the process had mapped at that moment.
    pub(super) mappings: Arc<Mappings>,
    pub(super) copy: CopiedStack,
}

impl WaitingSample {
    /// Whether it has waited long enough.
    pub(super) fn is_overdue(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.sample.time_ns) > PATIENCE_NS
    }
}

/// All that wait, oldest first, and the copies whose sample has not come yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    copies: HashMap<(u32, u64), CopiedStack>,
    samples: Vec<WaitingSample>,
    n_bytes: usize,
}

impl Waiting {
    /// Takes a copy; its sample comes later.
    pub(super) fn insert(&mut self, copy: CopiedStack) {
        self.copies.insert((copy.cpu, copy.time_ns), copy);
    }

    /// The copy that belongs to a sample.
    pub(super) fn copy_of(&mut self, sample: &SampleRecord) -> Option<CopiedStack> {
        self.copies.remove(&(sample.cpu, sample.time_ns))
    }

    /// Lets a sample wait; gives it back when too many wait.
    pub(super) fn push(&mut self, sample: WaitingSample) -> Result<(), Box<WaitingSample>> {
        if self.n_bytes + sample.copy.bytes.len() > MAX_BYTES {
            return Err(Box::new(sample));
        }
        self.n_bytes += sample.copy.bytes.len();
        self.samples.push(sample);
        Ok(())
    }

    /// Takes out all that wait.
    pub(super) fn take(&mut self) -> Vec<WaitingSample> {
        self.n_bytes = 0;
        std::mem::take(&mut self.samples)
    }

    /// When the oldest that waits was taken; `u64::MAX` when none does.
    pub(super) fn oldest_ns(&self) -> u64 {
        self.samples.iter().map(|waiting| waiting.sample.time_ns).min().unwrap_or(u64::MAX)
    }

    /// Forgets copies that are older than this: their samples were lost.
    pub(super) fn forget_copies_before(&mut self, time_ns: u64) {
        self.copies.retain(|(_, copied_ns), _| *copied_ns >= time_ns);
    }
}
