//! One thread makes appends durable: all that came while it wrote goes with its next write.

mod file;

use crate::store::catalog::Catalog;
use crate::store::directory::Directory;
use crate::store::metrics::{Damage, Metrics};
use crate::store::replay;
use crate::store::segment::{Data, Segment};
use crate::store::shared::{Held, Queue, SEGMENTS_IN_BUDGET, Shared, Waiter};
use crate::store::writer::file::LogFile;
use crate::store::{Config, Error};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const MAX_SEGMENT_BYTES: u64 = 256 << 20;
/// How often age is looked at while nothing is pushed.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// What one write takes, and the segment that comes after it where this one is full.
struct Batch {
    records: Vec<u8>,
    waiters: Vec<Waiter>,
    next: Option<LogFile>,
}

/// What the writer's thread alone knows.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    /// When the first profile came into the file.
    begun_ns: i64,
    /// Says that a segment is complete.
    sealed: Box<dyn Fn() + Send>,
}

/// Reads the log.
pub(super) fn open(
    config: Config,
    clock: fn() -> i64,
    metrics: Metrics,
    directory: &Directory,
    catalog: &mut Catalog,
) -> Result<(Arc<Shared>, LogFile), Error> {
    let mut segments = Vec::new();
    let mut last = None;
    for replayed in replay::replay(directory, &metrics)? {
        let torn = replayed.whole_bytes < replayed.file_bytes;
        metrics.damage(Damage::TornTail, usize::from(torn));
        let mut segment = Segment::new(replayed.number, replayed.data);
        segment.is_damaged = replayed.is_damaged;
        segment.file_bytes.store(replayed.whole_bytes, Ordering::Relaxed);
        segments.push(Arc::new(segment));
        // The tables of a damaged file have holes; nothing is added to it.
        last = (!replayed.is_damaged).then_some((
            replayed.number,
            replayed.path,
            replayed.salt,
            replayed.whole_bytes,
        ));
    }
    let file = if let Some((number, path, salt, whole_bytes)) = last {
        LogFile::reopen(number, path, salt, whole_bytes)?
    } else {
        let newest = segments.last().map_or(0, |segment| segment.number);
        let number = newest.max(catalog.last_flush) + 1;
        segments.push(Arc::new(Segment::new(number, Data::default())));
        LogFile::new(&directory.wal, number, new_salt())
    };
    let active = segments.last().cloned().expect("there is at least the new one");
    let queue = Queue {
        records: Vec::new(),
        waiters: Vec::new(),
        active,
        salt: file.salt,
        is_sealing: false,
        is_stopping: false,
    };
    let held = Held::new(segments, std::mem::take(&mut catalog.blocks));
    let wal = directory.wal.clone();
    Ok((Arc::new(Shared::new(config, clock, metrics, wal, held, queue)), file))
}

/// Differs from file to file; nothing depends on it being secret.
fn new_salt() -> u32 {
    RandomState::new().hash_one(0) as u32
}

