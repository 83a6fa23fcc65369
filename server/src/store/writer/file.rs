//! The file that is appended to. It is made at its first write.

use crate::store::Error;
use crate::store::directory;
use crate::store::record::{FILE_HEADER_LEN, file_header};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(in crate::store) struct LogFile {
    pub number: u64,
    pub path: PathBuf,
    pub salt: u32,
    /// Durable bytes; 0 until the header is.
    pub len: u64,
    file: Option<File>,
}

impl LogFile {
    pub(super) fn new(wal: &Path, number: u64, salt: u32) -> LogFile {
        LogFile { number, path: directory::segment_path(wal, number), salt, len: 0, file: None }
    }

    /// Goes on after the last whole record; what follows it is cut off.
    pub(super) fn reopen(
        number: u64,
        path: PathBuf,
        salt: u32,
        len: u64,
    ) -> Result<LogFile, Error> {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(len)?;
            file.seek(SeekFrom::End(0))?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|err| Error::io("open", &path, err))?;
        Ok(LogFile { number, path, salt, len, file: Some(file) })
    }

    /// Durable when it returns.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.create()?;
        }
        let Some(file) = &mut self.file else { unreachable!("it was made") };
        file.write_all(records)?;
        file.sync_data()?;
        self.len += records.len() as u64;
        Ok(())
    }

    fn create(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        let file = self.file.insert(file);
        file.write_all(&file_header(self.salt))?;
        file.sync_all()?;
        directory::sync(self.path.parent().unwrap_or(&self.path))?;
        self.len = FILE_HEADER_LEN as u64;
        Ok(())
    }

    /// Takes away what a failed write left behind. Where this fails too, reading the file finds the end by itself.
    pub(super) fn cut(&mut self) {
        let Some(file) = self.file.take() else { return };
        if let Err(err) = file.set_len(self.len).and_then(|()| file.sync_all()) {
            tracing::warn!(path = %self.path.display(), error = %err, "cannot cut off a failed write");
        }
    }
}
