//! A known load, pushed by a program with the protocol's own Go client, is there to the last nanosecond: in memory, in blocks, merged,
//! after kill -9, and for `DuckDB`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tests::child::{command, output};
use tests::pilotlight::{Server, now_ms, sum_of_metric};
use tests::{machine, skip, workload};

const SETTINGS: [(&str, &str); 2] =
    [("PILOTLIGHT_BLOCKS__FLUSH_AFTER", "1s"), ("PILOTLIGHT_BLOCKS__MERGE_AFTER", "2s")];

fn loadgen(go: &Path) -> Result<PathBuf> {
    let program = machine::workspace().join("target/workloads/loadgen");
    let mut build = command(go);
    build.current_dir(machine::workspace().join("tests/loadgen"));
    output(build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg("."))?;
    Ok(program)
}

fn run(program: &Path, verb: &str, server: &Server, set: &[String]) -> Result<String> {
    let mut command = command(program);
    output(command.args([verb, "-url", &server.url()]).args(set))
}

/// Waits until there is one block a day, and nothing of them in the log.
fn wait_for_blocks(server: &Server) -> Result<()> {
    let until = Instant::now() + Duration::from_mins(1);
    let mut shown = String::new();
    while Instant::now() < until {
        shown = server.http.get("/metrics")?.text();
        let metric =
            |name: &str| sum_of_metric(&shown, &format!("pilotlight_server_store_{name}"), "");
        let is_merged = metric("work_total") > 1.0 && metric("blocks") <= 3.0;
        if is_merged && metric("segments") <= 1.0 && metric("memory_bytes") < 100_000.0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    anyhow::bail!("the load is not in blocks after a minute:\n{shown}")
}

fn kill(server: &mut Server) -> Result<()> {
    server.child.signal(Signal::KILL)?;
    server.child.wait(Duration::from_secs(10))?;
    Ok(())
}

#[test]
fn a_known_load_is_the_same_at_every_level_and_after_kill() -> Result<()> {
    let Some(go) = workload::go_compiler() else { skip!("no go") };
    let program = loadgen(&go)?;
    let data = tempfile::tempdir()?;
    let mut server = Server::start_with(data.path(), &SETTINGS)?;
    // Ends an hour and a half ago, and so has three hours of a day, or of two.
    let end = now_ms() / 10_000 * 10 - 5_400;
    let set =
        ["-services", "2", "-hours", "2", "-every", "30", "-reps", "1", "-end", &end.to_string()]
            .map(str::to_owned);
    run(&program, "push", &server, &set)?;
    let check = |server: &Server, when: &str| -> Result<()> {
        let printed = run(&program, "query", server, &set).context(when.to_owned())?;
        ensure!(printed.contains("all sums agree"), "{when}:\n{printed}");
        Ok(())
    };
    check(&server, "as pushed")?;
    kill(&mut server)?;
    server = Server::start_with(data.path(), &SETTINGS)?;
    check(&server, "after kill -9")?;
    wait_for_blocks(&server)?;
    check(&server, "merged")?;
    kill(&mut server)?;
    server = Server::start_with(data.path(), &SETTINGS)?;
    check(&server, "after another kill -9")?;
    duckdb_agrees(&server, data.path(), end)
}

fn duckdb_agrees(server: &Server, data: &Path, end: i64) -> Result<()> {
    let Some(python) = std::env::var_os("PILOTLIGHT_PYTHON") else {
        skip!("PILOTLIGHT_PYTHON names no python with duckdb; `cargo xtask test` makes one")
    };
    let mut script = command(python);
    script.arg(machine::workspace().join("tests/clients/python/blocks.py")).arg(data);
    let sums: Value = serde_json::from_str(&output(&mut script)?)?;
    for service in ["svc-000", "svc-001"] {
        let ours = server
            .stacks(&format!("{{service_name=\"{service}\"}}"), (end - 3 * 3_600) * 1_000)?
            .total();
        ensure!(
            ours > 0 && sums["raw"][service].as_i64() == Some(ours),
            "{service}: {ours} is not in {sums}"
        );
    }
    Ok(())
}
