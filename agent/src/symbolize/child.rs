//! The worker as a child process: started, spoken to under a deadline, killed and reaped.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::channel;
use super::metrics::Restart;
use super::wire::{Answer, Hello, MAX_PACKET, Request};

/// How long a killed worker may take to go before it is left to itself.
const REAP_TIME: Duration = Duration::from_millis(500);

/// A deadline is not moved by less.
const LEAST_EXTENSION: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The process is gone.
    #[error("the worker died: {0}")]
    Died(ExitStatus),
    /// It gave no sign of life until the deadline, and was killed.
    #[error("the worker gave no sign of life for {0:?} and was killed")]
    Hung(Duration),
    /// It said what is not in the protocol, and was killed.
    #[error("the worker answered {0} and was killed")]
    Protocol(String),
    /// It could not be started.
    #[error("cannot start the worker {path}: {source}")]
    Spawn { path: PathBuf, source: std::io::Error },
    /// It cannot confine itself.
    #[error("the worker cannot give up its rights: {0}")]
    Refused(String),
}

impl Failure {
    /// The metric's reason; `None` when no worker was lost.
    pub(super) fn restart(&self) -> Option<Restart> {
        match self {
            Self::Died(status) => {
                Some(match status.signal().map(rustix::process::Signal::from_named_raw) {
                    None => Restart::Exited,
                    Some(Some(rustix::process::Signal::BUS)) => Restart::BusError,
                    Some(Some(rustix::process::Signal::ABORT)) => Restart::Aborted,
                    Some(Some(rustix::process::Signal::KILL)) => Restart::Killed,
                    Some(_) => Restart::Signal,
                })
            }
            Self::Hung(_) => Some(Restart::Hung),
            Self::Protocol(_) => Some(Restart::Protocol),
            Self::Spawn { .. } | Self::Refused(_) => None,
        }
    }
}

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    socket: OwnedFd,
    child: Child,
    deadline: Duration,
    buffer: Vec<u8>,
    /// The thread that started the child lives until this is dropped: the kernel kills the child when that thread ends.
    _starter: mpsc::Sender<()>,
    is_dead: bool,
}

/// What a new worker says about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// It runs as the unprivileged user.
    pub unprivileged: bool,
    /// Its system calls are filtered.
    pub filtered: bool,
}

impl WorkerProcess {
    /// Starts `path worker` and waits until it has given up its rights.
    pub(super) fn start(
        path: &Path,
        hello: Hello,
        deadline: Duration,
    ) -> Result<(Self, Ready), Failure> {
        let failed = |source| Failure::Spawn { path: path.to_owned(), source };
        let (socket, theirs) = channel::pair().map_err(|errno| failed(errno.into()))?;
        let (child, starter) = spawn(path, theirs).map_err(failed)?;
        let buffer = vec![0; MAX_PACKET];
        let mut worker =
            Self { socket, child, deadline, buffer, _starter: starter, is_dead: false };
        worker.send(&Request::Hello(hello), None)?;
        match worker.receive(deadline)? {
            Answer::Ready { unprivileged, filtered } => {
                Ok((worker, Ready { unprivileged, filtered }))
            }
            Answer::Refused { why } => Err(Failure::Refused(why)),
            other => Err(worker.broke_protocol(format!("{other:?} to the first request"))),
        }
    }

    /// The process id, for tests and logs.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From now on, answers must come this soon.
    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// How it ended, if it died while nothing was asked of it.
    pub(super) fn death(&mut self) -> Option<Failure> {
        let status = self.child.try_wait().ok().flatten()?;
        self.is_dead = true;
        Some(Failure::Died(status))
    }

