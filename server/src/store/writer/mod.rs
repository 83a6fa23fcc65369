//! Appends in memory, and one thread that makes them durable: all that came while it wrote goes with its next write.

mod file;

use crate::ingest::{NormalizedProfile, NormalizedSeries};
use crate::store::directory::{self, Directory};
use crate::store::encode::{mark, put_definitions, put_rows};
use crate::store::metrics::{Damage, EvictedLabels, Eviction, Metrics};
use crate::store::record::{self, Kind};
use crate::store::replay;
use crate::store::segment::{Data, NewProfile, Segment};
use crate::store::writer::file::LogFile;
use crate::store::{Appended, Config, Error};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A segment takes at most this part of the memory and of the disk, so that this part goes when the oldest goes.
const SEGMENTS_IN_BUDGET: u64 = 8;
const MAX_SEGMENT_BYTES: u64 = 256 << 20;
/// Appends are refused while more than this waits for the disk.
const MAX_PENDING_BYTES: usize = 32 << 20;
/// How often age is looked at while nothing is pushed.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// A retry may come after this many rotations and is still recognized.
const SEGMENTS_WITH_RETRIES: usize = 3;

type Waiter = oneshot::Sender<Result<(), Error>>;

pub(super) struct Shared {
    config: Config,
    clock: fn() -> i64,
    metrics: Metrics,
    wal: PathBuf,
    /// Oldest first. The last is the one of the queue.
    segments: RwLock<Vec<Arc<Segment>>>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// What the writer takes next. Held while a profile is added, so that the log has the order of the tables.
struct Queue {
    records: Vec<u8>,
    waiters: Vec<Waiter>,
    active: Arc<Segment>,
    salt: u32,
    is_stopping: bool,
}

/// What one write takes, and the segment that comes after it where this one is full.
struct Batch {
    records: Vec<u8>,
    waiters: Vec<Waiter>,
    next: Option<LogFile>,
}

/// What the writer's thread alone knows.
struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    created_ns: i64,
    /// Bytes of each segment's file.
    file_bytes: BTreeMap<u64, u64>,
}

pub(super) fn start(
    config: Config,
    clock: fn() -> i64,
    metrics: Metrics,
    directory: &Directory,
) -> Result<(Arc<Shared>, JoinHandle<()>), Error> {
    let mut segments = Vec::new();
    let mut file_bytes = BTreeMap::new();
    let mut last = None;
    for replayed in replay::replay(directory, &metrics)? {
        segments.push(Arc::new(Segment::new(replayed.number, replayed.data)));
        file_bytes.insert(replayed.number, replayed.file_bytes);
        let torn = replayed.whole_bytes < replayed.file_bytes;
        metrics.damage(Damage::TornTail, usize::from(torn));
        // The tables of a damaged file have holes; nothing is added to it.
        last = (!replayed.is_damaged).then_some((
            replayed.number,
            replayed.path,
            replayed.salt,
            replayed.whole_bytes,
        ));
    }
    let file = if let Some((number, path, salt, whole_bytes)) = last {
        file_bytes.insert(number, whole_bytes);
        LogFile::reopen(number, path, salt, whole_bytes)?
    } else {
        let number = file_bytes.last_key_value().map_or(1, |(number, _)| number + 1);
        segments.push(Arc::new(Segment::new(number, Data::default())));
        LogFile::new(&directory.wal, number, new_salt())
    };
    let active = segments.last().cloned().expect("there is at least the new one");
    let queue = Queue {
        records: Vec::new(),
        waiters: Vec::new(),
        active,
        salt: file.salt,
        is_stopping: false,
    };
    let shared = Arc::new(Shared {
        config,
        clock,
        metrics,
        wal: directory.wal.clone(),
        segments: RwLock::new(segments),
        queue: Mutex::new(queue),
        wake: Condvar::new(),
    });
    let mut writer = Writer { shared: Arc::clone(&shared), file, created_ns: clock(), file_bytes };
    let thread = std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|err| Error::io("start a thread for", &directory.wal, err))?;
    Ok((shared, thread))
}

