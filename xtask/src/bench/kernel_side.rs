//! Processes that have BPF programs and maps open → what they cost, by their /proc/PID/fdinfo.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// `BPF_PROG_TYPE_PERF_EVENT` in `include/uapi/linux/bpf.h`.
const PERF_EVENT: &str = "7";

/// The kernel's own count of time and memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KernelSide {
    /// Time in the sampling programs; what they tail-call is in it.
    pub(super) run_ns: u64,
    pub(super) n_samples: u64,
    pub(super) map_bytes: u64,
}

impl KernelSide {
    /// What came to be since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            n_samples: self.n_samples.saturating_sub(earlier.n_samples),
            map_bytes: self.map_bytes,
        }
    }

    pub(super) fn ns_per_sample(&self) -> f64 {
        self.run_ns as f64 / self.n_samples.max(1) as f64
    }
}

/// Turns the kernel's clock for programs on; the old state comes back when dropped.
pub(super) struct StatsOn(String);

impl StatsOn {
    pub(super) fn new() -> Result<Self> {
        let before =
            std::fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        std::fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self(before))
    }
}

impl Drop for StatsOn {
    fn drop(&mut self) {
        std::fs::write(SWITCH, self.0.trim()).ok();
    }
}

/// Adds up the programs and maps that processes hold.
pub(super) fn of(pids: &[u32]) -> Result<KernelSide> {
    let mut found = Found::default();
    for pid in pids {
        found.look_at(*pid).with_context(|| format!("process {pid}"))?;
    }
    Ok(found.sum())
}

/// By their ids: two processes may hold the same one.
#[derive(Default)]
struct Found {
    /// Time in nanoseconds and number of runs.
    programs: BTreeMap<u64, (u64, u64)>,
    map_bytes: BTreeMap<u64, u64>,
}

impl Found {
    fn look_at(&mut self, pid: u32) -> Result<()> {
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| {
                text.lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.trim().to_owned())
            };
            let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
            if let Some(id) = number("map_id") {
                self.map_bytes.insert(id, number("memlock").unwrap_or(0));
            }
            // A link's description names its program too, but has no times.
            if let (Some(id), Some(run_ns)) = (number("prog_id"), number("run_time_ns"))
                && field("prog_type").as_deref() == Some(PERF_EVENT)
            {
                self.programs.insert(id, (run_ns, number("run_cnt").unwrap_or(0)));
            }
        }
        Ok(())
    }

    fn sum(&self) -> KernelSide {
        KernelSide {
            run_ns: self.programs.values().map(|(run_ns, _)| run_ns).sum(),
            n_samples: self.programs.values().map(|(_, n)| *n).max().unwrap_or(0),
            map_bytes: self.map_bytes.values().sum(),
        }
    }
}
