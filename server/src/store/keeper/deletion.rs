//! Series that are to be deleted leave every block that has them, at once; their bytes are free when the last query has ended.

use crate::store::block::merge::{DROPPED_LABELS, LabelPairs};
use crate::store::block::period::{Flushes, Period};
use crate::store::block::{self, Block, Kind};
use crate::store::keeper::Keeper;
use crate::store::keeper::compaction::Job;
use std::sync::{Arc, PoisonError};

/// What to delete.
pub struct Deletion<'a> {
    /// Names of all labels that are looked at.
    pub names: &'a [String],
    pub is_meant: &'a dyn Fn(&LabelPairs) -> bool,
    /// Whether a series is of whoever asks, by labels that it keeps for ever; what has none of them is left alone.
    pub is_own: &'a dyn Fn(&LabelPairs) -> bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    pub series: usize,
    pub bytes: u64,
    /// Days that are kept without a label that was asked by: they still have what was meant.
    pub days_left: usize,
}

impl Keeper {
    /// What is in the head is in blocks before.
    pub(in crate::store) fn delete_in_blocks(
        &self,
        deletion: &Deletion<'_>,
    ) -> Result<Deleted, block::Error> {
        let _merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.storage_bytes();
        let mut deleted = Deleted::default();
        let mut changed = Vec::new();
        let blocks = self.shared.blocks();
        let is_day = |block: &&Arc<Block>| matches!(block.period(), Period::Day(_));
        for block in blocks.iter().filter(is_day) {
            let n_series = count(block, deletion.is_meant)?;
            if n_series > 0 {
                deleted.series += n_series;
                changed.push(block.period());
                self.run(&rewrite(block)?, Some(deletion.is_meant))?;
            }
        }
        let by_dropped = deletion.names.iter().any(|name| DROPPED_LABELS.contains(&name.as_str()));
        for month in blocks.iter().filter(|block| !is_day(block)) {
            if count(month, deletion.is_own)? == 0 {
                continue;
            }
            if by_dropped {
                deleted.days_left += self.sum_up_again(month, &changed)?;
            } else if count(month, deletion.is_meant)? > 0 {
                self.run(&rewrite(month)?, Some(deletion.is_meant))?;
            }
        }
        deleted.bytes = before.saturating_sub(self.shared.storage_bytes());
        Ok(deleted)
    }

    /// Makes the days of a month anew that are there as days still. Gives the number of those that are not.
    fn sum_up_again(&self, month: &Arc<Block>, changed: &[Period]) -> Result<usize, block::Error> {
        let blocks = self.shared.blocks();
        let mut job = rewrite(month)?;
        let mut n_left = 0;
        for (window, has) in month.days() {
            let day = Period::day_of(month.period().window_start_ns(*window));
            let of_day: Vec<Arc<Block>> = blocks
                .iter()
                .filter(|block| block.period() == day && block.flushes().overlaps(has))
                .cloned()
                .collect();
            let has_now =
                of_day.iter().fold(Flushes::default(), |all, block| all.union(block.flushes()));
            if !has.is_subset(&has_now) {
                n_left += 1;
            } else if changed.contains(&day) {
                job.replaced.push(*window);
                let known = job.days.iter_mut().find(|(of, _)| of == window);
                if let Some((_, flushes)) = known {
                    *flushes = has_now;
                }
                job.inputs.extend(of_day);
            }
        }
        if !job.replaced.is_empty() {
            self.run(&job, None)?;
        }
        Ok(n_left)
    }
}

fn count(block: &Block, is_counted: &dyn Fn(&LabelPairs) -> bool) -> Result<usize, block::Error> {
    let contents = block.contents()?;
    let labels = |series| -> LabelPairs {
        let labels = contents.labels(series);
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Ok((0..contents.n_series()).filter(|series| is_counted(&labels(*series))).count())
}

/// The same block again.
pub(super) fn rewrite(block: &Arc<Block>) -> Result<Job, block::Error> {
    let kind = block.finest().map_or_else(|| block.contents().map(|_| Kind::Raw), Ok)?;
    Ok(Job {
        period: block.period(),
        inputs: vec![Arc::clone(block)],
        kind,
        level: block.head.level.saturating_add(1),
        flushes: block.flushes().clone(),
        days: block.days().to_vec(),
        retired: vec![Arc::clone(block)],
        replaced: Vec::new(),
    })
}
