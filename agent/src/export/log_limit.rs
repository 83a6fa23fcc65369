//! Keeps one kind of message to one a minute.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_mins(1);

/// When the message was last written.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    last: Option<Instant>,
}

impl LogLimit {
    /// Whether the message may be written now.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if allowed {
            self.last = Some(now);
        }
        allowed
    }
}
