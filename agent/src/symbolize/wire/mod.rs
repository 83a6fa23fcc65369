//! Bytes of the packets between the agent and its worker in; typed requests and answers out, and back.
//!
//! One packet is one message of a `SOCK_SEQPACKET` socket: version, kind, body; integers little-endian. The agent trusts
//! nothing that the worker says: every length is checked against a cap, and a malformed packet costs the worker its life.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod packet;

pub use self::packet::{put_lookup, symbols_packet};

/// Both sides are the same executable file, so this only guards against a stranger at the other end.
pub const VERSION: u8 = 1;
/// Longest packet in either direction.
pub const MAX_PACKET: usize = 64 * 1024;
/// Addresses in one request.
pub const MAX_ADDRESSES: usize = 4096;
/// Bytes kept of a function's or a source file's name.
pub const MAX_NAME: usize = 4096;
/// Functions at one address: 64 inlined ones and the one that they are inlined into.
pub const MAX_FUNCTIONS: usize = 65;
/// Loadable segments of one file.
pub const MAX_SEGMENTS: usize = 256;
/// Bytes of a build id, before they are written in hex.
pub const MAX_BUILD_ID: usize = 128;
/// Bytes of the name or path of a file that another file names.
pub const MAX_LINK: usize = 4096;
/// Files with split units that are asked for at a time.
pub const MAX_SPLIT_WANTED: usize = 16;

/// Why a packet is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {0}")]
pub struct Malformed(pub &'static str);

/// What the agent asks. All but the greeting and `KernelAddresses` come with a file descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first packet: how to confine itself.
    Hello(Hello),
    /// Read the kernel's symbols from the descriptor, an open `/proc/kallsyms`.
    Kernel,
    /// Name these absolute kernel addresses.
    KernelAddresses(Vec<u64>),
    /// Describe the file and name these offsets in it. After `budget_ms` what is left is named by symbols only.
    File { id: u32, detail: Detail, budget_ms: u32, offsets: Vec<u64> },
    /// The file may belong to the file of that number, which was described last.
    Attach { id: u32, role: Role },
    /// Name these absolute addresses of a process by the file, a perf map.
    PerfMap(Vec<u64>),
    /// Name these absolute addresses of a process by the file, a jitdump.
    JitDump(Vec<u64>),
    /// Make the unwind table of the file.
    Table,
}

/// What a file is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds its debug information (build id, or `.gnu_debuglink`).
    Debug,
    /// Holds what its debug information has in common with that of others (`.gnu_debugaltlink`, dwz).
    Supplementary,
    /// Holds its split units (`.dwp`).
    Package,
    /// Holds the split unit of that id (`.dwo`).
    Split(u64),
}

impl Role {
    /// The role's place in a set.
    pub const fn bit(self) -> u8 {
        match self {
            Self::Debug => 1,
            Self::Supplementary => 2,
            Self::Package => 4,
            Self::Split(_) => 8,
        }
    }
}

/// What C++ names are cut down to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demangle {
    /// Nothing: parameters, templates and all.
    #[default]
    Full = 0,
    /// Without parameters and return types.
    Templates = 1,
    /// Without parameters, return types and what stands in angle brackets.
    Simplified = 2,
    /// As the linker has it; Rust's too.
    None = 3,
}

/// How the worker shall confine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whom to become when started as root.
    pub uid: u32,
    /// The group of `uid`.
    pub gid: u32,
    /// Resident memory above which parsed files are dropped, oldest first.
    pub resident_bytes: u64,
    /// Heap above which allocations fail.
    pub heap_bytes: u64,
    /// Debug sections that are compressed and larger than this together are left alone: the file's symbols are used.
    pub debug_bytes: u64,
    /// How names are written.
    pub demangle: Demangle,
}

/// How deep to look into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Symbol tables only.
    Symbols = 0,
    /// Lines and inlined functions too.
    Debug = 1,
}

/// What the worker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is confined and listens. `unprivileged` is false where it had to stay root (without capabilities).
    Ready { unprivileged: bool, filtered: bool },
    /// It could not confine itself and is gone.
    Refused { why: String },
    /// The kernel's symbols are loaded.
    KernelLoaded(KernelText),
    /// The file of the request in hand.
    Description(Result<Description, NoDescription>),
    /// What the file of the request in hand links to, and the roles (`Role::bit`) of the files that are here for it.
    Links { links: Links, attached: u8 },
    /// The next addresses of the request in hand, in its order.
    Symbols(Vec<Lookup>),
    /// Files that would say more of the addresses.
    SplitWanted(Vec<SplitPath>),
    /// Whether the file belongs to the other, and what it links to itself.
    Attached(Option<Links>),
    /// The next bytes of the unwind table, as it encodes itself.
    TablePart(Vec<u8>),
    /// There is no unwind table: the number of a [`crate::unwind::NoTable`].
    NoTable(u8),
    /// The request in hand is answered.
    Done,
}

/// What of the kernel has names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelText {
    /// Symbols of code; 0 when the kernel hides its addresses.
    pub n_symbols: u32,
    /// First address of the core kernel's code: `_stext`.
    pub start: u64,
    /// End of the core kernel's code: `_etext`. What lies outside belongs to modules and BPF programs, which come and go.
    pub end: u64,
}

/// What a file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// GNU build id, else Go's; empty when there is none.
    pub build_id: Vec<u8>,
    /// Loadable segments in the file's order.
    pub segments: Vec<Segment>,
}

impl Description {
    /// The virtual address of a file offset, as addr2line takes it.
    pub fn virtual_address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let into = offset.checked_sub(segment.offset)?;
            (into < segment.file_size).then(|| segment.address.wrapping_add(into))
        })
    }
}

/// A loadable segment: `file_size` bytes at `offset` of the file are loaded at `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub address: u64,
    pub file_size: u64,
}

/// What a file says about others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// It has debug information itself.
    pub has_debug: bool,
    /// It has a table of all its symbols.
    pub has_symbols: bool,
    /// Its debug information may be split.
    pub is_split: bool,
    /// Where its debug information is.
    pub debug_link: Option<DebugLink>,
    /// Where what its debug information has in common with others is.
    pub alt_link: Option<AltLink>,
}

/// `.gnu_debuglink`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// A file name without a folder.
    pub name: Vec<u8>,
    /// CRC-32 of that file.
    pub checksum: u32,
}

/// `.gnu_debugaltlink`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltLink {
    /// A path, perhaps from the linking file's folder on.
    pub path: Vec<u8>,
    /// Build id of that file.
    pub id: Vec<u8>,
}

/// A split unit that is in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPath {
    pub path: Vec<u8>,
    pub id: u64,
}

/// Why a file was not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDescription {
    /// It cannot be read.
    Unreadable = 1,
    /// It is no ELF file, or its headers do not fit together.
    Malformed = 2,
    /// It is larger than the cap.
    TooLarge = 3,
}

/// What an address is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// No symbol covers the address.
    Unknown,
    /// The file has no symbols, or none that could be read.
    NoSymbols,
    /// The kernel hides its addresses.
    Hidden,
    /// Innermost first; never empty.
    Functions(Vec<FunctionBytes>),
    /// The same, by a source that is not the best: there was no time for that.
    Provisional(Vec<FunctionBytes>),
    /// Perhaps: there was no time for the best source, and no other knows.
    Later,
}

/// A function as the file spells it: any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionBytes {
    /// Demangled; never empty.
    pub name: Vec<u8>,
    /// Path of the source file; empty when unknown.
    pub file: Vec<u8>,
    /// Line in it; 0 when unknown.
    pub line: u32,
}
