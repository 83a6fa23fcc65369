//! A block's tables -> sums by stack, and totals over time, of chosen series in a range of times.

use crate::store::block::Error;
use crate::store::block::meta::{Body, Head, Kind, TableMeta, TablePartition};
use crate::store::block::period::Period;
use crate::store::block::table::Table;
use crate::store::block::write::{Row, Total, rows_name, totals_name};
use parquet::data_type::{Int32Type, Int64Type};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

const SERIES: usize = 2;
const STACK: usize = 3;
const SEQ: usize = 4;
const VALUE: usize = 5;
const TOTAL_SEQ: usize = 3;
const TOTAL_TIME: usize = 4;
const TOTAL: usize = 5;
const TOTAL_PROFILES: usize = 6;
const TOTAL_IDS: [usize; 2] = [7, 8];

/// The body of a block, with its tables open.
pub struct Contents {
    pub(super) period: Period,
    bounds: (i64, i64),
    pub(super) body: Body,
    tables: Vec<OpenTable>,
}

struct OpenTable {
    kind: Kind,
    rows: Table,
    totals: Table,
}

/// Rows next to each other of which all, or those of a range of profiles, are meant.
struct Span {
    rows: Range<u64>,
    seqs: Option<Range<u32>>,
}

/// Rows of one row group, as in a span.
type PartOfGroup<'a> = (Range<u64>, Option<&'a Range<u32>>);

/// Chosen series of a partition, counted within it, ascending.
pub(super) struct Chosen {
    pub partition: usize,
    pub series: Vec<u32>,
}

/// A profile (or window) and its rows, of stack and value.
pub(super) type Profile = (Total, Vec<(u32, i64)>);

/// Both ends are included.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub start_ns: i64,
    pub end_ns: i64,
}

impl Contents {
    /// Of the tables that the body knows, those are there whose files are: the others have faded.
    pub(super) fn new(folder: &Path, head: &Head, mut body: Body) -> Contents {
        let is_there = |table: &TableMeta| folder.join(rows_name(table.kind)).exists();
        body.tables.retain(is_there);
        let tables = body.tables.iter().map(|table| OpenTable {
            kind: table.kind,
            rows: Table::new(folder.join(rows_name(table.kind)), table.rows.clone()),
            totals: Table::new(folder.join(totals_name(table.kind)), table.totals.clone()),
        });
        let tables = tables.collect();
        Contents { period: head.period, bounds: head.bounds, body, tables }
    }

    fn open_table(&self, kind: Kind) -> Option<(&OpenTable, &TableMeta)> {
        Some((self.tables.iter().find(|table| table.kind == kind)?, self.body.table(kind)?))
    }

    /// The kind of table that has the shortest windows.
    pub fn finest(&self) -> Option<Kind> {
        self.body.tables.iter().map(|table| table.kind).min()
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.tables.iter().map(|table| table.kind)
    }

    pub fn n_series(&self) -> usize {
        self.body.series.len()
    }

    pub fn labels(&self, series: usize) -> impl Iterator<Item = (&str, &str)> {
        self.body.labels(series as u32)
    }

    pub fn period(&self, series: usize) -> i64 {
        self.body.series.get(series).map_or(0, |series| series.period)
    }

    /// Times that all profiles of the series are between.
    pub fn bounds(&self, series: usize) -> Option<(i64, i64)> {
        self.body.series.get(series).map(|series| series.bounds)
    }

    /// Whether the series may have profiles in the range of times, both ends included.
    pub fn overlaps(&self, series: usize, start_ns: i64, end_ns: i64) -> bool {
        self.bounds(series).is_some_and(|bounds| bounds.0 <= end_ns && bounds.1 >= start_ns)
    }