/// Differs from file to file; nothing depends on it being secret.
fn new_salt() -> u32 {
    RandomState::new().hash_one(0) as u32
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Segment>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(
        &self,
        profile: &NormalizedProfile,
    ) -> Result<(Appended, oneshot::Receiver<Result<(), Error>>), Error> {
        let mut queue = self.queue();
        if queue.is_stopping {
            return Err(Error::Stopping);
        }
        if queue.records.len() > MAX_PENDING_BYTES {
            return Err(Error::Busy);
        }
        let active = Arc::clone(&queue.active);
        let mut data = active.write();
        self.check_series(&data, profile)?;
        let appended = self.add(&mut queue, &mut data, profile);
        let (waiter, receiver) = oneshot::channel();
        queue.waiters.push(waiter);
        self.metrics.pending_bytes.set(queue.records.len() as i64);
        self.metrics.profiles.inc_by(appended.series as u64);
        self.metrics.rows.inc_by(appended.rows as u64);
        self.metrics.duplicates.inc_by(appended.duplicates as u64);
        self.wake.notify_one();
        Ok((appended, receiver))
    }

    fn check_series(&self, data: &Data, profile: &NormalizedProfile) -> Result<(), Error> {
        let limit = self.config.max_series;
        let is_unknown = |series: &NormalizedSeries| data.known_series(&series.labels).is_none();
        if data.series.len() + profile.series.len() > limit && profile.series.iter().any(is_unknown)
        {
            return Err(Error::TooManySeries { limit });
        }
        Ok(())
    }

    fn add(&self, queue: &mut Queue, data: &mut Data, profile: &NormalizedProfile) -> Appended {
        let mut appended = Appended::default();
        let before = mark(data);
        let stacks = data.symbols.intern(&profile.symbols);
        let mut payload = Vec::new();
        for series in &profile.series {
            let index = data.find_series(&series.labels);
            if let Some(id) = profile.id
                && (data.has_id(index, id) || self.had_id_before(queue.active.number, series, id))
            {
                appended.duplicates += 1;
                continue;
            }
            let new = NewProfile {
                series: index,
                time_ns: profile.time_ns,
                period: series.period,
                id: profile.id,
            };
            let rows = rows_of(&stacks, series);
            put_rows(&mut payload, &new, &rows);
            data.push(&new, &rows);
            appended.series += 1;
            appended.rows += rows.len();
        }
        if mark(data) != before {
            let mut definitions = Vec::new();
            put_definitions(&mut definitions, data, &before);
            let start = queue.records.len();
            record::append(&mut queue.records, queue.salt, Kind::Definitions, &definitions);
            queue.records.extend_from_within(start..);
        }
        if !payload.is_empty() {
            record::append(&mut queue.records, queue.salt, Kind::Rows, &payload);
        }
        appended
    }

    fn had_id_before(&self, active: u64, series: &NormalizedSeries, id: u128) -> bool {
        let segments = self.segments();
        let sealed = segments
            .iter()
            .rev()
            .filter(|segment| segment.number != active)
            .take(SEGMENTS_WITH_RETRIES);
        sealed.into_iter().any(|segment| {
            let data = segment.read();
            data.known_series(&series.labels).is_some_and(|index| data.has_id(index, id))
        })
    }

    pub(super) fn select(&self, start_ns: i64, end_ns: i64) -> Vec<Arc<Segment>> {
        self.segments()
            .iter()
            .filter(|segment| segment.read().overlaps(start_ns, end_ns))
            .cloned()
            .collect()
    }

    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        let segments = self.segments();
        let bounds = segments.iter().filter_map(|segment| segment.read().bounds());
        bounds.reduce(|(oldest, newest), (from, to)| (oldest.min(from), newest.max(to)))
    }

    pub(super) fn stop(&self) {
        self.queue().is_stopping = true;
        self.wake.notify_one();
    }
}

/// The rows under the segment's indices of stacks: two of a profile's stacks may have become one.
fn rows_of(stacks: &[u32], series: &NormalizedSeries) -> Vec<(u32, i64)> {
    let mut rows: Vec<(u32, i64)> =
        series.rows.iter().map(|(stack, value)| (stacks[*stack as usize], *value)).collect();
    rows.sort_unstable_by_key(|(stack, _)| *stack);
    rows.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 = kept.1.saturating_add(next.1);
        }
        is_same
    });
    rows
}

impl Writer {
    fn run(&mut self) {
        self.keep_house();
        while let Some(batch) = self.next_batch() {
            self.commit(batch);
            self.keep_house();
        }
    }

