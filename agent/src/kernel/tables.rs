//! The unwind tables in the kernel's memory: where each lies, how they get there whole, and how their memory is given to others.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use agent_common::table_slot::{NO_SLOT, TABLE_NONE, TABLE_PENDING, TABLE_READY, TableSlot};
use agent_common::unwind::table::{CHUNK_WORDS, Chunk, TableHeader};
use aya::maps::{Array, ArrayOfMaps, MapData, MapError};
use zerocopy::FromZeros;

use super::Error;
use super::chunks::{Chunks, Extent};

/// Memory that was given back is written again after this and a grace period of the kernel: a program runs for microseconds.
const QUARANTINE: Duration = Duration::from_millis(500);
/// What a chunk costs the kernel: its words, the map, its pages' table.
const CHUNK_BYTES: u64 = CHUNK_WORDS as u64 * 4 + 1024;

type ChunkMap = Array<MapData, Chunk>;
/// Gives so many words, at a multiple of so many (a power of two): the chunk's number and the first word's.
pub type Allocate<'a> = dyn FnMut(u32, u32) -> Option<(u16, u32)> + 'a;

/// A table as it shall lie in the kernel's memory.
#[derive(Clone, Debug)]
pub struct PlacedTable {
    /// Where its parts are.
    pub header: TableHeader,
    /// What is to be written.
    pub parts: Vec<PlacedPart>,
}

/// Words to be written into a chunk.
#[derive(Clone, Debug)]
pub struct PlacedPart {
    /// The chunk's number.
    pub chunk: u16,
    /// Number of the first word.
    pub start: u32,
    /// The words.
    pub words: Vec<u32>,
}

/// Why a table is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// All memory that tables may take is taken.
    #[error("the memory for unwind tables is used up")]
    Full,
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] Error),
}

/// The tables.
pub struct UnwindTables {
    slots: Array<MapData, TableSlot>,
    outer: ArrayOfMaps<MapData, ChunkMap>,
    maps: HashMap<u16, ChunkMap>,
    /// Stands where there is no chunk any more.
    empty: ChunkMap,
    chunks: Chunks,
    published: HashMap<u32, Published>,
    quarantine: Vec<(Instant, Vec<Extent>)>,
}

struct Published {
    slot: TableSlot,
    extents: Vec<Extent>,
}

impl std::fmt::Debug for UnwindTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnwindTables")
            .field("published", &self.published.len())
            .finish_non_exhaustive()
    }
}

impl UnwindTables {
    pub(super) fn new(
        slots: Array<MapData, TableSlot>,
        outer: ArrayOfMaps<MapData, ChunkMap>,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        let max_chunks = (max_bytes / CHUNK_BYTES).clamp(1, u64::from(outer.len()));
        Ok(Self {
            empty: ChunkMap::create(1, 0).map_err(chunks_error)?,
            slots,
            outer,
            maps: HashMap::new(),
            chunks: Chunks::new(max_chunks as u16),
            published: HashMap::new(),
            quarantine: Vec::new(),
        })
    }

    /// Memory of the kernel that the tables take.
    pub fn bytes(&self) -> u64 {
        self.maps.len() as u64 * CHUNK_BYTES
    }