    /// Ascending numbers of series, by the partitions that they are in.
    pub(super) fn chosen(&self, series: &[usize]) -> Vec<Chosen> {
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut partitions = self.body.partitions.iter().enumerate().peekable();
        for &number in series {
            let number = number as u32;
            while partitions
                .peek()
                .is_some_and(|(_, one)| one.first_series + one.n_series <= number)
            {
                partitions.next();
            }
            let Some((partition, one)) = partitions.peek() else { break };
            let within = number - one.first_series;
            match chosen.last_mut() {
                Some(last) if last.partition == *partition => last.series.push(within),
                _ => chosen.push(Chosen { partition: *partition, series: vec![within] }),
            }
        }
        chosen
    }

    /// Adds to `sums`, by stack, what the chosen series have in the range. Whole hours come from the table of hours.
    pub(super) fn add(
        &self,
        chosen: &Chosen,
        times: Times,
        windows: Option<&[u32]>,
        sums: &mut [i64],
    ) -> Result<(), Error> {
        let Some(fine) = self.finest() else { return Ok(()) };
        let mut coarse = Vec::new();
        let mut whole = Vec::new();
        let hours = self.open_table(Kind::Hours).filter(|_| fine == Kind::Raw);
        let Some((table, meta)) = self.open_table(fine) else { return Ok(()) };
        let Some(partition) = meta.partitions.get(chosen.partition) else { return Ok(()) };
        let mut seqs = None;
        let mut first_row = partition.first_row;
        for window in &partition.windows {
            let next_row = first_row + window.rows.iter().map(|n| u64::from(*n)).sum::<u64>();
            let is_wanted = windows.is_none_or(|wanted| wanted.contains(&window.window));
            match self.covers(times, window.window) {
                Some(_) if !is_wanted => {}
                Some(true) if hours.is_some() => coarse.push(window.window),
                Some(false) if fine == Kind::Raw => {
                    let seqs = match &mut seqs {
                        Some(seqs) => seqs,
                        none => none.insert(Contents::seqs(table, partition, chosen, times)?),
                    };
                    spans(first_row, &window.rows, chosen, Some(seqs), &mut whole);
                }
                // Where only coarser windows are left, those that the range has part of count as a whole.
                Some(_) => spans(first_row, &window.rows, chosen, None, &mut whole),
                None => {}
            }
            first_row = next_row;
        }
        table.rows.add(&whole, sums)?;
        if let (Some((table, meta)), false) = (hours, coarse.is_empty()) {
            let Some(partition) = meta.partitions.get(chosen.partition) else { return Ok(()) };
            let mut of_hours = Vec::new();
            let mut first_row = partition.first_row;
            for window in &partition.windows {
                if coarse.binary_search(&window.window).is_ok() {
                    spans(first_row, &window.rows, chosen, None, &mut of_hours);
                }
                first_row += window.rows.iter().map(|n| u64::from(*n)).sum::<u64>();
            }
            table.rows.add(&of_hours, sums)?;
        }
        Ok(())
    }

    /// Whether the range has all of a window; None where it has nothing of it.
    fn covers(&self, times: Times, window: u32) -> Option<bool> {
        let start_ns = self.period.window_start_ns(window);
        let end_ns = self.window_end_ns(window);
        if start_ns > times.end_ns || end_ns < times.start_ns {
            return None;
        }
        // Where there is nothing before or after, nothing is left out.
        let (oldest, newest) = self.bounds;
        Some(times.start_ns <= start_ns.max(oldest) && end_ns.min(newest) <= times.end_ns)
    }

    pub(super) fn window_end_ns(&self, window: u32) -> i64 {
        self.period.window_start_ns(window).saturating_add(self.period.window_ns() - 1)
    }

    /// The profiles of each chosen series that are in the range.
    fn seqs(
        table: &OpenTable,
        partition: &TablePartition,
        chosen: &Chosen,
        times: Times,
    ) -> Result<Vec<Range<u32>>, Error> {
        let mut found = Vec::with_capacity(chosen.series.len());
        for rows in total_rows(partition, chosen) {
            let time_ns = table.totals.read_all::<Int64Type>(rows, TOTAL_TIME)?;
            let start = time_ns.partition_point(|time_ns| *time_ns < times.start_ns);
            let end = time_ns.partition_point(|time_ns| *time_ns <= times.end_ns);
            found.push(start as u32..end as u32);
        }
        Ok(found)
    }

