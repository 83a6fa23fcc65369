//! Debug files in; the same on disk by their build ids out, up to a bound: the oldest go first.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;

/// A folder that nobody else may write to.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    bytes: u64,
}

impl Cache {
    /// Makes the folder if need be. One that others may write to is refused: the names would be theirs.
    pub(super) fn open(folder: &Path, bytes: u64) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let metadata = fs::symlink_metadata(folder).map_err(failed)?;
        let is_ours = metadata.is_dir()
            && metadata.uid() == rustix::process::geteuid().as_raw()
            && metadata.mode() & 0o022 == 0;
        if !is_ours {
            let why = "it must be a folder of the agent's user that others cannot write to";
            return Err(failed(std::io::Error::other(why)));
        }
        Ok(Self { folder: folder.to_owned(), bytes })
    }

    /// The file of a build id.
    pub(super) fn get(&self, id: &str) -> Option<File> {
        File::open(self.path(id)).ok()
    }

    pub(super) fn remove(&self, id: &str) {
        drop(fs::remove_file(self.path(id)));
    }

    /// Has a file written and takes it over when it is whole.
    pub(super) fn fill<E: From<std::io::Error>>(
        &self,
        id: &str,
        write: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<(), E> {
        let part = self.folder.join(format!("{id}.part"));
        drop(fs::remove_file(&part));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        let written = write(&mut file);
        if written.is_ok() {
            fs::rename(&part, self.path(id))?;
            self.trim();
        } else {
            drop(fs::remove_file(&part));
        }
        written
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.debug"))
    }

    /// Deletes the oldest files until the rest fits.
    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok()?;
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            metadata.is_file().then(|| (written, metadata.len(), entry.path()))
        };
        let mut files: Vec<_> = entries.flatten().filter_map(file).collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= self.bytes {
                return;
            }
            if fs::remove_file(&path).is_ok() {
                total -= len;
            }
        }
    }
}
