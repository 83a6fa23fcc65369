//! This machine → a Markdown table: what the agent costs beside another profiler, on the same load, in one run.

mod group;
mod kernel_side;
mod tables;
mod dwarf;

pub(crate) use self::dwarf::dwarf;
pub(crate) use self::tables::tables;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::group::Group;
use self::kernel_side::{KernelSide, StatsOn};
use crate::command::{command, output, workspace};
use crate::install;
use crate::progress::{say, step};
use crate::release;
use crate::run;

/// What `--peer` is by default.
pub(crate) const PERF: &str = "perf record -a -g -F 97 -o /tmp/pilotlight-bench.data -- sleep 30";
const SECONDS: u64 = 30;
const ROUNDS: usize = 2;
const SERVER: &str = "127.0.0.1:4167";
/// Calls below `main`: with `main`, the leaf and the C library's start, 13 frames.
const DEPTH: &str = "10";
/// What the agent may cost at the most (docs/benchmarks.md says why).
const BAR_CPU: f64 = 3.0;
const BAR_IDLE: f64 = 0.5;
const BAR_RSS_BYTES: u64 = 60_000_000;
const BAR_MAP_BYTES: u64 = 20_000_000;

/// One run of one profiler.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    cpu_seconds: f64,
    peak_rss_bytes: u64,
    kernel: KernelSide,
}

/// Measures, and prints the table.
pub(crate) fn bench(peer: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("missing: root, which both profilers need; run: sudo cargo xtask bench");
    }
    if peer == PERF {
        install::apt(&["linux-perf"])?;
    }
    run::setup()?;
    let binary = release::build()?;
    let load = build_load()?;
    let data = workspace().join("target/bench-data");
    let mut server = start_server(&binary, &data)?;
    let measured = measure(&binary, &load, peer);
    server.kill().and_then(|()| server.wait()).context("cannot end the server")?;
    std::fs::remove_dir_all(&data).ok();
    report(&measured?, peer)
}

struct Measured {
    agent: Vec<Cost>,
    peer: Vec<Cost>,
    agent_idle: Cost,
    peer_idle: Cost,
}

fn measure(binary: &Path, load: &Path, peer: &str) -> Result<Measured> {
    let mut measured = Measured {
        agent: vec![],
        peer: vec![],
        agent_idle: Cost::default(),
        peer_idle: Cost::default(),
    };
    for round in 1..=ROUNDS {
        let title = format!("pilotlight agent, two busy processes, {round} of {ROUNDS}");
        measured.agent.push(step(&title, || under_load(load, || agent(binary)))?);
        let title = format!("peer, two busy processes, {round} of {ROUNDS}");
        measured.peer.push(step(&title, || under_load(load, || other(peer)))?);
    }
    measured.agent_idle = step("pilotlight agent, idle", || agent(binary))?;
    measured.peer_idle = step("peer, idle", || other(peer))?;
    Ok(measured)
}

/// Runs the profiler while two processes are busy, new ones each time: their symbols are part of the cost.
fn under_load(load: &Path, profiler: impl FnOnce() -> Result<Cost>) -> Result<Cost> {
    let mut busy = Vec::new();
    for _ in 0..2 {
        let seconds = (SECONDS + 8).to_string();
        busy.push(
            command(load)
                .args([&seconds, DEPTH])
                .stdin(Stdio::null())
                .spawn()
                .context("cannot start the load")?,
        );
    }
    std::thread::sleep(Duration::from_secs(1));
    let cost = profiler();
    for mut process in busy {
        process.kill().and_then(|()| process.wait()).context("cannot end the load")?;
    }
    cost
}

/// From start to exit: start, symbols, pushes and the last flush are all in it.
fn agent(binary: &Path) -> Result<Cost> {
    let group = Group::new("agent")?;
    let stats = StatsOn::new()?;
    let url = format!("http://{SERVER}");
    let mut process = start(&group, &[&binary.display().to_string(), "agent", "--server", &url])?;
    let peak_rss_bytes = group.peak(Duration::from_secs(SECONDS))?.total_bytes;
    let kernel = kernel_side::of(process.id());
    drop(stats);
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.id())?).context("pid 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .context("the agent ended early; is another one running?")?;
    let status = process.wait()?;
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    Ok(Cost { cpu_seconds: group.cpu_seconds()?, peak_rss_bytes, kernel: kernel? })
}

