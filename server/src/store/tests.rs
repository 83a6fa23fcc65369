//! What was acknowledged is there after every kind of end.

use super::*;
use crate::ingest::NormalizedSeries;
use crate::ingest::labels::Labels;
use crate::ingest::symbols::{Function, Line, Location, LocationHead, Mapping, Symbols};
use crate::store::block::Kind;
use crate::store::metrics::Metrics;
use crate::store::record::VERSION;
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

const NOW_NS: i64 = 1_795_312_420_000_000_000;

fn now() -> i64 {
    NOW_NS
}

pub(super) fn config(directory: &Path) -> Config {
    Config { max_series: 1_000, merge_after: Duration::ZERO, ..Config::new(directory.to_owned()) }
}

/// A profile of one series with one stack of two functions, that has the number in all its names.
pub(super) fn profile(number: i64, id: Option<u128>) -> NormalizedProfile {
    let name = |what: &str| format!("{what}-{number}");
    let function = |name| Function { name, system_name: name, filename: 3, start_line: number };
    let location = |function, address| Location {
        head: LocationHead { mapping: 1, address, is_folded: false },
        lines: vec![
            Line { function, line: number, column: 2 },
            Line { function: 0, line: -1, column: 0 },
        ],
    };
    NormalizedProfile {
        time_ns: NOW_NS + number,
        id,
        symbols: Symbols {
            strings: vec![String::new(), name("leaf"), name("root"), name("file")],
            functions: vec![function(1), function(2)],
            mappings: vec![Mapping { memory_start: 1, filename: 3, has: 7, ..Mapping::default() }],
            locations: vec![location(0, 0x10), location(1, u64::MAX)],
            stacks: vec![vec![0, 1], vec![1]],
        },
        series: vec![NormalizedSeries {
            labels: Labels::new([("service_name".to_owned(), name("service"))]),
            period: 10,
            rows: vec![(0, 10 * (number + 1)), (1, 7)],
        }],
    }
}

pub(super) fn open(directory: &Path) -> (Store, Registry) {
    let mut registry = Registry::default();
    let store = Store::open(config(directory), now, &mut registry).unwrap();
    (store, registry)
}

pub(super) fn append(store: &Store, profile: &NormalizedProfile) -> Result<Appended, Error> {
    let (appended, durable) = store.append(profile)?;
    durable.blocking_recv().unwrap().map(|()| appended)
}

/// Everything that a query could see of each profile.
pub(super) fn contents(store: &Store) -> BTreeSet<String> {
    let mut contents = BTreeSet::new();
    for source in store.select(i64::MIN, i64::MAX) {
        match source {
            Source::Head(segment) => contents.extend(contents_of(&segment.read())),
            // Months say again what days have.
            Source::Block(block) if block.has(Kind::Raw) => {
                contents.extend(contents_of_block(&block).unwrap());
            }
            Source::Block(_) => {}
        }
    }
    contents
}

fn contents_of(data: &segment::Data) -> BTreeSet<String> {
    let mut contents = BTreeSet::new();
    for (index, series) in data.series.iter().enumerate() {
        let labels: Vec<_> = data.labels(index).collect();
        for rows in series.profiles() {
            let rows_of: Vec<_> =
                rows.stacks.iter().copied().zip(rows.values.iter().copied()).collect();
            contents.insert(text(&labels, series.period, (rows.time_ns, rows.id), data, &rows_of));
        }
    }
    contents
}

pub(super) fn contents_of_block(block: &Block) -> Result<BTreeSet<String>, block::Error> {
    let mut contents = BTreeSet::new();
    let body = block.contents()?;
    let all: Vec<usize> = (0..body.n_series()).collect();
    block.profiles(&all, (i64::MIN, i64::MAX), |index, symbols, total, rows| {
        let labels: Vec<_> = body.labels(index).collect();
        let profile = (total.time_ns, total.id);
        assert_eq!(total.total, rows.iter().map(|row| row.1).sum::<i64>());
        contents.insert(text(&labels, body.period(index), profile, &symbols.read(), rows));
    })?;
    Ok(contents)
}

fn text(
    labels: &[(&str, &str)],
    period: i64,
    (time_ns, id): (i64, u128),
    data: &segment::Data,
    rows: &[(u32, i64)],
) -> String {
    let mut rows: Vec<_> =
        rows.iter().map(|(stack, value)| (stack_text(&data.symbols, *stack), value)).collect();
    rows.sort();
    format!("{labels:?} {period} {time_ns} {id} {rows:?}")
}

fn stack_text(symbols: &symbols::Symbols, stack: u32) -> String {
    let mut parts = Vec::new();
    for location in symbols.stacks.at(stack) {
        let (head, _) = symbols.locations.get(*location).unwrap();
        let mapping = symbols.mappings.get(head.mapping - 1).unwrap();
        parts.push(format!("{} {:x}", symbols.string(mapping.filename), head.address));
        for line in symbols.lines(*location) {
            let function = symbols.functions.get(line.function).unwrap();
            parts.push(format!(
                "{}:{}:{}",
                symbols.string(function.name),
                line.line,
                function.start_line
            ));
        }
    }
    parts.join(" ")
}

