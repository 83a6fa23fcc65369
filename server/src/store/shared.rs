//! What all threads of the store share: appends go into the active segment and wait for the writer; queries see it and the rest.

use crate::ingest::labels::{ANONYMOUS, TENANT};
use crate::ingest::{NormalizedProfile, NormalizedSeries};
use crate::store::block::{self, Block};
use crate::store::encode::{mark, put_definitions, put_rows};
use crate::store::metrics::Metrics;
use crate::store::record::{self, Kind};
use crate::store::segment::{Data, NewProfile, Segment};
use crate::store::{Appended, Config, Error, Source};
use foldhash::fast::FixedState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A segment takes at most this part of the memory. So many wait to become blocks, and no more.
pub(super) const SEGMENTS_IN_BUDGET: u64 = 8;
/// Appends are refused while more than this waits for the disk.
const MAX_PENDING_BYTES: usize = 32 << 20;
/// A retry may come after this many rotations and is still recognized.
const SEGMENTS_WITH_RETRIES: usize = 3;
/// Of a block, for their ids at the start: more take too long.
const MAX_PROFILES_READ: u64 = 200_000;
/// How long an append waits for room before it is refused.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(5);

pub(super) type Waiter = oneshot::Sender<Result<(), Error>>;

pub(super) struct Shared {
    pub config: Config,
    pub clock: fn() -> i64,
    pub metrics: Metrics,
    pub wal: PathBuf,
    held: RwLock<Held>,
    queue: Mutex<Queue>,
    /// The writer has work.
    pub wake: Condvar,
    /// Of the log's file that is written; those before it are complete.
    pub writing: AtomicU64,
    /// A segment has left the head.
    room: (Mutex<()>, Condvar),
}

/// All that there is. What is in a block is in no segment.
#[derive(Default)]
pub(super) struct Held {
    /// Oldest first. The last is the one of the queue.
    pub segments: Vec<Arc<Segment>>,
    pub blocks: Vec<Arc<Block>>,
    /// The profile ids of the segments that became blocks last, with a hash of their labels.
    recent_ids: VecDeque<HashSet<(u64, u128)>>,
}

/// What the writer takes next. Held while a profile is added, so that the log has the order of the tables.
pub(super) struct Queue {
    pub records: Vec<u8>,
    pub waiters: Vec<Waiter>,
    pub active: Arc<Segment>,
    pub salt: u32,
    /// The active segment shall become blocks, though it is not full.
    pub is_sealing: bool,
    pub is_stopping: bool,
}

impl Held {
    pub(super) fn new(segments: Vec<Arc<Segment>>, blocks: Vec<Arc<Block>>) -> Held {
        // A retry may come over a restart: the ids of what was flushed last are read again.
        let last = blocks.iter().filter_map(|block| block.flushes().last()).max();
        let first = last.unwrap_or_default().saturating_sub(SEGMENTS_WITH_RETRIES as u64 - 1);
        let is_recent = |block: &&Arc<Block>| {
            block.head.n_profiles <= MAX_PROFILES_READ
                && block.flushes().last().is_some_and(|flush| flush >= first)
        };
        let mut ids = HashSet::new();
        for block in blocks.iter().filter(is_recent) {
            let read = block.each_id(|labels, id| {
                ids.insert((hash_of(labels.into_iter()), id));
            });
            if let Err(error) = read {
                tracing::warn!(%error, "profiles that are pushed again may be stored again");
            }
        }
        Held { segments, blocks, recent_ids: VecDeque::from([ids]) }
    }
}

