//! `pilotlight run`: the agent and an unprivileged server, as one command.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tests::child::{Child, children, comm, command, public_folder, signal_to};
use tests::http::Http;
use tests::pilotlight::{now_ms, pilotlight, profile};
use tests::stacks::Stacks;
use tests::{machine, skip, workload};

struct Run {
    child: Child,
    http: Http,
    port: u16,
    _folder: tempfile::TempDir,
}

fn start() -> Result<Run> {
    let folder = public_folder()?;
    let (port, metrics) = (machine::free_port()?, machine::free_port()?);
    let mut command = pilotlight("run")?;
    command
        .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(folder.path().join("data"));
    command
        .env("PILOTLIGHT_METRICS__LISTEN", format!("127.0.0.1:{metrics}"))
        .env("PILOTLIGHT_WINDOW", "2s");
    let mut child = Child::start(&mut command)?;
    child.wait_for("sampling ", Duration::from_secs(20))?;
    let http = Http::new(&format!("http://127.0.0.1:{port}"))?;
    http.wait_ready("/ready", Duration::from_secs(10))?;
    Ok(Run { child, http, port, _folder: folder })
}

fn server_pid(run: &Run) -> Result<u32> {
    let found =
        children(run.child.pid()).into_iter().find(|pid| comm(*pid).starts_with("pilotlight-serv"));
    found.context("there is no child pilotlight-server")
}

fn uid(pid: u32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("no Uid")?;
    line.split_whitespace().next().and_then(|word| word.parse().ok()).context("no Uid")
}

#[test]
fn it_says_what_it_does_and_ends_with_0() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let from = now_ms();
    let mut run = start()?;
    let n_cpus = machine::n_cpus()?;
    let printed = run.child.printed();
    for part in [
        format!("http://localhost:{}", run.port),
        "bpf, unwind tables".to_owned(),
        format!("sampling {n_cpus} CPU"),
    ] {
        ensure!(printed.contains(&part), "no `{part}` in:\n{printed}");
    }
    Child::start(command(workload::c("split")?).arg("5"))?.wait(Duration::from_secs(20))?;
    let page = run.http.get("/")?.ok()?;
    ensure!(
        String::from_utf8_lossy(&page).to_lowercase().contains("<!doctype html"),
        "no page at /"
    );
    // Both families of loopback.
    Http::new(&format!("http://[::1]:{}", run.port))?
        .wait_ready("/ready", Duration::from_secs(2))?;
    std::thread::sleep(Duration::from_secs(3));
    let stacks = Stacks::of(&profile(&run.http, "{service_name=\"workload-split\"}", from)?, 0)?;
    ensure!(stacks.percent("burn_60") > 50.0, "{}", stacks.shown());
    let server = server_pid(&run)?;
    run.child.signal(Signal::INT)?;
    let status = run.child.wait(Duration::from_secs(20))?;
    ensure!(status.code() == Some(0), "{status}:\n{}", run.child.printed());
    ensure!(
        !std::path::Path::new(&format!("/proc/{server}")).exists(),
        "the server outlives `run`"
    );
    Ok(())
}

#[test]
fn its_server_has_no_rights_and_comes_back() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let mut run = start()?;
    let first = server_pid(&run)?;
    ensure!(uid(first)? != 0, "the server runs as root");
    let status = std::fs::read_to_string(format!("/proc/{first}/status"))?;
    let effective =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff")?;
    ensure!(
        effective.trim().trim_start_matches('0').is_empty(),
        "the server has capabilities {effective}"
    );
    signal_to(first, Signal::KILL)?;
    let end = Instant::now() + Duration::from_secs(15);
    while server_pid(&run).map_or(true, |pid| pid == first) {
        ensure!(Instant::now() < end, "the server did not come back:\n{}", run.child.printed());
        std::thread::sleep(Duration::from_millis(100));
    }
    run.http.wait_ready("/ready", Duration::from_secs(10))?;
    let status = run.child.stop(Duration::from_secs(20))?;
    ensure!(status.code() == Some(0), "{status}:\n{}", run.child.printed());
    Ok(())
}
