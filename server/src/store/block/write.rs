//! Services with their symbols, series and rows -> the files of a block, in a folder that is renamed when all of them are durable.

use crate::store::block::Error;
use crate::store::block::meta::{
    self, Body, Head, Kind, Partition, Scope, Series, TableMeta, TablePartition, Window,
};
use crate::store::block::names;
use crate::store::block::period::Period;
use crate::store::block::table::{
    Column, GROUP_ROWS, MIN_GROUP_ROWS, TableFile, TableWriter, Values,
};
use crate::store::symbols::Symbols;
use parquet::data_type::ByteArray;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(super) const ROW_COLUMNS: [Column; 6] = [
    Column::Text("service"),
    Column::Text("type"),
    Column::Number("series"),
    Column::Rising("stack"),
    Column::Rising("seq"),
    Column::Value("value"),
];
pub(super) const TOTAL_COLUMNS: [Column; 9] = [
    Column::Text("service"),
    Column::Text("type"),
    Column::Number("series"),
    Column::Rising("seq"),
    Column::RisingValue("time_ns"),
    Column::Value("total"),
    Column::Number("profiles"),
    Column::RisingValue("id_high"),
    Column::RisingValue("id_low"),
];
pub(super) const META: &str = "meta";
pub(super) const SYMBOLS: &str = "symbols";

pub(super) fn rows_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Raw => "samples.parquet",
        Kind::Hours => "hours.parquet",
        Kind::Days => "days.parquet",
    }
}

pub(super) fn totals_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Raw => "profiles.parquet",
        Kind::Hours => "hour-totals.parquet",
        Kind::Days => "day-totals.parquet",
    }
}

/// A value of one stack in one profile (or window) of one series, which is counted within its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub series: u32,
    pub stack: u32,
    pub seq: u32,
    pub value: i64,
}

/// A profile of a series, or all profiles of a window. `seq` is what rows refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    pub seq: u32,
    pub time_ns: i64,
    pub total: i64,
    pub n_profiles: u32,
    /// 0 where the client gave none.
    pub id: u128,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSeries {
    pub labels: Vec<(String, String)>,
    pub period: i64,
    pub bounds: (i64, i64),
    /// By time.
    pub totals: Vec<Total>,
}

pub struct BlockWriter {
    folder: PathBuf,
    head: Head,
    body: Body,
    symbols: File,
    symbols_len: u64,
    fine: TableOut,
    /// Sums of what goes to `fine`, where it is wanted.
    hours: Option<TableOut>,
}

struct TableOut {
    kind: Kind,
    rows: TableWriter,
    totals: TableWriter,
    pending: Pending,
    pending_totals: PendingTotals,
    n_rows: u64,
    n_totals: u64,
    partitions: Vec<TablePartition>,
}

#[derive(Default)]
struct Pending {
    services: Vec<(ByteArray, usize)>,
    types: Vec<(ByteArray, usize)>,
    series: Vec<i32>,
    stacks: Vec<i32>,
    seqs: Vec<i32>,
    values: Vec<i64>,
}

#[derive(Default)]
struct PendingTotals {
    services: Vec<(ByteArray, usize)>,
    types: Vec<(ByteArray, usize)>,
    series: Vec<i32>,
    seqs: Vec<i32>,
    times: Vec<i64>,
    totals: Vec<i64>,
    n_profiles: Vec<i32>,
    id_highs: Vec<i64>,
    id_lows: Vec<i64>,
}

/// What stands before the rows of a partition.
#[derive(Clone)]
struct Names {
    service: ByteArray,
    profile_type: ByteArray,
}

fn extend_run(runs: &mut Vec<(ByteArray, usize)>, text: &ByteArray) {
    match runs.last_mut() {
        Some((last, count)) if last == text => *count += 1,
        _ => runs.push((text.clone(), 1)),
    }
}

