//! The command line in; what to do out.

#![expect(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "the comments are what `--help` prints"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use units::Span;

/// See what this machine's CPUs are doing, by service, all the time.
#[derive(Debug, Parser)]
#[command(name = "pilotlight", version = env!("PILOTLIGHT_VERSION"), after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sudo pilotlight run                                  profile this machine, see it at http://localhost:4040
  sudo pilotlight record -d 10 -o all.svg              ten seconds of everything, as a flame graph
  sudo pilotlight record -o make.pb.gz -- make -j4     one command and its children, as pprof";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Profile this machine and show it at http://localhost:4040
    Run(Run),
    /// Profile this machine and push to a server
    Agent(Agent),
    /// Store profiles and show them
    Server(Server),
    /// Profile for a while into a file, without a server
    Record(Record),
    /// Read ELF and DWARF for the agent that started this
    #[command(hide = true)]
    Worker,
    /// Wait until recording has begun, then become a command
    #[command(hide = true)]
    Gate(Gate),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo pilotlight run
  sudo pilotlight run --listen 0.0.0.0:4040 --data /srv/profiles
  sudo pilotlight run -F 250")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) storage: Storage,
    #[command(flatten)]
    pub(crate) frequency: Frequency,
    /// Settings of both halves in one file [default: /etc/pilotlight/agent.yaml and server.yaml, if there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo pilotlight agent --server http://profiles.example.com:4040
  sudo PILOTLIGHT_SERVER__TENANT=blue pilotlight agent --server https://pyroscope.example.com")]
