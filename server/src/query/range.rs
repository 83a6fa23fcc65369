//! A range of times in milliseconds, both ends included.

use crate::query::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Range {
    pub fn new(start_ms: i64, end_ms: i64) -> Result<Range, Error> {
        if start_ms == 0 && end_ms == 0 {
            return Err(Error::NoRange);
        }
        if start_ms > end_ms {
            return Err(Error::StartAfterEnd);
        }
        Ok(Range { start_ms, end_ms })
    }

    pub fn start_ns(&self) -> i64 {
        self.start_ms.saturating_mul(1_000_000)
    }

    /// The last nanosecond of the last millisecond.
    pub fn end_ns(&self) -> i64 {
        self.end_ms.saturating_add(1).saturating_mul(1_000_000).saturating_sub(1)
    }

    pub fn contains_ns(&self, time_ns: i64) -> bool {
        (self.start_ms..=self.end_ms).contains(&to_ms(time_ns))
    }
}

pub fn to_ms(time_ns: i64) -> i64 {
    time_ns.div_euclid(1_000_000)
}
