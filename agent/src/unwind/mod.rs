//! The bytes of an executable in; its unwind table, which the kernel looks every frame up in, out.
//!
//! Sources in the order of trust: return trampolines of signal handlers (by their code), `.eh_frame`, `.gopclntab`,
//! `.debug_frame`. All of it was written by others: it runs in the worker process, and is bounded in memory and time.

mod elf;
mod rules;
mod spans;
mod cfi;
mod go;
mod sigreturn;
mod table;
mod runs;
mod encoded;
mod placed;
mod disk_cache;
mod walk;
#[cfg(test)]
mod tests;

pub use self::disk_cache::DiskCache;
pub use self::encoded::{MAX_ENCODED, Malformed};
pub use self::placed::{ALIGN_WORDS, Extent, NoPlace, Piece, Placed, place};
pub use self::table::Table;
pub use self::walk::{TableState, Walked, walk};

use self::elf::Elf;
use self::rules::Rules;
use self::spans::ExactRow;

/// Why a file has no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoTable {
    #[error("not an ELF file")]
    NotElf,
    #[error("a 32-bit file, which is not unwound")]
    Class32,
    #[error("a file for another kind of machine")]
    OtherMachine,
    #[error("a file larger than 2 GiB")]
    TooLarge,
    #[error("a malformed ELF file")]
    Malformed,
    #[error("a file that cannot be read")]
    Unreadable,
    #[error("the worker was lost over it")]
    WorkerLost,
    #[error("the kernel has no memory left for it")]
    NotPublished,
}

impl NoTable {
    /// Whether it may be had another time.
    pub fn may_change(self) -> bool {
        matches!(self, Self::Unreadable | Self::WorkerLost | Self::NotPublished)
    }

    /// All in the order of their numbers.
    const ALL: [Self; 8] = [
        Self::NotElf,
        Self::Class32,
        Self::OtherMachine,
        Self::TooLarge,
        Self::Malformed,
        Self::Unreadable,
        Self::WorkerLost,
        Self::NotPublished,
    ];

    /// The reason of that number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What was met while a table was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Functions described by call frame information.
    pub functions: u64,
    /// Functions described by Go's table.
    pub go_functions: u64,
    /// Entries that could not be parsed.
    pub entries_malformed: u64,
    /// Functions whose instructions could not be run to their end.
    pub functions_malformed: u64,
    /// A bound was reached: what came behind is not in the table.
    pub cut_off: u64,
    /// Rows whose CFA, return address or rbp is said in an unknown way.
    pub unsupported_cfa: u64,
    pub unsupported_return_address: u64,
    pub unsupported_rbp: u64,
}

/// Builds the table of `image`. `debug` is the separate debug file, if there is one.
pub fn build(image: &[u8], debug: Option<&[u8]>) -> Result<(Table, Counts), NoTable> {
    let elf = Elf::parse(image)?;
    let mut counts = Counts::default();
    let mut rules = Rules::default();
    let holder = debug.and_then(|debug| Elf::parse(debug).ok());
    let rows = exact_rows(&elf, holder.as_ref(), &mut rules, &mut counts);
    Ok((runs::table(&rows, rules), counts))
}

/// What all sources know, before it is merged and paged.
fn exact_rows(
    elf: &Elf<'_>,
    debug: Option<&Elf<'_>>,
    rules: &mut Rules,
    counts: &mut Counts,
) -> Vec<ExactRow> {
    let mut source = sigreturn::rows(elf).over(cfi::eh_frame(elf, rules, counts));
    source = source.over(go::rows(elf, rules, counts));
    for holder in [Some(elf), debug].into_iter().flatten() {
        source = source.over(cfi::debug_frame(elf, holder, rules, counts));
    }
    source.flatten()
}
