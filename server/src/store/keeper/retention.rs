//! What is too old, or too much, fades: profiles first, then hours, days last.

use crate::store::block::period::Period;
use crate::store::block::{Block, Kind};
use crate::store::keeper::Keeper;
use crate::store::metrics::Eviction;
use std::sync::{Arc, PoisonError};

impl Keeper {
    pub(in crate::store) fn let_fade(&self) {
        let _merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_stopping() {
            let blocks = self.shared.blocks();
            let Some((block, kind, reason)) =
                self.too_old(&blocks).or_else(|| self.too_much(&blocks))
            else {
                return;
            };
            if !self.fade(&block, kind, reason) {
                return;
            }
        }
    }

    fn too_old(&self, blocks: &[Arc<Block>]) -> Option<(Arc<Block>, Kind, Eviction)> {
        let config = self.config();
        let now_ns = (self.shared.clock)();
        let is_old = |block: &Arc<Block>, retention_ns: i64| {
            // What all was deleted from has no newest profile.
            let newest_ns = match block.bounds() {
                (oldest, newest) if oldest <= newest => newest,
                _ => block.period().end_ns(),
            };
            newest_ns < now_ns.saturating_sub(retention_ns)
        };
        blocks.iter().find_map(|block| {
            let kind = match block.period() {
                Period::Month(_) => is_old(block, config.retention_days_ns).then_some(Kind::Days),
                Period::Day(_) if is_old(block, config.retention_hours_ns) => {
                    // Not before its month has it, unless the months would go too.
                    let is_kept = is_in_month(block, blocks)
                        || is_old(block, config.retention_days_ns)
                        || config.retention_hours_ns <= config.retention_ns;
                    is_kept.then_some(Kind::Hours)
                }
                Period::Day(_) => (is_old(block, config.retention_ns)
                    && block.has(Kind::Raw)
                    && block.has(Kind::Hours))
                .then_some(Kind::Raw),
            };
            Some((Arc::clone(block), kind?, Eviction::Age))
        })
    }

    fn too_much(&self, blocks: &[Arc<Block>]) -> Option<(Arc<Block>, Kind, Eviction)> {
        let bytes = self.shared.storage_bytes();
        if bytes <= self.config().storage_max_bytes {
            return None;
        }
        let oldest = |is_wanted: &dyn Fn(&Arc<Block>) -> bool| {
            blocks
                .iter()
                .filter(|block| is_wanted(block))
                .min_by_key(|block| (block.bounds().1, block.head.id))
                .cloned()
        };
        let is_day = |block: &Arc<Block>| matches!(block.period(), Period::Day(_));
        let raw = oldest(&|block| block.has(Kind::Raw) && block.has(Kind::Hours));
        let day = || {
            oldest(&|block| is_day(block) && is_in_month(block, blocks)).or_else(|| oldest(&is_day))
        };
        let (block, kind) = if let Some(block) = raw {
            (block, Kind::Raw)
        } else if let Some(block) = day() {
            (block, Kind::Hours)
        } else {
            (oldest(&|_| true)?, Kind::Days)
        };
        Some((block, kind, Eviction::Storage))
    }

    /// Takes this kind of rows away, and with hours and days the whole block.
    fn fade(&self, block: &Arc<Block>, kind: Kind, reason: Eviction) -> bool {
        self.shared.metrics.evict(kind, reason, block.head.n_profiles);
        if kind != Kind::Raw {
            self.shared.replace(&[Arc::clone(block)], &[]);
            return true;
        }
        if let Err(error) = block.remove_table(Kind::Raw) {
            tracing::error!(%error, "cannot delete old profiles");
            return false;
        }
        match Block::open(block.folder().to_owned(), Arc::clone(&self.cache)) {
            Ok(faded) => {
                self.shared.swap(block, Arc::new(faded));
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot open a block again");
                false
            }
        }
    }
}

/// Whether the month has all that the day's block has.
fn is_in_month(block: &Arc<Block>, blocks: &[Arc<Block>]) -> bool {
    let Period::Day(day) = block.period() else { return false };
    let month = Period::month_of_day(day);
    let window = month.window_of(block.period().start_ns());
    let months = blocks.iter().filter(|other| other.period() == month);
    months
        .flat_map(|month| month.days())
        .any(|(day, has)| *day == window && block.flushes().is_subset(has))
}
