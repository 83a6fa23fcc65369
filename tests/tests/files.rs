//! Files that the agent opens and that do not do as files should.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::child::{Child, command, copy_program};
use tests::measure::Meter;
use tests::pilotlight::{Agent, Server, now_ms};
use tests::workload::Split;
use tests::{machine, skip, workload};

#[test]
fn a_file_system_that_does_not_answer_stalls_nothing() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    // A file system of its own, so that nothing else lies on it.
    let folder = tempfile::tempdir_in("/dev/shm")?;
    let program = folder.path().join("workload-hang");
    copy_program(&workload::c("split")?, &program)?;
    let victim = Child::start(command(&program).arg("60"))?;
    let mut hang = Child::start(command(workload::c("hang_open")?).arg(&program))?;
    hang.wait_for("hanging", Duration::from_secs(10))?;
    let server = Server::start()?;
    let from = now_ms();
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "2s")])?;
    let meter = Meter::start();
    let mut other = Child::start(command(workload::c("split")?).arg("10"))?;
    other.wait(Duration::from_secs(30))?;
    let used = meter.used(Split::parse(&other.printed())?.cpu_ns, 10.0);
    std::thread::sleep(Duration::from_secs(6));
    let stuck = agent.metric("pilotlight_agent_process_openers_stuck", "")?;
    let hung = agent.metric("pilotlight_agent_process_files_unopened_total", "\"hung\"")?;
    ensure!(stuck > 0.5 && hung > 0.5, "{stuck} threads hang, {hung} files were given up");
    let stacks = server.stacks("{service_name=\"workload-split\"}", from)?;
    used.check_ns(stacks.total(), 97.0).with_context(|| stacks.shown())?;
    ensure!(stacks.percent("burn_60") > 40.0, "others keep their names: {}", stacks.shown());
    let nameless = server.stacks("{service_name=\"workload-hang\"}", from)?;
    ensure!(
        nameless.total() > 0 && nameless.percent("burn_60") == 0.0,
        "its samples are kept, without names: {}",
        nameless.shown()
    );
    drop(hang);
    drop(victim);
    agent.stop()
}
