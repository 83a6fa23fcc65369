//! Unwind tables on disk, so that a restart need not make them again. A table is found by what the file is, not by what it
//! says of itself: a build id can be forged.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::{MAX_ENCODED, Table};

/// Bytes of both ends of a file that are part of its key.
const END_LEN: usize = 4096;
/// Bytes that all tables on disk may take; the least recently made go first.
const MAX_BYTES: u64 = 256 << 20;
/// Part of every file's name: tables of another form are not looked at, and make room in time.
const FORM: &str = "table1";

/// What a file is: device, inode, time of its last change, length and both ends, hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

/// The cache; without a folder nothing is kept.
#[derive(Debug, Default)]
pub struct DiskCache {
    folder: Option<PathBuf>,
}

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be made or looked at.
    #[error("cannot use {path} for the cache of unwind tables")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody else could put tables there.
    #[error(
        "{path} is not used for the cache of unwind tables: it must belong to uid {uid} and be closed to others (chmod 700)"
    )]
    Open { path: PathBuf, uid: u32 },
}

impl DiskCache {
    /// Keeps tables in this folder, which is made if need be.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let uid = rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || metadata.st_uid() != uid || metadata.st_mode() & 0o077 != 0 {
            return Err(Error::Open { path: path.to_owned(), uid });
        }
        let cache = Self { folder: Some(path.to_owned()) };
        cache.make_room();
        Ok(cache)
    }

    /// The key of a file; `None` where it cannot be read.
    pub fn key(&self, file: &File) -> Option<Key> {
        self.folder.as_ref()?;
        let metadata = file.metadata().ok()?;
        let mut hash = Sha256::new();
        for number in [metadata.st_dev(), metadata.st_ino(), metadata.st_size()] {
            hash.update(number.to_le_bytes());
        }
        hash.update(metadata.st_mtime().to_le_bytes());
        hash.update(metadata.st_mtime_nsec().to_le_bytes());
        for start in [0, metadata.st_size().saturating_sub(END_LEN as u64)] {
            let mut end = [0; END_LEN];
            let n_bytes = file.read_at(&mut end, start).ok()?;
            hash.update(end.get(..n_bytes)?);
        }
        let mut hex = String::new();
        for byte in hash.finalize() {
            write!(hex, "{byte:02x}").ok()?;
        }
        Some(Key(hex))
    }

    /// The table of a file, if it is there and whole.
    pub fn load(&self, key: &Key) -> Option<Table> {
        let path = self.path(key)?;
        let mut bytes = Vec::new();
        File::open(&path).ok()?.take(MAX_ENCODED as u64).read_to_end(&mut bytes).ok()?;
        let table = Table::decode(&bytes).ok();
        if table.is_none() {
            tracing::debug!(path = %path.display(), "a damaged unwind table is made again");
            drop(fs::remove_file(&path));
        }
        table
    }

    /// Keeps a table. A disk that cannot be written costs time at the next start, nothing else.
    pub fn store(&self, key: &Key, table: &Table) {
        let Some(path) = self.path(key) else { return };
        let stored = write_whole(&path, &table.encode());
        if let Err(error) = stored {
            tracing::debug!(path = %path.display(), %error, "cannot keep an unwind table on disk");
        }
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.{FORM}", key.0)))
    }

    /// Removes the oldest tables above the bound, and what was not written to its end.
    fn make_room(&self) {
        let Some(Ok(entries)) = self.folder.as_ref().map(fs::read_dir) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort_unstable_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut n_bytes = 0;
        for (_, len, path) in files {
            n_bytes += len;
            let is_table = path.extension().is_some_and(|extension| extension == FORM);
            if n_bytes > MAX_BYTES || !is_table {
                drop(fs::remove_file(path));
            }
        }
    }
}

/// A reader sees all of it or nothing.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::{DiskCache, END_LEN, Error};
    use crate::unwind::Table;

    #[test]
    fn a_table_is_found_again_until_the_file_changes() {
        let temp = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(&temp.path().join("unwind")).unwrap();
        let path = temp.path().join("program");
        fs::write(&path, vec![1; 3 * END_LEN]).unwrap();
        let key = || cache.key(&File::open(&path).unwrap()).unwrap();
        let first = key();
        assert!(cache.load(&first).is_none());
        cache.store(&first, &Table::default());
        assert!(cache.load(&key()).is_some());
        fs::write(&path, vec![2; 3 * END_LEN]).unwrap();
        assert_ne!(key(), first);
        assert!(cache.load(&key()).is_none());
    }

    #[test]
    fn a_damaged_table_is_not_believed() {
        let temp = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(&temp.path().join("unwind")).unwrap();
        let key = cache.key(&File::open("/proc/self/exe").unwrap()).unwrap();
        cache.store(&key, &Table::default());
        let path = cache.path(&key).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(cache.load(&key).is_none(), "bit flipped in byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(cache.load(&key).is_none(), "cut at byte {at}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("open");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(DiskCache::open(&folder), Err(Error::Open { .. })));
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(DiskCache::open(&temp.path().join("file")), Err(Error::Folder { .. })));
    }
}