pub(super) fn metrics(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

/// A store with so many profiles, and what it holds.
pub(super) fn filled_store(directory: &Path, n_profiles: i64) -> (Store, BTreeSet<String>) {
    let (store, _) = open(directory);
    for number in 0..n_profiles {
        append(&store, &profile(number, Some(number as u128 + 1))).unwrap();
    }
    let all = contents(&store);
    assert_eq!(all.len(), n_profiles as usize);
    (store, all)
}

/// A directory with so many profiles, closed; what it holds; and the log's file.
fn filled(n_profiles: i64) -> (TempDir, Vec<BTreeSet<String>>, PathBuf) {
    let directory = TempDir::new().unwrap();
    let (store, _) = open(directory.path());
    let mut after = vec![BTreeSet::new()];
    for number in 0..n_profiles {
        append(&store, &profile(number, Some(number as u128))).unwrap();
        after.push(contents(&store));
    }
    let file = directory.path().join("wal/0000000001.wal");
    (directory, after, file)
}

/// Opens a copy of the directory whose log has these bytes.
fn reopened(bytes: &[u8]) -> (BTreeSet<String>, String, TempDir) {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("wal")).unwrap();
    fs::write(directory.path().join("wal/0000000001.wal"), bytes).unwrap();
    let (store, registry) = open(directory.path());
    let found = contents(&store);
    // It goes on where it ended.
    append(&store, &profile(1_000, None)).unwrap();
    let with_new = contents(&store);
    assert_eq!(with_new.len(), found.len() + 1);
    drop(store);
    let (store, _) = open(directory.path());
    assert_eq!(contents(&store), with_new);
    (found, metrics(&registry), directory)
}

#[test]
fn what_is_closed_comes_back() {
    let (directory, after, _) = filled(20);
    let (store, registry) = open(directory.path());
    assert_eq!(&contents(&store), after.last().unwrap());
    assert_eq!(after.last().unwrap().len(), 20);
    assert_eq!(store.bounds(), Some((NOW_NS, NOW_NS + 19)));
    assert!(!metrics(&registry).contains("damage_total{"));
}

#[test]
fn a_log_cut_anywhere_in_its_last_record_has_all_the_others() {
    let (_directory, after, file) = filled(3);
    let bytes = fs::read(file).unwrap();
    let two = filled(2);
    let start = fs::read(two.2).unwrap().len();
    for len in start..bytes.len() {
        let (found, metrics, _) = reopened(&bytes[..len]);
        assert_eq!(found, after[2], "cut at {len}");
        let is_whole = metrics.contains("damage_total{reason=\"torn_tail\"} 1");
        // Between two records nothing is torn.
        assert!(is_whole || found == reopened(&bytes[..len]).0);
    }
    assert_eq!(reopened(&bytes).0, after[3]);
}

#[test]
fn a_log_cut_in_its_header_is_empty() {
    let (_directory, _, file) = filled(1);
    let bytes = fs::read(file).unwrap();
    for len in 0..record::FILE_HEADER_LEN {
        assert!(reopened(&bytes[..len]).0.is_empty());
    }
}

#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    let (_directory, after, file) = filled(4);
    let bytes = fs::read(file).unwrap();
    let mut n_lost = 0;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("1.wal");
    for index in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1 << (index % 8);
        fs::write(&path, flipped).unwrap();
        let mut registry = Registry::default();
        let metrics_of = Metrics::register(&mut registry);
        let replayed = replay::read(1, &path, &metrics_of).unwrap().unwrap();
        let (found, metrics) = (contents_of(&replayed.data), metrics(&registry));
        let lost = after[4].difference(&found).count();
        assert!(found.is_subset(&after[4]) && lost <= 1, "flipped at {index}: {lost} lost");
        let is_header = index < record::FILE_HEADER_LEN;
        let is_counted =
            metrics.contains("damage_total{") || replayed.whole_bytes < replayed.file_bytes;
        assert!(is_header || is_counted, "flipped at {index}: not counted");
        n_lost += lost;
    }
    // Rows are lost where they are hit; definitions, which are most of the bytes, never.
    assert!(n_lost > 0 && n_lost < bytes.len() / 2);
}

#[test]
fn garbage_at_the_end_is_cut_off() {
    let (_directory, after, file) = filled(2);
    let bytes = fs::read(file).unwrap();
    for garbage in [vec![0; 5_000], vec![0xf0; 17], b"\xf0\x9f\x94\xa5\xff\xff\xff\xff".repeat(3)] {
        let (found, metrics, _) = reopened(&[bytes.clone(), garbage].concat());
        assert_eq!(found, after[2]);
        assert!(metrics.contains("damage_total{reason=\"torn_tail\"} 1"));
    }
}

