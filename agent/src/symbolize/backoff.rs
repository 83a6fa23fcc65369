//! Failures over a file in; how long it is left alone out.

use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_hours(1);

/// Failures so far, and until when there is no other try. The pause doubles with each failure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure; `first` is the pause after the first one.
    pub(super) fn fail(&mut self, now: Instant, first: Duration) {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.until = Some(now + first.saturating_mul(factor).min(LONGEST));
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether it is too early for another try.
    pub(super) fn is_blocked(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When the next try may be.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether there was a failure ever.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::{Duration, Instant};

    #[test]
    fn pauses_double_up_to_an_hour() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(!backoff.is_blocked(now));
        for pause in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            backoff.fail(now, Duration::from_secs(30));
            assert!(backoff.is_blocked(now + Duration::from_secs(pause - 1)));
            assert!(!backoff.is_blocked(now + Duration::from_secs(pause)));
        }
        for _ in 0..60 {
            backoff.fail(now, Duration::from_secs(30));
        }
        assert!(!backoff.is_blocked(now + Duration::from_hours(1)));
    }
}
