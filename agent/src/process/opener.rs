//! Work on files that may never end, off the thread that samples. One thread works off a bounded queue; one that hangs is left
//! to itself and replaced, and files of the device over which it hangs are refused until it comes back.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::open::{Place, Unopened, open_mapped};

/// What one file may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// Files that wait to be opened.
const MAX_WAITING: usize = 4096;
/// Threads that may hang at a time. The last of them opens only what lies on a block device: nobody without rights can
/// make one hang.
pub(super) const MAX_STUCK: usize = 8;

/// Of the files that may be open, those that are left to others: rings, `/proc`, sockets.
const RESERVED_FILES: u64 = 256;

/// Opens the file of a mapping; `true`: only if device and inode prove that it is the one.
type Open = dyn Fn(&Place, bool) -> Result<File, Unopened> + Send + Sync;
/// Takes what became of it; called a second time when a file that was given up comes after all.
type Done = Arc<dyn Fn(Result<File, Unopened>) + Send + Sync>;
/// Major and minor number.
pub(super) type Device = (u32, u32);

/// Opens files. Its thread ends with it.
pub(super) struct Opener {
    shared: Arc<Shared>,
}

/// A handle that does not keep the opener alive.
#[derive(Clone, Debug)]
pub(super) struct WeakOpener {
    shared: Weak<Shared>,
}

struct Shared {
    open: Box<Open>,
    deadline: Duration,
    queue: Mutex<Queue>,
    wake: Condvar,
    n_opened: AtomicU64,
    n_closed: AtomicU64,
    max_open: u64,
    n_unopened: [AtomicU64; Unopened::ALL.len()],
}

/// What has become of files so far, and how the opener is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenerTally {
    /// Files that were opened.
    pub n_opened: u64,
    /// Requests that came to nothing, by reason.
    pub unopened: Vec<(Unopened, u64)>,
    /// Threads that hang now.
    pub n_stuck: usize,
    /// Jobs that wait now.
    pub n_waiting: usize,
}