#[test]
fn a_file_without_a_header_is_set_aside() {
    let (_directory, _, file) = filled(1);
    let mut bytes = fs::read(file).unwrap();
    bytes[0] ^= 1;
    bytes[20] ^= 1;
    let (found, metrics, directory) = reopened(&bytes);
    assert!(found.is_empty() && metrics.contains("damage_total{reason=\"file\"} 1"));
    assert!(directory.path().join("wal/0000000001.damaged").exists());
}

#[test]
fn a_newer_format_is_refused() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("wal")).unwrap();
    let mut copy = record::file_header(1)[..16].to_vec();
    copy[8] = VERSION as u8 + 1;
    copy.extend(crc32c::crc32c(&copy).to_le_bytes());
    fs::write(directory.path().join("wal/0000000001.wal"), [copy.clone(), copy].concat()).unwrap();
    let error = Store::open(config(directory.path()), now, &mut Registry::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("has format version 2, this pilotlight reads up to 1"), "{error}");
}

#[test]
fn one_server_at_a_time() {
    let directory = TempDir::new().unwrap();
    let (first, _) = open(directory.path());
    let error = Store::open(config(directory.path()), now, &mut Registry::default())
        .err()
        .unwrap()
        .to_string();
    let owner = format!("is in use by another pilotlight server (pid {})", std::process::id());
    assert!(error.contains(&owner), "{error}");
    drop(first);
    open(directory.path());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::open(config(&file.path().join("data")), now, &mut Registry::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("cannot create data directory /") && error.contains("--data"),
        "{error}"
    );
}

#[test]
fn a_profile_with_an_id_is_stored_once() {
    let directory = TempDir::new().unwrap();
    let (store, _) = open(directory.path());
    assert_eq!(
        append(&store, &profile(1, Some(7))).unwrap(),
        Appended { series: 1, rows: 2, duplicates: 0 }
    );
    let again = Appended { series: 0, rows: 0, duplicates: 1 };
    assert_eq!(append(&store, &profile(1, Some(7))).unwrap(), again);
    assert_eq!(append(&store, &profile(2, Some(7))).unwrap().series, 1);
    assert_eq!(append(&store, &profile(1, None)).unwrap().series, 1);
    drop(store);
    let (store, _) = open(directory.path());
    assert_eq!(append(&store, &profile(1, Some(7))).unwrap(), again);
}

#[test]
fn a_full_memory_becomes_blocks_and_nothing_is_lost() {
    let directory = TempDir::new().unwrap();
    let config = Config { memory_max_bytes: 1 << 18, ..config(directory.path()) };
    let store = Store::open(config.clone(), now, &mut Registry::default()).unwrap();
    for number in 0..400 {
        append(&store, &profile(number, Some(number as u128 + 1))).unwrap();
    }
    assert_eq!(append(&store, &profile(399, Some(400))).unwrap().duplicates, 1);
    let all = contents(&store);
    assert_eq!(all.len(), 400);
    assert_eq!(store.bounds(), Some((NOW_NS, NOW_NS + 399)));
    let has_block =
        || store.select(i64::MIN, i64::MAX).iter().any(|one| matches!(one, Source::Block(_)));
    assert!(has_block());
    drop(store);
    let store = Store::open(config, now, &mut Registry::default()).unwrap();
    assert_eq!(contents(&store), all);
}

#[test]
fn what_could_not_be_written_is_not_there_and_can_be_sent_again() {
    let directory = TempDir::new().unwrap();
    let (store, registry) = open(directory.path());
    // The writer makes its file; one of that name in its way is a failed write.
    fs::write(directory.path().join("wal/0000000001.wal"), b"").unwrap();
    let error = append(&store, &profile(1, Some(1))).unwrap_err();
    assert!(matches!(error, Error::NotDurable(_)), "{error}");
    assert!(contents(&store).is_empty());
    assert_eq!(append(&store, &profile(1, Some(1))).unwrap().series, 1);
    assert!(metrics(&registry).contains("commit_errors_total 1"));
    let kept = contents(&store);
    drop(store);
    assert_eq!(contents(&open(directory.path()).0), kept);
}

#[test]
fn too_many_series_are_refused_and_known_ones_are_not() {
    let directory = TempDir::new().unwrap();
    let config = Config { max_series: 2, ..config(directory.path()) };
    let store = Store::open(config, now, &mut Registry::default()).unwrap();
    append(&store, &profile(1, None)).unwrap();
    append(&store, &profile(2, None)).unwrap();
    assert!(matches!(append(&store, &profile(3, None)), Err(Error::TooManySeries { limit: 2 })));
    append(&store, &profile(1, None)).unwrap();
}

#[test]
fn appends_from_many_threads_are_committed_together() {
    let directory = TempDir::new().unwrap();
    let (store, _) = open(directory.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    append(store, &profile(thread * 50 + number, None)).unwrap();
                }
            });
        }
    });
    let all = contents(&store);
    assert_eq!(all.len(), 400);
    drop(store);
    assert_eq!(contents(&open(directory.path()).0), all);
}
