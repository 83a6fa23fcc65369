//! An open file in; what its contents are known by out. Two files with the same key have the same names; a build id alone would
//! not do, because everybody can give his program that of another.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileExt;

/// Bytes at either end that are looked at: headers, notes and the tables of sections stand there.
const END: u64 = 4096;

/// Where a file is, when it was written, and what stands at its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContentKey {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    ends: u64,
}

impl ContentKey {
    /// The key of a file; `hasher` must be the same for all that are compared.
    pub(super) fn of(file: &File, hasher: &RandomState) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let len = metadata.len();
        let mut ends = [0; 2 * END as usize];
        let (first, last) = ends.split_at_mut(END as usize);
        read(file, first, 0)?;
        read(file, last, len.saturating_sub(END))?;
        Ok(Self {
            device: metadata.st_dev(),
            inode: metadata.st_ino(),
            len,
            modified: (metadata.st_mtime(), metadata.st_mtime_nsec()),
            ends: hasher.hash_one(ends),
        })
    }
}

/// Reads what there is; the rest stays zero.
fn read(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let n_read = file.read_at(buffer, offset)?;
        if n_read == 0 {
            return Ok(());
        }
        offset += n_read as u64;
        buffer = buffer.get_mut(n_read..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ContentKey;
    use std::hash::RandomState;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_written_changes_the_key() {
        let hasher = RandomState::new();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        let key = |file: &std::fs::File| ContentKey::of(file, &hasher).unwrap();
        let first = key(&file);
        assert_eq!(first, key(&file.try_clone().unwrap()));
        file.write_all_at(b"x", 9_999).unwrap();
        assert_ne!(first, key(&file));
        let other = tempfile::tempfile().unwrap();
        assert_ne!(first, key(&other));
    }
}
