//! Processes that start, change and end under the agent: each sample carries the name of what ran.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tests::child::{Child, command, copy_program, public_folder};
use tests::pilotlight::{Agent, Server, now_ms};
use tests::stacks::{Stack, Stacks, is_function};
use tests::{machine, skip, workload};

const SERVICES: [&str; 11] = [
    "workload-exec-later",
    "after-exec",
    "workload-loader",
    "was-deleted",
    "in-namespace",
    "workload-deep",
    "workload-kernel-heavy",
    "true",
    "dash",
    "pilotlight-agent",
    "pilotlight-server",
];

/// All processes run once, under one agent; each test looks at what one of them left.
fn session() -> Result<&'static BTreeMap<&'static str, Stacks>> {
    static SESSION: OnceLock<Result<BTreeMap<&'static str, Stacks>, String>> = OnceLock::new();
    let session = SESSION.get_or_init(|| run().map_err(|error| format!("{error:#}")));
    session.as_ref().map_err(|error| anyhow!("{error}"))
}

fn run() -> Result<BTreeMap<&'static str, Stacks>> {
    let split = workload::c("split")?;
    let folder = public_folder()?;
    let copy = |name: &str| -> Result<std::path::PathBuf> {
        let to = folder.path().join(name);
        copy_program(&split, &to)?;
        Ok(to)
    };
    let after_exec = copy("after-exec")?;
    let was_deleted = copy("was-deleted")?;
    let early =
        Child::start(command(workload::c("loader")?).arg("4").arg(workload::c_library("plugin")?))?;
    let server = Server::start()?;
    let from = now_ms();
    let mut agent = Agent::start(&server.url())?;
    let mut children = vec![
        early,
        Child::start(command(workload::c("exec_later")?).arg("3").arg(&after_exec).arg("3"))?,
        Child::start(command(&was_deleted).arg("6"))?,
        Child::start(&mut in_namespace(&split))?,
        Child::start(command(workload::c("deep")?).args(["6", "120"]))?,
        Child::start(command(workload::c("kernel_heavy")?).arg("6"))?,
        // More than a fork and an exec: what `true` does is over in the time between two samples.
        Child::start(command("timeout").args([
            "8",
            "/bin/sh",
            "-c",
            "while :; do /bin/true; done",
        ]))?,
    ];
    std::fs::remove_file(&was_deleted)?;
    for child in &mut children {
        child.wait(Duration::from_secs(40)).context("a workload does not end")?;
    }
    agent.stop()?;
    SERVICES
        .into_iter()
        .map(|service| {
            Ok((service, server.stacks(&format!("{{service_name=\"{service}\"}}"), from)?))
        })
        .collect()
}

/// Runs a copy of the program from a file system that only its own mount namespace has.
fn in_namespace(program: &Path) -> Command {
    let script =
        "mount -t tmpfs none /mnt && cp \"$1\" /mnt/in-namespace && exec /mnt/in-namespace 6";
    let mut unshare = command("unshare");
    unshare.args(["--mount", "/bin/sh", "-c", script, "sh"]).arg(program);
    unshare
}

fn user_modules(stack: &Stack) -> impl Iterator<Item = &str> {
    stack.frames.iter().map(|frame| frame.module.as_str()).filter(|module| !module.starts_with('['))
}

fn check_named(service: &str) -> Result<()> {
    let stacks = &session()?[service];
    ensure!(stacks.total() > 200_000_000, "{service}: {}", stacks.shown());
    let percent = stacks.percent("burn_60") + stacks.percent("burn_30") + stacks.percent("burn_10");
    ensure!(percent > 85.0, "{service}: {percent:.1} % in its functions\n{}", stacks.shown());
    Ok(())
}

#[test]
fn samples_before_and_after_exec_are_told_apart() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let before = &session()?["workload-exec-later"];
    ensure!(before.percent("before_exec") > 95.0, "{}", before.shown());
    ensure!(
        before.through("burn_60").total() == 0,
        "after exec, under the name before: {}",
        before.shown()
    );
    let after = &session()?["after-exec"];
    ensure!(
        after.through("before_exec").total() == 0,
        "before exec, under the name after: {}",
        after.shown()
    );
    check_named("after-exec")
}

#[test]
fn in_a_shell_loop_the_samples_after_exec_are_trues() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let stacks = &session()?["true"];
    ensure!(
        stacks.total() > 0,
        "no sample of /bin/true; of the shell: {}",
        session()?["dash"].shown()
    );
    let strange = stacks
        .filtered(|stack| user_modules(stack).any(|module| module == "dash" || module == "sh"));
    ensure!(strange.total() == 0, "frames of the shell in `true`: {}", strange.shown());
    let named = stacks.filtered(|stack| {
        user_modules(stack).any(|module| module.starts_with("ld-linux") || module == "true")
    });
    ensure!(named.total() > 0, "no frame of true or its loader: {}", stacks.shown());
    Ok(())
}

#[test]
fn a_library_loaded_late_is_named() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let stacks = &session()?["workload-loader"];
    let plugin = stacks.through("plugin_burn");
    ensure!(plugin.total() > 200_000_000, "{}", stacks.shown());
    let right = plugin.filtered(|stack| {
        stack.frames.iter().any(|frame| {
            is_function(&frame.function, "plugin_burn") && frame.module == "libplugin.so"
        }) && stack.frames.iter().any(|frame| is_function(&frame.function, "after_load"))
    });
    ensure!(right.total() * 100 >= plugin.total() * 98, "{}", plugin.shown());
    ensure!(
        stacks.percent("plugin_burn") + stacks.percent("before_load") > 95.0,
        "{}",
        stacks.shown()
    );
    Ok(())
}

#[test]
fn a_deleted_program_is_named() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    check_named("was-deleted")
}

#[test]
fn a_program_of_another_mount_namespace_is_named() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    check_named("in-namespace")
}

#[test]
fn a_recursion_of_120_calls_is_whole() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let stacks = &session()?["workload-deep"];
    let whole = stacks.filtered(|stack| {
        let calls = stack.frames.iter().filter(|frame| frame.function == "recurse").count();
        calls == 120 && stack.frames.iter().any(|frame| frame.function == "main")
    });
    ensure!(
        whole.total() * 100 >= stacks.total() * 95 && whole.total() > 200_000_000,
        "{}",
        stacks.shown()
    );
    Ok(())
}

#[test]
fn user_frames_stand_under_kernel_frames() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let stacks = &session()?["workload-kernel-heavy"];
    let in_kernel = stacks.filtered(|stack| {
        stack.frames.last().is_some_and(|leaf| leaf.module == "[kernel.kallsyms]")
    });
    ensure!(in_kernel.total() * 100 >= stacks.total() * 80, "{}", stacks.shown());
    let whole = in_kernel.through("main").through("fill");
    ensure!(whole.total() * 100 >= in_kernel.total() * 95, "{}", in_kernel.shown());
    Ok(())
}

#[test]
fn the_profiler_sees_itself() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let own = session()?["pilotlight-agent"].total() + session()?["pilotlight-server"].total();
    ensure!(own > 0, "neither pilotlight-agent nor pilotlight-server has a sample");
    Ok(())
}
