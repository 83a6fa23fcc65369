//! Encoded profiles that wait for the server, oldest first, bounded in bytes. Keeps the account
//! `queued = sent + pending + dropped`.

use std::collections::VecDeque;

use bytes::Bytes;

/// One profile, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// A `PushRequest` of this one profile. Such messages, one after the other, are a `PushRequest` of all their series.
    pub(super) message: Bytes,
    /// Samples in the profile.
    pub(super) n_samples: u64,
    /// The window that the profile is of, by its start: several profiles are of one window.
    pub(super) window_start_ns: i64,
}

/// How many profiles and samples were concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) n_profiles: u64,
    pub(super) n_samples: u64,
}

impl Tally {
    fn add(&mut self, entry: &Entry) {
        self.n_profiles += 1;
        self.n_samples += entry.n_samples;
    }
}

/// The profiles that wait. The first `n_in_flight` of them are on their way to the server, and are kept until it answers.
#[derive(Debug)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    n_in_flight: usize,
    n_bytes: usize,
    max_bytes: usize,
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), n_in_flight: 0, n_bytes: 0, max_bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn n_in_flight(&self) -> usize {
        self.n_in_flight
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    pub(super) fn n_profiles(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn n_windows(&self) -> usize {
        let mut starts: Vec<i64> = self.entries.iter().map(|entry| entry.window_start_ns).collect();
        starts.dedup();
        starts.len()
    }

    /// Adds a profile and drops the oldest ones that are not on their way until all fit. Gives what was dropped, which can
    /// be the new one.
    pub(super) fn push(&mut self, entry: Entry) -> Tally {
        self.n_bytes += entry.message.len();
        self.entries.push_back(entry);
        let mut dropped = Tally::default();
        while self.n_bytes > self.max_bytes {
            let Some(oldest) = self.entries.remove(self.n_in_flight) else { break };
            self.n_bytes -= oldest.message.len();
            dropped.add(&oldest);
        }
        dropped
    }

    /// The oldest profiles that fit into a request of `max_bytes` (but at least one), as one `PushRequest`. They are in
    /// flight until `settle` or `retry`.
    pub(super) fn begin(&mut self, max_bytes: usize) -> Vec<u8> {
        let mut request = Vec::new();
        self.n_in_flight = 0;
        for entry in &self.entries {
            if self.n_in_flight > 0 && request.len() + entry.message.len() > max_bytes {
                break;
            }
            request.extend_from_slice(&entry.message);
            self.n_in_flight += 1;
        }
        request
    }

    /// The server has decided about the profiles in flight: they leave the queue.
    pub(super) fn settle(&mut self) -> Tally {
        let mut tally = Tally::default();
        for entry in self.entries.drain(..self.n_in_flight) {
            self.n_bytes -= entry.message.len();
            tally.add(&entry);
        }
        self.n_in_flight = 0;
        tally
    }

    /// The server did not decide: the profiles in flight wait again. Gives how many there were.
    pub(super) fn retry(&mut self) -> usize {
        std::mem::take(&mut self.n_in_flight)
    }

    /// Gives up all that waits.
    pub(super) fn clear(&mut self) -> Tally {
        self.n_in_flight = self.entries.len();
        self.settle()
    }
}
