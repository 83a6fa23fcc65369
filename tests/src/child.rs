//! A program started by a test → what it prints, how it ends. It never outlives the test.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// The one place where tests start programs.
#[expect(clippy::disallowed_methods, reason = "end-to-end tests run programs")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs to the end and gives standard output; an exit code other than 0 is an error with all that was printed.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        bail!("{command:?}: {}\n{stdout}{}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    Ok(stdout)
}

/// A running program, killed when this is dropped.
pub struct Child {
    process: Process,
    printed: PathBuf,
    _folder: tempfile::TempDir,
}

impl Child {
    /// Starts it with standard output and error in one file.
    pub fn start(command: &mut Command) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let printed = folder.path().join("printed");
        let file = File::create(&printed)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { process, printed, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// All that it has printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.printed).unwrap_or_default()).into_owned()
    }

    /// Waits for a line that contains `text`, and gives it.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let printed = self.printed();
            if let Some(line) = printed.lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("ended ({status}) without printing `{text}`, but:\n{}", self.printed());
            }
            if Instant::now() > end {
                bail!("printed no `{text}` in {limit:?}, but:\n{printed}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("still runs after {limit:?}; it printed:\n{}", self.printed())
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(self.pid(), signal)
    }

    /// SIGTERM, and the wait for what follows.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.is_running() {
            // A parent that is killed cannot end its own children; ask first.
            if self.stop(Duration::from_secs(5)).is_err() {
                self.process.kill().and_then(|()| self.process.wait()).ok();
            }
        }
    }
}

/// Sends a signal to a process that this test started, or a child of it.
pub fn signal_to(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
    rustix::process::kill_process(pid, signal).context("cannot send a signal")
}

/// Children of a process, by /proc.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// The name of a process as `ps` shows it.
pub fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// CPU time of a process's first thread so far.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let spent = text.split_whitespace().next().context("an empty schedstat")?;
    spent.parse().context("no number in schedstat")
}

/// Where a test may put files that others must read: under /tmp, open to all.
pub fn public_folder() -> Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Copies a program, executable, under another name.
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
