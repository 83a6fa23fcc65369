//! The `pilotlight` binary: the command line in; the agent, the server, both, or a recording, out.

#[cfg(test)]
mod commit;
mod arguments;
mod load;
mod settings;
mod logging;
mod signals;
mod agent;
mod server;
mod run;
mod record;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use self::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Agent(arguments) => agent::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Server(arguments) => server::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Record(arguments) => record::run(&arguments),
        Command::Worker => worker().map(|()| ExitCode::SUCCESS),
        Command::Gate(arguments) => {
            let (error, code) = record::gate::pass(&arguments);
            complain(&error);
            Ok(ExitCode::from(code))
        }
    };
    done.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

fn worker() -> Result<()> {
    signals::leave_to_parent()?;
    Ok(::agent::worker::run()?)
}

/// One line, with what led to it.
fn complain(error: &anyhow::Error) {
    // Without standard error there is nobody to tell.
    writeln!(io::stderr(), "error: {error:#}").ok();
}
