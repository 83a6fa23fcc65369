//! Tests: blocks survive every kind of end, and damage is found and costs what it hits.

use super::*;
use crate::store::block::Kind;
use crate::store::tests::{append, config, contents, filled_store, metrics, open, profile};
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

const WAIT: Duration = Duration::from_mins(1);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn block_folders(directory: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for period in fs::read_dir(directory.join("blocks")).unwrap() {
        let period = period.unwrap().path();
        if !period.ends_with("tmp") && !period.ends_with("damaged") {
            folders.extend(fs::read_dir(period).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    folders.sort();
    folders
}

/// The states of the directory that a kill can leave behind: before the flush, after it with and without the log's file, and after
/// merges, with the log's file and the merged blocks still there.
#[test]
fn killed_at_any_point_everything_is_there_once() {
    let directory = TempDir::new().unwrap();
    let (store, all) = filled_store(directory.path(), 12);
    let before = TempDir::new().unwrap();
    copy(directory.path(), before.path());
    assert!(store.flush(WAIT));
    assert_eq!(contents(&store), all);
    let flushed = TempDir::new().unwrap();
    copy(directory.path(), flushed.path());
    append(&store, &profile(50, None)).unwrap();
    assert!(store.flush(WAIT));
    let more = contents(&store);
    store.compact();
    assert_eq!(contents(&store), more);
    let merged = TempDir::new().unwrap();
    copy(directory.path(), merged.path());
    drop(store);
    let check = |name: &str, parts: &[&Path], expected: &BTreeSet<String>| {
        let copied = TempDir::new().unwrap();
        for part in parts {
            copy(part, copied.path());
        }
        for _ in 0..2 {
            let (store, registry) = open(copied.path());
            assert_eq!(&contents(&store), expected, "{name}");
            let sums = store.select(i64::MIN, i64::MAX).len();
            assert!(sums > 0 && !metrics(&registry).contains("damage_total{"), "{name}");
            store.compact();
            assert_eq!(&contents(&store), expected, "{name}, merged");
            // It goes on.
            append(&store, &profile(999, None)).unwrap();
            assert_eq!(contents(&store).len(), expected.len() + 1, "{name}");
            drop(store);
            fs::remove_dir_all(copied.path().join("wal")).unwrap();
            for part in parts {
                copy(part, copied.path());
            }
        }
    };
    let (before, flushed, merged) = (before.path(), flushed.path(), merged.path());
    check("killed before the flush", &[before], &all);
    check("killed before the log's file was removed", &[before, flushed], &all);
    check("killed after the flush", &[flushed], &all);
    check("killed after a merge", &[merged], &more);
    check("killed before merged blocks were removed", &[flushed, merged], &more);
    check("killed with everything there still", &[before, flushed, merged], &more);
    // A folder that was half removed, and one that was half written.
    let half = TempDir::new().unwrap();
    copy(merged, half.path());
    let first = block_folders(half.path()).remove(0);
    let removed = first.with_file_name("000000000000");
    copy(&first, &removed);
    fs::remove_file(removed.join("meta")).unwrap();
    copy(&first, &half.path().join("blocks/tmp/000000000077"));
    check("killed while it removed and wrote", &[half.path()], &more);
}

#[test]
fn ids_are_known_after_the_flush() {
    let directory = TempDir::new().unwrap();
    let (store, _) = filled_store(directory.path(), 3);
    assert!(store.flush(WAIT));
    assert_eq!(append(&store, &profile(1, Some(2))).unwrap().duplicates, 1);
    assert_eq!(append(&store, &profile(1, Some(77))).unwrap().series, 1);
    drop(store);
    let (store, _) = open(directory.path());
    assert_eq!(append(&store, &profile(2, Some(3))).unwrap().duplicates, 1);
    assert_eq!(append(&store, &profile(1, Some(77))).unwrap().duplicates, 1);
}

#[test]
fn a_flipped_bit_in_a_block_is_never_a_wrong_answer() {
    let directory = TempDir::new().unwrap();
    let (store, all) = filled_store(directory.path(), 6);
    assert!(store.flush(WAIT));
    store.compact();
    drop(store);
    let (mut n_whole, mut n_refused) = (0, 0);
    let folder = block_folders(directory.path()).pop().unwrap();
    let cache = Arc::new(Cache::new(1 << 20));
    let mut read = |name: &str, bytes: &[u8]| {
        let copied = TempDir::new().unwrap();
        copy(&folder, copied.path());
        fs::write(copied.path().join(name), bytes).unwrap();
        let found = Block::open(copied.path().to_owned(), Arc::clone(&cache))
            .and_then(|block| block_tests_contents(&block));
        match found {
            Ok(found) => {
                assert_eq!(found, all, "{name}");
                n_whole += 1;
            }
            Err(block::Error::Damaged { .. }) => n_refused += 1,
            Err(error) => panic!("{name}: {error}"),
        }
    };
    for name in ["meta", "symbols", "samples.parquet", "profiles.parquet"] {
        let bytes = fs::read(folder.join(name)).unwrap();
        for index in (0..bytes.len()).step_by(if name == "meta" { 7 } else { 13 }) {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << (index % 8);
            read(name, &flipped);
            cache.clear();
        }
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            read(name, &bytes[..len]);
            cache.clear();
        }
    }
    // The meta has two copies of everything.
    assert!(n_whole > 0 && n_refused > 0, "{n_whole} {n_refused}");
}

fn block_tests_contents(block: &Block) -> Result<BTreeSet<String>, block::Error> {
    crate::store::tests::contents_of_block(block)
}

#[test]
fn a_damaged_table_is_set_aside_and_the_rest_is_used() {
    let directory = TempDir::new().unwrap();
    let (store, all) = filled_store(directory.path(), 6);
    assert!(store.flush(WAIT));
    store.compact();
    drop(store);
    let path = block_folders(directory.path()).pop().unwrap().join("samples.parquet");
    let mut bytes = fs::read(&path).unwrap();
    // Each column is hit.
    (0..bytes.len() / 2).step_by(16).for_each(|at| bytes[at] ^= 1);
    fs::write(&path, bytes).unwrap();
    let (store, registry) = open(directory.path());
    let damaged = store.select(i64::MIN, i64::MAX).iter().any(|source| match source {
        Source::Block(block) => crate::store::tests::contents_of_block(block).is_err(),
        Source::Head(_) => false,
    });
    assert!(damaged);
    store.compact();
    assert!(metrics(&registry).contains("damage_total{reason=\"block\"}"));
    assert!(fs::read_dir(directory.path().join("blocks/damaged")).unwrap().count() > 0);
    // What there is can be asked for; the totals of profiles are in a table of their own.
    let blocks = store.select(i64::MIN, i64::MAX);
    let n_profiles: u64 = blocks
        .iter()
        .filter_map(|source| match source {
            Source::Block(block) if block.has(Kind::Raw) => Some(block.head.n_profiles),
            _ => None,
        })
        .sum();
    assert_eq!(n_profiles, all.len() as u64);
}

#[test]
fn a_block_of_a_newer_format_is_refused() {
    let directory = TempDir::new().unwrap();
    let (store, _) = filled_store(directory.path(), 1);
    assert!(store.flush(WAIT));
    drop(store);
    let path = block_folders(directory.path()).pop().unwrap().join("meta");
    let mut bytes = fs::read(&path).unwrap();
    let payload_len = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    bytes[8] = block::VERSION as u8 + 1;
    let (before, payload) = (&bytes[..16], &bytes[20..20 + payload_len]);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(before), payload);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = Store::open(config(directory.path()), || 0, &mut Registry::default());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("has format version 2, this pilotlight reads up to 1"), "{error}");
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/store-v1");

/// Files of every version that was ever released are read. They are written once, by `UPDATE_EXPECT=1` where there are none.
#[test]
fn files_of_version_1_are_read() {
    let golden = Path::new(GOLDEN);
    if !golden.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
        let directory = TempDir::new().unwrap();
        let (store, _) = filled_store(directory.path(), 4);
        assert!(store.flush(WAIT));
        store.compact();
        append(&store, &profile(7, None)).unwrap();
        assert!(store.flush(WAIT));
        append(&store, &profile(8, Some(9))).unwrap();
        let all = contents(&store);
        drop(store);
        for part in ["wal", "blocks"] {
            copy(&directory.path().join(part), &golden.join(part));
        }
        let lines: Vec<String> = all.into_iter().collect();
        fs::write(golden.join("contents.txt"), lines.join("\n") + "\n").unwrap();
    }
    let copied = TempDir::new().unwrap();
    copy(golden, copied.path());
    let expected = fs::read_to_string(golden.join("contents.txt")).unwrap();
    let expected: BTreeSet<String> = expected.lines().map(str::to_owned).collect();
    let (store, registry) = open(copied.path());
    assert_eq!(contents(&store), expected);
    assert!(!metrics(&registry).contains("damage_total{"));
    assert!(store.flush(WAIT));
    store.compact();
    assert_eq!(contents(&store), expected);
}
