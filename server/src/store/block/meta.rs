//! The `meta` file of a block: what it is of, and where in its tables each series' rows stand.
//!
//! ```text
//! file   head, the same head again, body, the same body again
//! head   magic "PLOTBLK\0" | version u16 | 0 u16 | length u32 | crc32c of these and the payload u32 | payload
//! ```
//! The body is one zstd frame; its length and checksum stand in the head.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::store::block::period::{Flushes, Period};
use crate::store::block::table::TableFile;
use crate::store::symbols::Runs;
use crate::store::varint::{Reader, put, put_signed};

pub const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"PLOTBLK\0";
const HEAD_LEN: usize = 20;
const MAX_BODY_BYTES: usize = 1 << 30;

/// What a row of a table is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One profile.
    Raw,
    /// All profiles of an hour.
    Hours,
    /// All profiles of a day, without the labels that come and go.
    Days,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Head {
    pub id: u64,
    /// 0 as flushed from the log; what was merged is above what it was merged from.
    pub level: u8,
    pub period: Period,
    /// The segments of the log that a day's block has all rows of.
    pub flushes: Flushes,
    /// The same for each day of a month's block, by the day's window.
    pub days: Vec<(u32, Flushes)>,
    /// The times of the oldest and newest profile.
    pub bounds: (i64, i64),
    pub n_profiles: u64,
    pub n_rows: u64,
    pub body_len: u64,
    pub body_checksum: u32,
}

#[derive(Debug, Default)]
pub(super) struct Body {
    pub strings: Runs<u8>,
    pub scopes: Vec<Scope>,
    pub partitions: Vec<Partition>,
    pub series: Vec<Series>,
    pub tables: Vec<TableMeta>,
}

/// The symbols of one service, in the file `symbols`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub service: u32,
    pub offset: u64,
    pub len: u64,
    pub checksum: u32,
    pub n_stacks: u32,
}

/// The series of one service and profile type; they follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub scope: u32,
    pub profile_type: u32,
    pub first_series: u32,
    pub n_series: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    pub labels: Vec<(u32, u32)>,
    pub period: i64,
    pub bounds: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableMeta {
    pub kind: Kind,
    pub rows: TableFile,
    pub totals: TableFile,
    /// As many as the block has.
    pub partitions: Vec<TablePartition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TablePartition {
    pub first_row: u64,
    pub first_total: u64,
    /// Of each series.
    pub totals: Vec<u32>,
    /// Ascending.
    pub windows: Vec<Window>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub window: u32,
    /// Of each series; rows follow each other in the order of windows and series.
    pub rows: Vec<u32>,
}

pub(super) enum ReadHead {
    Head(Box<Head>, usize),
    /// Neither copy is whole.
    Damaged,
    Newer(u16),
}

impl Head {
    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.id);
        out.push(self.level);
        let (tag, number) = match self.period {
            Period::Day(day) => (0, day),
            Period::Month(month) => (1, month),
        };
        out.push(tag);
        put_signed(&mut out, i64::from(number));
        put_flushes(&mut out, &self.flushes);
        put(&mut out, self.days.len() as u64);
        for (day, flushes) in &self.days {
            put(&mut out, u64::from(*day));
            put_flushes(&mut out, flushes);
        }
        put_signed(&mut out, self.bounds.0);
        put_signed(&mut out, self.bounds.1);
        for number in [self.n_profiles, self.n_rows, self.body_len] {
            put(&mut out, number);
        }
        put(&mut out, u64::from(self.body_checksum));
        out
    }

    fn take(payload: &[u8]) -> Option<Head> {
        let reader = &mut Reader { rest: payload };
        let id = reader.take()?;
        let level = *reader.take_bytes(1)?.first()?;
        let tag = *reader.take_bytes(1)?.first()?;
        let number = i32::try_from(reader.take_signed()?).ok()?;
        let period = match tag {
            0 => Period::Day(number),
            1 => Period::Month(number),
            _ => return None,
        };
        let flushes = take_flushes(reader)?;
        let mut days = Vec::new();
        for _ in 0..reader.take_count()? {
            days.push((reader.take_u32()?, take_flushes(reader)?));
        }
        Some(Head {
            id,
            level,
            period,
            flushes,
            days,
            bounds: (reader.take_signed()?, reader.take_signed()?),
            n_profiles: reader.take()?,
            n_rows: reader.take()?,
            body_len: reader.take()?,
            body_checksum: reader.take_u32()?,
        })
    }
}

fn put_flushes(out: &mut Vec<u8>, flushes: &Flushes) {
    put(out, flushes.ranges().len() as u64);
    for (first, last) in flushes.ranges() {
        put(out, *first);
        put(out, last.saturating_sub(*first));
    }
}