    /// The profiles (or windows) of each chosen series in the range, with the time that they count for.
    pub(super) fn totals(
        &self,
        chosen: &Chosen,
        times: Times,
        with_ids: bool,
    ) -> Result<Vec<Vec<Total>>, Error> {
        let Some((table, meta)) = self.finest().and_then(|kind| self.open_table(kind)) else {
            return Ok(vec![Vec::new(); chosen.series.len()]);
        };
        let Some(partition) = meta.partitions.get(chosen.partition) else {
            return Ok(vec![Vec::new(); chosen.series.len()]);
        };
        let mut all = Vec::with_capacity(chosen.series.len());
        // One read for series next to each other.
        let ranges = total_rows(partition, chosen);
        let mut index = 0;
        while let Some(first) = ranges.get(index) {
            let mut end = first.end;
            let mut next = index + 1;
            while ranges.get(next).is_some_and(|range| range.start == end) {
                end = ranges[next].end;
                next += 1;
            }
            let totals = read_totals(&table.totals, first.start..end, with_ids)?;
            for range in &ranges[index..next] {
                let part = (range.start - first.start) as usize..(range.end - first.start) as usize;
                let of_series = totals.get(part).unwrap_or_default().iter();
                all.push(
                    of_series.filter_map(|total| self.timed(table.kind, *total, times)).collect(),
                );
            }
            index = next;
        }
        Ok(all)
    }

    /// A window counts for its end, or for the end of the range where that is sooner.
    fn timed(&self, kind: Kind, total: Total, times: Times) -> Option<Total> {
        if kind == Kind::Raw {
            let is_in = (times.start_ns..=times.end_ns).contains(&total.time_ns);
            return is_in.then_some(total);
        }
        let end_ns = self.window_end_ns(total.seq);
        let is_in = total.time_ns <= times.end_ns && end_ns >= times.start_ns;
        is_in.then_some(Total { time_ns: end_ns.min(times.end_ns), ..total })
    }

    /// The rows of the finest table, window by window: all series of the partition.
    pub(super) fn window_rows(
        &self,
        kind: Kind,
        partition: usize,
        window: u32,
    ) -> Result<Vec<Row>, Error> {
        let Some((table, meta)) = self.open_table(kind) else { return Ok(Vec::new()) };
        let Some(windows) = meta.partitions.get(partition) else { return Ok(Vec::new()) };
        let mut first_row = windows.first_row;
        for one in &windows.windows {
            let n_rows = one.rows.iter().map(|n| u64::from(*n)).sum::<u64>();
            if one.window == window {
                let first_series =
                    self.body.partitions.get(partition).map_or(0, |one| one.first_series);
                return read_rows(&table.rows, first_row..first_row + n_rows, first_series);
            }
            first_row += n_rows;
        }
        Ok(Vec::new())
    }

    pub(super) fn windows(&self, kind: Kind, partition: usize) -> Vec<u32> {
        let table = self.body.table(kind).and_then(|table| table.partitions.get(partition));
        table.map_or_else(Vec::new, |table| table.windows.iter().map(|one| one.window).collect())
    }

    /// All profiles (or windows) of a series, as they stand in the table.
    pub(super) fn series_totals(
        &self,
        kind: Kind,
        partition: usize,
    ) -> Result<Vec<Vec<Total>>, Error> {
        let Some((table, meta)) = self.open_table(kind) else { return Ok(Vec::new()) };
        let Some(counts) = meta.partitions.get(partition) else { return Ok(Vec::new()) };
        let end = counts.first_total + counts.totals.iter().map(|n| u64::from(*n)).sum::<u64>();
        let mut totals = read_totals(&table.totals, counts.first_total..end, true)?.into_iter();
        Ok(counts
            .totals
            .iter()
            .map(|count| totals.by_ref().take(*count as usize).collect())
            .collect())
    }

