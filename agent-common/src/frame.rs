//! One frame of a stack as it leaves the kernel.

/// What a frame is and thereby how its two numbers are read. The numbers are the wire between kernel and user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FrameKind {
    /// Kernel text: `address` is an absolute kernel address.
    Kernel = 1,
    /// Code of a file: `executable` is the agent's id of the file, `address` the offset in the file.
    Native = 2,
    /// User memory that no known file mapping holds: `address` is absolute in the process.
    Address = 3,
    /// A frame of an interpreter (none yet).
    Interpreter = 4,
    /// Code that a JIT compiler wrote (none leaves the kernel as such yet; user space gives the kind).
    Jit = 5,
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
            _ => return None,
        })
    }
}