fn other(peer: &str) -> Result<Cost> {
    let group = Group::new("peer")?;
    let mut process = start(&group, &["/bin/sh", "-c", &format!("exec {peer}")])?;
    let peak_rss_bytes = group.peak(Duration::from_secs(SECONDS))?.total_bytes;
    process.wait()?;
    Ok(Cost { cpu_seconds: group.cpu_seconds()?, peak_rss_bytes, kernel: KernelSide::default() })
}

/// Starts a program inside a group: it enters before it becomes the program, so that nothing is missed.
fn start(group: &Group, arguments: &[&str]) -> Result<Child> {
    let enter = "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"";
    let mut shell = command("/bin/sh");
    shell.args(["-c", enter]).arg(group.path()).args(arguments);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a profiler")
}

fn build_load() -> Result<PathBuf> {
    let program = workspace().join("target/bench-load");
    let source = workspace().join("tests/workloads/c/deep.c");
    let mut gcc = command("gcc");
    gcc.args(["-O2", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
        .arg(&program)
        .arg(source);
    output(&mut gcc).map(|_| program)
}

fn start_server(binary: &Path, data: &Path) -> Result<Child> {
    std::fs::remove_dir_all(data).ok();
    std::fs::create_dir_all(data)?;
    let mut server = command(binary);
    server
        .args(["server", "--listen", SERVER, "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let server = server.stderr(Stdio::null()).spawn().context("cannot start the server")?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(server)
}

fn report(measured: &Measured, peer: &str) -> Result<()> {
    let mean = |costs: &[Cost]| {
        costs.iter().map(|cost| cost.cpu_seconds).sum::<f64>() / costs.len().max(1) as f64
    };
    let (agent, other) = (mean(&measured.agent), mean(&measured.peer));
    let idle = measured.agent_idle.cpu_seconds;
    let rss = measured.agent.iter().map(|cost| cost.peak_rss_bytes).max().unwrap_or(0);
    let other_rss = measured.peer.iter().map(|cost| cost.peak_rss_bytes).max().unwrap_or(0);
    let kernel = measured
        .agent
        .iter()
        .map(|cost| cost.kernel)
        .max_by_key(|kernel| kernel.map_bytes)
        .unwrap_or_default();
    let release = output(command("uname").args(["-sr"]))?;
    let n_cpus = std::thread::available_parallelism()?;
    let runs = |costs: &[Cost]| {
        costs.iter().map(|cost| format!("{:.2}", cost.cpu_seconds)).collect::<Vec<_>>().join(", ")
    };
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let verdict = |is_good: bool| if is_good { "yes" } else { "NO" };
    say(&format!("\n{} on {n_cpus} CPUs, {SECONDS} s, 97 Hz. Peer: `{peer}`\n", release.trim()));
    say("| | pilotlight agent | peer | ratio | bar | met |\n|---|---|---|---|---|---|");
    let met = [
        agent <= BAR_CPU * other,
        idle <= BAR_IDLE * BAR_CPU * other,
        rss <= BAR_RSS_BYTES,
        kernel.map_bytes <= BAR_MAP_BYTES,
    ];
    say(&format!(
        "| CPU, two busy processes | {agent:.2} s ({}) | {other:.2} s ({}) | {:.1} | {BAR_CPU} x peer | {} |",
        runs(&measured.agent),
        runs(&measured.peer),
        agent / other.max(0.001),
        verdict(met[0])
    ));
    say(&format!(
        "| CPU, idle host | {idle:.2} s | {:.2} s | | half of the bar above | {} |",
        measured.peer_idle.cpu_seconds,
        verdict(met[1])
    ));
    say(&format!(
        "| peak RSS, all processes | {} | {} | | {} | {} |",
        mb(rss),
        mb(other_rss),
        mb(BAR_RSS_BYTES),
        verdict(met[2])
    ));
    say(&format!(
        "| BPF maps | {} | | | {} | {} |",
        mb(kernel.map_bytes),
        mb(BAR_MAP_BYTES),
        verdict(met[3])
    ));
    say(&format!(
        "| BPF time per sample | {:.0} ns ({} samples) | | | | |",
        kernel.ns_per_sample(),
        kernel.n_samples
    ));
    if met.contains(&false) {
        bail!("a bar is missed");
    }
    Ok(())
}
