//! One frame of a stack as it leaves the kernel.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a frame is and thereby how its two numbers are read. The numbers are the wire between kernel and user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FrameKind {
    /// Kernel text: `address` is an absolute kernel address.
    Kernel = 1,
    /// Code of a file: `executable` is the agent's id of the file, `address` the offset in the file.
    Native = 2,
    /// User memory that no known file mapping holds: `address` is absolute in the process, `executable` the generation of
    /// the process's mapping list, or the pid where the kernel has no list of that process.
    Address = 3,
    /// A frame of an interpreter.
    Interpreter = 4,
    /// Code that a JIT compiler wrote; user space gives this kind.
    Jit = 5,
    /// Frames that were walked and not kept: `address` says how many. User space gives this kind.
    Cut = 6,
}

impl FrameKind {
    /// The kind of that number; `None` for a number that no kind has.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Kernel,
            2 => Self::Native,
            3 => Self::Address,
            4 => Self::Interpreter,
            5 => Self::Jit,
            6 => Self::Cut,
            _ => return None,
        })
    }
}

/// A frame on the wire. Callers' addresses point into the call instruction: return address minus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawFrame {
    /// A [`FrameKind`] in the low byte; the rest is zero.
    pub kind: u32,
    /// Read according to `kind`.
    pub executable: u32,
    /// Read according to `kind`.
    pub address: u64,
}

const _: () = assert!(size_of::<RawFrame>() == 16);

impl RawFrame {
    /// A frame of that kind.
    #[inline(always)]
    pub const fn new(kind: FrameKind, executable: u32, address: u64) -> Self {
        Self { kind: kind as u32, executable, address }
    }

    /// What kind of frame it is; `None` when the number is none of ours.
    pub const fn kind(&self) -> Option<FrameKind> {
        if self.kind > 255 { None } else { FrameKind::from_u8(self.kind as u8) }
    }
}
