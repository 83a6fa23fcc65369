//! Samples of a window, counted.

use std::collections::HashMap;
use std::sync::Arc;

use agent_common::limits::COMM_LEN;
use agent_common::sample::{SampleRecord, SampleType};

use super::{CountedStack, Stack};
use crate::process::{Process, Processes};

/// What makes two samples the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    pid: u32,
    instance: u64,
    comm: [u8; COMM_LEN],
    cgroup_id: u64,
    sample_type: SampleType,
    stack: u64,
}

#[derive(Debug)]
struct Count {
    stack: Arc<Stack>,
    n_samples: u64,
    value: u64,
}

/// The counts of one window.
#[derive(Debug, Default)]
pub struct Counts {
    counts: HashMap<Key, Count>,
}

impl Counts {
    /// Counts one sample of the process instance with that key.
    pub fn add(&mut self, sample: &SampleRecord, instance: u64, stack: Arc<Stack>) {
        let key = Key {
            pid: sample.pid,
            instance,
            comm: sample.comm,
            cgroup_id: sample.cgroup_id,
            sample_type: SampleType::from_u8(sample.sample_type).unwrap_or(SampleType::OnCpu),
            stack: stack.id,
        };
        let count = self.counts.entry(key).or_insert(Count { stack, n_samples: 0, value: 0 });
        count.n_samples += 1;
        count.value = count.value.saturating_add(sample.value);
    }

    /// Samples so far.
    pub fn n_samples(&self) -> u64 {
        self.counts.values().map(|count| count.n_samples).sum()
    }

    /// Ends the window: what was counted, with the processes as they are known by now.
    pub fn take(&mut self, processes: &Processes) -> Vec<CountedStack> {
        let mut known: HashMap<u64, Arc<Process>> = HashMap::new();
        let mut stacks = Vec::with_capacity(self.counts.len());
        for (key, count) in self.counts.drain() {
            let process = known
                .entry(key.instance)
                .or_insert_with(|| processes.process(key.pid, key.instance, &key.comm));
            stacks.push(CountedStack {
                process: Arc::clone(process),
                comm: key.comm,
                cgroup_id: key.cgroup_id,
                sample_type: key.sample_type,
                stack: count.stack,
                n_samples: count.n_samples,
                value: count.value,
            });
        }
        stacks
    }
}