impl BlockWriter {
    /// `head` says what the block is of; what is counted is filled in. The folder is made, and may be there already.
    pub(in crate::store) fn create(
        folder: &Path,
        head: Head,
        fine: Kind,
        with_hours: bool,
    ) -> Result<BlockWriter, Error> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|err| Error::io("clear", folder, err))?;
        }
        fs::create_dir_all(folder).map_err(|err| Error::io("create", folder, err))?;
        let path = folder.join(SYMBOLS);
        let symbols = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|err| Error::io("create", &path, err))?;
        let hours = if with_hours { Some(TableOut::create(folder, Kind::Hours)?) } else { None };
        Ok(BlockWriter {
            folder: folder.to_owned(),
            head,
            body: Body::default(),
            symbols,
            symbols_len: 0,
            fine: TableOut::create(folder, fine)?,
            hours,
        })
    }

    /// Begins a service; services come in their order. Gives the number of each of the stacks in the block.
    pub fn scope(
        &mut self,
        service: &str,
        symbols: &Symbols,
        stacks: &[u32],
    ) -> Result<Vec<u32>, Error> {
        self.fine.end_scope()?;
        if let Some(hours) = &mut self.hours {
            hours.end_scope()?;
        }
        let (packed, numbers) = names::encode(symbols, stacks);
        self.symbols
            .write_all(&packed)
            .map_err(|err| Error::io("write", &self.folder.join(SYMBOLS), err))?;
        self.body.scopes.push(Scope {
            service: self.body.strings.intern(service.as_bytes()),
            offset: self.symbols_len,
            len: packed.len() as u64,
            checksum: crc32c::crc32c(&packed),
            n_stacks: stacks.len() as u32,
        });
        self.symbols_len += packed.len() as u64;
        Ok(numbers)
    }

    /// Begins a profile type of the service.
    pub fn partition(&mut self, profile_type: &str, series: &[NewSeries]) -> Result<(), Error> {
        let body = &mut self.body;
        body.partitions.push(Partition {
            scope: (body.scopes.len() - 1) as u32,
            profile_type: body.strings.intern(profile_type.as_bytes()),
            first_series: body.series.len() as u32,
            n_series: series.len() as u32,
        });
        for one in series {
            let mut labels = Vec::with_capacity(one.labels.len());
            for (name, value) in &one.labels {
                labels.push((
                    body.strings.intern(name.as_bytes()),
                    body.strings.intern(value.as_bytes()),
                ));
            }
            body.series.push(Series { labels, period: one.period, bounds: one.bounds });
            let (oldest, newest) = self.head.bounds;
            self.head.bounds = (oldest.min(one.bounds.0), newest.max(one.bounds.1));
            self.head.n_profiles +=
                one.totals.iter().map(|total| u64::from(total.n_profiles)).sum::<u64>();
        }
        let names = self.names();
        let first_series = body_first(&self.body);
        self.fine.partition(&names, first_series, series)?;
        if let Some(hours) = &mut self.hours {
            let period = self.head.period;
            let summed: Vec<NewSeries> = series
                .iter()
                .map(|one| NewSeries { totals: by_window(period, &one.totals), ..one.clone() })
                .collect();
            hours.partition(&names, first_series, &summed)?;
        }
        Ok(())
    }

    fn names(&self) -> Names {
        let text = |index| ByteArray::from(self.body.string(index));
        let service = self.body.scopes.last().map_or(0, |scope| scope.service);
        let profile_type = self.body.partitions.last().map_or(0, |one| one.profile_type);
        Names { service: text(service), profile_type: text(profile_type) }
    }

    /// The rows of a window of the partition, in any order. Windows come in their order.
    pub fn window(&mut self, window: u32, rows: &mut [Row]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_unstable();
        let names = self.names();
        let first_series = body_first(&self.body);
        self.head.n_rows += rows.len() as u64;
        self.fine.window(&names, first_series, window, rows)?;
        if let Some(hours) = &mut self.hours {
            hours.window(&names, first_series, window, &summed(window, rows))?;
        }
        Ok(())
    }

    /// Durable when it returns, but for the folder's name.
    pub fn finish(mut self) -> Result<(), Error> {
        let folder = self.folder;
        let failed = |err| Error::io("write", &folder, err);
        self.symbols.sync_all().map_err(failed)?;
        self.body.tables.push(self.fine.finish()?);
        if let Some(hours) = self.hours {
            self.body.tables.push(hours.finish()?);
        }
        let mut meta = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join(META))
            .map_err(failed)?;
        meta.write_all(&meta::encode(&mut self.head, &self.body)).map_err(failed)?;
        meta.sync_all().map_err(failed)?;
        crate::store::directory::sync(&folder).map_err(failed)
    }
}

fn body_first(body: &Body) -> u32 {
    body.partitions.last().map_or(0, |partition| partition.first_series)
}

/// Profiles by their windows.
pub(super) fn by_window(period: Period, totals: &[Total]) -> Vec<Total> {
    let mut windows: Vec<Total> = Vec::new();
    for total in totals {
        let window = period.window_of(total.time_ns);
        match windows.last_mut() {
            Some(last) if last.seq == window => {
                last.total = last.total.saturating_add(total.total);
                last.n_profiles = last.n_profiles.saturating_add(total.n_profiles);
            }
            _ => windows.push(Total {
                seq: window,
                time_ns: period.window_start_ns(window),
                id: 0,
                ..*total
            }),
        }
    }
    windows
}

/// Sorted rows of a window -> one for each series and stack.
pub(super) fn summed(window: u32, rows: &[Row]) -> Vec<Row> {
    let mut sums: Vec<Row> = Vec::new();
    for row in rows {
        match sums.last_mut() {
            Some(last) if (last.series, last.stack) == (row.series, row.stack) => {
                last.value = last.value.saturating_add(row.value);
            }
            _ => sums.push(Row { seq: window, ..*row }),
        }
    }
    sums
}

