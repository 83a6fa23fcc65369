//! Workloads with a known answer run under the real agent, go to the real server and are queried back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::child::{Child, command};
use tests::pilotlight::{Agent, Server, now_ms};
use tests::stacks::{Stacks, is_function};
use tests::workload::{Split, marked_line};
use tests::{machine, skip, workload};

const SECONDS: u64 = 32;
const BURNERS: [&str; 3] = ["burn_60", "burn_30", "burn_10"];

/// A workload that ran, and what the server says of it.
struct Ran {
    source: &'static str,
    split: Split,
    stolen_percent: f64,
    stacks: Stacks,
}

/// Runs two at a time: with more than one a CPU, chance decides how often a tick finds which.
fn run(programs: &[(&'static str, std::path::PathBuf)]) -> Result<Vec<Ran>> {
    let server = Server::start()?;
    let mut agent = Agent::start(&server.url())?;
    let mut ran = Vec::new();
    for pair in programs.chunks(machine::n_cpus()?.min(2)) {
        let from = now_ms();
        let stolen = machine::stolen_ns();
        let mut children = Vec::new();
        for (_, program) in pair {
            children.push(Child::start(command(program).arg(SECONDS.to_string()))?);
        }
        for ((source, program), mut child) in pair.iter().zip(children) {
            child.wait(Duration::from_secs(SECONDS + 20))?;
            let split = Split::parse(&child.printed())?;
            ran.push((*source, program.clone(), split, from, machine::stolen_ns() - stolen));
        }
    }
    agent.stop()?;
    ran.into_iter()
        .map(|(source, program, split, from, stolen_ns)| {
            let name = program
                .file_name()
                .context("a program without a name")?
                .to_string_lossy()
                .into_owned();
            let stacks = server.stacks(&format!("{{service_name=\"{name}\"}}"), from)?;
            let stolen_percent = 100.0 * stolen_ns as f64 / split.cpu_ns as f64;
            Ok(Ran { source, split, stolen_percent, stacks })
        })
        .collect()
}

#[test]
fn workloads_have_their_known_shares_lines_and_callers() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let mut programs =
        vec![("c/split.c", workload::c("split")?), ("rust/split.rs", workload::rust("split")?)];
    if workload::go_compiler().is_some() {
        programs.push(("go/main.go", workload::go()?));
    }
    let has_go = programs.len() == 3;
    for ran in run(&programs)? {
        check_total(&ran)?;
        check_shares(&ran)?;
        check_callers(&ran)?;
        check_inlined(&ran)?;
    }
    if !has_go {
        skip!("no go: the Go workload was left out");
    }
    Ok(())
}

/// Samples x period is the process's CPU time, within 3 percent.
fn check_total(ran: &Ran) -> Result<()> {
    let sampled = ran.stacks.total() as f64;
    let off = 100.0 * (sampled / ran.split.cpu_ns as f64 - 1.0);
    let source = ran.source;
    ensure!(
        off.abs() <= 3.0 + ran.stolen_percent,
        "{source}: {sampled} ns sampled of {} ns ({off:+.2} %; {:.2} % stolen)\n{}",
        ran.split.cpu_ns,
        ran.stolen_percent,
        ran.stacks.shown()
    );
    Ok(())
}

/// Each function's share is what it really spent, within 3 points; and that is near 60, 30 and 10.
fn check_shares(ran: &Ran) -> Result<()> {
    for (index, spent) in ran.split.percent().into_iter().enumerate() {
        let function = named(ran.source, BURNERS[index]);
        let sampled = ran.stacks.percent(&function);
        let source = ran.source;
        ensure!(
            (sampled - spent).abs() <= 3.0,
            "{source}: {function} has {sampled:.1} %, spent {spent:.1} %\n{}",
            ran.stacks.shown()
        );
        let meant = [60.0, 30.0, 10.0][index];
        ensure!(
            (sampled - meant).abs() <= 3.0 + ran.stolen_percent,
            "{source}: {function} has {sampled:.1} %, meant {meant} %"
        );
    }
    Ok(())
}

/// Above each burner stand its callers, called on the lines that the source says.
fn check_callers(ran: &Ran) -> Result<()> {
    for burner in BURNERS {
        let function = named(ran.source, burner);
        let call = marked_line(ran.source, &format!("call of {burner}"))?;
        let inner = marked_line(ran.source, "call of inner")?;
        let outer = marked_line(ran.source, "call of outer")?;
        let expected = [("main", outer), ("outer", inner), ("inner", call)];
        let through = ran.stacks.through(&function);
        let right = through.filtered(|stack| {
            let Some(at) =
                stack.frames.iter().position(|frame| is_function(&frame.function, &function))
            else {
                return false;
            };
            let Some(first) = at.checked_sub(expected.len()) else { return false };
            let callers = &stack.frames[first..at];
            callers.iter().zip(expected).all(|(frame, (name, line))| {
                is_function(&frame.function, name) && frame.line == line
            })
        });
        // The first and last instructions of a function have no frame of its own yet, so that its caller is missing.
        let percent = 100.0 * right.total() as f64 / through.total().max(1) as f64;
        ensure!(
            percent >= 98.0,
            "{}: {percent:.1} % of {burner} have the callers {expected:?}\n{}",
            ran.source,
            through.shown()
        );
    }
    Ok(())
}

/// The function that the compiler inlined everywhere is seen, on its own line of its own file.
fn check_inlined(ran: &Ran) -> Result<()> {
    let line = marked_line(ran.source, "mix")?;
    let file = ran.source.rsplit('/').next().unwrap_or_default();
    let inlined = ran.stacks.filtered(|stack| {
        stack.frames.last().is_some_and(|leaf| {
            leaf.is_inlined
                && is_function(&leaf.function, "mix")
                && leaf.line == line
                && leaf.file == file
        })
    });
    let percent = 100.0 * inlined.total() as f64 / ran.stacks.total().max(1) as f64;
    // Asking for the time takes the rest: a system call on some machines, in frames of its own.
    ensure!(
        percent >= 10.0,
        "{}: {percent:.1} % end in mix at {file}:{line}\n{}",
        ran.source,
        ran.stacks.shown()
    );
    Ok(())
}

/// Go has no underscores in names.
fn named(source: &str, function: &str) -> String {
    if source.starts_with("go/") { function.replace('_', "") } else { function.to_owned() }
}
