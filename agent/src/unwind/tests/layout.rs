//! Placed tables and encoded tables say what the tables say.

use std::collections::BTreeMap;

use agent_common::unwind::rule::{General, PackedRule, Rbp, ReturnAddress, SharedRule};
use agent_common::unwind::table::{CHUNK_WORDS, Chunk, Row, find, shared_rule, sign};

use super::{Random, elf_files};
use crate::unwind::table::Page;
use crate::unwind::{ALIGN_WORDS, Extent, Malformed, NoPlace, Placed, Table, build, place};

/// The kernel's memory, in which a table's extents come at odd places.
#[derive(Default)]
struct Memory {
    extents: Vec<Extent>,
    chunks: BTreeMap<u16, Box<Chunk>>,
}

impl Memory {
    fn allocate(&mut self, n_words: u32) -> Extent {
        assert_eq!(n_words as usize % ALIGN_WORDS, 0);
        assert!((1..=CHUNK_WORDS).contains(&(n_words as usize)), "{n_words}");
        // Every other chunk has something before.
        let shift = (self.extents.len() % 2 * 40) as u32;
        let first_word = shift.min(CHUNK_WORDS as u32 - n_words);
        let extent = Extent { chunk: self.extents.len() as u16 * 3 + 1, first_word, n_words };
        self.extents.push(extent);
        extent
    }

    fn write(&mut self, placed: &Placed) {
        for piece in &placed.pieces {
            assert!(self.extents.contains(&piece.extent));
            let chunk = self.chunks.entry(piece.extent.chunk);
            let chunk = chunk.or_insert_with(|| vec![u32::MAX; CHUNK_WORDS].try_into().unwrap());
            let first = piece.extent.first_word as usize;
            assert!(piece.words.len() <= piece.extent.n_words as usize);
            chunk[first..first + piece.words.len()].copy_from_slice(&piece.words);
        }
    }
}

#[track_caller]
fn check(table: &Table, what: &str) {
    assert!(Table::decode(&table.encode()).as_ref() == Ok(table), "{what}");
    let mut memory = Memory::default();
    let placed = place(table, |n_words| Some(memory.allocate(n_words))).unwrap();
    memory.write(&placed);
    let given: usize = placed.pieces.iter().map(|piece| piece.extent.n_words as usize).sum();
    let written: usize = placed.pieces.iter().map(|piece| piece.words.len()).sum();
    // Parts that fill more than one chunk begin with one, and leave what the part before them did not need.
    let left = if table.shared.len() > 4096 { CHUNK_WORDS } else { 0 };
    let most = table.n_words() + 16 + table.n_words() / 5 + left;
    assert!(
        written <= given && given <= most,
        "{what}: {written} of {given} words, at most {most}"
    );
    let mut random = Random(7);
    let end = u64::from(table.first_page) + table.pages.len() as u64;
    // All pages of a small table, some of a large one, lest an unoptimized test take a minute.
    let stride = 1 + table.n_rows() / 20_000;
    for (number, page) in (u64::from(table.first_page)..end).zip(&table.pages).step_by(stride) {
        let rows = table.rows_of(page).iter().map(|row| row.offset_in_page());
        let others = [0, 4095, random.below(4096) as u32];
        for offset in rows.flat_map(|offset| [offset - 1, offset, offset + 3]).chain(others) {
            let offset = number << 12 | u64::from(offset.min(4095));
            let chunk = |number: u16| memory.chunks.get(&number).map(|chunk| &**chunk);
            let found = find(&placed.header, offset, chunk, sign);
            assert_eq!(found, Some(table.packed_at(offset)), "{what} at {offset:#x}");
            let index = found.and_then(|(rule, _)| rule.shared_index());
            let shared = index.map(|index| shared_rule(&placed.header, index, chunk));
            assert_eq!(shared, index.map(|index| table.shared(index)), "{what} at {offset:#x}");
        }
    }
}

