//! Blocks: profiles of a UTC day (or of a month, summed) in Parquet files that never change.
//!
//! A block is a folder, `blocks/2026-11-25/000000000042`, that appears when all its files are durable:
//!
//! ```text
//! meta                                     what it is of, series, where rows stand, checksums
//! symbols                                  stacks and names, one frame a service
//! samples.parquet   profiles.parquet       rows of (service, type, hour, series, stack, profile); a row for each profile
//! hours.parquet     hour-totals.parquet    the same, all profiles of an hour summed
//! days.parquet      day-totals.parquet     the same by day: in blocks of months
//! ```

mod cache;
mod meta;
mod names;
pub mod period;
mod table;
pub mod write;
mod read;
pub(super) mod flush;
pub mod merge;

use crate::store::block::cache::Cached;
use crate::store::block::meta::ReadHead;
use crate::store::block::period::{Flushes, Period};
use crate::store::block::read::Times;
use crate::store::block::write::{META, SYMBOLS, Total, rows_name, totals_name};
use crate::store::segment::{Data, Segment};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use cache::Cache;
pub(super) use meta::Head;
pub use meta::Kind;
pub use meta::VERSION;
pub use read::Contents;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path} has format version {found}, this pilotlight reads up to {VERSION}: it was written by a newer one; start that one, or choose another directory with --data"
    )]
    Newer { path: PathBuf, found: u16 },
    #[error("the server is stopping")]
    Stopping,
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { action, path: path.to_owned(), source }
    }

    fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_owned(), what: what.into() }
    }

    fn parquet(path: &Path, err: parquet::errors::ParquetError) -> Error {
        match err {
            parquet::errors::ParquetError::External(source) => match source.downcast() {
                Ok(source) => Error::io("write", path, *source),
                Err(other) => Error::damaged(path, other.to_string()),
            },
            other => Error::damaged(path, other.to_string()),
        }
    }
}

pub struct Block {
    folder: PathBuf,
    pub(super) head: Head,
    /// Where the bodies begin in the file.
    body_at: u64,
    /// Of all its files.
    pub(super) bytes: u64,
    cache: Arc<Cache>,
    opened: Instant,
    /// Something of it could not be read.
    is_damaged: AtomicBool,
    /// What nobody needs when this is not used any more.
    remove: Mutex<Vec<PathBuf>>,
}

/// Whether a stack of these symbols counts.
pub type Keep<'a> = &'a dyn Fn(&Data, u32) -> bool;

/// The sums of one service's stacks.
pub struct ScopeSums {
    pub symbols: Arc<Segment>,
    pub sums: Vec<(u32, i64)>,
    pub period: i64,
}

impl Block {
    /// Reads the head alone.
    pub(super) fn open(folder: PathBuf, cache: Arc<Cache>) -> Result<Block, Error> {
        let path = folder.join(META);
        let file = fs::read(&path).map_err(|err| Error::io("read", &path, err))?;
        let (head, body_at) = match meta::read_head(&file) {
            ReadHead::Head(head, body_at) => (*head, body_at as u64),
            ReadHead::Newer(found) => return Err(Error::Newer { path, found }),
            ReadHead::Damaged => return Err(Error::damaged(&path, "no copy of its head is whole")),
        };
        let bytes = bytes_of(&folder).map_err(|err| Error::io("list", &folder, err))?;
        let (opened, remove) = (Instant::now(), Mutex::default());
        let is_damaged = AtomicBool::new(false);
        Ok(Block { folder, head, body_at, bytes, cache, opened, is_damaged, remove })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn period(&self) -> Period {
        self.head.period
    }

    pub fn bounds(&self) -> (i64, i64) {
        self.head.bounds
    }

    /// Whether it may have profiles in the range of times, both ends included.
    pub fn overlaps(&self, start_ns: i64, end_ns: i64) -> bool {
        self.head.bounds.0 <= end_ns && self.head.bounds.1 >= start_ns
    }

    /// Whether it is of a day or month that the range has part of.
    pub fn is_of(&self, start_ns: i64, end_ns: i64) -> bool {
        self.head.period.start_ns() <= end_ns && self.head.period.end_ns() >= start_ns
    }

    pub fn flushes(&self) -> &Flushes {
        &self.head.flushes
    }

    /// The days of a month's block, and what each has.
    pub fn days(&self) -> &[(u32, Flushes)] {
        &self.head.days
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.folder.join(rows_name(kind)).exists()
    }

    /// The kind of rows that tells times best.
    pub(super) fn finest(&self) -> Option<Kind> {
        [Kind::Raw, Kind::Hours, Kind::Days].into_iter().find(|kind| self.has(*kind))
    }

    /// How long it has been here, or the server runs.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub fn contents(&self) -> Result<Arc<Contents>, Error> {
        if let Some(Cached::Contents(contents)) = self.cache.get((self.head.id, None)) {
            return Ok(contents);
        }
        let path = self.folder.join(META);
        let file = fs::read(&path).map_err(|err| Error::io("read", &path, err))?;
        let bodies = usize::try_from(self.body_at).ok().and_then(|at| file.get(at..));
        let body = bodies
            .and_then(|bodies| meta::read_body(&self.head, bodies))
            .ok_or_else(|| Error::damaged(&path, "no copy of its body is whole"))
            .inspect_err(|_| self.is_damaged.store(true, Ordering::Relaxed))?;
        let contents = Arc::new(Contents::new(&self.folder, &self.head, body));
        let bytes = 4_096 + self.head.body_len as usize * 16;
        self.cache.put((self.head.id, None), Cached::Contents(Arc::clone(&contents)), bytes);
        Ok(contents)
    }

