//! What the tables of all ELF files of this machine take, beside arrays of merged four-byte rows of which each has the next
//! power of two as its length, as other profilers keep them.

use std::time::{Duration, Instant};

use agent_common::unwind::table::CHUNK_WORDS;

use super::all_elf_files;
use crate::unwind::elf::Elf;
use crate::unwind::rules::Rules;
use crate::unwind::spans::ExactRow;
use crate::unwind::{Counts, Extent, build, exact_rows, place};

/// Rows in that form: a push or a pop that follows within two bytes is merged into the row before it.
fn merged_in_pairs(rows: &[ExactRow]) -> usize {
    let mut n = 0;
    let mut rest = rows;
    while let [first, others @ ..] = rest {
        let pair = others.first().filter(|next| {
            let plain = Rules::plain(first.rule).zip(Rules::plain(next.rule));
            next.offset - first.offset <= 2
                && plain.is_some_and(|(a, b)| a.is_rbp == b.is_rbp && a.cfa.abs_diff(b.cfa) == 1)
        });
        rest = if pair.is_some() { &others[1..] } else { others };
        n += 1;
    }
    n
}

/// Chunks that are filled one after the other, as an empty kernel's memory would be.
#[derive(Default)]
struct Memory {
    next: usize,
}

impl Memory {
    fn allocate(&mut self, n_words: u32) -> Extent {
        let left = CHUNK_WORDS - self.next % CHUNK_WORDS;
        if (n_words as usize) > left {
            self.next += left;
        }
        let (chunk, first_word) = (self.next / CHUNK_WORDS, self.next % CHUNK_WORDS);
        self.next += n_words as usize;
        Extent { chunk: chunk as u16, first_word: first_word as u32, n_words }
    }
}

#[derive(Default)]
struct Sum {
    files: usize,
    file_bytes: usize,
    exact: usize,
    pairs: usize,
    pairs_in_powers: usize,
    rows: usize,
    pages: usize,
    shared: usize,
    table_bytes: usize,
    time: Duration,
    slowest: (Duration, String),
}

/// The bar: 0.72 of what arrays of powers of two take. Run it as
/// `cargo test --release -p agent --lib -- --ignored --nocapture sizes_of_all_tables`.
#[test]
#[ignore = "reads every ELF file of the machine"]
fn sizes_of_all_tables() {
    let mut sum = Sum::default();
    let mut memory = Memory::default();
    for path in all_elf_files() {
        let Ok(data) = std::fs::read(&path) else { continue };
        let begun = Instant::now();
        let Ok((table, _)) = build(&data, None) else { continue };
        let time = begun.elapsed();
        if table.is_empty() {
            continue;
        }
        let elf = Elf::parse(&data).unwrap();
        let exact = exact_rows(&elf, None, &mut Rules::default(), &mut Counts::default());
        let pairs = merged_in_pairs(&exact);
        place(&table, |n_words| Some(memory.allocate(n_words))).unwrap();
        sum.files += 1;
        sum.file_bytes += data.len();
        sum.exact += exact.len();
        sum.pairs += pairs;
        sum.pairs_in_powers += pairs.next_power_of_two();
        sum.rows += table.n_rows();
        sum.pages += table.n_pages();
        sum.shared += table.n_shared();
        sum.table_bytes += 4 * table.n_words();
        sum.time += time;
        if time > sum.slowest.0 {
            sum.slowest = (time, path.display().to_string());
        }
    }
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!(
        "{} files of {:.0} MiB, built in {:.1?}; the slowest: {:.1?}",
        sum.files,
        mib(sum.file_bytes),
        sum.time,
        sum.slowest
    );
    println!(
        "{} exact rows, {} merged in pairs: {:.1} MiB, {:.1} MiB in powers of two",
        sum.exact,
        sum.pairs,
        mib(sum.pairs * 4),
        mib(sum.pairs_in_powers * 4)
    );
    println!(
        "{} rows, {} pages, {} shared rules: {:.1} MiB, {:.1} MiB placed in chunks",
        sum.rows,
        sum.pages,
        sum.shared,
        mib(sum.table_bytes),
        mib(memory.next * 4)
    );
    let ratio = memory.next as f64 / sum.pairs_in_powers as f64;
    println!("{ratio:.2} of the arrays in powers of two");
    assert!(ratio <= 0.72, "{ratio}");
}
