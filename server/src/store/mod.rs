//! Normalized profiles come in and are acknowledged when they are on disk; segments of the head, selected by time, go out.
//!
//! The data directory holds `lock` and `wal/NNNNNNNNNN.wal`. A segment is one file of the log and, in memory, the symbols,
//! series and rows that it holds: it depends on no other, so the oldest can go as a whole when memory or disk run out.

pub mod symbols;
pub mod segment;
mod varint;
mod record;
mod encode;
mod replay;
mod directory;
mod metrics;
mod writer;

use crate::ingest::NormalizedProfile;
use crate::store::directory::Directory;
use crate::store::metrics::Metrics;
use crate::store::segment::Segment;
use crate::store::writer::Shared;
use prometheus_client::registry::Registry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub directory: PathBuf,
    pub memory_max_bytes: u64,
    pub storage_max_bytes: u64,
    pub retention_ns: i64,
    pub max_series: usize,
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
    #[error("cannot write to the log: {0}; the profile is not stored")]
    NotDurable(Arc<str>),
    #[error("too many profiles wait for the disk; try again later")]
    Busy,
    #[error("the server is stopping")]
    Stopping,
    #[error("the limit of {limit} series is reached; send fewer distinct labels")]
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

/// The head and its log. The block store will take over old segments behind this same interface.
pub struct Store {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let (shared, thread) = writer::start(config, clock, metrics, &directory)?;
        Ok(Store { shared, thread: Mutex::new(Some(thread)), _directory: directory })
    }

    /// Adds one profile; the receiver is told when it is durable. Takes locks and time: not for async tasks.
    pub fn append(
        &self,
        profile: &NormalizedProfile,
    ) -> Result<(Appended, oneshot::Receiver<Result<(), Error>>), Error> {
        self.shared.append(profile)
    }

    /// The segments that have profiles in the range of times, both ends included, oldest first.
    pub fn select(&self, start_ns: i64, end_ns: i64) -> Vec<Arc<Segment>> {
        self.shared.select(start_ns, end_ns)
    }

    /// The times of the oldest and newest profile.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        self.shared.bounds()
    }

    /// Writes out what waits and ends the writer.
    pub fn close(&self) {
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer of the log panicked");
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