    /// The symbols of a service, as the segment of a head has them.
    pub(super) fn symbols(&self, contents: &Contents, scope: u32) -> Result<Arc<Segment>, Error> {
        let key = (self.head.id, Some(scope));
        if let Some(Cached::Symbols(symbols)) = self.cache.get(key) {
            return Ok(symbols);
        }
        let path = self.folder.join(SYMBOLS);
        let damaged = |what: &str| Error::damaged(&path, what);
        let of_scope =
            contents.body.scopes.get(scope as usize).ok_or_else(|| damaged("a service is gone"))?;
        let file = File::open(&path).map_err(|err| Error::io("open", &path, err))?;
        let len = file.metadata().map_err(|err| Error::io("read", &path, err))?.len();
        if of_scope.offset.checked_add(of_scope.len).is_none_or(|end| end > len) {
            return Err(damaged("it is too short"));
        }
        let mut packed = vec![0; of_scope.len as usize];
        file.read_exact_at(&mut packed, of_scope.offset)
            .map_err(|err| Error::io("read", &path, err))?;
        if crc32c::crc32c(&packed) != of_scope.checksum {
            return Err(damaged("a service's checksum is wrong"));
        }
        let symbols = names::decode(&packed).ok_or_else(|| damaged("a service cannot be read"))?;
        let bytes = symbols.bytes();
        let mut data = Data::default();
        data.symbols = symbols;
        let segment = Arc::new(Segment::new(0, data));
        self.cache.put(key, Cached::Symbols(Arc::clone(&segment)), bytes);
        Ok(segment)
    }

    /// Sums by stack over chosen series (ascending) in a range of times; of a month's block only over some days.
    pub fn sums(
        &self,
        series: &[usize],
        (start_ns, end_ns): (i64, i64),
        days: Option<&[u32]>,
    ) -> Result<Vec<ScopeSums>, Error> {
        self.again(|contents| self.sums_of(contents, series, Times { start_ns, end_ns }, days))
    }

