//! A checkout → `pilotlight run` on this machine, in place of this process: signals and the exit code are its own.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{command, find};
use crate::ebpf;
use crate::release;

/// Installs what a build needs. A build needs Rust and a C compiler; all else is committed, as long as it is up to date.
pub(crate) fn setup() -> Result<()> {
    if find("cc").is_none() && find("gcc").is_none() {
        crate::install::apt(&["gcc", "libc6-dev"])?;
    }
    ebpf::ensure()
}

/// Builds and becomes `pilotlight run`.
pub(crate) fn run(arguments: &[OsString]) -> Result<Infallible> {
    setup()?;
    let binary = release::build()?;
    let mut pilotlight = as_root(&binary)?;
    pilotlight.arg("run").args(arguments);
    Err(pilotlight.exec()).with_context(|| format!("cannot start {}", binary.display()))
}

fn as_root(binary: &Path) -> Result<std::process::Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(command(binary));
    }
    let Some(sudo) = find("sudo") else {
        bail!(
            "missing: root, which sampling the whole system needs, and there is no sudo; run: su -c '{} run'",
            binary.display()
        );
    };
    let mut command = command(sudo);
    command.arg("--").arg(binary);
    Ok(command)
}
