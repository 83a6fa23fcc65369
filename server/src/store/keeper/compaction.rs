//! Which blocks are merged next: those of an hour by and by, those of a day when nothing more comes, whole days into their month.

use crate::store::block::merge::{self, LabelPairs, Plan};
use crate::store::block::period::{Flushes, Period};
use crate::store::block::{self, Block, Kind, flush};
use crate::store::catalog;
use crate::store::keeper::Keeper;
use crate::store::keeper::deletion::rewrite;
use crate::store::metrics::{Damage, Work};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// So many blocks of one level become one of the next.
const FAN_IN: usize = 6;
/// Blocks are merged as long as their rows are fewer; larger ones gain nothing.
const MAX_ROWS: u64 = 2_000_000_000;

/// Merges leave this to the log.
const FREE_BYTES: u64 = 256 << 20;

/// What is put in the place of what.
pub(super) struct Job {
    pub period: Period,
    pub inputs: Vec<Arc<Block>>,
    pub kind: Kind,
    pub level: u8,
    pub flushes: Flushes,
    pub days: Vec<(u32, Flushes)>,
    /// The inputs go when the new block is there; the days that a month is made from stay.
    pub retired: Vec<Arc<Block>>,
    /// Days that the month has and that are made anew.
    pub replaced: Vec<u32>,
}

impl Keeper {
    /// Whether there was something to merge.
    pub(in crate::store) fn merge_once(&self) -> bool {
        let _merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = self.shared.blocks();
        let job = damaged_job(&blocks)
            .or_else(|| self.day_job(&blocks))
            .or_else(|| self.month_job(&blocks));
        let Some(job) = job.filter(|job| self.has_room(job)) else { return false };
        match self.run(&job, None) {
            Ok(()) => {
                self.shared.metrics.did(Work::Merge);
                true
            }
            Err(block::Error::Stopping) => false,
            Err(error) => {
                self.shared.metrics.failed(Work::Merge);
                tracing::error!(%error, period = %job.period, "cannot merge blocks; they stay as they are, and it is tried again");
                let is_damage = matches!(error, block::Error::Damaged { .. });
                self.shared.metrics.damage(Damage::Block, usize::from(is_damage));
                self.shared.set_aside(&job.inputs, &error, |block| {
                    catalog::set_aside(&self.root, block.folder())
                });
                is_damage
            }
        }
    }

    /// A merge needs the room of its inputs once more; what is left then is the log's.
    fn has_room(&self, job: &Job) -> bool {
        let Ok(disk) = rustix::fs::statvfs(&self.root) else { return true };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        let input_bytes: u64 = job.inputs.iter().map(|block| block.bytes).sum();
        let has_room = free_bytes > input_bytes.saturating_add(FREE_BYTES);
        if !has_room {
            self.shared.metrics.failed(Work::Merge);
            tracing::warn!(
                free_bytes,
                input_bytes,
                "too little room on the disk to merge blocks; make room, or lower storage_max"
            );
        }
        has_room
    }

    /// Makes the new block, without the series that are to be deleted, and puts it in place.
    pub(super) fn run(
        &self,
        job: &Job,
        deleted: Option<&dyn Fn(&LabelPairs) -> bool>,
    ) -> Result<(), block::Error> {
        let mut damage = Vec::new();
        let write = |folder: &Path, id: u64| {
            let mut head = flush::new_head(id, job.level, job.period, job.flushes.clone());
            head.days.clone_from(&job.days);
            let relabel = |labels: LabelPairs| {
                let is_deleted = deleted.is_some_and(|is_meant| is_meant(&labels));
                match job.kind {
                    _ if is_deleted => None,
                    Kind::Days => Some(merge::without_dropped(labels)),
                    _ => Some(labels),
                }
            };
            let plan = Plan {
                head,
                kind: job.kind,
                with_hours: job.kind == Kind::Raw,
                relabel: &relabel,
                is_stopping: &|| self.is_stopping(),
                replaced: &job.replaced,
            };
            damage = merge::merge(folder, plan, &job.inputs)?;
            Ok(())
        };
        let block = self.commit(job.period, write)?;
        self.shared.metrics.damage(Damage::Block, damage.len());
        for error in &damage {
            tracing::warn!(%error, "part of a block is lost; the block is set aside, and the rest of it used");
            self.shared.set_aside(&job.retired, error, |block| {
                catalog::set_aside(&self.root, block.folder())
            });
        }
        self.shared.replace(&job.retired, &[block]);
        Ok(())
    }

