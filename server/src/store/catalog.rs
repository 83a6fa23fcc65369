//! The folder of blocks -> the blocks that count. There is no other list: the files say all that there is to know.
//!
//! A block's flushes say which segments of the log it has the rows of. Of two blocks of a period of which one has all flushes of
//! the other, the newer one was made from the older one.

use crate::store::Error;
use crate::store::block::period::Period;
use crate::store::block::{self, Block, Cache};
use crate::store::directory;
use crate::store::metrics::{Damage, Metrics};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TEMPORARY: &str = "tmp";
const DAMAGED: &str = "damaged";

pub(super) struct Catalog {
    pub root: PathBuf,
    pub blocks: Vec<Arc<Block>>,
    /// Greater than the number of any block that there ever was.
    pub next_id: u64,
    /// The last segment of the log that a block has rows of.
    pub last_flush: u64,
}

impl Catalog {
    /// Segments of the log that are there still have not been flushed, whatever came of it before the server ended; those that
    /// a merged block has rows of were.
    pub(super) fn open(
        root: PathBuf,
        segments: &[(u64, PathBuf)],
        cache: &Arc<Cache>,
        metrics: &Metrics,
    ) -> Result<Catalog, Error> {
        let failed = |err| Error::io("list", &root, err);
        fs::create_dir_all(&root).map_err(|err| Error::io("create", &root, err))?;
        remove(&root.join(TEMPORARY)).map_err(failed)?;
        let mut all = Vec::new();
        for folder in folders(&root).map_err(failed)? {
            if folder.ends_with(DAMAGED) {
                continue;
            }
            for folder in folders(&folder).map_err(failed)? {
                all.extend(open_block(&root, &folder, cache, metrics)?);
            }
        }
        let next_id = all.iter().map(|block| block.head.id).max().map_or(1, |id| id + 1);
        let last_flush = all.iter().filter_map(last_flush).max().unwrap_or_default();
        for (number, path) in segments {
            if all.iter().any(|block| block.head.level > 0 && has_flush(block, *number)) {
                fs::remove_file(path).map_err(|err| Error::io("remove", path, err))?;
            }
        }
        let is_unflushed = |number: u64| {
            segments.iter().any(|(segment, path)| *segment == number && path.exists())
        };
        let (mut blocks, mut gone) = (Vec::new(), Vec::new());
        for block in &all {
            let is_redone = block.head.level == 0
                && block.flushes().ranges().iter().any(|(first, _)| is_unflushed(*first));
            let list =
                if is_redone || is_superseded(block, &all) { &mut gone } else { &mut blocks };
            list.push(Arc::clone(block));
        }
        for block in &gone {
            block.retire();
        }
        Ok(Catalog { root, blocks, next_id, last_flush })
    }

    /// Where a block is written before it is whole.
    pub(super) fn temporary(root: &Path, id: u64) -> PathBuf {
        root.join(TEMPORARY).join(format!("{id:012}"))
    }

    /// From now on the block is there.
    pub(super) fn commit(
        root: &Path,
        id: u64,
        period: Period,
        cache: &Arc<Cache>,
    ) -> Result<Block, block::Error> {
        let of_period = root.join(period.to_string());
        let folder = of_period.join(format!("{id:012}"));
        let rename = || -> io::Result<()> {
            fs::create_dir_all(&of_period)?;
            directory::sync(root)?;
            fs::rename(Catalog::temporary(root, id), &folder)?;
            directory::sync(&of_period)
        };
        rename().map_err(|source| block::Error::Io {
            action: "rename a block to",
            path: folder.clone(),
            source,
        })?;
        Block::open(folder, Arc::clone(cache))
    }
}

fn last_flush(block: &Arc<Block>) -> Option<u64> {
    let of_days = block.days().iter().filter_map(|(_, flushes)| flushes.last());
    of_days.chain(block.flushes().last()).max()
}

fn has_flush(block: &Block, number: u64) -> bool {
    block.flushes().contains(number)
        || block.days().iter().any(|(_, flushes)| flushes.contains(number))
}

/// Whether a newer block has all that this one has.
fn is_superseded(block: &Arc<Block>, all: &[Arc<Block>]) -> bool {
    all.iter()
        .filter(|newer| newer.period() == block.period() && newer.head.id > block.head.id)
        .any(|newer| match block.period() {
            Period::Day(_) => block.flushes().is_subset(newer.flushes()),
            // A month is always made from the one before it.
            Period::Month(_) => true,
        })
}

fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// None where there is nothing to use: a block that is half removed goes, a damaged one is set aside.
fn open_block(
    root: &Path,
    folder: &Path,
    cache: &Arc<Cache>,
    metrics: &Metrics,
) -> Result<Option<Arc<Block>>, Error> {
    match Block::open(folder.to_owned(), Arc::clone(cache)) {
        Ok(block) => Ok(Some(Arc::new(block))),
        Err(block::Error::Newer { path, found }) => {
            Err(Error::NewerFormat { path, found, supported: block::VERSION })
        }
        Err(block::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            remove(folder).map_err(|err| Error::io("remove", folder, err))?;
            Ok(None)
        }
        Err(block::Error::Io { action, path, source }) => Err(Error::io(action, &path, source)),
        Err(error) => {
            metrics.damage(Damage::Block, 1);
            tracing::warn!(error = %error, "a block cannot be used; it is set aside");
            set_aside(root, folder).map_err(|err| Error::io("rename", folder, err))?;
            Ok(None)
        }
    }
}

/// Keeps a block out of the way for whoever wants to look at it.
pub(super) fn set_aside(root: &Path, folder: &Path) -> io::Result<()> {
    let damaged = root.join(DAMAGED);
    fs::create_dir_all(&damaged)?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let period = folder.parent().and_then(name).unwrap_or_default();
    let block = name(folder).unwrap_or_default();
    fs::rename(folder, damaged.join(format!("{period}-{block}")))
}
