//! Requests in; answers of the worker out. Starts it when it is first needed, replaces it when it dies or hangs.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::child::{Failure, StuckWorker, WorkerProcess};
use super::metrics::{Metrics, Miss, Restart};
use crate::unwind::MAX_ENCODED;

use super::wire::{
    Answer, Description, Hello, KernelText, Links, Lookup, NoDescription, Request, SplitPath,
};

/// Killed workers that may hang in the kernel at a time; no more are started until one of them goes.
const MAX_STUCK: usize = 4;
/// How long after a failed start the next one is tried.
const START_PAUSE: Duration = Duration::from_secs(30);
/// A start gets longer than a request: a busy machine reads the program from its disk.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// A request is not begun with less time than this.
const LEAST_TIME: Duration = Duration::from_millis(20);

/// What the worker said to one request.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// To a file.
    pub description: Option<Result<Description, NoDescription>>,
    /// To the kernel's symbols.
    pub kernel: Option<KernelText>,
    /// What the file links to, and the roles of the files that the worker has for it.
    pub links: Option<(Links, u8)>,
    /// To addresses, in the order of the request; fewer when the worker failed.
    pub lookups: Vec<Lookup>,
    /// To a file whose unwind table was asked for.
    pub table: Vec<u8>,
    /// Why there is none.
    pub no_table: Option<u8>,
    /// Files that would say more.
    pub wanted_split: Vec<SplitPath>,
    /// To a file that may belong to another: what it links to, if it does.
    pub companion_links: Option<Links>,
}

/// The worker, running or not.
#[derive(Debug)]
pub(super) struct Link {
    path: PathBuf,
    hello: Hello,
    deadline: Duration,
    metrics: Metrics,
    worker: Option<WorkerProcess>,
    stuck: Vec<StuckWorker>,
    no_start_before: Option<Instant>,
    generation: u64,
}

impl Link {
    /// Nothing is started yet.
    pub(super) fn new(path: PathBuf, hello: Hello, deadline: Duration, metrics: Metrics) -> Self {
        let (worker, stuck, no_start_before) = (None, Vec::new(), None);
        Self { path, hello, deadline, metrics, worker, stuck, no_start_before, generation: 0 }
    }

    /// Changes with each worker: what an earlier one was told is forgotten.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The process id of the running worker.
    pub(super) fn pid(&self) -> Option<u32> {
        self.worker.as_ref().map(WorkerProcess::pid)
    }

    /// Makes sure that a worker runs.
    pub(super) fn start(&mut self) -> Result<(), Miss> {
        if let Some(failure) = self.worker.as_mut().and_then(WorkerProcess::death) {
            self.lose(&failure, "nothing");
        }
        if self.worker.is_some() {
            return Ok(());
        }
        self.stuck.retain_mut(|stuck| !stuck.is_gone());
        self.metrics.stuck_workers.set(self.stuck.len() as i64);
        let now = Instant::now();
        if self.stuck.len() >= MAX_STUCK || self.no_start_before.is_some_and(|then| now < then) {
            return Err(Miss::WorkerUnavailable);
        }
        let deadline = self.deadline.max(START_DEADLINE);
        match WorkerProcess::start(&self.path, self.hello, deadline) {
            Ok((mut worker, ready)) => {
                worker.set_deadline(self.deadline);
                debug!(
                    pid = worker.pid(),
                    ready.unprivileged, ready.filtered, "symbol worker started"
                );
                if self.generation == 0 && !ready.unprivileged {
                    warn!(
                        "the symbol worker keeps uid 0, without capabilities: give the agent CAP_SETUID and CAP_SETGID"
                    );
                }
                self.worker = Some(worker);
                self.generation += 1;
                Ok(())
            }
            Err(failure) => {
                warn!(error = %failure, "no symbols for now: the symbol worker does not start");
                if let Some(reason) = failure.restart() {
                    self.metrics.count_restart(reason);
                }
                self.no_start_before = Some(now + START_PAUSE);
                Err(Miss::WorkerUnavailable)
            }
        }
    }

    /// Asks, and gathers the answers in `reply` until the worker is done with it or fails. `about` is for the log.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        file: Option<&File>,
        until: Instant,
        about: &str,
        reply: &mut Reply,
    ) -> Result<(), Miss> {
        if until.saturating_duration_since(Instant::now()) < LEAST_TIME {
            return Err(Miss::OutOfTime);
        }
        self.start()?;
        let Some(worker) = &mut self.worker else { return Err(Miss::WorkerUnavailable) };
        match converse(worker, request, file, until, reply) {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.lose(&failure, about);
                Err(if failure.restart() == Some(Restart::Hung) {
                    Miss::WorkerHung
                } else {
                    Miss::WorkerDied
                })
            }
        }
    }

    fn lose(&mut self, failure: &Failure, about: &str) {
        warn!(file = about, error = %failure, "lost the symbol worker; it will be started again");
        if let Some(reason) = failure.restart() {
            self.metrics.count_restart(reason);
        }
        if let Some(stuck) = self.worker.take().and_then(WorkerProcess::into_stuck) {
            self.stuck.push(stuck);
            self.metrics.stuck_workers.set(self.stuck.len() as i64);
        }
    }
}

fn converse(
    worker: &mut WorkerProcess,
    request: &Request,
    file: Option<&File>,
    until: Instant,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let expected = match request {
        Request::File { offsets, .. } => offsets.len(),
        Request::KernelAddresses(addresses)
        | Request::PerfMap(addresses)
        | Request::JitDump(addresses) => addresses.len(),
        Request::Hello(_) | Request::Kernel | Request::Table | Request::Attach { .. } => 0,
    };
    worker.send(request, file)?;
    loop {
        match worker.receive(until.saturating_duration_since(Instant::now()))? {
            Answer::Description(description) => reply.description = Some(description),
            Answer::KernelLoaded(text) => reply.kernel = Some(text),
            Answer::Symbols(mut lookups) => reply.lookups.append(&mut lookups),
            Answer::NoTable(why) => reply.no_table = Some(why),
            Answer::TablePart(mut bytes) if reply.table.len() < MAX_ENCODED => {
                reply.table.append(&mut bytes);
            }
            Answer::TablePart(_) => {
                return Err(worker.broke_protocol("a table without end".to_owned()));
            }
            Answer::Links { links, attached } => reply.links = Some((links, attached)),
            Answer::SplitWanted(wanted) => reply.wanted_split = wanted,
            Answer::Attached(links) => reply.companion_links = links,
            Answer::Done if reply.lookups.len() == expected => return Ok(()),
            Answer::Done | Answer::Ready { .. } | Answer::Refused { .. } => {
                return Err(worker.broke_protocol("out of turn".to_owned()));
            }
        }
        if reply.lookups.len() > expected {
            return Err(worker.broke_protocol("more than it was asked".to_owned()));
        }
    }
}
