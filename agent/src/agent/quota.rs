//! A bound on the CPU time that making tables may take: at the start and when many programs are new it may be used at once,
//! later it comes back slowly.

use std::time::{Duration, Instant};

/// What may be used at once.
const BURST: Duration = Duration::from_secs(4);
/// Share of a CPU at which it comes back, in percent.
const PERCENT: u32 = 25;

/// What is left.
#[derive(Debug)]
pub(super) struct Quota {
    left: Duration,
    seen: Instant,
}

impl Default for Quota {
    fn default() -> Self {
        Self { left: BURST, seen: Instant::now() }
    }
}

impl Quota {
    /// Waits until something may be spent.
    pub(super) fn wait(&mut self) {
        while self.is_spent(Instant::now()) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// So much was spent.
    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    fn is_spent(&mut self, now: Instant) -> bool {
        let back = now.saturating_duration_since(self.seen) * PERCENT / 100;
        self.seen = now;
        self.left = (self.left + back).min(BURST);
        self.left < Duration::from_millis(100)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BURST, Quota};

    #[test]
    fn what_is_spent_comes_back_slowly() {
        let mut quota = Quota::default();
        let start = quota.seen;
        assert!(!quota.is_spent(start));
        quota.spend(BURST * 2);
        assert!(quota.is_spent(start));
        assert!(quota.is_spent(start + Duration::from_millis(300)));
        assert!(!quota.is_spent(start + Duration::from_millis(500)));
        assert!(!quota.is_spent(start + Duration::from_hours(1)));
        assert_eq!(quota.left, BURST, "no more than that is saved up");
    }
}
