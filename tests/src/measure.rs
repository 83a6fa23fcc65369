//! How near a count of samples must come to the CPU time that they stand for.

use anyhow::{Result, ensure};

use crate::machine;

/// What may be wrong by any cause, as a share.
const TOLERANCE: f64 = 0.03;

/// Watches what the machine takes away while a process is sampled.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    stolen_ns: u64,
}

/// What a process used, and under which conditions it was sampled.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// CPU time, by the kernel.
    pub cpu_ns: u64,
    /// How long it ran.
    pub seconds: f64,
    /// CPU time that the hypervisor gave to others meanwhile: no tick hits it, but some kernels charge it to the process.
    pub stolen_ns: u64,
}

impl Meter {
    pub fn start() -> Self {
        Self { stolen_ns: machine::stolen_ns() }
    }

    /// Ends it: the process has used so much in so many seconds.
    pub fn used(self, cpu_ns: u64, seconds: f64) -> Used {
        Used { cpu_ns, seconds, stolen_ns: machine::stolen_ns() - self.stolen_ns }
    }
}

impl Used {
    /// Samples that are expected.
    pub fn samples(&self, frequency_hz: f64) -> f64 {
        self.cpu_ns as f64 / 1e9 * frequency_hz
    }

    /// The fewest samples that it may have.
    pub fn least(&self, frequency_hz: f64) -> f64 {
        self.samples(frequency_hz) * (1.0 - self.tolerance(frequency_hz).0)
    }

    /// How far the count may be off: below, above.
    ///
    /// A process that has its CPU for itself is hit by every tick. One that shares it is hit by chance: of `n / share` ticks
    /// each hits with the probability `share`, so three standard deviations are `3 √(n (1 - share))`.
    fn tolerance(&self, frequency_hz: f64) -> (f64, f64) {
        let n = self.samples(frequency_hz).max(1.0);
        let share = (self.cpu_ns as f64 / 1e9 / self.seconds).min(1.0);
        let chance = (3.0 * (n * (1.0 - share)).sqrt() + 1.0) / n;
        let most = TOLERANCE.max(chance);
        (most + self.stolen_ns as f64 / self.cpu_ns.max(1) as f64, most)
    }

    /// Checks that so many nanoseconds of samples stand for the CPU time.
    pub fn check_ns(&self, sampled_ns: i64, frequency_hz: f64) -> Result<()> {
        self.check(sampled_ns as f64 / 1e9 * frequency_hz, frequency_hz)
    }

    /// Checks that so many samples stand for the CPU time.
    pub fn check(&self, n_samples: f64, frequency_hz: f64) -> Result<()> {
        let expected = self.samples(frequency_hz);
        let (below, above) = self.tolerance(frequency_hz);
        let off = n_samples / expected - 1.0;
        ensure!(
            (-below..=above).contains(&off),
            "{n_samples} samples, {expected:.0} expected: {:+.1} % off, {:.1} % below and {:.1} % above allowed ({self:?})",
            100.0 * off,
            100.0 * below,
            100.0 * above
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Used;

    #[test]
    fn a_process_alone_on_its_cpu_has_three_percent() {
        let used = Used { cpu_ns: 10_000_000_000, seconds: 10.0, stolen_ns: 0 };
        let checks = [960.0, 975.0, 1000.0, 1025.0, 1040.0];
        let right = checks.map(|n_samples| used.check(n_samples, 100.0).is_ok());
        assert_eq!(right, [false, true, true, true, false]);
    }

    #[test]
    fn chance_and_theft_are_allowed_for() {
        // Half of a CPU: of 1000 samples, 3 √500 = 67 by chance.
        let shared = Used { cpu_ns: 10_000_000_000, seconds: 20.0, stolen_ns: 0 };
        assert!(shared.check(935.0, 100.0).is_ok() && shared.check(925.0, 100.0).is_err());
        let robbed = Used { cpu_ns: 10_000_000_000, seconds: 10.0, stolen_ns: 1_000_000_000 };
        assert!(robbed.check(880.0, 100.0).is_ok() && robbed.check(860.0, 100.0).is_err());
        assert!(robbed.check(1040.0, 100.0).is_err(), "theft makes no samples");
    }
}