    /// Puts a table into a slot, as a whole: a walk sees all of it or none. `place` places it in what it is given, or gives
    /// up; it may be called twice.
    pub fn publish(
        &mut self,
        slot: u32,
        place: impl Fn(&mut Allocate<'_>) -> Option<PlacedTable>,
    ) -> Result<(), PublishError> {
        self.retract(slot)?;
        self.leave_quarantine(false)?;
        let mut extents = Vec::new();
        let mut placed = self.place(&place, &mut extents);
        if placed.is_none() {
            self.chunks_back(std::mem::take(&mut extents));
            self.leave_quarantine(true)?;
            placed = self.place(&place, &mut extents);
        }
        let Some(placed) = placed else {
            self.chunks_back(extents);
            return Err(PublishError::Full);
        };
        self.write(&placed)?;
        self.set_slot(slot, TABLE_READY, &placed.header)?;
        let header = TableSlot { state: TABLE_READY, reserved: 0, header: placed.header };
        self.published.insert(slot, Published { slot: header, extents });
        Ok(())
    }

    /// Says that there is no table for a slot: its executable is walked by frame pointers.
    pub fn publish_none(&mut self, slot: u32) -> Result<(), Error> {
        self.retract(slot)?;
        self.set_slot(slot, TABLE_NONE, &TableHeader::new_zeroed())
    }

    /// Takes a slot's table back. Its memory is given to others when no walk can be in it any more.
    pub fn retract(&mut self, slot: u32) -> Result<(), Error> {
        let Some(old) = self.published.remove(&slot) else {
            return self.write_slot(slot, &TableSlot::new_zeroed());
        };
        // The header stays as it is: a walk that has just seen the old state still finds its table.
        self.write_slot(slot, &TableSlot { state: TABLE_PENDING, ..old.slot })?;
        self.quarantine.push((Instant::now(), old.extents));
        Ok(())
    }

    fn place(
        &mut self,
        place: impl Fn(&mut Allocate<'_>) -> Option<PlacedTable>,
        extents: &mut Vec<Extent>,
    ) -> Option<PlacedTable> {
        let chunks = &mut self.chunks;
        place(&mut |len, align| {
            let extent = chunks.allocate(len, align)?;
            extents.push(extent);
            Some((extent.chunk, extent.start))
        })
    }

    fn chunks_back(&mut self, extents: Vec<Extent>) {
        for extent in extents {
            self.chunks.release(extent);
        }
    }

    /// Gives memory back for use, and chunks that hold nothing back to the kernel. `now`: all of it, after a grace period.
    fn leave_quarantine(&mut self, now: bool) -> Result<(), Error> {
        let is_over = |since: &Instant| now || since.elapsed() >= QUARANTINE;
        let over: Vec<_> = self.quarantine.extract_if(.., |(since, _)| is_over(since)).collect();
        if over.is_empty() {
            return Ok(());
        }
        self.wait_for_walks()?;
        for (_, extents) in over {
            self.chunks_back(extents);
        }
        for number in self.chunks.take_empty() {
            if self.maps.remove(&number).is_some() {
                // Array elements of this kind cannot be removed by aya: all empty places share one chunk.
                let (outer, empty) = (&mut self.outer, &self.empty);
                outer.set(u32::from(number), empty, 0).map_err(chunks_error)?;
            }
        }
        Ok(())
    }

    /// Waits until every program that runs now has ended: changing a map of maps does (`maybe_wait_bpf_programs` in
    /// `kernel/bpf/syscall.c`).
    fn wait_for_walks(&mut self) -> Result<(), Error> {
        self.outer.set(0, self.maps.get(&0).unwrap_or(&self.empty), 0).map_err(chunks_error)
    }

    /// Writes a placed table, chunk by chunk. The words around it, which walks may read meanwhile, are written as they are.
    fn write(&mut self, placed: &PlacedTable) -> Result<(), Error> {
        let mut by_chunk: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        for part in &placed.parts {
            by_chunk.entry(part.chunk).or_default().push(part);
        }
        for (number, parts) in by_chunk {
            let known = self.maps.get(&number);
            let mut words = match known {
                Some(map) => Box::new(map.get(&0, 0).map_err(chunks_error)?),
                None => zeroed_chunk(),
            };
            for part in parts {
                let range = part.start as usize..part.start as usize + part.words.len();
                words[range].copy_from_slice(&part.words);
            }
            self.write_chunk(number, &words)?;
        }
        Ok(())
    }

    fn write_chunk(&mut self, number: u16, words: &Chunk) -> Result<(), Error> {
        if let Some(map) = self.maps.get_mut(&number) {
            return map.set(0, words, 0).map_err(chunks_error);
        }
        let mut map = ChunkMap::create(1, 0).map_err(chunks_error)?;
        map.set(0, words, 0).map_err(chunks_error)?;
        self.outer.set(u32::from(number), &map, 0).map_err(chunks_error)?;
        self.maps.insert(number, map);
        Ok(())
    }

    fn set_slot(&mut self, slot: u32, state: u32, header: &TableHeader) -> Result<(), Error> {
        // All of it first, and then the state alone: no walk sees a header that is half written.
        self.write_slot(slot, &TableSlot { state: TABLE_PENDING, reserved: 0, header: *header })?;
        self.write_slot(slot, &TableSlot { state, reserved: 0, header: *header })
    }

    fn write_slot(&mut self, slot: u32, value: &TableSlot) -> Result<(), Error> {
        if slot == NO_SLOT {
            return Ok(());
        }
        self.slots.set(slot, value, 0).map_err(|source| Error::Map { map: "TABLES", source })
    }
}

fn zeroed_chunk() -> Box<Chunk> {
    let words = vec![0; CHUNK_WORDS].into_boxed_slice();
    words.try_into().expect("it has a chunk's length")
}

fn chunks_error(source: MapError) -> Error {
    Error::Map { map: "UNWIND_CHUNKS", source }
}