#[test]
fn real_tables() {
    for path in elf_files() {
        let Some((table, _)) = std::fs::read(&path).ok().and_then(|data| build(&data, None).ok())
        else {
            continue;
        };
        check(&table, &path.to_string_lossy());
    }
}

/// A table with that many pages, rows in each, and shared rules that all differ.
fn made(n_pages: u32, rows_in_page: u32, n_shared: u32) -> Table {
    let mut table = Table { first_page: 3, ..Table::default() };
    for index in 0..n_shared {
        table.shared.push(SharedRule::general(General {
            register: 7,
            offset: 8 + index.cast_signed(),
            rbp: Rbp::AtCfa(-20),
            return_address: ReturnAddress::AtCfa(-8),
        }));
    }
    let rule = |index: u32| match index.checked_rem(n_shared) {
        Some(index) => PackedRule::shared(index).unwrap(),
        None => PackedRule::plain(false, 0, 1 + index % 4000).unwrap(),
    };
    for page in 0..n_pages {
        let first_row = table.rows.len() as u32;
        table.pages.push(Page { first_row, n_rows: rows_in_page, rule_before: rule(page) });
        table.rows.extend((1..=rows_in_page).map(|row| Row::new(row, rule(page * 7 + row))));
    }
    table
}

#[test]
fn tables_of_all_sizes() {
    for (n_pages, rows_in_page, n_shared) in [
        (0, 0, 0),
        (1, 0, 0),
        (1, 4095, 1),
        // Odd: shared rules need an alignment that the directory does not leave.
        (3, 5, 2),
        // Just one chunk, and a word more.
        (2, 4095, 2046),
        (4, 4093, 1),
        (5, 4095, 10),
        // Several chunks of directory, of shared rules, of both.
        (20_000, 3, 10),
        (100, 50, 9000),
        (9000, 90, 5000),
        (8192, 1, 4096),
    ] {
        check(
            &made(n_pages, rows_in_page, n_shared),
            &format!("{n_pages} {rows_in_page} {n_shared}"),
        );
    }
}

#[test]
fn no_memory_is_an_answer() {
    let mut given = 0;
    let placed = place(&made(20_000, 3, 10), |n_words| {
        given += 1;
        (given < 3).then_some(Extent { chunk: given, first_word: 0, n_words })
    });
    assert_eq!(placed, Err(NoPlace::MemoryFull));
}

/// A valid checksum around other contents: what decode accepts must not be able to lead the kernel astray.
#[test]
fn damaged_encodings_are_refused_or_harmless() {
    let table = made(3, 40, 5);
    let encoded = table.encode();
    let body = encoded.len() - 4;
    assert_eq!(Table::decode(&encoded[..body]), Err(Malformed::Checksum));
    assert_eq!(Table::decode(b"PLUT"), Err(Malformed::Magic));
    let mut random = Random(99);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = encoded[..body].to_vec();
        for _ in 0..=random.below(3) {
            let at = 8 + random.below(body - 8);
            bytes[at] = random.next() as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(body));
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        if let Ok(table) = Table::decode(&bytes) {
            accepted += 1;
            check(&table, "damaged");
        }
    }
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn what_the_kernel_could_not_trust_is_refused() {
    let table = made(2, 3, 2);
    let refused = |change: &dyn Fn(&mut Table)| {
        let mut changed = table.clone();
        change(&mut changed);
        assert!(matches!(Table::decode(&changed.encode()), Err(Malformed::Content(_))));
    };
    refused(&|table| table.rows[1] = table.rows[0]);
    refused(&|table| table.rows[0] = Row::new(0, table.rows[0].rule()));
    refused(&|table| table.rows[0] = Row::new(1, PackedRule::shared(2).unwrap()));
    refused(&|table| table.pages[0].rule_before = PackedRule::shared(2).unwrap());
    refused(&|table| table.pages[1].n_rows = 2);
    refused(&|table| table.shared[0] = SharedRule([9, 0, 0, 0]));
    // A run before a page would have no distance.
    refused(&|table| table.shared[0] = SharedRule([3, 1, 1 | 255 << 16, 0]));
}
