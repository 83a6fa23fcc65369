//! Every loss is provoked, and counted by its reason; what the machine does to us is followed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tests::child::{Child, command};
use tests::measure::Meter;
use tests::pilotlight::{Agent, Server, now_ms, pilotlight};
use tests::workload::Split;
use tests::{machine, skip, workload};

const LOSSES: &str = "pilotlight_agent_kernel_losses_total";
const CAPTURED: &str = "pilotlight_agent_kernel_samples_total";
const COUNTED: &str = "pilotlight_agent_stack_samples_total";
const COPIED: &str = "pilotlight_agent_stack_copied_samples_total";
const OUTCOMES: &str = "pilotlight_agent_stack_outcomes_total";

/// Long enough for a window to close and its metrics to be shown.
fn settle() {
    std::thread::sleep(Duration::from_secs(4));
}

#[test]
fn a_full_ring_is_counted_and_sampling_goes_on() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let tiny = [
        ("PILOTLIGHT_BPF__RING_BYTES", "65536"),
        ("PILOTLIGHT_SAMPLING__FREQUENCY_HZ", "997"),
        ("PILOTLIGHT_WINDOW", "1s"),
    ];
    let mut agent = Agent::start_with(&server.url(), &tiny)?;
    let _busy = [
        Child::start(command(workload::c("split")?).arg("25"))?,
        Child::start(command(workload::rust("split")?).arg("25"))?,
    ];
    // Nobody drains the ring.
    agent.child.signal(Signal::STOP)?;
    std::thread::sleep(Duration::from_secs(5));
    agent.child.signal(Signal::CONT)?;
    settle();
    let lost = agent.metric(LOSSES, "sample_ring_full")?;
    ensure!(lost > 100.0, "{lost} samples lost to a full ring:\n{}", metrics(&agent)?);
    let from = now_ms();
    std::thread::sleep(Duration::from_secs(4));
    agent.stop()?;
    let stacks = server.stacks("{service_name=\"workload-split\"}", from + 15_000)?;
    ensure!(stacks.percent("burn_60") > 40.0, "after the loss: {}", stacks.shown());
    Ok(())
}

#[test]
fn a_full_map_of_mappings_costs_no_name() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let from = now_ms();
    // Only a process that is sampled has a list; these all are.
    let deep = workload::c("deep")?;
    let crowd = (0..80).map(|_| Child::start(command(&deep).arg("30")));
    let crowd = crowd.collect::<Result<Vec<_>>>()?;
    let tiny = [("PILOTLIGHT_BPF__MAX_PROCESSES", "64"), ("PILOTLIGHT_WINDOW", "2s")];
    let mut agent = Agent::start_with(&server.url(), &tiny)?;
    let mut split = Child::start(command(workload::c("split")?).arg("16"))?;
    std::thread::sleep(Duration::from_secs(5));
    settle();
    let full = agent.metric(LOSSES, "mappings_full")?;
    drop(crowd);
    ensure!(full > 0.0, "the map was never full:\n{}", metrics(&agent)?);
    split.wait(Duration::from_secs(30))?;
    agent.stop()?;
    let stacks = server.stacks("{service_name=\"workload-split\"}", from)?;
    ensure!(
        stacks.percent("main") > 90.0 && stacks.percent("burn_60") > 40.0,
        "{}",
        stacks.shown()
    );
    Ok(())
}

#[test]
fn few_stack_slots_cost_no_stack() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let from = now_ms();
    let tiny = [("PILOTLIGHT_BPF__STACK_SLOTS", "64"), ("PILOTLIGHT_WINDOW", "2s")];
    let mut agent = Agent::start_with(&server.url(), &tiny)?;
    Child::start(command(workload::c("split")?).arg("6"))?.wait(Duration::from_secs(20))?;
    settle();
    let missing = agent.metric(LOSSES, "stack_missing")?;
    let captured = agent.metric(CAPTURED, "")?;
    agent.stop()?;
    ensure!(missing * 100.0 <= captured, "{missing} of {captured} samples have no stack");
    let stacks = server.stacks("{service_name=\"workload-split\"}", from)?;
    ensure!((stacks.percent("burn_60") - 60.0).abs() < 8.0, "{}", stacks.shown());
    Ok(())
}

