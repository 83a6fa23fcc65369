//! Valid files with bytes changed at random in; nothing must panic, and nothing must take long. The seeds of the random
//! numbers are fixed, so that a failure comes again.

use std::time::{Duration, Instant};

use super::fuzzing;
use super::jit_dump::tests::Builder;

/// What one kind of file may take.
const TIME: Duration = Duration::from_secs(3);
/// What one look at one file may take, on a busy machine, without optimization.
const LONGEST: Duration = Duration::from_secs(5);

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// The bytes with a few of `range` changed: to extremes, to others, to copies, or cut off.
    fn mutate(&mut self, bytes: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(8) {
            let at = range.start + self.below(range.len());
            match self.below(6) {
                0 => out[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                1 => out[at] ^= 1 << self.below(8),
                2 => out[at] = self.below(256) as u8,
                3 => {
                    let end = (at + 8).min(range.end);
                    let value = [0, u64::MAX, 1 << 63, 1 << 31, u64::from(u32::MAX)][self.below(5)];
                    out[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
                }
                4 => {
                    let from = range.start + self.below(range.len());
                    let len = self.below(64).min(range.end - at).min(range.end - from);
                    out.copy_within(from..from + len, at);
                }
                _ if self.below(20) == 0 => out.truncate(at),
                _ => {}
            }
            if out.len() < range.end {
                break;
            }
        }
        out
    }
}

/// Runs `look` on mutations until time is up.
fn attack(seed: u64, bytes: &[u8], range: std::ops::Range<usize>, mut look: impl FnMut(&[u8])) {
    let (mut random, started) = (Random(seed), Instant::now());
    let mut n_looks = 0;
    while started.elapsed() < TIME && n_looks < 20_000 {
        let mutated = random.mutate(bytes, range.clone());
        let begun = Instant::now();
        look(&mutated);
        assert!(begun.elapsed() < LONGEST, "look {n_looks} of seed {seed}: {:?}", begun.elapsed());
        n_looks += 1;
    }
    assert!(n_looks > 20, "{n_looks} looks");
}

/// Names addresses all over the file.
fn name_all(bytes: &[u8]) {
    let offsets: Vec<u64> = (0..bytes.len() as u64).step_by(bytes.len() / 50 + 1).collect();
    fuzzing::name_all(bytes, &offsets);
}

/// A program that a compiler made; `None` where there is none.
#[expect(clippy::disallowed_methods, reason = "a real program is the best start")]
fn compiled(compiler: &str, source: &str, text: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join(source), folder.path().join("program"));
    std::fs::write(&source, text).unwrap();
    let mut command = std::process::Command::new(compiler);
    let built = command.args(flags).arg("-o").arg(&program).arg(&source).output();
    if !built.is_ok_and(|built| built.status.success()) {
        println!("SKIPPED: {compiler} is missing or fails");
        return None;
    }
    std::fs::read(program).ok()
}

const C: &str = "static inline __attribute__((always_inline)) int in(int x) { return x * 3; }\n\
    __attribute__((noinline)) int f(int x) { return in(x) + 1; }\n\
    void _start(void) { f(2); for (;;); }\n";

#[test]
fn elf_files() {
    let flags = ["-g", "-O1", "-nostdlib", "-static", "-no-pie"];
    let Some(program) = compiled("gcc", "a.c", C, &flags) else { return };
    name_all(&program);
    attack(1, &program, 0..program.len(), name_all);
    // The headers alone, which decide what is read at all.
    attack(2, &program, 0..512, name_all);
    let headers = program.len() - 2048..program.len();
    attack(3, &program, headers, name_all);
}

#[test]
fn go_tables() {
    let text = "package main\nfunc main() { println(1) }\n";
    let flags = ["build", "-ldflags=-s -w"];
    let Some(program) = compiled("go", "a.go", text, &flags) else { return };
    let place = |bytes: &[u8]| {
        use object::{Object, ObjectSection};
        let file = object::File::parse(bytes).unwrap();
        file.section_by_name(".gopclntab").and_then(|section| section.file_range()).unwrap()
    };
    let (start, len) = place(&program);
    name_all(&program);
    attack(4, &program, start as usize..start as usize + 4096, name_all);
    attack(5, &program, start as usize..(start + len) as usize, name_all);
}

#[test]
fn perf_maps() {
    let lines = (0..200).map(|n| format!("{:x} 40 name of {n}", 0x1000 + n * 0x40));
    let map = lines.collect::<Vec<_>>().join("\n");
    attack(6, map.as_bytes(), 0..map.len(), |bytes| {
        let addresses: Vec<u64> = (0..100).map(|n| 0x1000 + n * 0x80).collect();
        fuzzing::perf_map(bytes, &addresses);
    });
}

#[test]
fn jit_dumps() {
    let mut dump = Builder::new();
    for n in 0..50 {
        let address = 0x1000 + n * 0x40;
        dump = dump
            .lines(address, &[(address, 1, b"/a.js"), (address + 8, 2, b"\xff")])
            .load(address, 0x40, n, "name")
            .moved(address, 0x9000 + address, 0x40, n);
    }
    let dump = dump.bytes();
    attack(7, &dump, 0..dump.len(), |bytes| {
        let addresses: Vec<u64> = (0..100).map(|n| 0x1000 + n * 0x80).collect();
        fuzzing::jit_dump(bytes, &addresses);
    });
}