impl TableOut {
    fn create(folder: &Path, kind: Kind) -> Result<TableOut, Error> {
        Ok(TableOut {
            kind,
            rows: TableWriter::create(folder.join(rows_name(kind)), &ROW_COLUMNS)?,
            totals: TableWriter::create(folder.join(totals_name(kind)), &TOTAL_COLUMNS)?,
            pending: Pending::default(),
            pending_totals: PendingTotals::default(),
            n_rows: 0,
            n_totals: 0,
            partitions: Vec::new(),
        })
    }

    fn partition(
        &mut self,
        names: &Names,
        first_series: u32,
        series: &[NewSeries],
    ) -> Result<(), Error> {
        self.partitions.push(TablePartition {
            first_row: self.n_rows,
            first_total: self.n_totals,
            totals: series.iter().map(|one| one.totals.len() as u32).collect(),
            windows: Vec::new(),
        });
        for (one, number) in series.iter().zip(first_series..) {
            for total in &one.totals {
                self.pending_totals.push(names, number, total);
                self.n_totals += 1;
                if self.pending_totals.seqs.len() == GROUP_ROWS {
                    self.pending_totals.write(&mut self.totals)?;
                }
            }
        }
        Ok(())
    }

    fn window(
        &mut self,
        names: &Names,
        first_series: u32,
        window: u32,
        rows: &[Row],
    ) -> Result<(), Error> {
        let partition = self.partitions.last_mut().expect("a partition was begun");
        let mut counts = vec![0; partition.totals.len()];
        for row in rows {
            if let Some(count) = counts.get_mut(row.series as usize) {
                *count += 1;
            }
        }
        partition.windows.push(Window { window, rows: counts });
        self.n_rows += rows.len() as u64;
        for row in rows {
            let pending = &mut self.pending;
            extend_run(&mut pending.services, &names.service);
            extend_run(&mut pending.types, &names.profile_type);
            pending.series.push((first_series + row.series) as i32);
            pending.stacks.push(row.stack as i32);
            pending.seqs.push(row.seq as i32);
            pending.values.push(row.value);
            if pending.stacks.len() == GROUP_ROWS {
                pending.write(&mut self.rows)?;
            }
        }
        Ok(())
    }

    fn end_scope(&mut self) -> Result<(), Error> {
        if self.pending.stacks.len() >= MIN_GROUP_ROWS {
            self.pending.write(&mut self.rows)?;
        }
        if self.pending_totals.seqs.len() >= MIN_GROUP_ROWS {
            self.pending_totals.write(&mut self.totals)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<TableMeta, Error> {
        self.pending.write(&mut self.rows)?;
        self.pending_totals.write(&mut self.totals)?;
        let (rows, totals): (TableFile, TableFile) = (self.rows.finish()?, self.totals.finish()?);
        Ok(TableMeta { kind: self.kind, rows, totals, partitions: self.partitions })
    }
}

impl Pending {
    fn write(&mut self, table: &mut TableWriter) -> Result<(), Error> {
        if self.stacks.is_empty() {
            return Ok(());
        }
        table.group(&[
            Values::Text(&self.services),
            Values::Text(&self.types),
            Values::Number(&self.series),
            Values::Number(&self.stacks),
            Values::Number(&self.seqs),
            Values::Value(&self.values),
        ])?;
        for column in [&mut self.series, &mut self.stacks, &mut self.seqs] {
            column.clear();
        }
        self.services.clear();
        self.types.clear();
        self.values.clear();
        Ok(())
    }
}

impl PendingTotals {
    fn push(&mut self, names: &Names, series: u32, total: &Total) {
        extend_run(&mut self.services, &names.service);
        extend_run(&mut self.types, &names.profile_type);
        self.series.push(series as i32);
        self.seqs.push(total.seq as i32);
        self.times.push(total.time_ns);
        self.totals.push(total.total);
        self.n_profiles.push(total.n_profiles as i32);
        self.id_highs.push((total.id >> 64) as i64);
        self.id_lows.push(total.id as i64);
    }

    fn write(&mut self, table: &mut TableWriter) -> Result<(), Error> {
        if self.seqs.is_empty() {
            return Ok(());
        }
        table.group(&[
            Values::Text(&self.services),
            Values::Text(&self.types),
            Values::Number(&self.series),
            Values::Number(&self.seqs),
            Values::Value(&self.times),
            Values::Value(&self.totals),
            Values::Number(&self.n_profiles),
            Values::Value(&self.id_highs),
            Values::Value(&self.id_lows),
        ])?;
        *self = PendingTotals::default();
        Ok(())
    }
}