    /// Waits for something to write; an empty batch when it is time for housekeeping, None at the end.
    fn next_batch(&self) -> Option<Batch> {
        let mut queue = self.shared.queue();
        if queue.waiters.is_empty() && !queue.is_stopping {
            queue = self
                .shared
                .wake
                .wait_timeout(queue, HOUSEKEEPING)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if queue.waiters.is_empty() && queue.is_stopping {
            return None;
        }
        let records = std::mem::take(&mut queue.records);
        let waiters = std::mem::take(&mut queue.waiters);
        self.shared.metrics.pending_bytes.set(0);
        let next = if self.is_full(records.len() as u64, &queue.active) {
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
        let age_ns = (self.shared.clock)().saturating_sub(self.created_ns);
        data.n_profiles > 0
            && (file_bytes
                >= (config.storage_max_bytes / SEGMENTS_IN_BUDGET).min(MAX_SEGMENT_BYTES)
                || data.bytes() as u64 >= config.memory_max_bytes / SEGMENTS_IN_BUDGET
                || age_ns >= config.retention_ns / SEGMENTS_IN_BUDGET as i64)
    }

    /// From now on appends go to a new segment; its file is made when the old one's is complete.
    fn rotate(&self, queue: &mut Queue) -> LogFile {
        let number = queue.active.number + 1;
        queue.salt = new_salt();
        queue.active = Arc::new(Segment::new(number, Data::default()));
        self.shared.segments_mut().push(Arc::clone(&queue.active));
        LogFile::new(&self.shared.wal, number, queue.salt)
    }

    fn commit(&mut self, batch: Batch) {
        let Batch { records, waiters, next } = batch;
        let result = if records.is_empty() { Ok(()) } else { self.file.append(&records) };
        match result {
            Ok(()) => {
                self.shared.metrics.commits.inc_by(u64::from(!records.is_empty()));
                self.shared.metrics.written_bytes.inc_by(records.len() as u64);
                if self.file.len > 0 {
                    self.file_bytes.insert(self.file.number, self.file.len);
                }
                answer(waiters, &Ok(()));
                if let Some(next) = next {
                    self.file = next;
                    self.created_ns = (self.shared.clock)();
                }
            }
            Err(err) => self.recover(&err, waiters, next),
        }
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
            if let Some(segment) = shared.segments().iter().find(|segment| segment.number == number)
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
            self.file = next;
            self.created_ns = (shared.clock)();
        }
        if err.kind() == io::ErrorKind::StorageFull {
            self.evict(Eviction::DiskFull);
        }
        answer(waiters, &Err(Error::NotDurable(err.to_string().into())));
    }

    fn keep_house(&mut self) {
        let oldest_ns = (self.shared.clock)().saturating_sub(self.shared.config.retention_ns);
        loop {
            let (memory_bytes, oldest_is_old) = {
                let segments = self.shared.segments();
                let is_old = |segment: &Arc<Segment>| {
                    segment.read().bounds().is_none_or(|(_, newest)| newest < oldest_ns)
                };
                (
                    segments.iter().map(|segment| segment.read().bytes() as u64).sum::<u64>(),
                    segments.first().is_some_and(is_old),
                )
            };
            let storage_bytes: u64 = self.file_bytes.values().sum();
            let config = &self.shared.config;
            let reason = if oldest_is_old {
                Eviction::Age
            } else if memory_bytes > config.memory_max_bytes {
                Eviction::Memory
            } else if storage_bytes > config.storage_max_bytes {
                Eviction::Storage
            } else {
                self.measure(memory_bytes, storage_bytes);
                return;
            };
            if !self.evict(reason) {
                self.measure(memory_bytes, storage_bytes);
                return;
            }
        }
    }

    fn measure(&self, memory_bytes: u64, storage_bytes: u64) {
        let metrics = &self.shared.metrics;
        let segments = self.shared.segments();
        metrics.segments.set(segments.len() as i64);
        metrics.series.set(segments.last().map_or(0, |segment| segment.read().series.len()) as i64);
        metrics.memory_bytes.set(memory_bytes as i64);
        metrics.storage_bytes.set(storage_bytes as i64);
    }

    /// Deletes the oldest segment, if it is not the one that is being written.
    fn evict(&mut self, reason: Eviction) -> bool {
        let oldest = {
            let mut segments = self.shared.segments_mut();
            if segments.len() < 2
                || segments.first().is_some_and(|oldest| oldest.number == self.file.number)
            {
                return false;
            }
            segments.remove(0)
        };
        let path = directory::segment_path(&self.shared.wal, oldest.number);
        if let Err(err) = std::fs::remove_file(&path)
            && err.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(path = %path.display(), error = %err, "cannot delete an old segment");
        }
        self.file_bytes.remove(&oldest.number);
        let labels = EvictedLabels { reason };
        self.shared.metrics.evicted.get_or_create(&labels).inc();
        self.shared
            .metrics
            .evicted_profiles
            .get_or_create(&labels)
            .inc_by(oldest.read().n_profiles as u64);
        true
    }
}

fn answer(waiters: Vec<Waiter>, result: &Result<(), Error>) {
    for waiter in waiters {
        // A client that went away needs no answer.
        drop(waiter.send(result.clone()));
    }
}
