//! What this machine allows and lacks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The checkout.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is a folder of the workspace")
        .to_path_buf()
}

/// The way out of `skip!`.
#[expect(clippy::print_stderr, reason = "the one line that a skipped test prints")]
pub fn skipped(reason: &str) -> Result<()> {
    if std::env::var("PILOTLIGHT_REQUIRE_ALL").is_ok_and(|value| value == "1") {
        bail!("SKIPPED: {reason}, and PILOTLIGHT_REQUIRE_ALL=1 forbids that");
    }
    eprintln!("SKIPPED: {reason}");
    Ok(())
}

/// Why nothing can be sampled here, if so.
pub fn cannot_sample() -> Option<&'static str> {
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    let has = |bit: u32| capabilities().is_some_and(|set| set >> bit & 1 == 1);
    (!has(PERFMON) || !has(BPF)).then_some("no CAP_BPF and CAP_PERFMON")
}

/// The path of a program that a test drives.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// CPUs that are online.
pub fn n_cpus() -> Result<usize> {
    Ok(std::thread::available_parallelism().context("cannot count CPUs")?.get())
}

/// Nanoseconds of CPU time that the hypervisor gave to others since boot, over all CPUs. Nobody can sample those, but
/// some kernels charge them to whoever was running.
pub fn stolen_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(8))
        .and_then(|word| word.parse::<u64>().ok());
    ticks.unwrap_or(0) * 10_000_000
}

/// A TCP port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u16> = 4150..4170;
    // Not the one that the last caller got and has perhaps not bound yet.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    for _ in PORTS {
        let port = PORTS.start
            + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % PORTS.len() as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("all ports of {PORTS:?} are taken")
}

fn capabilities() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}
