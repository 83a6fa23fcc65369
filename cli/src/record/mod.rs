//! `pilotlight record`: arguments in; a file with one profile, and the exit code of the command that was recorded, out.

pub(crate) mod gate;
mod find;

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use agent::agent::{RecordSummary, RecordTarget, Summary, check_record_file, record};
use agent::config::Config;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use signal_hook::consts::SIGINT;

use crate::arguments;
use crate::settings::{self, Owner};
use crate::signals;

use self::gate::{Gated, Running, exit_code};

/// Records until the time is over, the command ends or somebody stops it.
pub(crate) fn run(arguments: &arguments::Record) -> Result<ExitCode> {
    check_record_file(&arguments.output)?;
    if let Some(name) = arguments.command.first()
        && let Err(error) = find::find(name, env::var_os("PATH"))
    {
        say(&format!("error: {error}"));
        return Ok(ExitCode::from(error.exit_code()));
    }
    check_pids(&arguments.pids)?;
    let config = settings::agent(None, Owner::One, arguments.frequency.flags())?;
    crate::agent::start_log(&config)?;
    if arguments.command.is_empty() {
        record_processes(arguments, &config)?;
        return Ok(ExitCode::SUCCESS);
    }
    record_command(arguments, &config)
}

fn record_processes(arguments: &arguments::Record, config: &Config) -> Result<()> {
    let target = match arguments.pids.as_slice() {
        [] => RecordTarget::All,
        pids => RecordTarget::Pids(pids.to_vec()),
    };
    let stop = Arc::new(AtomicBool::new(false));
    signals::stop_on_signals(Arc::clone(&stop), |origin| process::exit(128 + origin.signal))
        .context("cannot handle signals")?;
    let output = &arguments.output;
    let summary = record(config, &target, arguments.duration, output, &stop, |summary| {
        started(summary, &target);
    })?;
    ended(&summary, output);
    Ok(())
}

/// The command waits behind its gate until recording has begun; its end ends the recording.
fn record_command(arguments: &arguments::Record, config: &Config) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    let gated = Gated::start(Path::new("/proc/self/exe"), &arguments.command)?;
    let pid = gated.pid();
    let target = RecordTarget::Tree(pid.as_raw_pid().cast_unsigned());
    pass_on_signals(pid, Arc::clone(&stop))?;
    let mut waiting = None;
    let recorded =
        record(config, &target, arguments.duration, &arguments.output, &stop, |summary| {
            started(summary, &target);
            waiting = Some(gated.open().and_then(|running| wait_for(running, Arc::clone(&stop))));
        });
    let failed = recorded.map(|summary| ended(&summary, &arguments.output)).err();
    // A command that has begun is not ours to end, whatever became of the recording.
    let code = waiting
        .map(|waiting| waiting?.join().expect("a panic in a thread has ended the process"))
        .transpose()?;
    match failed {
        Some(error) => Err(error.into()),
        None => code.map(ExitCode::from).context("the recording ended before the command began"),
    }
}

fn wait_for(running: Running, stop: Arc<AtomicBool>) -> Result<JoinHandle<Result<u8>>> {
    let wait = move || {
        let status = running.wait().context("cannot wait for the command");
        stop.store(true, Ordering::SeqCst);
        Ok(exit_code(status?))
    };
    thread::Builder::new().name("command".to_owned()).spawn(wait).context("cannot start a thread")
}

/// The terminal sends Ctrl-C to the command as well, and the command decides what it means. What was sent to this process alone
/// is passed on. A second Ctrl-C ends the recording, whatever the command does.
fn pass_on_signals(pid: Pid, stop: Arc<AtomicBool>) -> Result<()> {
    let mut n_interrupts = 0;
    signals::on_signals(move |origin| {
        n_interrupts += u32::from(origin.signal == SIGINT);
        if n_interrupts > 1 {
            stop.store(true, Ordering::SeqCst);
        }
        let signal = if origin.signal == SIGINT { Signal::INT } else { Signal::TERM };
        if !signals::is_from_terminal(&origin)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "the command has ended already");
        }
    })
    .context("cannot handle signals")
}

fn check_pids(pids: &[u32]) -> Result<()> {
    for &pid in pids {
        let process = Pid::from_raw(pid.cast_signed()).context("0 is no process")?;
        // That we may not signal it says that it is there.
        if test_kill_process(process) == Err(rustix::io::Errno::SRCH) {
            bail!("there is no process {pid}");
        }
    }
    Ok(())
}

fn started(summary: &Summary, target: &RecordTarget) {
    let whose = match target {
        RecordTarget::All => String::new(),
        RecordTarget::Pids(pids) if pids.len() == 1 => {
            format!(", of which 1 is recorded: {}", pids[0])
        }
        RecordTarget::Pids(pids) => format!(", of which {} are recorded", pids.len()),
        RecordTarget::Tree(_) => ", of which the command and its children are recorded".to_owned(),
    };
    let Summary { n_cpus: _, frequency_hz: _, n_processes: _, kernel_release: _, tier } = summary;
    say(&format!("{summary}{whose} ({tier})"));
}

fn ended(summary: &RecordSummary, output: &Path) {
    let lost: u64 = summary.losses.iter().map(|(_, n)| n).sum();
    let reasons: Vec<String> =
        summary.losses.iter().map(|(reason, n)| format!("{reason}: {n}")).collect();
    let reasons =
        if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    say(&format!(
        "{} sample{} taken, {lost} lost{reasons}; written to {}",
        summary.n_samples,
        if summary.n_samples == 1 { "" } else { "s" },
        output.display()
    ));
}

/// To standard error: standard output is the command's.
fn say(line: &str) {
    if let Err(error) = writeln!(io::stderr(), "{line}") {
        tracing::debug!(%error, "nobody reads standard error");
    }
}
