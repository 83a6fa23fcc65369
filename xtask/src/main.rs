//! `cargo xtask …`: set up, run, build, test and check this project. See CONTRIBUTING.md.

mod versions;
mod progress;
mod command;
mod install;
mod toolchain;
mod ebpf;
mod page;
mod release;
mod run;
mod tidy;
mod lint;
mod suite;
mod bench;
mod fuzz;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, run, build, test and check pilotlight",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what a build needs, or what the tests need too
    Setup {
        #[arg(long)]
        tests: bool,
    },
    /// Build and start `pilotlight run`; what follows is passed to it
    Run {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the static release binary
    Build,
    /// Install what the tests need and run them all
    Test,
    /// rustfmt, tidy and clippy, warnings as errors
    Lint,
    /// The rules that neither rustfmt nor clippy knows
    Tidy,
    /// Rewrite golden files, the committed kernel object and the committed page
    Bless,
    /// Build the kernel programs
    Ebpf {
        /// Prove that the committed object is what its sources give
        #[arg(long, conflicts_with = "bless")]
        check: bool,
        /// Make the result the committed object
        #[arg(long)]
        bless: bool,
    },
    /// Measure what the agent costs, beside other profilers where they can be compared
    Bench {
        #[command(subcommand)]
        what: Option<bench::What>,
    },
    /// Throw damaged bytes at every parser of foreign bytes
    Fuzz {
        /// Only this one; all without
        target: Option<String>,
        /// How long each runs
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Merge what was found into the committed corpus, without what adds nothing
        #[arg(long)]
        merge: bool,
    },
    /// Load and run the kernel programs on older kernels in QEMU
    Vm {
        /// Only kernels whose name contains this
        #[arg(long)]
        kernel: Option<String>,
    },
    /// Build the page
    Ui {
        /// Prove that the committed page is what its sources give
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run_task(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<()> {
    match task {
        Task::Setup { tests: false } => run::setup(),
        Task::Setup { tests: true } => suite::setup(),
        Task::Run { arguments } => run::run(&arguments).map(|never| match never {}),
        Task::Build => run::setup().and_then(|()| release::build()).map(drop),
        Task::Test => suite::test(),
        Task::Lint => lint::lint(),
        Task::Tidy => lint::tidy(),
        Task::Bless => suite::bless(),
        Task::Ebpf { check: true, .. } => ebpf::check(),
        Task::Ebpf { bless: true, .. } => ebpf::bless(),
        Task::Ebpf { .. } => {
            ebpf::build().map(|object| progress::say(&format!("  {}", object.display())))
        }
        Task::Bench { what } => bench::bench(what.unwrap_or_default()),
        Task::Fuzz { target, seconds, merge } => fuzz::fuzz(target.as_deref(), seconds, merge),
        Task::Vm { kernel } => vm::test(kernel.as_deref()),
        Task::Ui { check: true } => page::check(),
        Task::Ui { check: false } => page::build(),
    }
}
