//! Failed attempts to log in, by the name that was tried: more and more time must pass between them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// So many in a row cost nothing.
const FREE: u32 = 5;
const MAX_WAIT_MS: i64 = 60_000;
/// Names that are remembered; whoever tries more of them makes all of them forgotten, and each is still slow to try.
const MAX_NAMES: usize = 10_000;
const MAX_NAME_CHARS: usize = 64;

#[derive(Default)]
pub(super) struct Attempts {
    by_name: Mutex<HashMap<String, Failed>>,
}

#[derive(Clone, Copy)]
struct Failed {
    count: u32,
    last_ms: i64,
}

impl Failed {
    fn until_ms(self) -> i64 {
        let Some(beyond) = self.count.checked_sub(FREE + 1) else { return self.last_ms };
        let wait_ms = 1_000_i64.checked_shl(beyond).unwrap_or(MAX_WAIT_MS).clamp(0, MAX_WAIT_MS);
        self.last_ms.saturating_add(wait_ms)
    }
}

fn key(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
}

impl Attempts {
    /// How long to wait before the next attempt, if at all.
    pub(super) fn wait_seconds(&self, name: &str, now_ms: i64) -> Option<i64> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let left_ms = by_name.get(&key(name))?.until_ms().saturating_sub(now_ms);
        (left_ms > 0).then(|| left_ms.saturating_add(999) / 1_000)
    }

    pub(super) fn failed(&self, name: &str, now_ms: i64) {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if by_name.len() >= MAX_NAMES {
            by_name.clear();
        }
        let failed = by_name.entry(key(name)).or_insert(Failed { count: 0, last_ms: 0 });
        failed.count = failed.count.saturating_add(1).min(FREE + 16);
        failed.last_ms = now_ms;
    }

    pub(super) fn succeeded(&self, name: &str) {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(name));
    }
}
