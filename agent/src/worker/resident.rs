//! This process in; whether it has more memory than it should out.

/// What may be held above the bound while a request is in hand: units of debug information that were looked into lately.
const IN_HAND: u64 = 40 << 20;

/// A bound on the resident memory of this process, pages of mapped files included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    bytes: u64,
    page_bytes: u64,
}

impl Bound {
    /// Made before the process is confined: the size of a page is asked for with a call that is refused later.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, page_bytes: rustix::param::page_size() as u64 }
    }

    /// Between requests.
    pub(super) fn is_exceeded(self) -> bool {
        self.resident() > self.bytes
    }

    /// In the middle of one.
    pub(super) fn is_far_exceeded(self) -> bool {
        self.resident() > self.bytes.saturating_add(IN_HAND)
    }

    /// The second word of `/proc/self/statm`, in pages.
    fn resident(self) -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        pages.unwrap_or(0).saturating_mul(self.page_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;

    #[test]
    fn this_process_has_some_memory() {
        assert!(Bound::new(0).is_exceeded());
        assert!(Bound::new(4096).resident() > 1 << 20);
        assert!(!Bound::new(u64::MAX).is_far_exceeded());
    }
}