    /// Sends a request. The worker reads one at a time and the socket holds one: a full socket is a broken worker.
    pub(super) fn send(&mut self, request: &Request, file: Option<&File>) -> Result<(), Failure> {
        let file = file.map(AsFd::as_fd);
        match channel::send(self.socket.as_fd(), &request.encode(), file, SendFlags::DONTWAIT) {
            Ok(()) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.bury()),
            Err(err) => Err(self.broke_protocol(format!("no request ({err})"))),
        }
    }

    /// The next answer, if one comes within `budget` and within the deadline.
    pub(super) fn receive(&mut self, budget: Duration) -> Result<Answer, Failure> {
        self.await_answer(budget)?;
        let received = match channel::receive(self.socket.as_fd(), &mut self.buffer) {
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Err(self.bury()),
            Err(err) => return Err(self.broke_protocol(format!("nothing ({err})"))),
        };
        if received.len == 0 {
            return Err(self.bury());
        }
        let packet = self.buffer.get(..received.len).unwrap_or_default();
        Answer::decode(packet).map_err(|err| self.broke_protocol(err.to_string()))
    }

    /// Waits for the deadline, longer by what the worker has to wait for a CPU: on an overloaded machine it is slow, not hung.
    fn await_answer(&mut self, budget: Duration) -> Result<(), Failure> {
        let started = Instant::now();
        let queued_before = self.queued();
        let mut patience = self.deadline.min(budget);
        loop {
            match channel::wait_readable(self.socket.as_fd(), started + patience) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(err) => return Err(self.broke_protocol(format!("nothing ({err})"))),
            }
            let longer = (self.deadline + self.queued().saturating_sub(queued_before)).min(budget);
            if longer < patience + LEAST_EXTENSION {
                self.kill();
                return Err(Failure::Hung(patience));
            }
            patience = longer;
        }
    }

    /// How long the worker has been ready to run without a CPU, since it began.
    fn queued(&self) -> Duration {
        let schedstat =
            std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap_or_default();
        queued(&schedstat)
    }

    /// Kills a worker that said `what`.
    pub(super) fn broke_protocol(&mut self, what: String) -> Failure {
        self.kill();
        Failure::Protocol(what)
    }

    /// The process if it did not go although it was killed: stuck in the kernel, over a file system that hangs.
    pub(super) fn into_stuck(mut self) -> Option<StuckWorker> {
        self.kill();
        if self.is_reaped() { None } else { Some(StuckWorker(self)) }
    }

    /// Waits a little for the killed process to go.
    fn is_reaped(&mut self) -> bool {
        let until = Instant::now() + REAP_TIME;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    fn kill(&mut self) {
        if !self.is_dead {
            self.is_dead = true;
            // It fails only for a child that was reaped, which `is_dead` rules out.
            drop(self.child.kill());
        }
    }

    /// The other end is closed: the process has ended or is about to.
    fn bury(&mut self) -> Failure {
        let until = Instant::now() + REAP_TIME;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Ok(Some(status)) => {
                    self.is_dead = true;
                    return Failure::Died(status);
                }
                Err(err) => return self.broke_protocol(format!("nothing ({err})")),
            }
        }
        self.broke_protocol("by closing its socket".to_owned())
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
        self.is_reaped();
    }
}

/// A worker that was killed and is still there.
#[derive(Debug)]
pub(super) struct StuckWorker(WorkerProcess);

impl StuckWorker {
    /// Whether it has gone by now.
    pub(super) fn is_gone(&mut self) -> bool {
        !matches!(self.0.child.try_wait(), Ok(None))
    }
}

/// Starts the child on a thread of its own, which then waits for the returned sender to be dropped. `PR_SET_PDEATHSIG`
/// goes by the thread that started the child, and the caller's may be one of a pool that comes and goes.
#[expect(clippy::disallowed_methods, reason = "the worker is the agent's own program")]
fn spawn(path: &Path, socket: OwnedFd) -> std::io::Result<(Child, mpsc::Sender<()>)> {
    let (started, child) = mpsc::sync_channel(1);
    let (starter, ended) = mpsc::channel::<()>();
    let mut command = Command::new(path);
    command.arg0("pilotlight").arg("worker").env_clear();
    // One thread needs one arena; free memory above 256 KiB goes back to the kernel.
    command
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_TRIM_THRESHOLD_", "262144")
        .env("MALLOC_MMAP_THRESHOLD_", "131072");
    command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
    std::thread::Builder::new().name("worker-starter".into()).stack_size(128 * 1024).spawn(
        move || {
            let spawned = command.spawn();
            // Our copy of the child's end goes with the command: its death must close the socket.
            drop(command);
            if started.send(spawned).is_ok() {
                ended.recv().ok();
            }
        },
    )?;
    let child = child
        .recv()
        .unwrap_or_else(|_| Err(std::io::Error::other("the starting thread panicked")))?;
    Ok((child, starter))
}

/// The second number of `/proc/PID/schedstat`: nanoseconds on the run queue. 0 where the kernel does not count them.
fn queued(schedstat: &str) -> Duration {
    Duration::from_nanos(
        schedstat.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::queued;
    use std::time::Duration;

    #[test]
    fn time_without_a_cpu_is_read() {
        assert_eq!(queued("1518272 3000000 7\n"), Duration::from_millis(3));
        assert_eq!(queued(""), Duration::ZERO);
        assert!(std::fs::exists("/proc/self/schedstat").unwrap());
    }
}
