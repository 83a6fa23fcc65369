//! A file that processes run code of.

use std::fs::File;
use std::sync::Arc;
use std::sync::OnceLock;

/// The agent's number for an executable file; the same number in the kernel's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutableId(pub u32);

/// A file that processes map executable. One for all processes that map the same file.
#[derive(Debug)]
pub struct Executable {
    /// The number that frames bear.
    pub id: ExecutableId,
    /// Path as the process that was seen first maps it, without ` (deleted)`; `[vdso]` for the vDSO.
    pub path: String,
    /// The open file, where it could be opened (through `/proc/PID/map_files`, else by path if device and inode agree).
    /// For the vDSO a memfd with its bytes.
    pub file: OnceLock<Arc<File>>,
}

impl Executable {
    /// The last component of the path: the module's name in `module+0x1234`.
    pub fn basename(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}
