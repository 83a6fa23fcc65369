//! What the tables of all ELF files of this machine take, beside arrays of merged four-byte rows of which each has the next
//! power of two as its length, as other profilers keep them. `cargo xtask bench tables` runs it and shows what it prints.

use std::path::PathBuf;
use std::time::Duration;

use agent_common::unwind::table::CHUNK_WORDS;
use rustix::time::{ClockId, clock_gettime};

use super::all_elf_files;
use crate::unwind::elf::Elf;
use crate::unwind::rules::Rules;
use crate::unwind::spans::ExactRow;
use crate::unwind::{Counts, Extent, build, exact_rows, place};

/// Of what arrays of powers of two take, the most that ours may.
const BAR: f64 = 0.72;

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
    slowest: (Duration, PathBuf),
}

impl Sum {
    fn add(&mut self, path: PathBuf, memory: &mut Memory) {
        let Ok(data) = std::fs::read(&path) else { return };
        let begun = cpu_time();
        let Ok((table, _)) = build(&data, None) else { return };
        let time = cpu_time().saturating_sub(begun);
        if table.is_empty() {
            return;
        }
        let elf = Elf::parse(&data).unwrap();
        let exact = exact_rows(&elf, None, &mut Rules::default(), &mut Counts::default());
        let pairs = merged_in_pairs(&exact);
        place(&table, |n_words| Some(memory.allocate(n_words))).unwrap();
        self.files += 1;
        self.file_bytes += data.len();
        self.exact += exact.len();
        self.pairs += pairs;
        self.pairs_in_powers += pairs.next_power_of_two();
        self.rows += table.n_rows();
        self.pages += table.n_pages();
        self.shared += table.n_shared();
        self.table_bytes += 4 * table.n_words();
        self.time += time;
        if time > self.slowest.0 {
            self.slowest = (time, path);
        }
    }

    fn report(&self, placed_bytes: usize, ratio: f64) {
        let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let per_mb = self.time.as_secs_f64() * 1e3 / (self.file_bytes as f64 / 1e6);
        let (slowest, path) = &self.slowest;
        let rows = [
            (
                "ELF files with unwind information",
                format!("{} of {}", self.files, mib(self.file_bytes)),
            ),
            ("rows before merging", self.exact.to_string()),
            ("arrays of rows merged in pairs, exact", mib(4 * self.pairs)),
            ("the same in powers of two", mib(4 * self.pairs_in_powers)),
            ("our tables: rows", self.rows.to_string()),
            ("our tables: pages, shared rules", format!("{}, {}", self.pages, self.shared)),
            ("our tables, directory and rules included", mib(self.table_bytes)),
            ("our tables, placed in chunks", mib(placed_bytes)),
            ("ratio of what is placed to powers of two", format!("{ratio:.2} (bar: {BAR})")),
            ("CPU time to build", format!("{:.1?}, {per_mb:.1} ms per MB of file", self.time)),
            ("the slowest", format!("{slowest:.1?}, {}", path.display())),
        ];
        println!("| | |\n|---|---|");
        for (what, value) in &rows {
            println!("| {what} | {value} |");
        }
    }
}

/// Of this thread: on a busy machine work takes longer and is not more.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

#[test]
#[ignore = "reads every ELF file of the machine"]
fn sizes_of_all_tables() {
    let (mut sum, mut memory) = (Sum::default(), Memory::default());
    for path in all_elf_files() {
        sum.add(path, &mut memory);
    }
    let ratio = memory.next as f64 / sum.pairs_in_powers as f64;
    sum.report(4 * memory.next, ratio);
    assert!(ratio <= BAR, "{ratio}");
}