fn take_flushes(reader: &mut Reader<'_>) -> Option<Flushes> {
    let mut ranges = Vec::new();
    for _ in 0..reader.take_count()? {
        let first = reader.take()?;
        ranges.push((first, first.checked_add(reader.take()?)?));
    }
    Some(Flushes::from_ranges(ranges))
}

/// The bytes of the file.
pub(super) fn encode(head: &mut Head, body: &Body) -> Vec<u8> {
    let body = zstd::bulk::compress(&encode_body(body), 6).unwrap_or_default();
    head.body_len = body.len() as u64;
    head.body_checksum = crc32c::crc32c(&body);
    let payload = head.payload();
    let mut copy = MAGIC.to_vec();
    copy.extend(VERSION.to_le_bytes());
    copy.extend([0, 0]);
    copy.extend((payload.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&copy), &payload);
    copy.extend(checksum.to_le_bytes());
    copy.extend(payload);
    [copy.as_slice(), copy.as_slice(), body.as_slice(), body.as_slice()].concat()
}

/// The head, and where the bodies begin.
pub(super) fn read_head(file: &[u8]) -> ReadHead {
    let first = read_copy(file);
    if let Some(ReadHead::Head(head, len)) = first {
        return ReadHead::Head(head, len.saturating_mul(2));
    }
    if let Some(newer) = first {
        return newer;
    }
    // The length may be what is damaged: the second copy is looked for.
    let found = (1..file.len().min(1 << 20)).find_map(|at| {
        let rest = file.get(at..).filter(|rest| rest.starts_with(MAGIC))?;
        read_copy(rest).map(|copy| (at, copy))
    });
    match found {
        Some((at, ReadHead::Head(head, len))) => ReadHead::Head(head, at.saturating_add(len)),
        Some((_, other)) => other,
        None => ReadHead::Damaged,
    }
}

fn read_copy(file: &[u8]) -> Option<ReadHead> {
    let (fixed, rest) = file.split_at_checked(HEAD_LEN)?;
    let (before, checksum) = fixed.split_at_checked(16)?;
    let number = |at: usize| {
        let end = at.checked_add(4)?;
        Some(u32::from_le_bytes(before.get(at..end)?.try_into().ok()?))
    };
    let payload = rest.get(..number(12)? as usize)?;
    let expected = u32::from_le_bytes(checksum.try_into().ok()?);
    if !before.starts_with(MAGIC)
        || crc32c::crc32c_append(crc32c::crc32c(before), payload) != expected
    {
        return None;
    }
    let version = (number(8)? & 0xffff) as u16;
    if version > VERSION {
        return Some(ReadHead::Newer(version));
    }
    let head = Head::take(payload)?;
    Some(ReadHead::Head(Box::new(head), HEAD_LEN.checked_add(payload.len())?))
}

/// The first copy of the body that is whole.
pub(super) fn read_body(head: &Head, bodies: &[u8]) -> Option<Body> {
    let len = usize::try_from(head.body_len).ok()?;
    let packed = bodies
        .chunks(len.max(1))
        .take(2)
        .find(|copy| copy.len() == len && crc32c::crc32c(copy) == head.body_checksum)?;
    let plain_len = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let plain_len = usize::try_from(plain_len).ok().filter(|len| *len <= MAX_BODY_BYTES)?;
    take_body(&zstd::bulk::decompress(packed, plain_len).ok()?)
}

fn encode_body(body: &Body) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, body.strings.len() as u64);
    for index in 0..body.strings.len() as u32 {
        let text = body.strings.at(index);
        put(&mut out, text.len() as u64);
        out.extend(text);
    }
    put(&mut out, body.scopes.len() as u64);
    for scope in &body.scopes {
        put(&mut out, u64::from(scope.service));
        put(&mut out, scope.offset);
        put(&mut out, scope.len);
        put(&mut out, u64::from(scope.checksum));
        put(&mut out, u64::from(scope.n_stacks));
    }
    put(&mut out, body.partitions.len() as u64);
    for partition in &body.partitions {
        for number in
            [partition.scope, partition.profile_type, partition.first_series, partition.n_series]
        {
            put(&mut out, u64::from(number));
        }
    }
    put(&mut out, body.series.len() as u64);
    for series in &body.series {
        put(&mut out, series.labels.len() as u64);
        for (name, value) in &series.labels {
            put(&mut out, u64::from(*name));
            put(&mut out, u64::from(*value));
        }
        for number in [series.period, series.bounds.0, series.bounds.1] {
            put_signed(&mut out, number);
        }
    }
    put(&mut out, body.tables.len() as u64);
    for table in &body.tables {
        put_table(&mut out, table);
    }
    out
}

