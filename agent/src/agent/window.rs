//! When a window ends. Windows follow each other without gap or overlap on the monotonic clock; the wall clock only says
//! where they are cut and what they are called, and is asked anew for each.

use std::time::Duration;

/// The shortest window that the wall clock's alignment may make.
const MIN_WINDOW_NS: u64 = 1_000_000_000;

/// How the wall clock stands to the monotonic clock: wall = monotonic + offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WallOffset(i128);

impl WallOffset {
    /// The offset now.
    pub(super) fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};

        // The wall clock is read between two readings of the other: their middle is nearest to its moment.
        let before = super::monotonic_ns();
        let wall = clock_gettime(ClockId::Realtime);
        let after = super::monotonic_ns();
        let wall_ns = i128::from(wall.tv_sec) * 1_000_000_000 + i128::from(wall.tv_nsec);
        Self(wall_ns - i128::from(before.midpoint(after)))
    }

    /// The wall clock's nanoseconds since the epoch at that monotonic time.
    pub(super) fn unix_ns(self, monotonic_ns: u64) -> u64 {
        u64::try_from(i128::from(monotonic_ns) + self.0).unwrap_or(0)
    }
}

/// The end of the window that starts at `start_ns` (monotonic): the next multiple of `length` on the wall clock that is at
/// least a second, or a whole short window, away.
pub(super) fn window_end_ns(start_ns: u64, length: Duration, offset: WallOffset) -> u64 {
    let length_ns = (length.as_nanos() as u64).max(1);
    let to_next = length_ns - offset.unix_ns(start_ns) % length_ns;
    let to_end =
        if to_next < MIN_WINDOW_NS.min(length_ns / 2) { to_next + length_ns } else { to_next };
    start_ns.saturating_add(to_end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{WallOffset, window_end_ns};

    const SECOND: u64 = 1_000_000_000;

    fn check(start_ns: u64, offset_ns: i128, expected_ns: u64) {
        let end = window_end_ns(start_ns, Duration::from_secs(10), WallOffset(offset_ns));
        assert_eq!(end, expected_ns, "start {start_ns} offset {offset_ns}");
    }

    #[test]
    fn windows_end_on_multiples_of_their_length() {
        check(0, 0, 10 * SECOND);
        check(3 * SECOND, 0, 10 * SECOND);
        check(10 * SECOND, 0, 20 * SECOND);
        check(3 * SECOND, i128::from(4 * SECOND), 6 * SECOND);
        // Half a second would be left: the window takes the next one along.
        check(95 * SECOND / 10, 0, 20 * SECOND);
    }

    #[test]
    fn a_step_of_the_clock_moves_the_next_end_only() {
        let mut start = 0;
        let mut total = 0;
        for offset_seconds in [0, 3, -7, 3_600, -86_400, 0] {
            let end = window_end_ns(
                start,
                Duration::from_secs(10),
                WallOffset(i128::from(offset_seconds) * 1_000_000_000 + 1_000_000_000_000_000),
            );
            assert!(end > start && end - start <= 11 * SECOND, "{start} {end}");
            total += end - start;
            start = end;
        }
        assert_eq!(start, total, "windows follow each other");
    }

    #[test]
    fn the_wall_clock_is_now() {
        let offset = WallOffset::now();
        let now = offset.unix_ns(super::super::monotonic_ns());
        let system = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        assert!(now.abs_diff(system) < SECOND, "{now} {system}");
    }
}