    fn day_job(&self, blocks: &[Arc<Block>]) -> Option<Job> {
        let mut by_day: BTreeMap<Period, Vec<&Arc<Block>>> = BTreeMap::new();
        for block in blocks.iter().filter(|block| matches!(block.period(), Period::Day(_))) {
            by_day.entry(block.period()).or_default().push(block);
        }
        // The newest days first: they are asked for.
        by_day.into_iter().rev().find_map(|(day, mut of_day)| {
            of_day.sort_by_key(|block| block.flushes().last());
            let chosen = self.choose(&of_day)?;
            let others: Vec<&Flushes> = of_day
                .iter()
                .filter(|block| !chosen.iter().any(|one| one.head.id == block.head.id))
                .map(|block| block.flushes())
                .collect();
            let union =
                chosen.iter().fold(Flushes::default(), |union, block| union.union(block.flushes()));
            let kind = chosen.iter().filter_map(|block| block.finest()).max()?;
            Some(Job {
                period: day,
                kind,
                level: chosen.iter().map(|block| block.head.level).max()?.saturating_add(1),
                flushes: union.closed(&others),
                days: Vec::new(),
                retired: chosen.clone(),
                inputs: chosen,
                replaced: Vec::new(),
            })
        })
    }

    fn choose(&self, of_day: &[&Arc<Block>]) -> Option<Vec<Arc<Block>>> {
        let n_rows: u64 = of_day.iter().map(|block| block.head.n_rows).sum();
        if n_rows > MAX_ROWS {
            return None;
        }
        let is_idle = of_day.iter().all(|block| block.age() >= self.config().merge_after);
        let is_one = of_day.len() == 1;
        if is_idle && (!is_one || of_day.iter().any(|block| block.head.level == 0)) {
            return Some(of_day.iter().map(|block| Arc::clone(block)).collect());
        }
        let levels = of_day.iter().map(|block| block.head.level);
        levels.clone().min().into_iter().chain(levels).find_map(|level| {
            let of_level: Vec<Arc<Block>> = of_day
                .iter()
                .filter(|block| block.head.level == level)
                .map(|block| Arc::clone(block))
                .collect();
            (of_level.len() >= FAN_IN).then_some(of_level)
        })
    }

    /// Days that are over go into their month.
    fn month_job(&self, blocks: &[Arc<Block>]) -> Option<Job> {
        let now_ns = (self.shared.clock)();
        let mut by_month: BTreeMap<Period, Vec<&Arc<Block>>> = BTreeMap::new();
        for block in blocks {
            if let Period::Day(day) = block.period()
                && block.period().end_ns() < now_ns
            {
                by_month.entry(Period::month_of_day(day)).or_default().push(block);
            }
        }
        by_month.into_iter().find_map(|(month, of_month)| {
            let old = blocks.iter().find(|block| block.period() == month);
            let mut days = old.map_or(Vec::new(), |old| old.days().to_vec());
            let mut inputs: Vec<Arc<Block>> = Vec::new();
            let mut replaced = Vec::new();
            for block in &of_month {
                let is_alone =
                    of_month.iter().filter(|other| other.period() == block.period()).count() == 1;
                let is_ready =
                    is_alone && block.head.level > 0 && block.age() >= self.config().merge_after;
                let window = month.window_of(block.period().start_ns());
                let known = days.iter().find(|(day, _)| *day == window);
                let is_known = known.is_some_and(|(_, has)| block.flushes().is_subset(has));
                if is_ready && !is_known {
                    days.retain(|(day, _)| *day != window);
                    days.push((window, block.flushes().clone()));
                    replaced.push(window);
                    inputs.push(Arc::clone(block));
                }
            }
            if inputs.is_empty() {
                return None;
            }
            days.sort_by_key(|(day, _)| *day);
            let retired: Vec<Arc<Block>> = old.into_iter().cloned().collect();
            inputs.extend(retired.iter().cloned());
            Some(Job {
                period: month,
                inputs,
                kind: Kind::Days,
                level: 1,
                flushes: Flushes::default(),
                days,
                retired,
                replaced,
            })
        })
    }
}

/// What is whole of a block that a query found damaged.
fn damaged_job(blocks: &[Arc<Block>]) -> Option<Job> {
    let block = blocks.iter().find(|block| block.is_damaged())?;
    rewrite(block).ok()
}
