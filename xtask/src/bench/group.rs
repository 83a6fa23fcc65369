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

    /// Watches for so long; gives the greatest sum of resident memory.
    pub(super) fn peak(&self, duration: Duration) -> Result<Peak> {
        let end = Instant::now() + duration;
        let mut peak = Peak::default();
        while Instant::now() < end {
            let pids = std::fs::read_to_string(self.0.join("cgroup.procs"))?;
            let parts: Vec<_> = pids.lines().map(|pid| (name(pid), rss_bytes(pid))).collect();
            let total_bytes = parts.iter().map(|(_, bytes)| bytes).sum();
            if total_bytes > peak.total_bytes {
                peak = Peak { total_bytes, parts };
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(peak)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Refused while something still runs in it; then the error is already being told.
        std::fs::remove_dir(&self.0).ok();
    }
}

/// The arguments of a process, without the program's folder.
fn name(pid: &str) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&str> = line.split('\0').filter(|word| !word.is_empty()).take(2).collect();
    words.join(" ").rsplit('/').next().unwrap_or_default().to_owned()
}

fn rss_bytes(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
