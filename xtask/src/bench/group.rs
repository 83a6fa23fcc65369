//! A control group → the CPU time of all that ever ran in it, and the memory of what runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// The moment at which all processes together had the most resident memory.
#[derive(Debug, Default)]
pub(super) struct Peak {
    pub(super) total_bytes: u64,
    /// Of each process, with its arguments.
    pub(super) parts: Vec<(String, u64)>,
}

/// A version 2 control group of our own, removed when dropped.
pub(super) struct Group(PathBuf);

impl Group {
    pub(super) fn new(name: &str) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words.get(2) == Some(&"cgroup2"));
        let root = mount
            .and_then(|words| words.get(1).map(PathBuf::from))
            .context("missing: a cgroup2 file system")?;
        let path = root.join(format!("pilotlight-bench-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// User and system time, also of processes that have ended.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(self.0.join("cpu.stat"))?;
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(usage.context("cpu.stat has no usage_usec")?.parse::<f64>()? / 1e6)
    }

    /// What runs in it now.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        let pids = std::fs::read_to_string(self.0.join("cgroup.procs"))?;
        Ok(pids.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Watches for so long; gives the greatest sums, each for itself.
    pub(super) fn peak_memory(&self, duration: Duration) -> Result<Memory> {
        let sums = self.memory(duration)?;
        Ok(Memory {
            rss_bytes: sums.iter().map(|sum| sum.rss_bytes).max().unwrap_or(0),
            anonymous_bytes: sums.iter().map(|sum| sum.anonymous_bytes).max().unwrap_or(0),
        })
    }

    /// Watches for so long; gives the moment of the greatest sum, by process.
    pub(super) fn peak(&self, duration: Duration) -> Result<Peak> {
        let end = Instant::now() + duration;
        let mut peak = Peak::default();
        while Instant::now() < end {
            let part = |pid| (name(pid), Memory::default().add(pid).rss_bytes);
            let parts: Vec<_> = self.pids()?.into_iter().map(part).collect();
            let total_bytes = parts.iter().map(|(_, bytes)| bytes).sum();
            if total_bytes > peak.total_bytes {
                peak = Peak { total_bytes, parts };
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(peak)
    }

    /// Watches for so long; gives the sum over its processes at each look.
    pub(super) fn memory(&self, duration: Duration) -> Result<Vec<Memory>> {
        let end = Instant::now() + duration;
        let mut sums = Vec::new();
        while Instant::now() < end {
            sums.push(self.pids()?.into_iter().fold(Memory::default(), Memory::add));
            std::thread::sleep(INTERVAL);
        }
        Ok(sums)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last of it may still be ending: refused until then.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The arguments of a process, without the program's folder.
fn name(pid: u32) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&str> = line.split('\0').filter(|word| !word.is_empty()).take(2).collect();
    words.join(" ").rsplit('/').next().unwrap_or_default().to_owned()
}

/// What processes have in memory, by `VmRSS` and `RssAnon` of /proc/PID/status.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    pub(super) rss_bytes: u64,
    pub(super) anonymous_bytes: u64,
}

impl Memory {
    fn add(self, pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let bytes = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
        };
        Self {
            rss_bytes: self.rss_bytes + bytes("VmRSS:"),
            anonymous_bytes: self.anonymous_bytes + bytes("RssAnon:"),
        }
    }
}