#[test]
fn a_stack_that_cannot_be_read_is_counted_and_shown() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let from = now_ms();
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "2s")])?;
    let before = agent.metric(OUTCOMES, "stack_fault")?;
    Child::start(command(workload::c("stack_fault")?).arg("6"))?.wait(Duration::from_secs(20))?;
    settle();
    let faults = agent.metric(OUTCOMES, "stack_fault")? - before;
    agent.stop()?;
    ensure!(faults > 100.0, "{faults} samples with a stack that cannot be read");
    let stacks = server.stacks("{service_name=\"workload-stack-fault\"}", from)?;
    ensure!(stacks.percent("spin") > 90.0, "the leaf is kept: {}", stacks.shown());
    ensure!(stacks.percent("[stack_fault]") > 80.0, "the miss is shown: {}", stacks.shown());
    Ok(())
}

#[test]
fn lost_process_events_are_counted_and_mended() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "2s")])?;
    agent.child.signal(Signal::STOP)?;
    // Several events a process, more than any ring holds.
    let storm = "i=0; while [ $i -lt 6000 ]; do /bin/true; i=$((i+1)); done";
    Child::start(command("sh").args(["-c", storm]))?.wait(Duration::from_secs(90))?;
    let mut busy = Child::start(command(workload::c("split")?).arg("12"))?;
    std::thread::sleep(Duration::from_secs(1));
    agent.child.signal(Signal::CONT)?;
    settle();
    let lost = agent.metric(LOSSES, "events_lost")?;
    ensure!(lost > 0.0, "no event was lost:\n{}", metrics(&agent)?);
    let from = now_ms();
    busy.wait(Duration::from_secs(30))?;
    agent.stop()?;
    // It was started while events were lost: only a new scan knows it.
    let stacks = server.stacks("{service_name=\"workload-split\"}", from + 15_000)?;
    ensure!(stacks.percent("burn_60") > 40.0, "{}", stacks.shown());
    Ok(())
}

#[test]
fn more_stacks_than_there_is_room_for_are_counted_together() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let few = [
        ("PILOTLIGHT_SAMPLING__MAX_STACKS", "64"),
        ("PILOTLIGHT_SAMPLING__FREQUENCY_HZ", "499"),
        ("PILOTLIGHT_WINDOW", "2s"),
    ];
    let mut agent = Agent::start_with(&server.url(), &few)?;
    let from = now_ms();
    let meter = Meter::start();
    let mut busy = Child::start(command(workload::c("many_stacks")?).arg("8"))?;
    busy.wait(Duration::from_secs(30))?;
    let used = meter.used(Split::parse(&busy.printed())?.cpu_ns, 8.0);
    settle();
    let other = agent.metric("pilotlight_agent_stack_other_samples_total", "")?;
    agent.stop()?;
    let stacks = server.stacks("{service_name=\"workload-many-stacks\"}", from)?;
    used.check_ns(stacks.total(), 499.0).with_context(|| stacks.shown())?;
    ensure!(stacks.percent("[other stacks]") > 30.0, "{}", stacks.shown());
    ensure!(other > 1000.0, "{other} samples were counted as others");
    Ok(())
}

#[test]
fn processes_that_are_known_are_walked_in_the_kernel() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "1s")])?;
    let cpus = std::thread::available_parallelism()?.get();
    let split = workload::c("split")?;
    let _busy =
        (0..cpus).map(|_| Child::start(command(&split).arg("30"))).collect::<Result<Vec<_>>>()?;
    settle();
    let both = || Ok::<_, anyhow::Error>((agent.metric(COPIED, "")?, agent.metric(COUNTED, "")?));
    let before = both()?;
    settle();
    let after = both()?;
    let (copied, counted) = (after.0 - before.0, after.1 - before.1);
    ensure!(before.0 > 0.0, "the first samples of a process are copied");
    ensure!(counted > 200.0, "{counted} samples");
    // Other processes begin meanwhile, and are copied.
    ensure!(copied < 0.1 * counted, "{copied} of {counted} samples were copied");
    Ok(())
}

