//! A command in; its process, which waits before its first instruction until recording has begun, out.
//!
//! The process is a pilotlight that stops itself, and becomes the command when it is continued: so it has its number before
//! it has done anything, and no sample of it is missed.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process,
    set_parent_process_death_signal, waitid,
};

use crate::arguments;

use super::find;

/// A command that has not begun. It is killed if it never may.
#[derive(Debug)]
pub(crate) struct Gated {
    child: Option<Child>,
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Gated {
    /// Starts `pilotlight`, an executable of this program, as the gate before `command`. To be called by a thread that stays: the
    /// gate dies with it.
    pub(crate) fn start(pilotlight: &Path, command: &[OsString]) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "our own child")]
        let mut gate = Command::new(pilotlight);
        gate.arg0("pilotlight")
            .args(["gate", "--child-of", &std::process::id().to_string(), "--"])
            .args(command);
        let gated = Self { child: Some(gate.spawn().context("cannot start the command")?) };
        // NOWAIT: how it ends is for whoever waits for the command.
        let changes = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(gated.pid()), changes)
            .context("cannot wait for the command to be ready")?;
        if !status.is_some_and(|status| status.stopped()) {
            bail!("the command has ended before it could begin");
        }
        Ok(gated)
    }

    /// The number that the command will have.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it is taken when self is"))
    }

    /// Lets the command begin.
    pub(crate) fn open(mut self) -> Result<Running> {
        kill_process(self.pid(), Signal::CONT).context("cannot start the command")?;
        let child = self.child.take().expect("it is taken here only");
        Ok(Running { child })
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            tracing::debug!(%error, "the command was gone already");
        }
    }
}

impl Running {
    /// Waits for its end.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// A command's exit code, or 128 and the number of the signal that ended it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The gate itself: stops, and becomes the command when it is continued. Gives why it could not, and the exit code for that.
pub(crate) fn pass(arguments: &arguments::Gate) -> (anyhow::Error, u8) {
    match wait_for_recorder(arguments.child_of)
        .and_then(|()| Ok(find::find(&arguments.command[0], env::var_os("PATH"))?))
    {
        Ok(path) => exec(&path, &arguments.command),
        Err(error) => {
            let code = error.downcast_ref::<find::Error>().map_or(1, find::Error::exit_code);
            (error, code)
        }
    }
}

fn wait_for_recorder(recorder: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the recorder")?;
    if getppid().map(Pid::as_raw_pid) != Some(recorder) {
        bail!("the recorder has ended");
    }
    kill_process(getpid(), Signal::STOP).context("cannot wait for the recorder")?;
    // The command may outlive the recorder.
    set_parent_process_death_signal(None).context("cannot let the command go")
}

fn exec(path: &PathBuf, command: &[OsString]) -> (anyhow::Error, u8) {
    #[expect(clippy::disallowed_methods, reason = "`record -- CMD`")]
    let error = Command::new(path).arg0(&command[0]).args(&command[1..]).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    (anyhow::Error::from(error).context(format!("cannot run {}", path.display())), code)
}
