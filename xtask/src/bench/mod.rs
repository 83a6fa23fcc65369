//! This machine → Markdown tables: what the agent costs, on known loads, beside other profilers in the same run.

mod agent;
mod depth;
mod dwarf;
mod group;
mod kernel_side;
mod load;
mod processes;
mod tables;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::release;
use crate::run;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// CPU and memory with two busy processes and on an idle host, beside another profiler (the default)
    Agent {
        /// What to compare with; it should run for 30 seconds
        #[arg(long, default_value = agent::PERF)]
        peer: String,
    },
    /// BPF time per sample and per frame, in stacks of 13, 60 and 190 frames without frame pointers
    Depth {
        /// A profiler with BPF programs, to compare with; it is ended with SIGINT
        ///
        /// For example: '/opt/peers/bin/lightswitch --sample-freq 97 --duration 60'
        #[arg(long)]
        peer: Option<String>,
    },
    /// Memory and CPU at the start and later, with many processes of many programs
    Processes {
        /// How many
        #[arg(long, default_value_t = 200)]
        n: usize,
    },
    /// Memory beside a program of 200 MB, most of it debug information
    Dwarf,
    /// What the unwind tables of all ELF files of this machine take, and how long they take to make
    Tables,
}

impl Default for What {
    fn default() -> Self {
        Self::Agent { peer: agent::PERF.to_owned() }
    }
}

/// Measures, prints the table, and fails where a bar is missed.
pub(crate) fn bench(what: What) -> Result<()> {
    if matches!(what, What::Tables) {
        return tables::tables();
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: root, which profilers need; run: sudo cargo xtask bench");
    }
    run::setup()?;
    let binary = release::build()?;
    match what {
        What::Agent { peer } => agent::measure(&binary, &peer),
        What::Depth { peer } => depth::measure(&binary, peer.as_deref()),
        What::Processes { n } => processes::measure(&binary, n),
        What::Dwarf => dwarf::measure(&binary),
        What::Tables => tables::tables(),
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "yes" } else { "NO" }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// "1.50, 1.48"
fn list(values: &[f64], decimals: usize) -> String {
    values.iter().map(|value| format!("{value:.decimals$}")).collect::<Vec<_>>().join(", ")
}