    /// A table may have faded since the body was read: then it is read again.
    fn again<T>(&self, read: impl Fn(&Contents) -> Result<T, Error>) -> Result<T, Error> {
        let result = match read(self.contents()?.as_ref()) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.cache.forget(self.head.id);
                read(self.contents()?.as_ref())
            }
            result => result,
        };
        if let Err(Error::Damaged { .. }) = result {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Whether a query met damage: what is whole is to be put in its place.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    fn sums_of(
        &self,
        contents: &Contents,
        series: &[usize],
        times: Times,
        days: Option<&[u32]>,
    ) -> Result<Vec<ScopeSums>, Error> {
        let mut by_scope: Vec<(u32, Vec<i64>, i64)> = Vec::new();
        for chosen in contents.chosen(series) {
            let Some(partition) = contents.body.partitions.get(chosen.partition) else { continue };
            let scope = partition.scope;
            if by_scope.last().is_none_or(|(last, ..)| *last != scope) {
                let n_stacks =
                    contents.body.scopes.get(scope as usize).map_or(0, |scope| scope.n_stacks);
                by_scope.push((scope, vec![0; n_stacks as usize], 0));
            }
            let Some((_, sums, period)) = by_scope.last_mut() else { continue };
            contents.add(&chosen, times, days, sums)?;
            let first = partition.first_series;
            let periods =
                chosen.series.iter().map(|number| contents.period((first + number) as usize));
            *period = periods.max().unwrap_or_default().max(*period);
        }
        let mut found = Vec::new();
        for (scope, sums, period) in by_scope {
            let sums: Vec<(u32, i64)> = sums
                .into_iter()
                .zip(0..)
                .filter(|(sum, _)| *sum != 0)
                .map(|(sum, stack)| (stack, sum))
                .collect();
            if !sums.is_empty() {
                let symbols = self.symbols(contents, scope)?;
                found.push(ScopeSums { symbols, sums, period });
            }
        }
        Ok(found)
    }

    /// Gives each profile (or window) of the chosen series (ascending) in the range, with the index of its series among them.
    /// Where `keep` is given, totals are over the stacks for which it holds.
    pub fn totals(
        &self,
        series: &[usize],
        (start_ns, end_ns): (i64, i64),
        keep: Option<Keep<'_>>,
        mut each: impl FnMut(usize, &Total),
    ) -> Result<(), Error> {
        let times = Times { start_ns, end_ns };
        let all = self.again(|contents| self.totals_of(contents, series, times, keep))?;
        for (index, totals) in all.iter().enumerate() {
            for total in totals {
                each(index, total);
            }
        }
        Ok(())
    }

    /// The same of all stacks, with the clients' ids.
    pub fn totals_with_ids(
        &self,
        series: &[usize],
        (start_ns, end_ns): (i64, i64),
        mut each: impl FnMut(usize, &Total),
    ) -> Result<(), Error> {
        let times = Times { start_ns, end_ns };
        let all = self.again(|contents| {
            let mut all = Vec::with_capacity(series.len());
            for chosen in contents.chosen(series) {
                all.extend(contents.totals(&chosen, times, true)?);
            }
            Ok(all)
        })?;
        for (index, totals) in all.iter().enumerate() {
            for total in totals {
                each(index, total);
            }
        }
        Ok(())
    }

    fn totals_of(
        &self,
        contents: &Contents,
        series: &[usize],
        times: Times,
        keep: Option<Keep<'_>>,
    ) -> Result<Vec<Vec<Total>>, Error> {
        let mut all = Vec::with_capacity(series.len());
        for chosen in contents.chosen(series) {
            all.extend(match keep {
                None => contents.totals(&chosen, times, false)?,
                Some(keep) => {
                    let scope =
                        contents.body.partitions.get(chosen.partition).map_or(0, |one| one.scope);
                    let symbols = self.symbols(contents, scope)?;
                    let data = symbols.read();
                    let n_stacks = data.symbols.stacks.len() as u32;
                    let kept: Vec<bool> = (0..n_stacks).map(|stack| keep(&data, stack)).collect();
                    contents.kept_totals(&chosen, times, &kept)?
                }
            });
        }
        Ok(all)
    }

    /// Gives each profile (or window) of the chosen series (ascending) in the range: the index of its series among them, the
    /// symbols that its rows of stack and value are of, and the profile.
    pub fn profiles(
        &self,
        series: &[usize],
        (start_ns, end_ns): (i64, i64),
        mut each: impl FnMut(usize, &Arc<Segment>, &Total, &[(u32, i64)]),
    ) -> Result<(), Error> {
        let times = Times { start_ns, end_ns };
        let mut first = 0;
        for chosen in self.contents()?.chosen(series) {
            let (symbols, profiles) = self.again(|contents| {
                let partition = contents.body.partitions.get(chosen.partition);
                let symbols = self.symbols(contents, partition.map_or(0, |one| one.scope))?;
                Ok((symbols, contents.profiles(&chosen, times)?))
            })?;
            for (index, profiles) in profiles.iter().enumerate() {
                for (total, rows) in profiles {
                    each(first + index, &symbols, total, rows);
                }
            }
            first += chosen.series.len();
        }
        Ok(())
    }

    /// Gives the labels and the client's id of each profile that has one.
    pub(super) fn each_id(
        &self,
        mut each: impl FnMut(Vec<(&str, &str)>, u128),
    ) -> Result<(), Error> {
        let contents = self.contents()?;
        for (number, partition) in contents.body.partitions.iter().enumerate() {
            let of_series = contents.series_totals(Kind::Raw, number)?;
            for (totals, series) in of_series.iter().zip(partition.first_series..) {
                for total in totals.iter().filter(|total| total.id != 0) {
                    each(contents.labels(series as usize).collect(), total.id);
                }
            }
        }
        Ok(())
    }

    /// Removes the whole block from the disk when nobody reads it any more.
    pub(super) fn retire(&self) {
        self.remove.lock().unwrap_or_else(PoisonError::into_inner).push(self.folder.clone());
    }

    /// Takes one kind of rows off the disk.
    pub(super) fn remove_table(&self, kind: Kind) -> Result<(), Error> {
        self.cache.forget(self.head.id);
        for name in [rows_name(kind), totals_name(kind)] {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, err));
                }
                _ => {}
            }
        }
        crate::store::directory::sync(&self.folder)
            .map_err(|err| Error::io("write", &self.folder, err))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let remove = std::mem::take(self.remove.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !remove.is_empty() {
            self.cache.forget(self.head.id);
        }
        for path in remove {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(err) = removed
                && err.kind() != io::ErrorKind::NotFound
            {
                tracing::error!(path = %path.display(), error = %err, "cannot delete old profiles");
            }
        }
    }
}

fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
