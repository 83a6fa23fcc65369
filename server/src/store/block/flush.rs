//! A sealed segment of the head -> a block for each day that it has profiles of.

use crate::ingest::labels;
use crate::store::block::period::{Flushes, Period};
use crate::store::block::write::{BlockWriter, NewSeries, Row, Total};
use crate::store::block::{Error, Head, Kind};
use crate::store::segment::Data;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The days that the segment has profiles of.
pub(in crate::store) fn days(data: &Data) -> BTreeSet<i32> {
    let times = data.series.iter().flat_map(|series| series.profiles().map(|rows| rows.time_ns));
    times.map(day_of).collect()
}

fn day_of(time_ns: i64) -> i32 {
    Period::day_of(time_ns).first_day()
}

/// Series by service and profile type, in the order of their labels.
type Scopes<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<Labeled<'a>>>>;

/// The labels of a series, and its index.
type Labeled<'a> = (Vec<(&'a str, &'a str)>, usize);

/// Writes what the segment has of a day into a folder.
pub(in crate::store) fn write(
    folder: &Path,
    id: u64,
    number: u64,
    data: &Data,
    day: i32,
) -> Result<(), Error> {
    let head = new_head(id, 0, Period::Day(day), Flushes::one(number));
    let mut writer = BlockWriter::create(folder, head, Kind::Raw, false)?;
    for (service, partitions) in scopes(data, day) {
        let used: BTreeSet<u32> = partitions
            .values()
            .flatten()
            .flat_map(|(_, series)| data.series[*series].profiles())
            .filter(|rows| day_of(rows.time_ns) == day)
            .flat_map(|rows| rows.stacks.iter().copied())
            .collect();
        let used: Vec<u32> = used.into_iter().collect();
        let numbers = writer.scope(service, &data.symbols, &used)?;
        let number = |stack: u32| used.binary_search(&stack).map_or(0, |place| numbers[place]);
        for (profile_type, series) in partitions {
            write_partition(&mut writer, data, day, (profile_type, &series), number)?;
        }
    }
    writer.finish()
}

pub(in crate::store) fn new_head(id: u64, level: u8, period: Period, flushes: Flushes) -> Head {
    Head {
        id,
        level,
        period,
        flushes,
        days: Vec::new(),
        bounds: (i64::MAX, i64::MIN),
        n_profiles: 0,
        n_rows: 0,
        body_len: 0,
        body_checksum: 0,
    }
}

fn scopes(data: &Data, day: i32) -> Scopes<'_> {
    let mut scopes = Scopes::new();
    for (index, series) in data.series.iter().enumerate() {
        if !series.profiles().any(|rows| day_of(rows.time_ns) == day) {
            continue;
        }
        let pairs: Vec<(&str, &str)> = data.labels(index).collect();
        let value =
            |name| pairs.iter().find(|(have, _)| *have == name).map_or("", |(_, value)| *value);
        let partitions = scopes.entry(value(labels::SERVICE)).or_default();
        partitions.entry(value(labels::PROFILE_TYPE)).or_default().push((pairs, index));
    }
    for series in scopes.values_mut().flat_map(BTreeMap::values_mut) {
        series.sort_unstable();
    }
    scopes
}

fn write_partition(
    writer: &mut BlockWriter,
    data: &Data,
    day: i32,
    (profile_type, indices): (&str, &[Labeled<'_>]),
    number: impl Fn(u32) -> u32,
) -> Result<(), Error> {
    let period = Period::Day(day);
    let mut series = Vec::with_capacity(indices.len());
    let mut windows: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    for (pairs, index) in indices {
        let of_series = &data.series[*index];
        let mut profiles: Vec<_> =
            of_series.profiles().filter(|rows| day_of(rows.time_ns) == day).collect();
        profiles.sort_by_key(|rows| rows.time_ns);
        let mut totals = Vec::with_capacity(profiles.len());
        for (rows, seq) in profiles.iter().zip(0_u32..) {
            let window = windows.entry(period.window_of(rows.time_ns)).or_default();
            window.extend(rows.stacks.iter().zip(rows.values).map(|(stack, value)| Row {
                series: series.len() as u32,
                stack: number(*stack),
                seq,
                value: *value,
            }));
            totals.push(Total {
                seq,
                time_ns: rows.time_ns,
                total: rows.values.iter().copied().fold(0, i64::saturating_add),
                n_profiles: 1,
                id: rows.id,
            });
        }
        let bounds = (
            totals.first().map_or(0, |total| total.time_ns),
            totals.last().map_or(0, |total| total.time_ns),
        );
        series.push(NewSeries {
            labels: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            period: of_series.period,
            bounds,
            totals,
        });
    }
    writer.partition(profile_type, &series)?;
    for (window, mut rows) in windows {
        writer.window(window, &mut rows)?;
    }
    Ok(())
}