    /// The rows of the finest table, of each profile (or window) of each chosen series in the range.
    pub(super) fn profiles(
        &self,
        chosen: &Chosen,
        times: Times,
    ) -> Result<Vec<Vec<Profile>>, Error> {
        let totals = self.totals(chosen, times, true)?;
        let mut profiles: Vec<Vec<Profile>> = totals
            .into_iter()
            .map(|totals| totals.into_iter().map(|total| (total, Vec::new())).collect())
            .collect();
        let Some(kind) = self.finest() else { return Ok(profiles) };
        for window in self.windows(kind, chosen.partition) {
            if self.covers(times, window).is_none() {
                continue;
            }
            for row in self.window_rows(kind, chosen.partition, window)? {
                let Ok(place) = chosen.series.binary_search(&row.series) else { continue };
                let of_series = &mut profiles[place];
                if let Ok(at) = of_series.binary_search_by_key(&row.seq, |(total, _)| total.seq) {
                    of_series[at].1.push((row.stack, row.value));
                }
            }
        }
        Ok(profiles)
    }

    /// Of each chosen series, the sums of those profiles (or windows) of the range over the stacks that are kept.
    pub(super) fn kept_totals(
        &self,
        chosen: &Chosen,
        times: Times,
        keep: &[bool],
    ) -> Result<Vec<Vec<Total>>, Error> {
        let mut totals = self.totals(chosen, times, false)?;
        let Some(kind) = self.finest() else { return Ok(totals) };
        let mut sums: Vec<BTreeMap<u32, i64>> = vec![BTreeMap::new(); totals.len()];
        for window in self.windows(kind, chosen.partition) {
            if self.covers(times, window).is_none() {
                continue;
            }
            for row in self.window_rows(kind, chosen.partition, window)? {
                if let Ok(place) = chosen.series.binary_search(&row.series)
                    && keep.get(row.stack as usize).is_some_and(|is_kept| *is_kept)
                {
                    let sum = sums[place].entry(row.seq).or_insert(0);
                    *sum = sum.saturating_add(row.value);
                }
            }
        }
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for total in totals {
                total.total = sums.get(&total.seq).copied().unwrap_or_default();
            }
        }
        Ok(totals)
    }
}

/// The rows of chosen series in a window that begins at a row; what follows on the span before becomes part of it.
fn spans(
    first_row: u64,
    counts: &[u32],
    chosen: &Chosen,
    seqs: Option<&Vec<Range<u32>>>,
    into: &mut Vec<Span>,
) {
    let mut wanted = chosen.series.iter().enumerate().peekable();
    let mut row = first_row;
    for (series, count) in counts.iter().enumerate() {
        let end = row + u64::from(*count);
        if let Some((place, _)) = wanted.next_if(|(_, number)| **number as usize == series) {
            let seqs = seqs.and_then(|seqs| seqs.get(place)).cloned();
            match into.last_mut() {
                Some(last) if last.rows.end == row && last.seqs == seqs => last.rows.end = end,
                _ if row < end => into.push(Span { rows: row..end, seqs }),
                _ => {}
            }
        }
        row = end;
    }
}

fn total_rows(partition: &TablePartition, chosen: &Chosen) -> Vec<Range<u64>> {
    let mut ranges = Vec::with_capacity(chosen.series.len());
    let mut wanted = chosen.series.iter().peekable();
    let mut row = partition.first_total;
    for (series, count) in partition.totals.iter().enumerate() {
        let end = row + u64::from(*count);
        if wanted.next_if(|number| **number as usize == series).is_some() {
            ranges.push(row..end);
        }
        row = end;
    }
    ranges
}

