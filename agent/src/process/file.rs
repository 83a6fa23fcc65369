//! The file of an executable: not asked for, pending, open, or not to be had and why.

use std::fs::File;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::open::{Place, Unopened, cached_status};
use super::opener::{Device, Opener, WeakOpener};

/// A file that could not be opened is asked for again in the same process after this.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often a waiting thread looks after the opener.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// An open file. Dropping it never waits for its file system.
#[derive(Debug)]
pub struct OpenFile {
    /// Some until it is dropped.
    file: Option<File>,
    stamp: Option<Stamp>,
    closer: Option<(WeakOpener, Device)>,
}

/// What changes when a file is overwritten in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    mtime: (i64, u32),
}

/// The file of an executable, opened on another thread.
#[derive(Debug, Default)]
pub struct ExecutableFile {
    open: OnceLock<Arc<OpenFile>>,
    status: Mutex<Status>,
    changed: Condvar,
}

/// How it stands with a file.
#[derive(Clone, Debug)]
pub enum Opening {
    /// Nobody has needed it so far.
    NotAsked,
    /// It will be open, or failed, within a second or so.
    Pending,
    /// Here it is.
    Opened(Arc<OpenFile>),
    /// It could not be opened. Another process that maps it may change that.
    Failed(Unopened),
}

#[derive(Debug, Default)]
enum Status {
    #[default]
    NotAsked,
    Pending(WeakOpener),
    Failed {
        why: Unopened,
        pid: u32,
        at: Instant,
    },
}

impl Stamp {
    /// As the kernel knows it without asking the file system: whoever has mapped the file just now has made it ask.
    fn of(file: &File) -> Result<Self, Errno> {
        let status = cached_status(file)?;
        let mtime = (status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec);
        Ok(Self { len: status.stx_size, mtime })
    }
}

impl From<File> for OpenFile {
    /// A file of our own, whose file system is known to answer.
    fn from(file: File) -> Self {
        Self { file: Some(file), stamp: None, closer: None }
    }
}

impl OpenFile {
    fn new(file: File, closer: WeakOpener, device: Device) -> Self {
        let stamp = Stamp::of(&file).ok();
        Self { file: Some(file), stamp, closer: Some((closer, device)) }
    }

    /// Whether it was written to since it was opened.
    pub(super) fn is_overwritten(&self) -> bool {
        self.stamp.is_some_and(|stamp| Stamp::of(self).is_ok_and(|now| now != stamp))
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let (Some(file), Some((closer, device))) = (self.file.take(), &self.closer) {
            closer.close(file, *device);
        }
    }
}

impl From<File> for ExecutableFile {
    fn from(file: File) -> Self {
        let this = Self::default();
        this.set(file);
        this
    }
}

impl ExecutableFile {
    /// The open file, if it is open by now.
    pub fn get(&self) -> Option<&Arc<OpenFile>> {
        self.open.get()
    }

    /// How it stands with it now.
    pub fn opening(&self) -> Opening {
        if let Some(file) = self.open.get() {
            return Opening::Opened(Arc::clone(file));
        }
        match &*self.status() {
            Status::NotAsked => Opening::NotAsked,
            Status::Pending(_) => Opening::Pending,
            Status::Failed { why, .. } => Opening::Failed(*why),
        }
    }

    /// Waits while it is pending, but not longer than `until`.
    pub fn wait(&self, until: Instant) -> Opening {
        let mut status = self.status();
        while let Status::Pending(opener) = &*status {
            let left = until.saturating_duration_since(Instant::now());
            if self.open.get().is_some() || left.is_zero() {
                break;
            }
            let opener = opener.clone();
            let waited = self.changed.wait_timeout(status, left.min(WATCH_INTERVAL));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            opener.watch();
            status = self.status();
        }
        drop(status);
        self.opening()
    }

    /// Puts a file in its place that needs no opener.
    pub(super) fn set(&self, file: File) {
        self.open.get_or_init(|| Arc::new(OpenFile::from(file)));
    }

    /// Asks for the file, unless it is open or pending or was asked for in vain just now.
    pub(super) fn ask(self: &Arc<Self>, opener: &Opener, place: Place) {
        if self.open.get().is_some() {
            return;
        }
        let mut status = self.status();
        let may_ask = match &*status {
            Status::NotAsked => true,
            Status::Pending(_) => false,
            Status::Failed { pid, at, .. } => *pid != place.pid || at.elapsed() > RETRY_PAUSE,
        };
        if !may_ask {
            return;
        }
        *status = Status::Pending(opener.downgrade());
        drop(status);
        // Weak, so that no file is dropped, and so closed, by whoever drops a request while it holds the queue.
        let (this, closer) = (Arc::downgrade(self), opener.downgrade());
        let (pid, device) = (place.pid, place.device());
        let done = move |opened: Result<File, Unopened>| {
            let opened = opened.map(|file| OpenFile::new(file, closer.clone(), device));
            if let Some(this) = this.upgrade() {
                this.take(opened, pid);
            }
        };
        opener.open(place, Arc::new(done));
    }

    fn take(&self, opened: Result<OpenFile, Unopened>, pid: u32) {
        let mut status = self.status();
        let unused = match opened {
            Ok(file) => self.open.set(Arc::new(file)).err(),
            Err(why) => {
                *status = Status::Failed { why, pid, at: Instant::now() };
                None
            }
        };
        drop(status);
        drop(unused);
        self.changed.notify_all();
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
