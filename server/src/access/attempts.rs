//! Failed attempts to log in, by where they come from and the name that was tried: more and more time must pass between them.
//! Whoever guesses a user's password does not keep that user out elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// So many in a row cost nothing.
const FREE: u32 = 5;
const MAX_WAIT_MS: i64 = 60_000;
/// What is remembered; whoever tries more makes all of it forgotten, and each is still slow to try.
const MAX_KEYS: usize = 10_000;
const MAX_NAME_CHARS: usize = 64;

#[derive(Default)]
pub(super) struct Attempts {
    by_key: Mutex<HashMap<Key, Failed>>,
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

type Key = (Option<IpAddr>, String);

fn key(address: Option<IpAddr>, name: &str) -> Key {
    (address.map(network), name.chars().take(MAX_NAME_CHARS).collect())
}

/// Whoever has one address of IPv6 has the other ones of its network too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        IpAddr::V4(address) => address.into(),
    }
}

impl Attempts {
    /// How long to wait before the next attempt, if at all.
    pub(super) fn wait_seconds(
        &self,
        address: Option<IpAddr>,
        name: &str,
        now_ms: i64,
    ) -> Option<i64> {
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let left_ms = by_key.get(&key(address, name))?.until_ms().saturating_sub(now_ms);
        (left_ms > 0).then(|| left_ms.saturating_add(999) / 1_000)
    }

    pub(super) fn failed(&self, address: Option<IpAddr>, name: &str, now_ms: i64) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= MAX_KEYS {
            by_key.clear();
        }
        let failed = by_key.entry(key(address, name)).or_insert(Failed { count: 0, last_ms: 0 });
        failed.count = failed.count.saturating_add(1).min(FREE + 16);
        failed.last_ms = now_ms;
    }

    pub(super) fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(address, name));
    }
}
