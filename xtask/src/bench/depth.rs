//! BPF time per sample in stacks of several depths: ours, and that of another profiler with BPF programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::kernel_side::{self, StatsOn};
use super::load::{self, Profiler, Running, Server};
use super::{list, mean, verdict};
use crate::command::{command, output};
use crate::progress::{say, step};

const DEPTHS: [usize; 3] = [13, 60, 190];
const ROUNDS: usize = 2;
/// Tables are built and processes are known by then.
const START: Duration = Duration::from_secs(6);
const DURATION: Duration = Duration::from_secs(10);
/// What a sample of 13 frames, and one more frame, may cost of the peer's.
const BAR: f64 = 0.4;

/// Nanoseconds per sample, by depth and then by round.
type Times = [Vec<f64>; DEPTHS.len()];

/// Measures, and prints the table.
pub(super) fn measure(binary: &Path, peer: Option<&str>) -> Result<()> {
    let load = load::build("bench-load")?;
    let _server = Server::start(binary)?;
    let (mut agent, mut other) = (Times::default(), Times::default());
    for round in 1..=ROUNDS {
        for (depth, n_frames) in DEPTHS.into_iter().enumerate() {
            let title = |who: &str| format!("{who}, {n_frames} frames, {round} of {ROUNDS}");
            let ours = || ns_per_sample(&load, n_frames, || Profiler::agent(binary));
            agent[depth].push(step(&title("agent"), ours)?);
            if let Some(peer) = peer {
                let theirs = || ns_per_sample(&load, n_frames, || Profiler::other(peer));
                other[depth].push(step(&title("peer"), theirs)?);
            }
        }
    }
    report(&agent, &other, peer)
}

/// Both CPUs busy at the bottom of their stacks; the profiler's start is not in it.
fn ns_per_sample(
    load: &Path,
    n_frames: usize,
    start: impl FnOnce() -> Result<Profiler>,
) -> Result<f64> {
    let duration = START + DURATION + Duration::from_secs(10);
    let n_cpus = std::thread::available_parallelism()?.get();
    let busy = (0..n_cpus).map(|_| Running::busy(load, duration, n_frames));
    let _busy = busy.collect::<Result<Vec<_>>>()?;
    let stats = StatsOn::new()?;
    let mut profiler = start()?;
    std::thread::sleep(START);
    let before = kernel_side::of(&profiler.group.pids()?)?;
    std::thread::sleep(DURATION);
    let after = kernel_side::of(&profiler.group.pids()?)?;
    drop(stats);
    profiler.interrupt()?;
    let spent = after.since(&before);
    ensure!(spent.n_samples > 500, "only {} samples in {DURATION:?}", spent.n_samples);
    Ok(spent.ns_per_sample())
}

fn report(agent: &Times, other: &Times, peer: Option<&str>) -> Result<()> {
    let release = output(command("uname").args(["-sr"]))?;
    let n_cpus = std::thread::available_parallelism()?;
    say(&format!(
        "\n{} on {n_cpus} CPUs, all busy, no frame pointers, 97 Hz, {DURATION:?} each. Peer: `{}`\n",
        release.trim(),
        peer.unwrap_or("none")
    ));
    say(
        "| BPF time | pilotlight agent, ns | peer, ns | ratio | bar | met |\n|---|---|---|---|---|---|",
    );
    let mut is_missed = false;
    let mut row = |name: String, ours: &[f64], theirs: &[f64], has_bar: bool| {
        let ratio = mean(ours) / mean(theirs);
        let is_met = !has_bar || theirs.is_empty() || ratio <= BAR;
        is_missed |= !is_met;
        let text = |values: &[f64]| match values {
            [] => String::new(),
            _ => format!("{:.0} ({})", mean(values), list(values, 0)),
        };
        let ratio = if theirs.is_empty() { String::new() } else { format!("{ratio:.2}") };
        let bar = if has_bar { format!("{BAR} | {}", verdict(is_met)) } else { " | ".to_owned() };
        say(&format!("| {name} | {} | {} | {ratio} | {bar} |", text(ours), text(theirs)));
    };
    for (depth, n_frames) in DEPTHS.into_iter().enumerate() {
        row(format!("a sample, {n_frames} frames"), &agent[depth], &other[depth], depth == 0);
    }
    row("a further frame".to_owned(), &slopes(agent)?, &slopes(other)?, true);
    ensure!(!is_missed, "a bar is missed");
    Ok(())
}

/// What one more frame costs in deep stacks, by round.
fn slopes(times: &Times) -> Result<Vec<f64>> {
    let n_frames = (DEPTHS[2] - DEPTHS[1]) as f64;
    let rounds = times[1].iter().zip(times.last().context("no depth")?);
    Ok(rounds.map(|(shallow, deep)| (deep - shallow) / n_frames).collect())
}
