//! A slot of the map `TABLES`: the unwind table of one executable, as user space publishes it and the kernel finds it.
//!
//! A slot is written as a whole while its state says [`TABLE_PENDING`], and then once more with the new state and nothing else
//! changed, so that no reader sees half of it. Before its memory is given to another table, the state is taken back and all
//! programs that may have seen it have ended.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::unwind::table::TableHeader;

/// The table is not there yet.
pub const TABLE_PENDING: u32 = 0;
/// It can be used.
pub const TABLE_READY: u32 = 1;
/// There is none to be had: the file's code is walked by frame pointers.
pub const TABLE_NONE: u32 = 2;

/// The slot that mappings without a file, and those that had to go without one, have: always [`TABLE_PENDING`].
pub const NO_SLOT: u32 = 0;

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TableSlot {
    /// [`TABLE_PENDING`], [`TABLE_READY`] or [`TABLE_NONE`].
    pub state: u32,
    /// Zero.
    pub reserved: u32,
    /// Counts while the state is [`TABLE_READY`].
    pub header: TableHeader,
}

const _: () = assert!(size_of::<TableSlot>() == 280);

#[cfg(feature = "user")]
mod pod {
    #![expect(
        unsafe_code,
        reason = "aya::Pod marks types that may be copied to and from the kernel"
    )]

    use super::TableSlot;

    // SAFETY: `repr(C)`, integers only, no padding (zerocopy's IntoBytes proves it).
    unsafe impl aya::Pod for TableSlot {}
}
