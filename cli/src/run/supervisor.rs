//! How to start the server in; a server that is there until it is told to stop, out.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// Waits between two starts, the last one again and again.
const BACKOFF: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// A child that has lived so long was well: the next wait is the first again.
const GOOD_LIFE: Duration = Duration::from_mins(1);
/// How long a child may take to put its things in order.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks whether the first child is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The child or its thread could not be started.
    #[error("cannot start the server: {0}")]
    Start(#[from] io::Error),
    /// The child has said why.
    #[error("the server did not start ({})", describe(*.0))]
    Ended(ExitStatus),
    /// It lives, but does not answer.
    #[error("the server gave no answer within {0:?}")]
    Silent(Duration),
}

/// Keeps one child alive. Dropping it stops the child.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// Closed to end the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    current: Current,
}

/// The child that runs now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Pid>>>);

impl Current {
    fn set(&self, pid: Option<Pid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    /// Ends it without asking.
    pub(crate) fn kill(&self) {
        if let Some(pid) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended by itself, which is what is wanted.
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

impl Supervisor {
    /// Starts the first child and waits until `is_ready`. If that child ends, so does this; later ones are started again.
    pub(crate) fn start(
        start: impl Fn() -> io::Result<Child> + Send + 'static,
        is_ready: impl Fn() -> bool,
        patience: Duration,
    ) -> Result<Self, Error> {
        let (reader, stop) = io::pipe()?;
        let (failed, failure) = mpsc::channel();
        let current = Current::default();
        let is_accepted = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            start,
            stop: reader,
            current: current.clone(),
            is_accepted: Arc::clone(&is_accepted),
        };
        // The kernel signals the child when the thread that started it ends: this one lives longer than any child.
        let thread = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || watch.run(&failed))?;
        let supervisor = Self { stop: Some(stop), thread: Some(thread), current };
        let begun = Instant::now();
        loop {
            match failure.recv_timeout(READY_POLL) {
                Ok(error) => return Err(error),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if is_ready() => {
                    break;
                }
                Err(_) if begun.elapsed() > patience => return Err(Error::Silent(patience)),
                Err(_) => {}
            }
        }
        is_accepted.store(true, Ordering::SeqCst);
        Ok(supervisor)
    }

    /// The child that runs now, for those who cannot wait.
    pub(crate) fn current(&self) -> Current {
        self.current.clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches the server has panicked");
        }
    }
}

/// What the thread works with.
struct Watch<S> {
    start: S,
    stop: PipeReader,
    current: Current,
    /// The first child was seen to be ready.
    is_accepted: Arc<AtomicBool>,
}

impl<S: Fn() -> io::Result<Child>> Watch<S> {
    fn run(&self, failed: &Sender<Error>) {
        let mut n_failures = 0;
        loop {
            let begun = Instant::now();
            let error = match self.run_child() {
                Ok(None) => return,
                Ok(Some(status)) => Error::Ended(status),
                Err(error) => Error::Start(error),
            };
            if !self.is_accepted.load(Ordering::SeqCst) {
                // Nobody listens any more if the other side has lost its patience.
                failed.send(error).ok();
                return;
            }
            n_failures = if begun.elapsed() > GOOD_LIFE { 0 } else { n_failures };
            let wait = BACKOFF[n_failures.min(BACKOFF.len() - 1)];
            n_failures += 1;
            let why = match error {
                Error::Ended(status) => format!("it ended with {}", describe(status)),
                error => error.to_string(),
            };
            tracing::warn!("the server is gone ({why}): starting it again in {wait:?}");
            if wait_for([self.stop.as_fd()], Some(wait)) != Ok([false]) {
                return;
            }
        }
    }

    /// Runs one child; gives how it ended, or `None` if it was told to.
    fn run_child(&self) -> io::Result<Option<ExitStatus>> {
        let mut child = (self.start)()?;
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        self.current.set(Some(pid));
        let [_, is_stopped] = wait_for([handle.as_fd(), self.stop.as_fd()], None)?;
        if is_stopped {
            // It may end by itself at this very moment.
            pidfd_send_signal(&handle, Signal::TERM).ok();
            if wait_for([handle.as_fd()], Some(PATIENCE))? == [false] {
                tracing::warn!("the server did not stop within {PATIENCE:?}: it was killed");
                self.current.kill();
            }
        }
        // Its number is somebody else's once it has been waited for.
        wait_for([handle.as_fd()], None)?;
        self.current.set(None);
        let status = child.wait()?;
        Ok(if is_stopped { None } else { Some(status) })
    }
}

/// Waits until one of `files` is readable, closed or, for a process, ended; which ones are.
fn wait_for<const N: usize>(
    files: [std::os::fd::BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> Result<[bool; N], Errno> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut polled = files.map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| polled.map(|polled| !polled.revents().is_empty())),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(20);

    /// A child that runs `script`, with a directory to leave marks in as `$0`.
    fn shell(
        script: &'static str,
        directory: &Path,
    ) -> impl Fn() -> io::Result<Child> + Send + 'static {
        let directory = directory.to_owned();
        move || {
            #[expect(clippy::disallowed_methods, reason = "stands for the server")]
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(script).arg(&directory).spawn()
        }
    }

    fn has(directory: &Path, name: &str) -> bool {
        directory.join(name).exists()
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < PATIENT, "it did not happen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_first_child_that_ends_is_the_error() {
        let root = tempfile::tempdir().unwrap();
        let message = |script| {
            Supervisor::start(shell(script, root.path()), || false, PATIENT)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(message("exit 3"), "the server did not start (exit code 3)");
        assert_eq!(message("kill -9 $$"), "the server did not start (signal 9)");
        let start = || Err(io::Error::from(io::ErrorKind::NotFound));
        let error = Supervisor::start(start, || false, PATIENT).unwrap_err();
        assert_eq!(error.to_string(), "cannot start the server: entity not found");
    }

    #[test]
    fn a_silent_child_is_stopped() {
        let root = tempfile::tempdir().unwrap();
        let script =
            "trap 'touch $0/stopped; exit' TERM; touch $0/on; while :; do sleep 0.01; done";
        let patience = Duration::from_millis(500);
        let error = Supervisor::start(shell(script, root.path()), || false, patience).unwrap_err();
        assert_eq!(error.to_string(), "the server gave no answer within 500ms");
        assert!(has(root.path(), "stopped"));
    }

    #[test]
    fn later_children_are_started_again_and_stopped_at_the_end() {
        let root = tempfile::tempdir().unwrap();
        let script = "trap 'touch $0/stopped; exit' TERM
            if [ -e $0/first ]; then touch $0/second; else touch $0/first; fi; while :; do sleep 0.01; done";
        let path = root.path().to_owned();
        let supervisor =
            Supervisor::start(shell(script, root.path()), || has(&path, "first"), PATIENT).unwrap();
        supervisor.current().kill();
        wait_until(|| has(root.path(), "second"));
        assert!(!has(root.path(), "stopped"));
        drop(supervisor);
        assert!(has(root.path(), "stopped"));
    }

    #[test]
    fn it_can_be_stopped_while_it_waits() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_owned();
        let script = "touch $0/first; while [ ! -e $0/go ]; do sleep 0.01; done; exit 1";
        let supervisor =
            Supervisor::start(shell(script, root.path()), || has(&path, "first"), PATIENT).unwrap();
        std::fs::write(root.path().join("go"), "").unwrap();
        thread::sleep(Duration::from_millis(600));
        let begun = Instant::now();
        drop(supervisor);
        assert!(begun.elapsed() < PATIENT / 2);
    }
}
