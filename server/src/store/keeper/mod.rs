//! Two threads in the background: one turns sealed segments of the head into blocks, one merges blocks and lets old ones fade.

mod compaction;
mod retention;
pub(super) mod deletion;

use crate::store::block::flush;
use crate::store::block::period::Period;
use crate::store::block::{self, Block, Cache};
use crate::store::catalog::Catalog;
use crate::store::directory;
use crate::store::metrics::Work;
use crate::store::segment::Segment;
use crate::store::shared::Shared;
use crate::store::{Config, Error};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked for work that nobody announced, and how soon failed work is tried again.
const TICK: Duration = Duration::from_secs(5);
/// What merges yield to.
const MERGE_NICENESS: i32 = 10;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    root: PathBuf,
    cache: Arc<Cache>,
    next_id: AtomicU64,
    is_stopping: AtomicBool,
    wake: (Mutex<u64>, Condvar),
    /// One merges at a time.
    merging: Mutex<()>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, catalog: &Catalog, cache: Arc<Cache>) -> Arc<Keeper> {
        Arc::new(Keeper {
            shared,
            root: catalog.root.clone(),
            cache,
            next_id: AtomicU64::new(catalog.next_id),
            is_stopping: AtomicBool::new(false),
            wake: (Mutex::new(0), Condvar::new()),
            merging: Mutex::new(()),
        })
    }

    pub(super) fn start(self: &Arc<Keeper>) -> Result<Vec<JoinHandle<()>>, Error> {
        let spawn = |name: &str, run: fn(&Keeper)| {
            let keeper = Arc::clone(self);
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || run(&keeper))
                .map_err(|err| Error::io("start a thread for", &self.root, err))
        };
        Ok(vec![spawn("store-flush", Keeper::flush)?, spawn("store-merge", Keeper::merge)?])
    }

    fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// There may be something to do.
    pub(super) fn wake(&self) {
        *self.wake.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.1.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Waits for a call, at most a tick.
    fn wait(&self, calls_seen: &mut u64) {
        let mut calls = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *calls == *calls_seen && !self.is_stopping() {
            calls = self.wake.1.wait_timeout(calls, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *calls_seen = *calls;
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes a block by `write` and gives it a name.
    fn commit(
        &self,
        period: Period,
        write: impl FnOnce(&Path, u64) -> Result<(), block::Error>,
    ) -> Result<Arc<Block>, block::Error> {
        let id = self.new_id();
        let folder = Catalog::temporary(&self.root, id);
        write(&folder, id).inspect_err(|_| {
            if let Err(err) = std::fs::remove_dir_all(&folder) {
                tracing::debug!(error = %err, "what was written of a block stays until the next start");
            }
        })?;
        Ok(Arc::new(Catalog::commit(&self.root, id, period, &self.cache)?))
    }

    fn flush(&self) {
        let mut calls_seen = 0;
        while !self.is_stopping() {
            while let Some(segment) = self.shared.oldest_sealed()
                && !self.is_stopping()
            {
                match self.flush_segment(&segment) {
                    Ok(()) => self.shared.metrics.did(Work::Flush),
                    Err(error) => {
                        self.shared.metrics.failed(Work::Flush);
                        tracing::error!(%error, segment = segment.number, "cannot write a block; the log keeps what is in it, and it is tried again");
                        break;
                    }
                }
            }
            self.wait(&mut calls_seen);
        }
    }

    /// The rows of a segment become blocks at once, and its file in the log goes.
    fn flush_segment(&self, segment: &Arc<Segment>) -> Result<(), block::Error> {
        let mut blocks = Vec::new();
        let written = {
            let data = segment.read();
            flush::days(&data).into_iter().try_for_each(|day| {
                let write =
                    |folder: &Path, id| flush::write(folder, id, segment.number, &data, day);
                blocks.push(self.commit(Period::Day(day), write)?);
                Ok(())
            })
        };
        if let Err(error) = written {
            // While the segment's file is there, its blocks do not count.
            for block in &blocks {
                block.retire();
            }
            return Err(error);
        }
        self.shared.flushed(segment, &blocks);
        let path = directory::segment_path(&self.shared.wal, segment.number);
        let gone = if segment.is_damaged {
            std::fs::rename(&path, path.with_extension("damaged"))
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(err) = gone.and_then(|()| directory::sync(&self.shared.wal))
            && err.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(path = %path.display(), error = %err, "cannot delete a segment of the log that is in blocks");
        }
        self.wake();
        Ok(())
    }

    fn merge(&self) {
        if let Err(err) = rustix::process::setpriority_process(None, MERGE_NICENESS) {
            tracing::debug!(error = %err, "merges have the priority of everything else");
        }
        let mut calls_seen = 0;
        while !self.is_stopping() {
            while !self.is_stopping() && self.merge_once() {}
            self.let_fade();
            self.wait(&mut calls_seen);
        }
    }
}
