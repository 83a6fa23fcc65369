//! What queries read of blocks again and again, up to a number of bytes: the least recently used goes first.

use crate::store::block::read::Contents;
use crate::store::segment::Segment;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A block, and a service of it; None for the block's own tables.
pub(super) type Key = (u64, Option<u32>);

#[derive(Clone)]
pub(super) enum Cached {
    Contents(Arc<Contents>),
    Symbols(Arc<Segment>),
}

pub struct Cache {
    max_bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    bytes: usize,
    uses: u64,
}

struct Entry {
    cached: Cached,
    bytes: usize,
    last_use: u64,
}

impl Cache {
    pub fn new(max_bytes: usize) -> Cache {
        Cache { max_bytes, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: Key) -> Option<Cached> {
        let mut entries = self.entries();
        entries.uses += 1;
        let uses = entries.uses;
        let entry = entries.by_key.get_mut(&key)?;
        entry.last_use = uses;
        Some(entry.cached.clone())
    }

    pub(super) fn put(&self, key: Key, cached: Cached, bytes: usize) {
        let mut entries = self.entries();
        entries.uses += 1;
        let last_use = entries.uses;
        if let Some(old) = entries.by_key.insert(key, Entry { cached, bytes, last_use }) {
            entries.bytes -= old.bytes;
        }
        entries.bytes += bytes;
        while entries.bytes > self.max_bytes {
            let oldest =
                entries.by_key.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| *key);
            let Some(entry) = oldest.and_then(|key| entries.by_key.remove(&key)) else { break };
            entries.bytes -= entry.bytes;
        }
    }

    #[cfg(test)]
    pub(in crate::store) fn clear(&self) {
        *self.entries() = Entries::default();
    }

    /// Forgets what is known of a block.
    pub(super) fn forget(&self, block: u64) {
        let mut entries = self.entries();
        let gone: Vec<Key> =
            entries.by_key.keys().filter(|(of, _)| *of == block).copied().collect();
        for key in gone {
            if let Some(entry) = entries.by_key.remove(&key) {
                entries.bytes -= entry.bytes;
            }
        }
    }
}
