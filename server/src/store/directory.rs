//! The data directory: made, locked and listed.

use crate::store::Error;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const ENDING: &str = ".wal";

pub(super) struct Directory {
    pub wal: PathBuf,
    // Closing the file gives the lock back, also when the process is killed.
    _lock: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Directory, Error> {
        let wal = path.join("wal");
        // Profiles tell what a machine runs: they are their owner's to read.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&wal).map_err(|err| Error::io("create data directory", path, err))?;
        let lock = lock(path)?;
        Ok(Directory { wal, _lock: lock })
    }

    /// The numbers and files of the segments, oldest first.
    pub(super) fn segments(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        let failed = |err| Error::io("list data directory", &self.wal, err);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.wal).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let number =
                path.file_name().and_then(|name| name.to_str()?.strip_suffix(ENDING)?.parse().ok());
            if let Some(number) = number {
                found.push((number, path));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

pub(super) fn segment_path(wal: &Path, number: u64) -> PathBuf {
    wal.join(format!("{number:010}{ENDING}"))
}

/// Makes names in the directory durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let failed = |err| Error::io("open", &path, err);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    if let Err(err) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if err != rustix::io::Errno::WOULDBLOCK {
            return Err(Error::io("lock", &path, err.into()));
        }
        let mut pid = String::new();
        let owner = match file.read_to_string(&mut pid) {
            Ok(_) if !pid.trim().is_empty() => format!(" (pid {})", pid.trim()),
            _ => String::new(),
        };
        return Err(Error::Locked { path: directory.to_owned(), owner });
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|err| Error::io("write", &path, err))?;
    Ok(file)
}
