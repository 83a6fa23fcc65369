//! Normalized profiles come in and are acknowledged when they are on disk; segments of the head and blocks, selected by time, go out.
//!
//! The data directory holds `lock`, `wal/NNNNNNNNNN.wal` and `blocks/YYYY-MM-DD/NNNNNNNNNNNN/`. A segment is one file of the log
//! and, in memory, the symbols, series and rows that it holds: it depends on no other, and becomes blocks as a whole.

pub mod symbols;
pub mod segment;
mod varint;
mod directory;
mod record;
mod encode;
pub mod block;
mod metrics;
mod replay;
mod catalog;
mod shared;
mod writer;
mod keeper;

use crate::ingest::NormalizedProfile;
use crate::store::block::{Block, Cache};
use crate::store::catalog::Catalog;
use crate::store::directory::Directory;
use crate::store::keeper::Keeper;
use crate::store::metrics::Metrics;
use crate::store::segment::Segment;
use crate::store::shared::Shared;
use crate::store::writer::Writer;

pub use crate::store::keeper::deletion::{Deleted, Deletion};
use prometheus_client::registry::Registry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub directory: PathBuf,
    pub memory_max_bytes: u64,
    pub storage_max_bytes: u64,
    /// Of profiles as they came, of their sums by hour, and by day.
    pub retention_ns: i64,
    pub retention_hours_ns: i64,
    pub retention_days_ns: i64,
    /// A segment becomes a block when its first profile is this old.
    pub flush_after: Duration,
    /// A day's blocks become one when none came for so long.
    pub merge_after: Duration,
    pub max_series: usize,
}

impl Config {
    /// What is usual, but for the place.
    pub fn new(directory: PathBuf) -> Config {
        const DAY_NS: i64 = 86_400 * 1_000_000_000;
        Config {
            directory,
            memory_max_bytes: 512 << 20,
            storage_max_bytes: 20 << 30,
            retention_ns: 31 * DAY_NS,
            retention_hours_ns: 400 * DAY_NS,
            retention_days_ns: i64::MAX,
            flush_after: Duration::from_mins(5),
            merge_after: Duration::from_mins(10),
            max_series: 100_000,
        }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot {action} {path}: {source}; check that the data directory is there and belongs to this user, or choose another with --data"
    )]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error(
        "data directory {path} is in use by another pilotlight server{owner}; stop that one or choose another directory with --data"
    )]
    Locked { path: PathBuf, owner: String },
    #[error(
        "{path} has format version {found}, this pilotlight reads up to {supported}: it was written by a newer one; start that one, or choose another directory with --data"
    )]
    NewerFormat { path: PathBuf, found: u16, supported: u16 },
    #[error("cannot write to the log: {0}; the profile is not stored, send it again")]
    NotDurable(Arc<str>),
    #[error("too many profiles wait for the disk; try again later")]
    Busy,
    #[error("{0}; look at the log of the server")]
    Block(Arc<str>),
    #[error("the server is stopping")]
    Stopping,
    #[error(
        "the limit of {limit} series is reached; send fewer distinct labels, or raise limits.series"
    )]
    TooManySeries { limit: usize },
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// What became of a profile that was given to `append`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    pub series: usize,
    pub rows: usize,
    /// Series that had this profile id already.
    pub duplicates: usize,
}

/// Where a query finds profiles. What is in one is in no other, but for the blocks of months, which sum up those of days.
#[derive(Clone)]
pub enum Source {
    Head(Arc<Segment>),
    Block(Arc<Block>),
}

/// The head, its log, and blocks.
pub struct Store {
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    // Held for as long as the store lives.
    _directory: Directory,
}

impl Store {
    /// Locks the directory and reads what was acknowledged before. `clock` gives nanoseconds since the epoch.
    pub fn open(
        config: Config,
        clock: fn() -> i64,
        registry: &mut Registry,
    ) -> Result<Store, Error> {
        let directory = Directory::open(&config.directory)?;
        let metrics = Metrics::register(registry);
        let cache = Arc::new(Cache::new((config.memory_max_bytes / 4) as usize));
        let root = config.directory.join("blocks");
        let mut catalog = Catalog::open(root, &directory.segments()?, &cache, &metrics)?;
        let (shared, file) = writer::open(config, clock, metrics, &directory, &mut catalog)?;
        let keeper = Keeper::new(Arc::clone(&shared), &catalog, cache);
        let waker = Arc::clone(&keeper);
        let mut threads = vec![Writer::start(&shared, file, Box::new(move || waker.wake()))?];
        threads.extend(keeper.start()?);
        Ok(Store { shared, keeper, threads: Mutex::new(threads), _directory: directory })
    }

    /// Adds one profile; the receiver is told when it is durable. Takes locks and time: not for async tasks.
    pub fn append(
        &self,
        profile: &NormalizedProfile,
    ) -> Result<(Appended, oneshot::Receiver<Result<(), Error>>), Error> {
        self.shared.append(profile, self.shared.config.max_series)
    }

    /// The same with another limit of series, which are counted for each tenant.
    pub fn append_within(
        &self,
        profile: &NormalizedProfile,
        max_series: usize,
    ) -> Result<(Appended, oneshot::Receiver<Result<(), Error>>), Error> {
        self.shared.append(profile, max_series)
    }

    /// All that may have profiles in the range of times, both ends included.
    pub fn select(&self, start_ns: i64, end_ns: i64) -> Vec<Source> {
        self.shared.select(start_ns, end_ns)
    }

    /// The times of the oldest and newest profile.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        self.shared.bounds()
    }

    /// All that was appended before becomes blocks; false where that takes longer.
    pub fn flush(&self, wait: Duration) -> bool {
        self.shared.flush(wait)
    }

    /// Deletes series wherever they are.
    pub fn delete(&self, deletion: &Deletion<'_>) -> Result<Deleted, Error> {
        if !self.flush(Duration::from_mins(1)) {
            return Err(Error::Busy);
        }
        self.keeper.delete_in_blocks(deletion).map_err(|err| Error::Block(err.to_string().into()))
    }

    /// Merges what can be merged, and lets fade what must.
    pub fn compact(&self) {
        while self.keeper.merge_once() {}
        self.keeper.let_fade();
    }

    /// Writes out what waits and ends the threads. What is not in blocks yet is in the log.
    pub fn close(&self) {
        self.shared.stop();
        self.keeper.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod block_tests;
