//! Named frames of past windows in; the same again without asking out. Bounded; what was not used lately goes first.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: a hit moves an entry into the young one; when that is full, it becomes the old one and what was in the
/// old one and not used since is gone. Cheaper than a list in order of use, and as good for keys that come back each window.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_len: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// A cache of at most `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_len: (capacity / 2).max(1) }
    }

    /// The value kept under `key`.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Keeps a value, if need be instead of others.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_len {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Drops the entries whose keys are not `kept`.
    pub(super) fn retain(&mut self, kept: impl Fn(&K) -> bool) {
        self.young.retain(|key, _| kept(key));
        self.old.retain(|key, _| kept(key));
    }

    /// Entries that are kept.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn what_is_used_stays_and_the_size_is_bounded() {
        let mut cache = Cache::new(8);
        for key in 0..100 {
            cache.insert(key, key * 10);
            assert_eq!(cache.get(&0), Some(0), "after {key}");
            assert!(cache.len() <= 8);
        }
        assert_eq!(cache.get(&99), Some(990));
        assert_eq!(cache.get(&50), None);
        cache.retain(|key| *key != 99);
        assert_eq!((cache.get(&99), cache.get(&0)), (None, Some(0)));
    }
}
