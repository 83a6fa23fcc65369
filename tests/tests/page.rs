//! A headless Chromium opens the page, finds the workload and sees its hot function in the flame graph.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::child::{Child, command};
use tests::pilotlight::{Agent, Server, now_ms};
use tests::{machine, skip, workload};

#[test]
fn the_hot_function_is_in_the_flame_graph() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let Some(node) = machine::tool("node") else { skip!("no node") };
    if machine::tool("chromium").is_none() {
        skip!("no chromium");
    }
    let ui = machine::workspace().join("ui");
    if !ui.join("node_modules").exists() {
        skip!("ui/node_modules is not there; `cargo xtask test` installs it");
    }
    let server = Server::start()?;
    let from = now_ms();
    let mut agent = Agent::start(&server.url())?;
    Child::start(command(workload::c("split")?).arg("22"))?.wait(Duration::from_secs(40))?;
    agent.stop()?;
    server.wait_for_stacks("{service_name=\"workload-split\"}", from, Duration::from_secs(10))?;
    let screenshots = tempfile::tempdir()?;
    let mut look = command(node);
    look.arg(ui.join("test/e2e.mjs")).args(["--url", &server.url(), "--service", "workload-split"]);
    look.args(["--function", "burn_60", "--screenshots"]).arg(screenshots.path());
    let mut look = Child::start(look.current_dir(&ui))?;
    let status = look.wait(Duration::from_mins(3))?;
    ensure!(status.success(), "{status}:\n{}", look.printed());
    let n_pictures = std::fs::read_dir(screenshots.path())?.count();
    ensure!(n_pictures > 0, "no screenshot was made:\n{}", look.printed());
    Ok(())
}
