//! Time spent in; time that may be spent now out. Large debug information is worth a burst, and a share of a CPU after that.

use std::time::{Duration, Instant};

/// What may be spent at once after a pause.
const BURST: Duration = Duration::from_secs(2);
/// What one file gets at a time, so that the others of a window have their turn.
const MOST_AT_ONCE: Duration = Duration::from_millis(1500);
/// Less is not worth beginning with.
const LEAST: Duration = Duration::from_millis(20);

/// Fills up with time, to a bound.
#[derive(Debug)]
pub(super) struct Quota {
    /// Percent of one CPU; `None`: somebody waits for the names, and all time is his.
    percent: Option<u32>,
    left: Duration,
    filled: Instant,
}

impl Quota {
    pub(super) fn new(percent: Option<u32>, now: Instant) -> Self {
        Self { percent, left: BURST, filled: now }
    }

    /// What may be spent on one file now; zero when there is not enough.
    pub(super) fn available(&mut self, now: Instant) -> Duration {
        let Some(percent) = self.percent else { return Duration::from_mins(1) };
        let gained = now.saturating_duration_since(self.filled) * percent / 100;
        self.filled = now;
        self.left = (self.left + gained).min(BURST);
        if self.left < LEAST { Duration::ZERO } else { self.left.min(MOST_AT_ONCE) }
    }

    /// Takes off what was spent.
    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, MOST_AT_ONCE, Quota};
    use std::time::{Duration, Instant};

    #[test]
    fn a_burst_and_then_a_share() {
        let start = Instant::now();
        let mut quota = Quota::new(Some(20), start);
        assert_eq!(quota.available(start), MOST_AT_ONCE);
        quota.spend(BURST);
        assert_eq!(quota.available(start), Duration::ZERO);
        assert_eq!(quota.available(start + Duration::from_secs(1)), Duration::from_millis(200));
        assert_eq!(quota.available(start + Duration::from_mins(9)), MOST_AT_ONCE);
        let mut unbounded = Quota::new(None, start);
        unbounded.spend(Duration::from_hours(1));
        assert!(unbounded.available(start) > BURST);
    }
}