#[test]
fn every_sample_is_accounted_for() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "1s")])?;
    Child::start(command(workload::c("split")?).arg("5"))?.wait(Duration::from_secs(20))?;
    settle();
    let (captured, counted) = (agent.metric(CAPTURED, "")?, agent.metric(COUNTED, "")?);
    let lost =
        agent.metric(LOSSES, "sample_ring_full")? + agent.metric(LOSSES, "scratch_missing")?;
    let outcomes = agent.metric("pilotlight_agent_stack_outcomes_total", "")?;
    // Between two drains some are under way.
    ensure!(
        captured - counted - lost <= 200.0 && captured + 1.0 >= counted,
        "{captured} taken, {counted} counted, {lost} lost"
    );
    ensure!((outcomes - counted).abs() <= 200.0, "{outcomes} outcomes of {counted} samples");
    ensure!(captured > 300.0, "only {captured} samples");
    agent.stop()
}

#[test]
fn neither_tracefs_nor_debugfs_is_needed() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("x.folded");
    let hide = "for d in /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf; do [ -d $d ] && mount -t tmpfs none $d; done; exec \"$@\"";
    let record = pilotlight("record")?;
    let mut hidden = command("unshare");
    hidden
        .args(["--mount", "/bin/sh", "-c", hide, "sh"])
        .arg(record.get_program())
        .args(record.get_args());
    hidden.arg("-o").arg(&file).arg("--").arg(workload::c("split")?).arg("2");
    let mut child = Child::start(&mut hidden)?;
    let status = child.wait(Duration::from_secs(30))?;
    ensure!(status.success(), "{status}:\n{}", child.printed());
    let folded = std::fs::read_to_string(&file)?;
    ensure!(folded.contains("burn_60"), "{folded}");
    Ok(())
}

#[test]
fn a_cpu_that_goes_and_comes_back_is_sampled() -> Result<()> {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    // Missing on machines with one CPU and where the hypervisor forbids it: nobody can test it there.
    if !Path::new(ONLINE).exists() || std::fs::write(ONLINE, "0").is_err() {
        if Path::new(ONLINE).exists() {
            std::fs::write(ONLINE, "1").ok();
        }
        // Said, and no failure where all tests must run: this machine cannot run it.
        println!("SKIPPED: CPU 1 cannot be switched off here");
        return Ok(());
    }
    let back = BackOnline(ONLINE);
    let server = Server::start()?;
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "2s")])?;
    drop(back);
    std::thread::sleep(Duration::from_secs(3));
    let from = now_ms();
    let mut pinned = command("taskset");
    pinned.args(["--cpu-list", "1"]).arg(workload::c("split")?).arg("6");
    let meter = Meter::start();
    let mut child = Child::start(&mut pinned)?;
    child.wait(Duration::from_secs(20))?;
    let used = meter.used(Split::parse(&child.printed())?.cpu_ns, 6.0);
    agent.stop()?;
    let stacks = server.stacks("{service_name=\"workload-split\"}", from)?;
    used.check_ns(stacks.total(), 97.0).with_context(|| stacks.shown())
}

#[test]
fn a_cpu_that_is_away_for_a_moment_is_sampled_again() -> Result<()> {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let server = Server::start()?;
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "2s")])?;
    let back = BackOnline(ONLINE);
    if !Path::new(ONLINE).exists() || std::fs::write(ONLINE, "0").is_err() {
        println!("SKIPPED: CPU 1 cannot be switched off here");
        return Ok(());
    }
    drop(back);
    std::thread::sleep(Duration::from_millis(2500));
    let from = now_ms();
    let mut pinned = command("taskset");
    pinned.args(["--cpu-list", "1"]).arg(workload::c("split")?).arg("6");
    let meter = Meter::start();
    let mut child = Child::start(&mut pinned)?;
    child.wait(Duration::from_secs(20))?;
    let used = meter.used(Split::parse(&child.printed())?.cpu_ns, 6.0);
    agent.stop()?;
    let stacks = server.stacks("{service_name=\"workload-split\"}", from)?;
    used.check_ns(stacks.total(), 97.0).with_context(|| stacks.shown())
}

/// Brings a CPU back, also when the test fails.
struct BackOnline(&'static str);

impl Drop for BackOnline {
    fn drop(&mut self) {
        std::fs::write(self.0, "1").ok();
    }
}

fn metrics(agent: &Agent) -> Result<String> {
    Ok(agent.metrics.get("/metrics")?.text())
}
