//! The mapping lists that the kernel holds, and which of them must go when there is no room.

use std::collections::HashMap;

use agent_common::mapping::{
    BEHIND, CHUNK_LEN, ChunkKey, MAX_CHUNKS, Mapping, MappingChunk, ProcessMappings,
};
use aya::maps::{HashMap as BpfHashMap, MapData, MapError};

use super::slots::Slots;

/// The lists in the kernel.
pub(super) struct MappingLists {
    processes: BpfHashMap<MapData, u32, ProcessMappings>,
    chunks: BpfHashMap<MapData, ChunkKey, MappingChunk>,
    max_processes: usize,
    published: HashMap<u32, Published>,
    next_generation: u32,
    n_full: u64,
    slots: Slots,
}

struct Published {
    generation: u32,
    n_chunks: u32,
}

impl MappingLists {
    pub(super) fn new(
        processes: BpfHashMap<MapData, u32, ProcessMappings>,
        chunks: BpfHashMap<MapData, ChunkKey, MappingChunk>,
        max_processes: u32,
        slots: Slots,
    ) -> Self {
        Self {
            processes,
            chunks,
            max_processes: max_processes as usize,
            published: HashMap::new(),
            next_generation: 1,
            n_full: 0,
            slots,
        }
    }

    /// The slots of the mapped files' unwind tables.
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The same, to be changed.
    pub(super) fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Lists that could not be published because a map was full.
    pub(super) fn n_full(&self) -> u64 {
        self.n_full
    }

    /// Publishes a list as a whole and gives its generation: the chunks first, the process's entry last.
    pub(super) fn publish(&mut self, pid: u32, mappings: &[Mapping]) -> Option<u32> {
        if !self.published.contains_key(&pid) && self.published.len() >= self.max_processes {
            self.evict();
        }
        let generation = self.take_generation();
        let (entry, chunks) = build(generation, mappings, |executable| self.slots.of(executable));
        match self.insert(pid, &entry, &chunks) {
            Ok(()) => {
                let published = Published { generation, n_chunks: chunks.len() as u32 };
                if let Some(old) = self.published.insert(pid, published) {
                    self.remove_chunks(&old);
                }
                Some(generation)
            }
            Err(error) => {
                self.n_full += 1;
                tracing::debug!(pid, %error, "cannot give the kernel a mapping list");
                self.remove_chunks(&Published { generation, n_chunks: chunks.len() as u32 });
                None
            }
        }
    }

    fn insert(
        &mut self,
        pid: u32,
        entry: &ProcessMappings,
        chunks: &[MappingChunk],
    ) -> Result<(), MapError> {
        for (index, chunk) in chunks.iter().enumerate() {
            self.chunks.insert(
                ChunkKey { generation: entry.generation, index: index as u32 },
                chunk,
                0,
            )?;
        }
        self.processes.insert(pid, entry, 0)
    }

    /// Takes back a process's list.
    pub(super) fn unpublish(&mut self, pid: u32) {
        if let Some(old) = self.published.remove(&pid) {
            if let Err(error) = self.processes.remove(&pid) {
                tracing::debug!(pid, %error, "cannot take back a mapping list");
            }
            self.remove_chunks(&old);
        }
    }

    /// Takes back the oldest list: its process loses nothing, its frames are resolved in user space.
    fn evict(&mut self) {
        self.n_full += 1;
        let oldest = self
            .published
            .iter()
            .min_by_key(|(_, published)| published.generation)
            .map(|(&pid, _)| pid);
        if let Some(pid) = oldest {
            self.unpublish(pid);
        }
    }

    fn remove_chunks(&mut self, old: &Published) {
        for index in 0..old.n_chunks {
            let key = ChunkKey { generation: old.generation, index };
            if let Err(error) = self.chunks.remove(&key) {
                tracing::trace!(%error, "cannot remove a chunk of a mapping list");
            }
        }
    }

    fn take_generation(&mut self) -> u32 {
        let generation = self.next_generation;
        // Skips 0, which says that there is no list.
        self.next_generation = generation.checked_add(1).unwrap_or(1);
        generation
    }
}

/// Cuts mappings, which are in rising order, into chunks. What does not fit is left out, and so is what lies above [`BEHIND`], as
/// `[vsyscall]` does: the kernel compares addresses by the sign of their difference, and would find nothing below it.
fn build(
    generation: u32,
    mappings: &[Mapping],
    mut slot_of: impl FnMut(u32) -> u32,
) -> (ProcessMappings, Vec<MappingChunk>) {
    let behind = Mapping { start: BEHIND, end: BEHIND, ..Mapping::default() };
    let mut entry =
        ProcessMappings { generation, n_chunks: 0, first_address: [BEHIND; MAX_CHUNKS] };
    let mut chunks = Vec::new();
    let n_below = mappings.partition_point(|mapping| mapping.start < BEHIND);
    let mappings = mappings.get(..n_below).unwrap_or_default();
    for (part, first_address) in mappings.chunks(CHUNK_LEN).zip(&mut entry.first_address) {
        let mut chunk = MappingChunk {
            generation,
            n_mappings: part.len() as u32,
            mappings: [behind; CHUNK_LEN],
        };
        for (to, mapping) in chunk.mappings.iter_mut().zip(part) {
            *to = Mapping { table: slot_of(mapping.executable), ..*mapping };
        }
        *first_address = part[0].start;
        chunks.push(chunk);
    }
    entry.n_chunks = chunks.len() as u32;
    (entry, chunks)
}

#[cfg(test)]
mod tests {
    use agent_common::mapping::{BEHIND, CHUNK_LEN, MAX_CHUNKS, Mapping};

    use super::build;

    fn mappings(n: usize) -> Vec<Mapping> {
        (0..n as u64)
            .map(|i| Mapping {
                start: i * 4096,
                end: i * 4096 + 2048,
                file_offset: 0,
                executable: 1,
                table: 0,
            })
            .collect()
    }

    #[test]
    fn what_lies_above_all_of_user_space_is_left_out() {
        let mut list = mappings(3);
        let start = 0xffff_ffff_ff60_0000;
        list.push(Mapping { start, end: start + 4096, ..Mapping::default() });
        let (entry, chunks) = build(7, &list, |executable| executable);
        assert_eq!((entry.n_chunks, chunks[0].n_mappings), (1, 3));
        assert!(chunks[0].mappings.iter().all(|mapping| mapping.start <= BEHIND));
        let (entry, chunks) = build(7, &list[3..], |executable| executable);
        assert_eq!((entry.n_chunks, chunks.len()), (0, 0));
    }

    #[test]
    fn lists_are_cut_into_chunks() {
        for (n, n_chunks) in [
            (0, 0),
            (1, 1),
            (CHUNK_LEN, 1),
            (CHUNK_LEN + 1, 2),
            (CHUNK_LEN * MAX_CHUNKS + 5, MAX_CHUNKS),
        ] {
            let (entry, chunks) = build(7, &mappings(n), |executable| executable + 40);
            assert_eq!((entry.n_chunks as usize, chunks.len()), (n_chunks, n_chunks), "{n}");
            for (i, chunk) in chunks.iter().enumerate() {
                assert_eq!(chunk.generation, 7);
                assert_eq!(chunk.mappings[0].table, 41);
                assert_eq!(entry.first_address[i], chunk.mappings[0].start);
                let n = chunk.n_mappings as usize;
                assert!(chunk.mappings[n..].iter().all(|mapping| mapping.start == BEHIND));
            }
            assert!(entry.first_address[n_chunks..].iter().all(|&address| address == BEHIND));
        }
    }
}