impl Writer {
    pub(super) fn start(
        shared: &Arc<Shared>,
        file: LogFile,
        sealed: Box<dyn Fn() + Send>,
    ) -> Result<JoinHandle<()>, Error> {
        let begun_ns = (shared.clock)();
        let mut writer = Writer { shared: Arc::clone(shared), file, begun_ns, sealed };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|err| Error::io("start a thread for", &shared.wal, err))
    }

    fn run(&mut self) {
        self.shared.measure();
        while let Some(batch) = self.next_batch() {
            self.commit(batch);
            self.shared.measure();
        }
    }

    /// Waits for something to write; an empty batch when it is time for housekeeping, None at the end.
    fn next_batch(&self) -> Option<Batch> {
        let mut queue = self.shared.queue();
        if queue.waiters.is_empty() && !queue.is_stopping && !queue.is_sealing {
            queue = self
                .shared
                .wake
                .wait_timeout(queue, HOUSEKEEPING.min(self.shared.config.flush_after))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if queue.waiters.is_empty() && queue.is_stopping {
            return None;
        }
        let records = std::mem::take(&mut queue.records);
        let waiters = std::mem::take(&mut queue.waiters);
        self.shared.metrics.pending_bytes.set(0);
        let next = if queue.is_sealing || self.is_full(records.len() as u64, &queue.active) {
            Some(self.rotate(&mut queue))
        } else {
            None
        };
        Some(Batch { records, waiters, next })
    }

    fn is_full(&self, more_bytes: u64, active: &Segment) -> bool {
        let config = &self.shared.config;
        let file_bytes = self.file.len + more_bytes;
        let data = active.read();
        let age_ns = (self.shared.clock)().saturating_sub(self.begun_ns);
        data.n_profiles > 0
            && (file_bytes
                >= (config.storage_max_bytes / SEGMENTS_IN_BUDGET).min(MAX_SEGMENT_BYTES)
                || data.bytes() as u64 >= config.memory_max_bytes / SEGMENTS_IN_BUDGET
                || age_ns >= i64::try_from(config.flush_after.as_nanos()).unwrap_or(i64::MAX))
    }

    /// From now on appends go to a new segment; its file is made when the old one's is complete.
    fn rotate(&self, queue: &mut Queue) -> LogFile {
        let number = queue.active.number + 1;
        queue.salt = new_salt();
        queue.is_sealing = false;
        queue.active = Arc::new(Segment::new(number, Data::default()));
        self.shared.held_mut().segments.push(Arc::clone(&queue.active));
        LogFile::new(&self.shared.wal, number, queue.salt)
    }

    fn commit(&mut self, batch: Batch) {
        let Batch { records, waiters, next } = batch;
        if self.file.len == 0 && !records.is_empty() {
            self.begun_ns = (self.shared.clock)();
        }
        let result = if records.is_empty() { Ok(()) } else { self.file.append(&records) };
        match result {
            Ok(()) => {
                self.shared.metrics.commits.inc_by(u64::from(!records.is_empty()));
                self.shared.metrics.written_bytes.inc_by(records.len() as u64);
                let held = self.shared.held();
                if let Some(segment) =
                    held.segments.iter().find(|segment| segment.number == self.file.number)
                {
                    segment.file_bytes.store(self.file.len, Ordering::Relaxed);
                }
                drop(held);
                answer(waiters, &Ok(()));
                if let Some(next) = next {
                    self.go_on_with(next);
                }
            }
            Err(err) => self.recover(&err, waiters, next),
        }
    }

    fn go_on_with(&mut self, next: LogFile) {
        self.file = next;
        self.shared.writing.store(self.file.number, Ordering::Release);
        (self.sealed)();
    }

    /// After a failed write: what was not written leaves the memory too, lest a retry be taken for a duplicate.
    fn recover(&mut self, err: &io::Error, mut waiters: Vec<Waiter>, next: Option<LogFile>) {
        let shared = Arc::clone(&self.shared);
        shared.metrics.commit_errors.inc();
        tracing::error!(error = %err, "cannot write to the log; the profiles that wait are refused");
        let number = self.file.number;
        {
            let mut queue = shared.queue();
            self.file.cut();
            let data = match replay::read(number, &self.file.path, &shared.metrics) {
                Ok(Some(replayed)) if self.file.len > 0 => replayed.data,
                _ => Data::default(),
            };
            if let Some(segment) =
                shared.held().segments.iter().find(|segment| segment.number == number)
            {
                *segment.write() = data;
            }
            // Who has come meanwhile may have been told from data that are gone now (a profile pushed again): all push again.
            waiters.append(&mut queue.waiters);
            let next = next.unwrap_or_else(|| {
                // What was added meanwhile refers to symbols that are gone.
                queue.records.clear();
                self.rotate(&mut queue)
            });
            self.go_on_with(next);
        }
        if err.kind() == io::ErrorKind::StorageFull {
            shared.metrics.disk_full.inc();
        }
        answer(waiters, &Err(Error::NotDurable(err.to_string().into())));
    }
}

fn answer(waiters: Vec<Waiter>, result: &Result<(), Error>) {
    for waiter in waiters {
        // A client that went away needs no answer.
        drop(waiter.send(result.clone()));
    }
}
