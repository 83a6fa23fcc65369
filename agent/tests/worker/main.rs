//! The symbolizer with a real worker: this program starts itself with the argument `worker`.

mod fixture;
mod programs;
mod companions;
mod failures;
mod confinement;
mod hostile;
mod cost;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return match agent::worker::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let arguments = Arguments::from_args();
    let tests = [
        programs::TESTS,
        companions::TESTS,
        failures::TESTS,
        confinement::TESTS,
        hostile::TESTS,
        cost::TESTS,
    ];
    let trials = tests.concat().into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
