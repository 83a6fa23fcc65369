//! CPU and memory of the agent, with two busy processes and on an idle host, beside another profiler.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::kernel_side::{self, KernelSide, StatsOn};
use super::load::{self, Profiler, Running, Server};
use super::{list, mean, megabytes, verdict};
use crate::command::{command, output};
use crate::install;
use crate::progress::{say, step};

/// What `--peer` is by default.
pub(super) const PERF: &str = "perf record -a -g -F 97 -o /tmp/pilotlight-bench.data -- sleep 30";
const DURATION: Duration = Duration::from_secs(30);
const ROUNDS: usize = 2;
const N_FRAMES: usize = 13;
/// What the agent may cost at the most (docs/benchmarks.md says why).
const BAR_CPU: f64 = 3.0;
const BAR_IDLE: f64 = 0.5;
const BAR_RSS_BYTES: u64 = 60_000_000;
const BAR_MAP_BYTES: u64 = 20_000_000;
const BAR_OWN_BYTES: u64 = 40_000_000;

/// One run of one profiler.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    cpu_seconds: f64,
    peak_rss_bytes: u64,
    peak_anonymous_bytes: u64,
    kernel: KernelSide,
}

/// Of the agent and of the other, in the same turns.
#[derive(Debug, Default)]
struct Pair {
    agent: Vec<Cost>,
    peer: Vec<Cost>,
}

/// Measures, and prints the table.
pub(super) fn measure(binary: &Path, peer: &str) -> Result<()> {
    if peer == PERF {
        install::apt(&["linux-perf"])?;
    }
    let load = load::build("bench-load")?;
    let _server = Server::start(binary)?;
    let (mut busy, mut idle) = (Pair::default(), Pair::default());
    for round in 1..=ROUNDS {
        let title = |who: &str, what: &str| format!("{who}, {what}, {round} of {ROUNDS}");
        busy.agent.push(step(&title("agent", "two busy processes"), || {
            under_load(&load, || agent(binary))
        })?);
        busy.peer.push(step(&title("peer", "two busy processes"), || {
            under_load(&load, || other(peer))
        })?);
        idle.agent.push(step(&title("agent", "idle"), || agent(binary))?);
        idle.peer.push(step(&title("peer", "idle"), || other(peer))?);
    }
    report(&busy, &idle, peer)
}

/// Runs the profiler while two processes are busy, new ones each time: their symbols are part of the cost.
fn under_load(load: &Path, profiler: impl FnOnce() -> Result<Cost>) -> Result<Cost> {
    let duration = DURATION + Duration::from_secs(15);
    let busy = || Running::busy(load, duration, N_FRAMES);
    let _busy = [busy()?, busy()?];
    std::thread::sleep(Duration::from_secs(1));
    profiler()
}

/// From start to exit: start, symbols, pushes and the last flush are all in it.
fn agent(binary: &Path) -> Result<Cost> {
    let stats = StatsOn::new()?;
    let mut agent = Profiler::agent(binary)?;
    let peak = agent.group.peak_memory(DURATION)?;
    let kernel = kernel_side::of(&agent.group.pids()?)?;
    drop(stats);
    agent.interrupt()?;
    cost(&agent, peak, kernel)
}

fn other(peer: &str) -> Result<Cost> {
    let mut other = Profiler::other(peer)?;
    let peak = other.group.peak_memory(DURATION)?;
    other.wait()?;
    cost(&other, peak, KernelSide::default())
}

fn cost(profiler: &Profiler, peak: super::group::Memory, kernel: KernelSide) -> Result<Cost> {
    Ok(Cost {
        cpu_seconds: profiler.group.cpu_seconds()?,
        peak_rss_bytes: peak.rss_bytes,
        peak_anonymous_bytes: peak.anonymous_bytes,
        kernel,
    })
}

fn report(busy: &Pair, idle: &Pair, peer: &str) -> Result<()> {
    let seconds = |costs: &[Cost]| costs.iter().map(|cost| cost.cpu_seconds).collect::<Vec<_>>();
    let most = |costs: &[Cost], of: fn(&Cost) -> u64| costs.iter().map(of).max().unwrap_or(0);
    let release = output(command("uname").args(["-sr"]))?;
    let n_cpus = std::thread::available_parallelism()?;
    say(&format!("\n{} on {n_cpus} CPUs, {DURATION:?}, 97 Hz. Peer: `{peer}`\n", release.trim()));
    say("| | pilotlight agent | peer | ratio | bar | met |\n|---|---|---|---|---|---|");
    let mut is_missed = false;
    let mut row =
        |name: &str, agent: String, other: String, ratio: String, bar: String, is_met: bool| {
            is_missed |= !is_met;
            say(&format!("| {name} | {agent} | {other} | {ratio} | {bar} | {} |", verdict(is_met)));
        };
    let (agent, other) = (seconds(&busy.agent), seconds(&busy.peer));
    let limit = BAR_CPU * mean(&other);
    for (name, agent, other, bar, limit) in [
        ("CPU, two busy processes", &agent, &other, format!("{BAR_CPU} x peer"), limit),
        (
            "CPU, idle host",
            &seconds(&idle.agent),
            &seconds(&idle.peer),
            "half of the bar above".to_owned(),
            BAR_IDLE * limit,
        ),
    ] {
        let text = |values: &[f64]| format!("{:.2} s ({})", mean(values), list(values, 2));
        let ratio = mean(agent) / mean(other).max(0.001);
        row(name, text(agent), text(other), format!("{ratio:.1}"), bar, mean(agent) <= limit);
    }
    let maps = most(&busy.agent, |cost| cost.kernel.map_bytes);
    for (name, ours, theirs, bar) in [
        (
            "peak RSS, all processes",
            most(&busy.agent, |cost| cost.peak_rss_bytes),
            megabytes(most(&busy.peer, |cost| cost.peak_rss_bytes)),
            BAR_RSS_BYTES,
        ),
        (
            "peak of anonymous memory, and BPF maps",
            most(&busy.agent, |cost| cost.peak_anonymous_bytes) + maps,
            String::new(),
            BAR_OWN_BYTES,
        ),
        ("BPF maps", maps, String::new(), BAR_MAP_BYTES),
    ] {
        row(name, megabytes(ours), theirs, String::new(), megabytes(bar), ours <= bar);
    }
    for cost in &busy.agent {
        let KernelSide { n_samples, .. } = cost.kernel;
        say(&format!(
            "| BPF time per sample | {:.0} ns ({n_samples} samples) | | | | |",
            cost.kernel.ns_per_sample()
        ));
    }
    anyhow::ensure!(!is_missed, "a bar is missed");
    Ok(())
}
