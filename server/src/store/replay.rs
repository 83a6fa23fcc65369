//! Files of the log -> segments in memory, as they were when they were last acknowledged.

use crate::store::Error;
use crate::store::directory::Directory;
use crate::store::encode::{take_definitions, take_rows};
use crate::store::metrics::{Damage, Metrics};
use crate::store::record::{FILE_HEADER_LEN, Header, Kind, VERSION, read_file_header, scan};
use crate::store::segment::Data;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

/// A file as it was read.
pub(super) struct Replayed {
    pub number: u64,
    pub path: PathBuf,
    pub data: Data,
    pub salt: u32,
    /// Up to the end of the last whole record.
    pub whole_bytes: u64,
    pub file_bytes: u64,
    pub is_damaged: bool,
}

/// Reads every segment, on as many threads as there are CPUs; oldest first.
pub(super) fn replay(directory: &Directory, metrics: &Metrics) -> Result<Vec<Replayed>, Error> {
    let files = Mutex::new(directory.segments()?);
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let worker = || -> Result<Vec<Replayed>, Error> {
        let mut done = Vec::new();
        loop {
            let Some((number, path)) = files.lock().unwrap_or_else(PoisonError::into_inner).pop()
            else {
                return Ok(done);
            };
            done.extend(read(number, &path, metrics)?);
        }
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("reading a segment does not panic"))
            .collect()
    });
    let mut replayed = Vec::new();
    for result in results {
        replayed.extend(result?);
    }
    replayed.sort_unstable_by_key(|segment| segment.number);
    Ok(replayed)
}

/// None where nothing of the file can be used: it is set aside then.
pub(super) fn read(number: u64, path: &Path, metrics: &Metrics) -> Result<Option<Replayed>, Error> {
    let file = fs::read(path).map_err(|err| Error::io("read", path, err))?;
    if file.len() < FILE_HEADER_LEN {
        // The header is durable before the first record is written.
        metrics.damage(Damage::TornTail, 1);
        fs::remove_file(path).map_err(|err| Error::io("remove", path, err))?;
        return Ok(None);
    }
    let salt = match read_file_header(&file) {
        Header::Salt(salt) => salt,
        Header::Newer(found) => {
            return Err(Error::NewerFormat { path: path.to_owned(), found, supported: VERSION });
        }
        Header::Damaged => {
            return set_aside(path, metrics)
                .map(|()| None)
                .map_err(|err| Error::io("rename", path, err));
        }
    };
    let mut data = Data::default();
    let mut without_series = 0;
    let scan = scan(&file, salt, |kind, payload| match kind {
        Kind::Definitions => take_definitions(payload, &mut data).is_some(),
        Kind::Rows => match take_rows(payload, &mut data) {
            Some(lost) => {
                without_series += lost;
                true
            }
            None => false,
        },
    });
    metrics.damage(Damage::Record, scan.damaged);
    metrics.damage(Damage::Unreadable, scan.unreadable);
    metrics.damage(Damage::NoSeries, without_series);
    let is_damaged = scan.damaged + scan.unreadable + without_series > 0;
    if is_damaged {
        tracing::warn!(path = %path.display(), damaged = scan.damaged, unreadable = scan.unreadable, "the log is damaged; the rest of it is used");
    }
    let (whole_bytes, file_bytes) = (scan.whole_bytes as u64, file.len() as u64);
    Ok(Some(Replayed {
        number,
        path: path.to_owned(),
        data,
        salt,
        whole_bytes,
        file_bytes,
        is_damaged,
    }))
}

fn set_aside(path: &Path, metrics: &Metrics) -> io::Result<()> {
    metrics.damage(Damage::File, 1);
    tracing::warn!(path = %path.display(), "the log file has no readable header; it is set aside");
    fs::rename(path, path.with_extension("damaged"))
}
