//! One file of the log, in memory: symbols, series and their rows.

use crate::ingest::labels::{ANONYMOUS, Labels, TENANT};
use crate::store::symbols::{Runs, Symbols};
use std::collections::{HashMap, HashSet};
use std::mem::size_of;
use std::sync::atomic::AtomicU64;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub struct Segment {
    pub number: u64,
    /// The tables of a damaged file have holes; the file is kept when the rest of it is in blocks.
    pub(super) is_damaged: bool,
    /// Of the log's file.
    pub(super) file_bytes: AtomicU64,
    data: RwLock<Data>,
}

impl Segment {
    pub(crate) fn new(number: u64, data: Data) -> Segment {
        let file_bytes = AtomicU64::new(0);
        Segment { number, is_damaged: false, file_bytes, data: RwLock::new(data) }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, Data> {
        self.data.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Data> {
        self.data.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub struct Data {
    pub symbols: Symbols,
    pub series: Vec<Series>,
    /// The label sets of `series`, under the same indices, as pairs of strings.
    pub(super) label_sets: Runs<(u32, u32)>,
    pub(super) ids: HashSet<(u32, u128)>,
    n_series_by_tenant: HashMap<String, usize>,
    row_bytes: usize,
    pub n_profiles: usize,
    pub n_rows: usize,
    bounds: Option<(i64, i64)>,
}

/// The profiles of one label set, in the order they came.
#[derive(Default)]
pub struct Series {
    pub period: i64,
    times: Vec<i64>,
    ids: Vec<u128>,
    ends: Vec<u32>,
    stacks: Vec<u32>,
    values: Vec<i64>,
}

/// One profile of a series.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub time_ns: i64,
    /// What the client calls it; 0 where it did not say.
    pub id: u128,
    pub stacks: &'a [u32],
    pub values: &'a [i64],
}

impl Series {
    pub fn profiles(&self) -> impl Iterator<Item = Rows<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let heads = self.times.iter().zip(&self.ids);
        heads.zip(starts.zip(&self.ends)).map(|((time_ns, id), (start, end))| {
            let range = start as usize..*end as usize;
            Rows {
                time_ns: *time_ns,
                id: *id,
                stacks: &self.stacks[range.clone()],
                values: &self.values[range],
            }
        })
    }

    fn bytes(&self) -> usize {
        self.times.capacity() * 28 + self.stacks.capacity() * 12
    }

    fn push(&mut self, time_ns: i64, id: u128, rows: &[(u32, i64)]) {
        grow(&mut self.times, 1);
        grow(&mut self.ids, 1);
        grow(&mut self.ends, 1);
        grow(&mut self.stacks, rows.len());
        grow(&mut self.values, rows.len());
        self.times.push(time_ns);
        self.ids.push(id);
        self.stacks.extend(rows.iter().map(|(stack, _)| *stack));
        self.values.extend(rows.iter().map(|(_, value)| *value));
        self.ends.push(
            u32::try_from(self.stacks.len()).expect("a segment is rotated long before 2^32 rows"),
        );
    }
}

/// Grows by an eighth, not by doubling: rows are most of the memory.
fn grow<T>(items: &mut Vec<T>, extra: usize) {
    if items.capacity() - items.len() < extra {
        items.reserve_exact(extra.max(items.len() / 8).max(4));
    }
}

impl Data {
    pub fn labels(&self, series: usize) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.label_sets.at(series as u32);
        pairs.iter().map(|(name, value)| (self.symbols.string(*name), self.symbols.string(*value)))
    }

    pub fn bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    /// Whether the range of times, both ends included, may have profiles here.
    pub fn overlaps(&self, start_ns: i64, end_ns: i64) -> bool {
        self.bounds.is_some_and(|(oldest, newest)| oldest <= end_ns && newest >= start_ns)
    }

    pub(super) fn find_series(&mut self, labels: &Labels) -> u32 {
        let pairs: Vec<(u32, u32)> = labels
            .iter()
            .map(|(name, value)| {
                (self.symbols.intern_string(name), self.symbols.intern_string(value))
            })
            .collect();
        let index = self.label_sets.intern(&pairs);
        self.fill_series();
        index
    }

    pub(super) fn known_series(&self, labels: &Labels) -> Option<u32> {
        let pair = |(name, value)| {
            Some((self.symbols.find_string(name)?, self.symbols.find_string(value)?))
        };
        let pairs: Option<Vec<(u32, u32)>> = labels.iter().map(pair).collect();
        self.label_sets.find(&pairs?)
    }

    /// There is a series for each label set.
    pub(super) fn fill_series(&mut self) {
        while self.series.len() < self.label_sets.len() {
            let tenant = self.tenant(self.series.len()).to_owned();
            *self.n_series_by_tenant.entry(tenant).or_default() += 1;
            self.series.push(Series::default());
        }
    }

    fn tenant(&self, series: usize) -> &str {
        let mut labels = self.labels(series);
        labels.find(|(name, _)| *name == TENANT).map_or(ANONYMOUS, |(_, value)| value)
    }

    pub(super) fn n_series_of(&self, tenant: &str) -> usize {
        self.n_series_by_tenant.get(tenant).copied().unwrap_or_default()
    }

    pub(super) fn has_id(&self, series: u32, id: u128) -> bool {
        self.ids.contains(&(series, id))
    }

    /// False where there is no such series.
    pub(super) fn push(&mut self, profile: &NewProfile, rows: &[(u32, i64)]) -> bool {
        let Some(series) = self.series.get_mut(profile.series as usize) else { return false };
        let before = series.bytes();
        series.push(profile.time_ns, profile.id.unwrap_or_default(), rows);
        if profile.period != 0 {
            series.period = profile.period;
        }
        self.row_bytes += series.bytes() - before;
        if let Some(id) = profile.id {
            self.ids.insert((profile.series, id));
        }
        self.n_profiles += 1;
        self.n_rows += rows.len();
        let (oldest, newest) = self.bounds.unwrap_or((profile.time_ns, profile.time_ns));
        self.bounds = Some((oldest.min(profile.time_ns), newest.max(profile.time_ns)));
        true
    }

    pub fn bytes(&self) -> usize {
        let series_bytes =
            self.series.capacity() * size_of::<Series>() + self.label_sets.len() * 100;
        // A slot of the set is its key and one byte of control.
        self.symbols.bytes()
            + self.row_bytes
            + series_bytes
            + self.ids.capacity() * (size_of::<(u32, u128)>() + 1)
    }
}

/// What the log says of a profile besides its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewProfile {
    pub series: u32,
    pub time_ns: i64,
    pub period: i64,
    pub id: Option<u128>,
}