impl Shared {
    pub(super) fn new(
        config: Config,
        clock: fn() -> i64,
        metrics: Metrics,
        wal: PathBuf,
        held: Held,
        queue: Queue,
    ) -> Shared {
        Shared {
            config,
            clock,
            metrics,
            wal,
            writing: AtomicU64::new(queue.active.number),
            held: RwLock::new(held),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            room: (Mutex::new(()), Condvar::new()),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(
        &self,
        profile: &NormalizedProfile,
        max_series: usize,
    ) -> Result<(Appended, oneshot::Receiver<Result<(), Error>>), Error> {
        self.wait_for_room()?;
        let mut queue = self.queue();
        if queue.is_stopping {
            return Err(Error::Stopping);
        }
        if queue.records.len() > MAX_PENDING_BYTES {
            return Err(Error::Busy);
        }
        let active = Arc::clone(&queue.active);
        // Before the segment is locked: queries lock what is held first, and then segments.
        let known = self.known_before(active.number, profile);
        let mut data = active.write();
        check_series(&data, profile, max_series)?;
        let appended = Shared::add(&mut queue, &mut data, profile, &known);
        let (waiter, receiver) = oneshot::channel();
        queue.waiters.push(waiter);
        self.metrics.pending_bytes.set(queue.records.len() as i64);
        self.metrics.profiles.inc_by(appended.series as u64);
        self.metrics.rows.inc_by(appended.rows as u64);
        self.metrics.duplicates.inc_by(appended.duplicates as u64);
        self.wake.notify_one();
        Ok((appended, receiver))
    }

    /// The memory is full when as many segments wait to become blocks as there is memory for.
    fn wait_for_room(&self) -> Result<(), Error> {
        let until = Instant::now() + WAIT_FOR_ROOM;
        let mut waiting = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        while self.held().segments.len() as u64 > SEGMENTS_IN_BUDGET {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Busy);
            }
            waiting = self
                .room
                .1
                .wait_timeout(waiting, left.min(Duration::from_millis(50)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    fn add(
        queue: &mut Queue,
        data: &mut Data,
        profile: &NormalizedProfile,
        known: &[bool],
    ) -> Appended {
        let mut appended = Appended::default();
        let before = mark(data);
        let stacks = data.symbols.intern(&profile.symbols);
        let mut payload = Vec::new();
        for (series, is_known) in profile.series.iter().zip(known) {
            let index = data.find_series(&series.labels);
            if *is_known || profile.id.is_some_and(|id| data.has_id(index, id)) {
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

    /// Of each series, whether it had a profile of this id in an older segment.
    fn known_before(&self, active: u64, profile: &NormalizedProfile) -> Vec<bool> {
        let Some(id) = profile.id else { return vec![false; profile.series.len()] };
        profile.series.iter().map(|series| self.had_id_before(active, series, id)).collect()
    }

    fn had_id_before(&self, active: u64, series: &NormalizedSeries, id: u128) -> bool {
        let held = self.held();
        let sealed = held
            .segments
            .iter()
            .rev()
            .filter(|segment| segment.number != active)
            .take(SEGMENTS_WITH_RETRIES);
        let in_segment = sealed.into_iter().any(|segment| {
            let data = segment.read();
            data.known_series(&series.labels).is_some_and(|index| data.has_id(index, id))
        });
        let key = (hash_of(series.labels.iter()), id);
        in_segment || held.recent_ids.iter().any(|ids| ids.contains(&key))
    }

    pub(super) fn select(&self, start_ns: i64, end_ns: i64) -> Vec<Source> {
        let held = self.held();
        let blocks = held.blocks.iter().filter(|block| block.is_of(start_ns, end_ns));
        let segments =
            held.segments.iter().filter(|segment| segment.read().overlaps(start_ns, end_ns));
        blocks
            .map(|block| Source::Block(Arc::clone(block)))
            .chain(segments.map(|segment| Source::Head(Arc::clone(segment))))
            .collect()
    }

    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        let held = self.held();
        let of_blocks = held.blocks.iter().map(|block| block.bounds());
        let of_segments = held.segments.iter().filter_map(|segment| segment.read().bounds());
        of_blocks
            .chain(of_segments)
            .reduce(|(oldest, newest), (from, to)| (oldest.min(from), newest.max(to)))
    }

    /// Waits until all that was appended before is in blocks; false where it did not come to this in time.
    pub(super) fn flush(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let active = {
            let mut queue = self.queue();
            let is_empty = queue.active.read().n_profiles == 0;
            queue.is_sealing = !is_empty;
            self.wake.notify_one();
            let sealed = u64::from(queue.is_sealing);
            queue.active.number + sealed
        };
        let is_left = || self.held().segments.iter().any(|segment| segment.number < active);
        while is_left() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    pub(super) fn stop(&self) {
        self.queue().is_stopping = true;
        self.wake.notify_one();
    }

    pub(super) fn blocks(&self) -> Vec<Arc<Block>> {
        self.held().blocks.clone()
    }

    /// The oldest segment whose file in the log is complete.
    pub(super) fn oldest_sealed(&self) -> Option<Arc<Segment>> {
        let held = self.held();
        let first = held.segments.first()?;
        (first.number < self.writing.load(Ordering::Acquire)).then(|| Arc::clone(first))
    }

    /// From one moment to the next, what was in the segment is in the blocks.
    pub(super) fn flushed(&self, segment: &Arc<Segment>, blocks: &[Arc<Block>]) {
        let ids = ids_of(&segment.read());
        {
            let mut held = self.held_mut();
            held.segments.retain(|other| other.number != segment.number);
            held.blocks.extend(blocks.iter().cloned());
            held.recent_ids.push_back(ids);
            while held.recent_ids.len() > SEGMENTS_WITH_RETRIES {
                held.recent_ids.pop_front();
            }
        }
        self.room.1.notify_all();
        self.measure();
    }

    /// Puts blocks in the place of others, which go from the disk when the last query has read them.
    pub(super) fn replace(&self, old: &[Arc<Block>], new: &[Arc<Block>]) {
        {
            let mut held = self.held_mut();
            held.blocks.retain(|block| !old.iter().any(|gone| gone.head.id == block.head.id));
            held.blocks.extend(new.iter().cloned());
        }
        for block in old {
            block.retire();
        }
        self.measure();
    }

    /// The same block, with other tables.
    pub(super) fn swap(&self, old: &Arc<Block>, new: Arc<Block>) {
        let mut held = self.held_mut();
        if let Some(place) = held.blocks.iter_mut().find(|block| block.head.id == old.head.id) {
            *place = new;
        }
        drop(held);
        self.measure();
    }

    /// A damaged block is not asked again, and kept for whoever wants to look at it.
    pub(super) fn set_aside(
        &self,
        blocks: &[Arc<Block>],
        error: &block::Error,
        set_aside: impl Fn(&Block) -> io::Result<()>,
    ) {
        let block::Error::Damaged { path, .. } = error else { return };
        for block in blocks.iter().filter(|block| path.starts_with(block.folder())) {
            self.held_mut().blocks.retain(|other| other.head.id != block.head.id);
            match set_aside(block) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(path = %path.display(), error = %err, "cannot set a damaged block aside");
                }
                _ => {}
            }
        }
        self.measure();
    }

    pub(super) fn storage_bytes(&self) -> u64 {
        let held = self.held();
        let of_log = held.segments.iter().map(|segment| segment.file_bytes.load(Ordering::Relaxed));
        of_log.chain(held.blocks.iter().map(|block| block.bytes)).sum()
    }

    pub(super) fn measure(&self) {
        let storage_bytes = self.storage_bytes();
        let held = self.held();
        let metrics = &self.metrics;
        let memory_bytes: usize = held.segments.iter().map(|segment| segment.read().bytes()).sum();
        let newest = held.segments.last();
        metrics.segments.set(held.segments.len() as i64);
        metrics.series.set(newest.map_or(0, |segment| segment.read().series.len()) as i64);
        metrics.memory_bytes.set(memory_bytes as i64);
        metrics.storage_bytes.set(storage_bytes as i64);
        metrics.blocks.set(held.blocks.len() as i64);
        metrics.block_bytes.set(held.blocks.iter().map(|block| block.bytes as i64).sum());
    }
}

/// All series of a profile are one tenant's.
fn check_series(data: &Data, profile: &NormalizedProfile, limit: usize) -> Result<(), Error> {
    let tenant = profile.series.first().and_then(|series| series.labels.get(TENANT));
    let n_series = data.n_series_of(tenant.unwrap_or(ANONYMOUS));
    let is_unknown = |series: &NormalizedSeries| data.known_series(&series.labels).is_none();
    if n_series + profile.series.len() > limit && profile.series.iter().any(is_unknown) {
        return Err(Error::TooManySeries { limit });
    }
    Ok(())
}

fn hash_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let labels: Vec<(&str, &str)> = labels.collect();
    FixedState::default().hash_one(labels)
}

fn ids_of(data: &Data) -> HashSet<(u64, u128)> {
    let hashes: Vec<u64> =
        (0..data.series.len()).map(|series| hash_of(data.labels(series))).collect();
    data.ids.iter().filter_map(|(series, id)| Some((*hashes.get(*series as usize)?, *id))).collect()
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
