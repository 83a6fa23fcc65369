//! Samples of a window, counted.

use std::collections::HashMap;
use std::sync::Arc;

use agent_common::limits::COMM_LEN;
use agent_common::sample::{SampleRecord, SampleType};

use super::other::{OTHER_PROCESSES, OTHER_STACKS, other_stacks};
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
#[derive(Debug)]
pub struct Counts {
    by_key: HashMap<Key, Count>,
    other: Arc<Stack>,
    bound: usize,
    n_merged: u64,
}

impl Counts {
    /// None yet, and never many more than `max_counts`: what is beyond is merged by process, then all in one.
    pub fn new(max_counts: usize) -> Self {
        Self { by_key: HashMap::new(), other: other_stacks(), bound: max_counts, n_merged: 0 }
    }

    /// Samples so far that have lost their stack because there were too many counts.
    pub fn n_merged(&self) -> u64 {
        self.n_merged
    }

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
        let has_room = self.by_key.len() < self.bound || self.by_key.contains_key(&key);
        let (key, stack) = if has_room { (key, stack) } else { self.merge(&key) };
        let count = self.by_key.entry(key).or_insert(Count { stack, n_samples: 0, value: 0 });
        count.n_samples += 1;
        count.value = count.value.saturating_add(sample.value);
    }

    fn merge(&mut self, key: &Key) -> (Key, Arc<Stack>) {
        if key.stack != OTHER_STACKS {
            self.n_merged += 1;
        }
        let of_process = Key { comm: [0; COMM_LEN], stack: OTHER_STACKS, ..*key };
        let has_room = self.by_key.len() < self.bound + self.bound / 2;
        let merged = if has_room || self.by_key.contains_key(&of_process) {
            of_process
        } else {
            // No instance has the number 0.
            Key { pid: 0, instance: 0, cgroup_id: 0, comm: OTHER_PROCESSES, ..of_process }
        };
        (merged, Arc::clone(&self.other))
    }

    /// Samples so far.
    pub fn n_samples(&self) -> u64 {
        self.by_key.values().map(|count| count.n_samples).sum()
    }

    /// Ends the window: what was counted, with the processes as they are known by now.
    pub fn take(&mut self, processes: &Processes) -> Vec<CountedStack> {
        let mut known: HashMap<u64, Arc<Process>> = HashMap::new();
        let mut stacks = Vec::with_capacity(self.by_key.len());
        for (key, count) in self.by_key.drain() {
            let process = known
                .entry(key.instance)
                .or_insert_with(|| processes.process(key.pid, key.instance, &key.comm));
            let is_merged = key.comm == [0; COMM_LEN];
            stacks.push(CountedStack {
                process: Arc::clone(process),
                comm: if is_merged { padded(&process.comm) } else { key.comm },
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

/// A name as the kernel keeps it.
fn padded(name: &str) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    // The last byte stays 0.
    for (to, from) in comm.iter_mut().take(COMM_LEN - 1).zip(name.bytes()) {
        *to = from;
    }
    comm
}
