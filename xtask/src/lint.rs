//! The sources → rustfmt, tidy and clippy, with warnings as errors.

use anyhow::{Result, bail};

use crate::command::{cargo, command, find, output, run, workspace};
use crate::install;
use crate::progress::{say, step};
use crate::tidy;

/// Runs every check that needs no root.
pub(crate) fn lint() -> Result<()> {
    step("rustfmt", || output(cargo().args(["fmt", "--all", "--check"])))?;
    step("tidy", tidy)?;
    step("clippy", || {
        run(cargo().args([
            "clippy",
            "--locked",
            "--quiet",
            "--workspace",
            "--exclude",
            "agent-ebpf",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))
    })?;
    // Apart from the others: in one pass features unify, and then the panic handler is defined twice.
    step("clippy of the kernel programs", || {
        let target = workspace().join("target/lint-ebpf");
        let mut clippy = cargo();
        clippy
            .args(["clippy", "--locked", "--quiet", "--package", "agent-ebpf", "--target-dir"])
            .arg(target);
        run(clippy.args(["--", "--deny", "warnings"]).env("RUSTFLAGS", "-C panic=abort"))
    })?;
    install::npm()?;
    step("types of the page", || {
        output(command("npm").args(["run", "check"]).current_dir(workspace().join("ui")))
    })?;
    deny()
}

/// Prints every violation; any is an error.
pub(crate) fn tidy() -> Result<()> {
    let found = tidy::check(&workspace())?;
    for violation in &found {
        say(&format!("  {violation}"));
    }
    if !found.is_empty() {
        bail!("{} violations of the rules of CONTRIBUTING.md", found.len());
    }
    Ok(())
}

/// Licenses, advisories and doubled crates. It takes minutes to build, so it is used where somebody installed it.
fn deny() -> Result<()> {
    if find("cargo-deny").is_none() {
        say("- cargo deny: not installed (cargo install cargo-deny --locked), left out");
        return Ok(());
    }
    step("cargo deny", || output(cargo().args(["deny", "check", "licenses", "bans", "sources"])))
        .map(drop)
}
