//! An open file in; its bytes out, mapped and not read: of a large file only what is looked at is in memory, and that can be
//! given back at any time.
#![expect(unsafe_code, reason = "files of hundreds of megabytes are looked into at a few places")]

use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Larger files are not looked into.
const MAX_FILE: u64 = 2 << 30;

/// A file's bytes. Whoever can write to the file can change them, or, by truncating it, end this process (SIGBUS): that is
/// one reason for it to be a process of its own. Nothing here relies on two looks at the same place giving the same.
pub(super) struct Mapped {
    start: NonNull<u8>,
    len: usize,
}

impl Mapped {
    /// Maps the whole file.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        if len > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let len = len as usize;
        // SAFETY: a new mapping at a place of the kernel's choice disturbs nobody.
        let start = unsafe { mmap(null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `len` bytes long, readable, and there until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Gives back the memory that was looked at; it is read again when it is looked at again.
    pub(super) fn release(&self) {
        // SAFETY: the mapping is the whole range, and a private one of a file that is never written to.
        let released =
            unsafe { madvise(self.start.as_ptr().cast(), self.len, Advice::LinuxDontNeed) };
        debug_assert!(released.is_ok(), "the range is mapped");
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: nobody holds bytes of it: they borrow `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "the range is mapped");
    }
}