fn read_totals(table: &Table, rows: Range<u64>, with_ids: bool) -> Result<Vec<Total>, Error> {
    let seqs = table.read_all::<Int32Type>(rows.clone(), TOTAL_SEQ)?;
    let times = table.read_all::<Int64Type>(rows.clone(), TOTAL_TIME)?;
    let totals = table.read_all::<Int64Type>(rows.clone(), TOTAL)?;
    let n_profiles = table.read_all::<Int32Type>(rows.clone(), TOTAL_PROFILES)?;
    let ids = if with_ids {
        let high = table.read_all::<Int64Type>(rows.clone(), TOTAL_IDS[0])?;
        let low = table.read_all::<Int64Type>(rows, TOTAL_IDS[1])?;
        high.iter()
            .zip(&low)
            .map(|(high, low)| (u128::from(*high as u64) << 64) | u128::from(*low as u64))
            .collect()
    } else {
        vec![0; seqs.len()]
    };
    let times = seqs.iter().zip(&times);
    let counts = totals.iter().zip(&n_profiles).zip(&ids);
    Ok(times
        .zip(counts)
        .map(|((seq, time_ns), ((total, n_profiles), id))| Total {
            seq: *seq as u32,
            time_ns: *time_ns,
            total: *total,
            n_profiles: *n_profiles as u32,
            id: *id,
        })
        .collect())
}

fn read_rows(table: &Table, rows: Range<u64>, first_series: u32) -> Result<Vec<Row>, Error> {
    let mut all = Vec::with_capacity((rows.end - rows.start) as usize);
    let (mut series, mut stacks, mut seqs, mut values) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for piece in table.pieces(rows)? {
        table.read::<Int32Type>(&piece, SERIES, &mut series)?;
        table.read::<Int32Type>(&piece, STACK, &mut stacks)?;
        table.read::<Int32Type>(&piece, SEQ, &mut seqs)?;
        table.read::<Int64Type>(&piece, VALUE, &mut values)?;
        let keys = series.iter().zip(&stacks);
        all.extend(keys.zip(seqs.iter().zip(&values)).map(|((series, stack), (seq, value))| Row {
            series: (*series as u32).wrapping_sub(first_series),
            stack: *stack as u32,
            seq: *seq as u32,
            value: *value,
        }));
    }
    Ok(all)
}

impl Table {
    /// The hot loop: each row's value is added to its stack's sum.
    fn add(&self, spans: &[Span], sums: &mut [i64]) -> Result<(), Error> {
        let mut by_group: BTreeMap<usize, Vec<PartOfGroup<'_>>> = BTreeMap::new();
        for span in spans {
            for (group, rows) in self.pieces(span.rows.clone())? {
                by_group.entry(group).or_default().push((rows, span.seqs.as_ref()));
            }
        }
        let (mut stacks, mut seqs, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (group, spans) in by_group {
            let start = spans.iter().map(|(rows, _)| rows.start).min().unwrap_or_default();
            let end = spans.iter().map(|(rows, _)| rows.end).max().unwrap_or_default();
            let piece = (group, start..end);
            self.read::<Int32Type>(&piece, STACK, &mut stacks)?;
            self.read::<Int64Type>(&piece, VALUE, &mut values)?;
            if spans.iter().any(|(_, seqs)| seqs.is_some()) {
                self.read::<Int32Type>(&piece, SEQ, &mut seqs)?;
            }
            for (rows, wanted) in spans {
                let part = (rows.start - start) as usize..(rows.end - start) as usize;
                let rows = stacks[part.clone()].iter().zip(&values[part.clone()]);
                match wanted {
                    None => rows.for_each(|(stack, value)| add_one(sums, *stack, *value)),
                    Some(wanted) => {
                        for ((stack, value), seq) in rows.zip(&seqs[part]) {
                            if wanted.contains(&(*seq as u32)) {
                                add_one(sums, *stack, *value);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn add_one(sums: &mut [i64], stack: i32, value: i64) {
    if let Some(sum) = sums.get_mut(stack as u32 as usize) {
        *sum = sum.saturating_add(value);
    }
}
