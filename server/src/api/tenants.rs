//! What each tenant may take: limits from the settings, others for some tenants, and what of them is used at the moment.

use crate::ingest;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Semaphore;

/// Tenants that are remembered without doing anything.
const MAX_IDLE: usize = 10_000;
/// Tenants that metrics tell apart.
const MAX_SHOWN: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub ingest: ingest::Config,
    pub max_series: usize,
    /// Bytes of write requests a second, without their compression; 0: as many as come.
    pub rate_bytes: u64,
    /// Bytes that may come at once.
    pub burst_bytes: u64,
    /// Of a query; 0: any.
    pub max_range_ms: i64,
}

pub struct Tenants {
    limits: RwLock<Arc<AllLimits>>,
    known: Mutex<Known>,
    n_queries: usize,
}

#[derive(Default)]
struct Known {
    tenants: HashMap<Arc<str>, Arc<Tenant>>,
    /// Those that metrics have, which never forget one.
    shown: HashSet<Arc<str>>,
}

/// The limits of all, and of those that have their own.
pub struct AllLimits {
    pub defaults: Arc<Limits>,
    pub overrides: HashMap<String, Arc<Limits>>,
}

/// What a tenant uses.
pub(super) struct Tenant {
    /// As metrics call it.
    pub shown: Arc<str>,
    /// Of the server's queries so many may be this tenant's: one is always left for others.
    pub queries: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

#[derive(Default)]
struct Bucket {
    /// Bytes beyond what the time has allowed.
    used: u64,
    at_ns: i64,
}

impl Tenants {
    pub(super) fn new(limits: AllLimits, n_queries: usize) -> Tenants {
        let limits = RwLock::new(Arc::new(limits));
        Tenants { limits, known: Mutex::default(), n_queries }
    }

    pub(super) fn set(&self, limits: AllLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    pub(super) fn limits(&self, tenant: &str) -> Arc<Limits> {
        let all = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.overrides.get(tenant).unwrap_or(&all.defaults))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &Arc<str>) -> Arc<Tenant> {
        let mut known = self.known();
        if let Some(tenant) = known.tenants.get(name) {
            return Arc::clone(tenant);
        }
        if known.tenants.len() >= MAX_IDLE {
            known.tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1);
        }
        if known.shown.len() < MAX_SHOWN {
            known.shown.insert(Arc::clone(name));
        }
        let is_shown = known.shown.contains(name);
        let shown = if is_shown { Arc::clone(name) } else { "other".into() };
        let tenant = Arc::new(Tenant {
            shown,
            queries: Arc::new(Semaphore::new(self.n_queries)),
            bucket: Mutex::default(),
        });
        known.tenants.insert(Arc::clone(name), Arc::clone(&tenant));
        tenant
    }
}

impl Tenant {
    /// Whether so many bytes more are within the limits; if they are, they count.
    pub(super) fn take(&self, bytes: u64, limits: &Limits, now_ns: i64) -> bool {
        if limits.rate_bytes == 0 {
            return true;
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed_ns = now_ns.saturating_sub(bucket.at_ns).max(0) as u128;
        let allowed = passed_ns.saturating_mul(u128::from(limits.rate_bytes)) / 1_000_000_000;
        let used = u128::from(bucket.used).saturating_sub(allowed) as u64;
        let total = used.saturating_add(bytes);
        if total > limits.burst_bytes {
            return false;
        }
        *bucket = Bucket { used: total, at_ns: now_ns };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn bytes_come_back_with_time() {
        let ingest = ingest::Config::default();
        let (rate_bytes, burst_bytes) = (100, 250);
        let limits = Limits { ingest, max_series: 1, rate_bytes, burst_bytes, max_range_ms: 0 };
        let all = AllLimits { defaults: Arc::new(limits.clone()), overrides: HashMap::new() };
        let tenants = Tenants::new(all, 2);
        let tenant = tenants.get(&"a".into());
        for (bytes, at_ns, expected) in [
            (200, SECOND, true),
            (100, SECOND, false),
            (50, SECOND, true),
            (1, SECOND, false),
            (100, SECOND * 2, true),
            (1, SECOND * 2, false),
            // The clock went back: nothing is won, nothing is lost.
            (1, SECOND, false),
            (250, SECOND * 100, true),
            (251, SECOND * 1_000, false),
        ] {
            assert_eq!(tenant.take(bytes, &limits, at_ns), expected, "{bytes} at {at_ns}");
        }
        assert!(tenants.get(&"b".into()).take(250, &limits, SECOND), "each has its own");
        let unlimited = Limits { rate_bytes: 0, ..limits };
        assert!(tenant.take(u64::MAX, &unlimited, SECOND));
    }

    #[test]
    fn tenants_that_come_and_go_are_forgotten() {
        let ingest = ingest::Config::default();
        let limits =
            Limits { ingest, max_series: 1, rate_bytes: 0, burst_bytes: 0, max_range_ms: 0 };
        let all = AllLimits { defaults: Arc::new(limits), overrides: HashMap::new() };
        let tenants = Tenants::new(all, 2);
        let kept = tenants.get(&"kept".into());
        for number in 0..30_000 {
            tenants.get(&number.to_string().into());
        }
        assert!(tenants.known().tenants.len() <= MAX_IDLE);
        assert!(Arc::ptr_eq(&kept, &tenants.get(&"kept".into())));
        assert_eq!(&*tenants.get(&"late".into()).shown, "other");
    }
}
