//! Programs with a known stack, a server to push to, and profilers in groups of their own; all end with the value.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::group::Group;
use crate::command::{command, output, workspace};

const SERVER: &str = "127.0.0.1:4167";
/// Where the agent serves its metrics.
pub(super) const METRICS: &str = "127.0.0.1:4168";
/// Frames below `recurse` and above it: the C library's three, `main` and the leaf.
const FRAMES_AROUND: usize = 5;

/// A process of ours that is ended with the value.
pub(super) struct Running(Child);

impl Running {
    /// `workloads/c/deep.c`, with stacks of so many frames.
    pub(super) fn busy(program: &Path, duration: Duration, n_frames: usize) -> Result<Self> {
        let mut load = command(program);
        load.arg(duration.as_secs().to_string());
        load.arg(n_frames.saturating_sub(FRAMES_AROUND).max(1).to_string());
        Self::start(load.stdin(Stdio::null()))
    }

    pub(super) fn start(load: &mut std::process::Command) -> Result<Self> {
        load.spawn().map(Self).context("cannot start the load")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait().map(drop)).ok();
    }
}

/// The usual way to build: optimized, no frame pointers.
pub(super) fn build(name: &str) -> Result<PathBuf> {
    let program = workspace().join("target").join(name);
    let mut gcc = command("gcc");
    gcc.args(["-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
        .arg(&program)
        .arg(workspace().join("tests/workloads/c/deep.c"));
    output(&mut gcc).map(|_| program)
}

/// A server with an empty store.
pub(super) struct Server {
    _process: Running,
    data: PathBuf,
}

impl Server {
    pub(super) fn start(binary: &Path) -> Result<Self> {
        let data = workspace().join("target/bench-data");
        std::fs::remove_dir_all(&data).ok();
        std::fs::create_dir_all(&data)?;
        let mut server = command(binary);
        server.args(["server", "--listen", SERVER, "--data"]).arg(&data);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running::start(&mut server)?;
        std::thread::sleep(Duration::from_secs(2));
        Ok(Self { _process: process, data })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.data).ok();
    }
}

/// A profiler and all that it starts.
pub(super) struct Profiler {
    process: Child,
    pub(super) group: Group,
}

impl Profiler {
    /// The agent of `binary`, pushing to [`Server`].
    pub(super) fn agent(binary: &Path) -> Result<Self> {
        let url = format!("http://{SERVER}");
        let metrics = format!("PILOTLIGHT_METRICS__LISTEN={METRICS}");
        let program = binary.display().to_string();
        Self::start("agent", &["/usr/bin/env", &metrics, &program, "agent", "--server", &url])
    }

    /// A shell's command.
    pub(super) fn other(peer: &str) -> Result<Self> {
        Self::start("peer", &["/bin/sh", "-c", &format!("exec {peer}")])
    }

    /// It enters the group before it becomes the program, so that nothing is missed.
    fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let group = Group::new(name)?;
        let enter = "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"";
        let mut shell = command("/bin/sh");
        shell.args(["-c", enter]).arg(group.path()).args(arguments);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { process: shell.spawn().context("cannot start a profiler")?, group })
    }

    /// Ends it as Control-C does; fails if it had ended before, or ends with an error.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the profiler ended early, with {status}; does another one run?");
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("pid 0")?;
        kill_process(pid, Signal::INT)?;
        self.wait()
    }

    /// Waits for its own end.
    pub(super) fn wait(&mut self) -> Result<()> {
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the profiler ended with {status}");
        }
        Ok(())
    }
}
