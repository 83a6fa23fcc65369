//! Memory and CPU of the agent with many processes of many programs: its first two minutes, and the two after them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::kernel_side;
use super::load::{self, Profiler, Running, Server};
use super::{megabytes, verdict};
use crate::command::{command, workspace};
use crate::progress::{say, step};

/// Every so many processes, one is Python's and the next a program of its own.
const ONE_IN: usize = 4;
const PHASE: Duration = Duration::from_mins(2);
/// What the first two minutes may take, of what it takes later.
const BAR: f64 = 1.2;

/// Measures, and prints the table.
pub(super) fn measure(binary: &Path, n: usize) -> Result<()> {
    let _server = Server::start(binary)?;
    let folder = workspace().join("target/bench-programs");
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder)?;
    let _busy = step(&format!("start {n} processes"), || start(n, &folder))?;
    let mut agent = Profiler::agent(binary)?;
    let first = step("the first two minutes", || agent.group.memory(PHASE))?;
    let cpu_first = agent.group.cpu_seconds()?;
    let steady = step("two more", || agent.group.memory(PHASE))?;
    let cpu_steady = agent.group.cpu_seconds()? - cpu_first;
    let maps = kernel_side::of(&agent.group.pids()?)?.map_bytes;
    agent.interrupt()?;
    let peak = first.iter().map(|memory| memory.rss_bytes).max().unwrap_or(0);
    let mut sums: Vec<u64> = steady.iter().map(|memory| memory.rss_bytes).collect();
    sums.sort_unstable();
    let median = sums.get(sums.len() / 2).copied().context("nothing was measured")?;
    let ratio = peak as f64 / median as f64;
    let is_met = ratio <= BAR;
    say(&format!(
        "\n{n} processes, RSS of all of the agent's processes; BPF maps: {}\n",
        megabytes(maps)
    ));
    say("| | first two minutes | the next two | ratio | bar | met |\n|---|---|---|---|---|---|");
    say(&format!(
        "| memory | {} (peak) | {} (median) | {ratio:.2} | {BAR} | {} |",
        megabytes(peak),
        megabytes(median),
        verdict(is_met)
    ));
    say(&format!("| CPU | {cpu_first:.2} s | {cpu_steady:.2} s | | | |"));
    ensure!(is_met, "a bar is missed");
    Ok(())
}

fn start(n: usize, folder: &Path) -> Result<Vec<Running>> {
    let load = load::build("bench-load")?;
    let duration = 2 * PHASE + Duration::from_mins(1);
    let mut program = load.clone();
    let mut running = Vec::new();
    for i in 0..n {
        if i % ONE_IN == 0 {
            running.push(python()?);
            continue;
        }
        if i % ONE_IN == 1 {
            program = another(&load, &folder.join(format!("load-{i}")))?;
        }
        running.push(Running::busy(&program, duration, 13 + i % 40)?);
    }
    Ok(running)
}

/// The same code in a file with other content: a program of its own to whoever looks at it.
fn another(program: &Path, copy: &Path) -> Result<PathBuf> {
    std::fs::copy(program, copy).context("cannot copy the load")?;
    let mut file = std::fs::OpenOptions::new().append(true).open(copy)?;
    write!(file, "{}", copy.display())?;
    Ok(copy.to_owned())
}

fn python() -> Result<Running> {
    let mut python = command("python3");
    python.args(["-c", "import time, json, ssl, sqlite3\nwhile True:\n  json.dumps(list(range(9000)))\n  time.sleep(0.01)"]);
    Running::start(python.stdin(Stdio::null()))
}
