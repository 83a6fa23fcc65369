//! The list of a process's executable mappings, as user space gives it to the kernel and as both sides search it.
//!
//! A list has a generation, unique over all lists of one run of the agent. It is published as a whole: first its chunks,
//! under keys that bear the generation, then the [`ProcessMappings`] that names the generation. A reader that finds a
//! chunk of another generation than it asked for treats the process as unknown.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Mappings in a chunk: a power of two, so that an index can be masked.
pub const CHUNK_LEN: usize = 32;
/// Chunks of a list. A process with more executable mappings than `CHUNK_LEN * MAX_CHUNKS` has the rest resolved in user
/// space.
pub const MAX_CHUNKS: usize = 32;

/// Stands where there is no mapping: above all addresses of user space, and positive as a signed number, so that the sign of
/// a difference tells which of two addresses is lower.
pub const BEHIND: u64 = i64::MAX as u64;

/// What the kernel knows of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessMappings {
    /// Which list; never 0.
    pub generation: u32,
    /// How many chunks the list has.
    pub n_chunks: u32,
    /// The first address of each chunk; [`BEHIND`] behind the last one.
    pub first_address: [u64; MAX_CHUNKS],
}

/// Key of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkKey {
    /// The list.
    pub generation: u32,
    /// Its place in the list.
    pub index: u32,
}

/// One executable mapping.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset in the file of `start`.
    pub file_offset: u64,
    /// The agent's id of the file; 0 for executable memory without a file.
    pub executable: u32,
    /// Slot of the file's unwind table in the map `TABLES`; 0 for none.
    pub table: u32,
}

const _: () = assert!(size_of::<Mapping>() == 32);

impl Mapping {
    /// Whether the address lies in it.
    #[inline(always)]
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// The offset in the file of an address that lies in it.
    #[inline(always)]
    pub const fn offset_of(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.file_offset)
    }

    /// The address of an offset in the file, if the mapping holds it.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let distance = offset.checked_sub(self.file_offset)?;
        let address = self.start.checked_add(distance)?;
        (address < self.end).then_some(address)
    }
}

/// A part of a list: mappings in rising order that do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingChunk {
    /// The list that it belongs to: compared after reading, because the kernel may reuse a freed chunk under a reader.
    pub generation: u32,
    /// How many of `mappings` count.
    pub n_mappings: u32,
    /// Behind the last one: `start == BEHIND`.
    pub mappings: [Mapping; CHUNK_LEN],
}

#[cfg(feature = "user")]
mod pod {
    #![expect(
        unsafe_code,
        reason = "aya::Pod marks types that may be copied to and from the kernel"
    )]

    use super::{ChunkKey, MappingChunk, ProcessMappings};

    // SAFETY: `repr(C)`, integers only, no padding (zerocopy's IntoBytes proves it).
    unsafe impl aya::Pod for ProcessMappings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ChunkKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for MappingChunk {}
}
