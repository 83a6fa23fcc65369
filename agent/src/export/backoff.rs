//! How long to wait before the next attempt.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A server may ask for more than our own longest wait, but not for silence.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Doubles the wait with each failure, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    n_failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `jitter` (0 to 1) spreads the agents of a fleet over the second half of the wait;
    /// `asked` is what the server wants (Retry-After).
    pub(super) fn next(&mut self, jitter: f64, asked: Option<Duration>) -> Duration {
        let full = FIRST.saturating_mul(1 << self.n_failures.min(16)).min(LONGEST);
        self.n_failures = self.n_failures.saturating_add(1);
        let own = full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        asked.map_or(own, |asked| own.max(asked.min(LONGEST_ASKED)))
    }

    pub(super) fn reset(&mut self) {
        self.n_failures = 0;
    }
}