pub(crate) struct Agent {
    /// Where to push to: pilotlight, or any server that speaks Pyroscope's push API [default: http://127.0.0.1:4040]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) frequency: Frequency,
    /// Settings [default: /etc/pilotlight/agent.yaml, if there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Show what the programs in the kernel log (with PILOTLIGHT_LOG=debug: each sample)
    #[arg(long)]
    pub(crate) bpf_log: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pilotlight server
  pilotlight server --listen 0.0.0.0:4040 --data /srv/profiles")]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) storage: Storage,
    /// Settings [default: /etc/pilotlight/server.yaml, if there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The `pilotlight run` that started this, and whose settings come on standard input
    #[arg(long, value_name = "PID", hide = true, conflicts_with_all = ["config", "listen", "data", "max_bytes"])]
    pub(crate) child_of: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct Storage {
    /// Address and port to serve at; 127.0.0.1 also means ::1 [default: 127.0.0.1:4040]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where to store [default: /var/lib/pilotlight for root, else below $XDG_DATA_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Bytes on disk, beyond which the oldest profiles fade [default: 20GiB]
    #[arg(long = "storage-max", value_name = "BYTES")]
    pub(crate) max_bytes: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Frequency {
    /// Samples per second and CPU, 1 to 1000 [default: 97]
    #[arg(short = 'F', long = "frequency", value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) hz: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo pilotlight record -d 10 -o all.svg                    everything, ten seconds, as a flame graph
  sudo pilotlight record -p $(pidof postgres) -o pg.folded   some processes, until Ctrl-C, as folded stacks
  sudo pilotlight record -F 499 -o make.pb.gz -- make -j4    a command and its children, as pprof

The exit code is that of CMD: 128 + N when signal N ended it, 127 when it was not found, 126 when it cannot be executed.")]
pub(crate) struct Record {
    #[command(flatten)]
    pub(crate) frequency: Frequency,
    /// How long: 8 (seconds), 8s, 500ms or 1m [default: until Ctrl-C, or until CMD ends]
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Everything on this machine; this is what happens without -p and CMD, too
    #[arg(short, long, conflicts_with_all = ["pids", "command"])]
    pub(crate) all: bool,
    /// These processes
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', conflicts_with = "command",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) pids: Vec<u32>,
    /// Where to write to: *.pb.gz (pprof), *.folded (folded stacks) or *.svg (a flame graph)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// A command, and its children
    #[arg(last = true, value_names = ["CMD", "ARG"])]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// The process that opens the gate
    #[arg(long, value_name = "PID")]
    pub(crate) child_of: i32,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// What follows `-d`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = Span::parse_seconds(text).map(Span::duration);
    let duration = duration.ok_or_else(|| {
        format!("{text:?} is no duration: write 8 (seconds), 8s, 500ms, 1m or 1h")
    })?;
    if duration.is_zero() {
        return Err("a recording of no time has no samples".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use expect_test::{Expect, expect};

    use super::*;

    /// What was understood, or the first line of the complaint.
    fn check(line: &str, expected: &Expect) {
        let words = ["pilotlight"].into_iter().chain(line.split_whitespace());
        let text = match Arguments::try_parse_from(words) {
            Ok(arguments) => format!("{:?}", arguments.command),
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn commands_of_the_contract_are_understood() {
        check(
            "run",
            &expect![
                "Run(Run { storage: Storage { listen: None, data: None, max_bytes: None }, frequency: Frequency { hz: None }, config: None })"
            ],
        );
        check(
            "run --listen 0.0.0.0:1 --data /d -F 1000 --config c.yaml",
            &expect![[
                r#"Run(Run { storage: Storage { listen: Some("0.0.0.0:1"), data: Some("/d"), max_bytes: None }, frequency: Frequency { hz: Some(1000) }, config: Some("c.yaml") })"#
            ]],
        );
        check(
            "agent --server http://h:1 -F1 --config c.yaml --bpf-log",
            &expect![[
                r#"Agent(Agent { server: Some("http://h:1"), frequency: Frequency { hz: Some(1) }, config: Some("c.yaml"), bpf_log: true })"#
            ]],
        );
        check(
            "server --listen [::]:4040 --data /d --storage-max 5GiB --config c.yaml",
            &expect![[
                r#"Server(Server { storage: Storage { listen: Some("[::]:4040"), data: Some("/d"), max_bytes: Some("5GiB") }, config: Some("c.yaml"), child_of: None })"#
            ]],
        );
        check(
            "record -F 99 -d 8 -a -o a.svg",
            &expect![[
                r#"Record(Record { frequency: Frequency { hz: Some(99) }, duration: Some(8s), all: true, pids: [], output: "a.svg", command: [] })"#
            ]],
        );
        check(
            "record -p 1,2 -p 3 -d 500ms -o a.folded",
            &expect![[
                r#"Record(Record { frequency: Frequency { hz: None }, duration: Some(500ms), all: false, pids: [1, 2, 3], output: "a.folded", command: [] })"#
            ]],
        );
        check(
            "record -o a.pb.gz -- ls -l -a -- x",
            &expect![[
                r#"Record(Record { frequency: Frequency { hz: None }, duration: None, all: false, pids: [], output: "a.pb.gz", command: ["ls", "-l", "-a", "--", "x"] })"#
            ]],
        );
        check("worker", &expect!["Worker"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check(
            "run -F 0",
            &expect!["error: invalid value '0' for '--frequency <HZ>': 0 is not in 1..=1000"],
        );
        check(
            "run -F 1001",
            &expect!["error: invalid value '1001' for '--frequency <HZ>': 1001 is not in 1..=1000"],
        );
        check(
            "agent -F fast",
            &expect![
                "error: invalid value 'fast' for '--frequency <HZ>': invalid digit found in string"
            ],
        );
        check(
            "record -a -p 1 -o a.svg",
            &expect!["error: the argument '--all' cannot be used with '--pid <PID>'"],
        );
        check(
            "record -p 1 -o a.svg -- ls",
            &expect!["error: the argument '--pid <PID>' cannot be used with '[CMD] [ARG]...'"],
        );
        check("record -a", &expect!["error: the following required arguments were not provided:"]);
        check(
            "record -p 0 -o a.svg",
            &expect!["error: invalid value '0' for '--pid <PID>': 0 is not in 1..=2147483647"],
        );
        check(
            "record -p 1,x -o a.svg",
            &expect!["error: invalid value 'x' for '--pid <PID>': invalid digit found in string"],
        );
        check(
            "record -d 1.5 -o a.svg",
            &expect![[
                r#"error: invalid value '1.5' for '--duration <DURATION>': "1.5" is no duration: write 8 (seconds), 8s, 500ms, 1m or 1h"#
            ]],
        );
        check(
            "record -d 0 -o a.svg",
            &expect![
                "error: invalid value '0' for '--duration <DURATION>': a recording of no time has no samples"
            ],
        );
        check("record -o a.svg ls", &expect!["error: unexpected argument 'ls' found"]);
        check("observe", &expect!["error: unrecognized subcommand 'observe'"]);
    }
}