fn put_table(out: &mut Vec<u8>, table: &TableMeta) {
    out.push(table.kind as u8);
    for file in [&table.rows, &table.totals] {
        put(out, file.bytes);
        put(out, file.n_columns as u64);
        put(out, file.footer_start);
        put(out, u64::from(file.footer_checksum));
        put(out, file.checksums.len() as u64);
        for checksum in &file.checksums {
            out.extend(checksum.to_le_bytes());
        }
    }
    put(out, table.partitions.len() as u64);
    for partition in &table.partitions {
        put(out, partition.first_row);
        put(out, partition.first_total);
        put_counts(out, &partition.totals);
        put(out, partition.windows.len() as u64);
        for window in &partition.windows {
            put(out, u64::from(window.window));
            put_counts(out, &window.rows);
        }
    }
}

fn put_counts(out: &mut Vec<u8>, counts: &[u32]) {
    put(out, counts.len() as u64);
    for count in counts {
        put(out, u64::from(*count));
    }
}

fn take_body(plain: &[u8]) -> Option<Body> {
    let reader = &mut Reader { rest: plain };
    let mut body = Body::default();
    for _ in 0..reader.take_count()? {
        let len = reader.take_count()?;
        body.strings.append(reader.take_bytes(len)?);
    }
    for _ in 0..reader.take_count()? {
        body.scopes.push(Scope {
            service: reader.take_u32()?,
            offset: reader.take()?,
            len: reader.take()?,
            checksum: reader.take_u32()?,
            n_stacks: reader.take_u32()?,
        });
    }
    for _ in 0..reader.take_count()? {
        body.partitions.push(Partition {
            scope: reader.take_u32()?,
            profile_type: reader.take_u32()?,
            first_series: reader.take_u32()?,
            n_series: reader.take_u32()?,
        });
    }
    for _ in 0..reader.take_count()? {
        let mut labels = Vec::new();
        for _ in 0..reader.take_count()? {
            labels.push((reader.take_u32()?, reader.take_u32()?));
        }
        body.series.push(Series {
            labels,
            period: reader.take_signed()?,
            bounds: (reader.take_signed()?, reader.take_signed()?),
        });
    }
    for _ in 0..reader.take_count()? {
        body.tables.push(take_table(reader)?);
    }
    Some(body)
}

fn take_table(reader: &mut Reader<'_>) -> Option<TableMeta> {
    let kind = match *reader.take_bytes(1)?.first()? {
        0 => Kind::Raw,
        1 => Kind::Hours,
        2 => Kind::Days,
        _ => return None,
    };
    let rows = take_file(reader)?;
    let totals = take_file(reader)?;
    let mut partitions = Vec::new();
    for _ in 0..reader.take_count()? {
        let first_row = reader.take()?;
        let first_total = reader.take()?;
        let totals = take_counts(reader)?;
        let mut windows = Vec::new();
        for _ in 0..reader.take_count()? {
            windows.push(Window { window: reader.take_u32()?, rows: take_counts(reader)? });
        }
        partitions.push(TablePartition { first_row, first_total, totals, windows });
    }
    Some(TableMeta { kind, rows, totals, partitions })
}

fn take_file(reader: &mut Reader<'_>) -> Option<TableFile> {
    let mut file = TableFile {
        bytes: reader.take()?,
        n_columns: usize::try_from(reader.take()?).ok()?,
        footer_start: reader.take()?,
        footer_checksum: reader.take_u32()?,
        ..TableFile::default()
    };
    for _ in 0..reader.take_count()? {
        file.checksums.push(u32::from_le_bytes(reader.take_bytes(4)?.try_into().ok()?));
    }
    Some(file)
}

fn take_counts(reader: &mut Reader<'_>) -> Option<Vec<u32>> {
    (0..reader.take_count()?).map(|_| reader.take_u32()).collect()
}

impl Body {
    pub(super) fn string(&self, index: u32) -> &str {
        std::str::from_utf8(self.strings.at(index)).unwrap_or_default()
    }

    pub(super) fn labels(&self, series: u32) -> impl Iterator<Item = (&str, &str)> {
        let labels =
            self.series.get(series as usize).map_or(&[][..], |series| series.labels.as_slice());
        labels.iter().map(|(name, value)| (self.string(*name), self.string(*value)))
    }

    pub(super) fn table(&self, kind: Kind) -> Option<&TableMeta> {
        self.tables.iter().find(|table| table.kind == kind)
    }
}