enum Job {
    Open { place: Box<Place>, done: Done },
    Close { file: File, device: Device },
    Look(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    n_threads: u64,
    /// The thread that works off the queue.
    active: Option<u64>,
    running: Option<Running>,
    stuck: Vec<Stuck>,
    is_ended: bool,
}

struct Running {
    since: Instant,
    device: Option<Device>,
    done: Option<Done>,
}

struct Stuck {
    thread: u64,
    device: Option<Device>,
}

/// What a thread does next.
enum Next {
    Work(Job, bool),
    Refuse(Done, Unopened),
    Wait,
    End,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Default for Opener {
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let max_open =
            limit.map_or(u64::MAX, |limit| (limit / 2).max(limit.saturating_sub(RESERVED_FILES)));
        Self::new(Box::new(open_mapped), DEADLINE, max_open)
    }
}

impl Opener {
    /// Its thread is started when there is something to do.
    pub(super) fn new(open: Box<Open>, deadline: Duration, max_open: u64) -> Self {
        let shared = Shared {
            open,
            deadline,
            queue: Mutex::default(),
            wake: Condvar::new(),
            n_opened: AtomicU64::new(0),
            n_closed: AtomicU64::new(0),
            max_open,
            n_unopened: [const { AtomicU64::new(0) }; Unopened::ALL.len()],
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens the file of a mapping some time soon; `done` is told.
    pub(super) fn open(&self, place: Place, done: Done) {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= MAX_WAITING {
            drop(queue);
            self.shared.finish(&done, Err(Unopened::Busy));
            return;
        }
        queue.jobs.push_back(Job::Open { place: Box::new(place), done });
        self.shared.serve(queue);
    }

    /// Looks at something that may never answer; not at all when too much hangs or waits.
    pub(super) fn look(&self, look: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.lock();
        if queue.jobs.len() < MAX_WAITING {
            queue.jobs.push_back(Job::Look(Box::new(look)));
        }
        self.shared.serve(queue);
    }

    /// Replaces the thread if it has been at a job for too long. Call it often.
    pub(super) fn watch(&self) {
        self.shared.watch();
    }

    /// A handle for files that outlive the opener.
    pub(super) fn downgrade(&self) -> WeakOpener {
        WeakOpener { shared: Arc::downgrade(&self.shared) }
    }

    /// What has happened so far.
    pub(super) fn tally(&self) -> OpenerTally {
        let count = |(why, n): (Unopened, &AtomicU64)| (why, n.load(Ordering::Relaxed));
        let unopened = Unopened::ALL.into_iter().zip(&self.shared.n_unopened).map(count).collect();
        let n_opened = self.shared.n_opened.load(Ordering::Relaxed);
        let queue = self.shared.lock();
        let (n_stuck, n_waiting) = (queue.stuck.len(), queue.jobs.len());
        OpenerTally { n_opened, unopened, n_stuck, n_waiting }
    }
}

impl WeakOpener {
    /// Closes a file, which can take as long as opening it (`FUSE_FLUSH`).
    pub(super) fn close(&self, file: File, device: Device) {
        if let Some(shared) = self.shared.upgrade() {
            let mut queue = shared.lock();
            queue.jobs.push_back(Job::Close { file, device });
            shared.serve(queue);
        }
    }

    /// [`Opener::watch`].
    pub(super) fn watch(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.watch();
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.shared.lock().is_ended = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a thread works off the queue.
    fn serve(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.active.is_none() && queue.stuck.len() < MAX_STUCK && !queue.jobs.is_empty() {
            queue.n_threads += 1;
            let thread = queue.n_threads;
            let shared = Arc::clone(self);
            let builder = std::thread::Builder::new().name("opener".to_owned());
            match builder.spawn(move || shared.work(thread)) {
                Ok(_) => queue.active = Some(thread),
                Err(error) => tracing::warn!(%error, "cannot start a thread that opens files"),
            }
        }
        if queue.active.is_none() && queue.stuck.len() >= MAX_STUCK {
            let refused = queue.refuse_all();
            drop(queue);
            for done in refused {
                self.finish(&done, Err(Unopened::Unavailable));
            }
            return;
        }
        drop(queue);
        self.wake.notify_one();
    }

    fn watch(self: &Arc<Self>) {
        let mut queue = self.lock();
        let is_stuck = |running: &Running| running.since.elapsed() > self.deadline;
        let hung =
            if queue.running.as_ref().is_some_and(is_stuck) { queue.give_up() } else { None };
        self.serve(queue);
        if let Some(done) = hung {
            self.finish(&done, Err(Unopened::Hung));
        }
    }

    fn work(self: Arc<Self>, thread: u64) {
        let mut queue = self.lock();
        loop {
            match queue.next() {
                Next::Work(job, only_proven) => {
                    drop(queue);
                    self.run(job, only_proven);
                    queue = self.lock();
                    if !queue.is_still_needed(thread) {
                        drop(queue);
                        // What was refused while this one hung can go on.
                        self.wake.notify_one();
                        return;
                    }
                }
                Next::Refuse(done, why) => {
                    drop(queue);
                    self.finish(&done, Err(why));
                    queue = self.lock();
                }
                Next::Wait => {
                    queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                Next::End => return,
            }
        }
    }

    fn run(&self, job: Job, only_proven: bool) {
        match job {
            Job::Open { place, done } => {
                let n_closed = self.n_closed.load(Ordering::Relaxed);
                let n_open = self.n_opened.load(Ordering::Relaxed).saturating_sub(n_closed);
                let opened = if n_open >= self.max_open {
                    Err(Unopened::TooMany)
                } else {
                    (self.open)(&place, only_proven)
                };
                if let Err(why) = opened {
                    let (pid, path) = (place.pid, &place.file.path);
                    tracing::debug!(pid, path, why = why.name(), "cannot open an executable");
                }
                self.finish(&done, opened);
            }
            Job::Close { file, .. } => {
                drop(file);
                self.n_closed.fetch_add(1, Ordering::Relaxed);
            }
            Job::Look(look) => look(),
        }
    }

    fn finish(&self, done: &Done, opened: Result<File, Unopened>) {
        let counter = match &opened {
            Ok(_) => &self.n_opened,
            Err(why) => &self.n_unopened[*why as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        done(opened);
    }
}

impl Queue {
    /// The next job that does not lead to a device over which a thread hangs.
    fn next(&mut self) -> Next {
        if self.is_ended {
            return Next::End;
        }
        let is_last = self.stuck.len() + 1 >= MAX_STUCK;
        if is_last {
            self.jobs.retain(|job| !matches!(job, Job::Look(_)));
        }
        let refusal = |stuck: &[Stuck], device: Device| {
            if stuck.iter().any(|stuck| stuck.device == Some(device)) {
                return Some(Unopened::Hung);
            }
            // Major number 0: a file system without a block device.
            (is_last && device.0 == 0).then_some(Unopened::Unavailable)
        };
        let can_go_on = |job: &Job| match job {
            Job::Close { device, .. } => refusal(&self.stuck, *device).is_none(),
            Job::Open { .. } | Job::Look(_) => true,
        };
        let Some(index) = self.jobs.iter().position(can_go_on) else { return Next::Wait };
        let job = self.jobs.remove(index).expect("its position was found just now");
        let (device, done) = match &job {
            Job::Open { place, done } => {
                let device = place.device();
                if let Some(why) = refusal(&self.stuck, device) {
                    return Next::Refuse(Arc::clone(done), why);
                }
                (Some(device), Some(Arc::clone(done)))
            }
            Job::Close { device, .. } => (Some(*device), None),
            Job::Look(_) => (None, None),
        };
        self.running = Some(Running { since: Instant::now(), device, done });
        Next::Work(job, is_last)
    }

    /// Leaves the thread that works to itself; gives whom to tell.
    fn give_up(&mut self) -> Option<Done> {
        let Running { device, done, since } = self.running.take()?;
        let thread = self.active.take()?;
        let n_stuck = self.stuck.len() + 1;
        let seconds = since.elapsed().as_secs();
        tracing::warn!(
            ?device,
            n_stuck,
            seconds,
            "a file system does not answer: its files stay without names"
        );
        self.stuck.push(Stuck { thread, device });
        done
    }

    /// Nothing can be opened: takes all requests out; files to be closed stay.
    fn refuse_all(&mut self) -> Vec<Done> {
        let (refused, kept) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition::<VecDeque<Job>, _>(|job| !matches!(job, Job::Close { .. }));
        self.jobs = kept;
        let done = |job| if let Job::Open { done, .. } = job { Some(done) } else { None };
        refused.into_iter().filter_map(done).collect()
    }

    /// After a job: whether the thread that did it goes on, or another has taken its place.
    fn is_still_needed(&mut self, thread: u64) -> bool {
        if self.active == Some(thread) {
            self.running = None;
            return true;
        }
        self.stuck.retain(|stuck| stuck.thread != thread);
        if self.active.is_none() {
            self.active = Some(thread);
            return true;
        }
        false
    }
}
