//! What a step is called → one line when it starts (on a terminal) and one with a check mark and its time when it ends.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place where xtask talks to its user"
)]

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::{Context, Result};

/// Runs one step and prints its outcome.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    if std::io::stdout().is_terminal() {
        print!("· {name} …\r");
        std::io::stdout().flush().context("cannot write to the terminal")?;
    }
    let outcome = work();
    let mark = if outcome.is_ok() { '✓' } else { '✗' };
    println!("{mark} {name} ({:.1} s)", begun.elapsed().as_secs_f64());
    outcome
}

/// Prints one line.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Prints one line to standard error.
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}
