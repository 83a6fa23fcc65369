//! The thread behind [`super::tables`]: opened files in; tables, in the kernel's memory and for the sampler, out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use agent_common::table_slot::NO_SLOT;

use super::quota::Quota;
use super::tables::{Event, Request};
use crate::kernel::{Allocate, PlacedPart, PlacedTable, PublishError, UnwindTables};
use crate::process::{Executable, ExecutableId, OpenFile, Opening};
use crate::symbolize::TableWorker;
use crate::unwind::{ALIGN_WORDS, DiskCache, Extent, NoTable, Table, place};

/// How long a file may take to be opened.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// How long the worker may be about one file.
const BUILD_LIMIT: Duration = Duration::from_secs(20);

/// What the thread works with.
pub(super) struct TableThread {
    published: UnwindTables,
    cache: DiskCache,
    worker: TableWorker,
    quota: Quota,
    /// By slot: whose table is there, and when it was used last.
    slots: HashMap<u32, InSlot>,
}

#[derive(Clone, Copy, Debug)]
struct InSlot {
    executable: ExecutableId,
    used: Instant,
}

impl TableThread {
    pub(super) fn new(published: UnwindTables, cache: DiskCache, worker: TableWorker) -> Self {
        Self { published, cache, worker, quota: Quota::default(), slots: HashMap::new() }
    }

    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>, events: &Sender<Event>) {
        let tell = |event| drop(events.send(event));
        while let Ok(request) = requests.recv() {
            match request {
                Request::Get { executable, slot } => {
                    let table = self.get(&executable, slot, &tell);
                    if let Err(why) = &table {
                        tracing::debug!(path = executable.path, %why, "no unwind table");
                    }
                    tell(Event::Got { executable: executable.id, table });
                }
                Request::Used(executables) => self.used(&executables),
                Request::Forget(slots) => self.forget(&slots, &tell),
            }
        }
    }

    fn get(
        &mut self,
        executable: &Arc<Executable>,
        slot: u32,
        tell: &impl Fn(Event),
    ) -> Result<Arc<Table>, NoTable> {
        let table = self.find(executable).map(Arc::new);
        if slot == NO_SLOT || self.slots.get(&slot).is_some_and(|is| is.executable == executable.id)
        {
            return table;
        }
        let used = Instant::now();
        match &table {
            Ok(table) => {
                self.publish(slot, table, tell)?;
                self.slots.insert(slot, InSlot { executable: executable.id, used });
            }
            // The kernel goes on copying stacks: the next time it may be there.
            Err(why) if why.may_change() => {}
            Err(_) => {
                if let Err(error) = self.published.publish_none(slot) {
                    tracing::warn!(%error, "cannot tell the kernel that a file has no unwind table");
                }
            }
        }
        table
    }

    /// From the disk, or from the worker.
    fn find(&mut self, executable: &Executable) -> Result<Table, NoTable> {
        let file = Self::opened(executable)?;
        let key = self.cache.key(&file);
        if let Some(table) = key.as_ref().and_then(|key| self.cache.load(key)) {
            return Ok(table);
        }
        self.quota.wait();
        let started = Instant::now();
        let built = self.worker.build(&file, &executable.path, started + BUILD_LIMIT);
        self.quota.spend(started.elapsed());
        let table = built?;
        if let Some(key) = key {
            self.cache.store(&key, &table);
        }
        Ok(table)
    }

    fn opened(executable: &Executable) -> Result<Arc<OpenFile>, NoTable> {
        match executable.file.wait(Instant::now() + OPEN_LIMIT) {
            Opening::Opened(file) => Ok(file),
            Opening::NotAsked | Opening::Pending | Opening::Failed(_) => Err(NoTable::Unreadable),
        }
    }

    /// Publishes; when there is no room, the tables that were not used for the longest time go first.
    fn publish(&mut self, slot: u32, table: &Table, tell: &impl Fn(Event)) -> Result<(), NoTable> {
        loop {
            match self.published.publish(slot, |allocate| placed(table, allocate)) {
                Ok(()) => return Ok(()),
                Err(PublishError::Full) => {
                    let oldest = self.slots.iter().min_by_key(|(_, is)| is.used);
                    let Some((&oldest, is)) = oldest else { return Err(NoTable::NotPublished) };
                    let executable = is.executable;
                    self.take_out(oldest);
                    tell(Event::Evicted(executable));
                }
                Err(PublishError::Kernel(error)) => {
                    tracing::warn!(%error, "cannot publish an unwind table");
                    return Err(NoTable::NotPublished);
                }
            }
        }
    }

    fn used(&mut self, executables: &[ExecutableId]) {
        let now = Instant::now();
        for is in self.slots.values_mut() {
            if executables.contains(&is.executable) {
                is.used = now;
            }
        }
    }

    fn forget(&mut self, slots: &[u32], tell: &impl Fn(Event)) {
        for &slot in slots {
            self.take_out(slot);
            tell(Event::Freed { slot });
        }
    }

    fn take_out(&mut self, slot: u32) {
        self.slots.remove(&slot);
        if let Err(error) = self.published.retract(slot) {
            tracing::warn!(%error, "cannot take an unwind table out of the kernel");
        }
    }
}

/// A table with its place in the kernel's memory.
fn placed(table: &Table, allocate: &mut Allocate<'_>) -> Option<PlacedTable> {
    let placed = place(table, |n_words| {
        let (chunk, first_word) = allocate(n_words, ALIGN_WORDS as u32)?;
        Some(Extent { chunk, first_word, n_words })
    });
    let placed = placed.ok()?;
    let part = |piece: crate::unwind::Piece| PlacedPart {
        chunk: piece.extent.chunk,
        start: piece.extent.first_word,
        words: piece.words,
    };
    Some(PlacedTable {
        header: placed.header,
        parts: placed.pieces.into_iter().map(part).collect(),
    })
}
