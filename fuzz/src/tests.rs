//! Every input of the corpus, and a few thousand made of each folder by chance, always the same ones: what can be had without a
//! fuzzer, in every `cargo test`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{TARGETS, Target};

/// For one input, on a busy machine, without optimization.
const LONGEST: Duration = Duration::from_secs(20);
/// Changed inputs of one target, and what they may take.
const N_CHANGED: usize = 2000;
const TIME: Duration = Duration::from_secs(2);
/// Resident memory of this program at any time.
const MOST_KIB: u64 = 1 << 20;

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// The input with some bytes or numbers changed, a part doubled, removed, or taken from another input.
    fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.below(6) {
            let (at, len) = (self.below(out.len() + 1), 1 << self.below(7));
            let end = (at + len).min(out.len());
            match self.below(7) {
                0 => out[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                1 => out[at..end].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                2 => out[at..end].iter_mut().take(8).for_each(|byte| *byte = 0),
                3 => drop(out.drain(at..end)),
                4 => drop(
                    out.splice(at..at, input[at.min(input.len())..end.min(input.len())].to_vec()),
                ),
                5 => {
                    let from = self.below(other.len() + 1);
                    let part = &other[from..(from + len).min(other.len())];
                    out.splice(at..end, part.iter().copied());
                }
                _ => {
                    let value =
                        [0, 1, 1 << 31, u64::from(u32::MAX), 1 << 63, u64::MAX][self.below(6)];
                    for (byte, new) in out[at..end].iter_mut().zip(value.to_le_bytes()) {
                        *byte = new;
                    }
                }
            }
        }
        out
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = folder.read_dir().unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "{name} has no inputs");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// An input that is not survived is left in a file.
fn try_one((name, run): &Target, input: &[u8]) {
    let begun = Instant::now();
    let survived = catch_unwind(AssertUnwindSafe(|| run(input))).is_ok();
    if !survived || begun.elapsed() > LONGEST {
        let file = std::env::temp_dir().join(format!("pilotlight-fuzz-{name}"));
        std::fs::write(&file, input).unwrap();
        panic!("{name}: {:?}, survived: {survived}, input: {}", begun.elapsed(), file.display());
    }
}

fn try_target(target: &Target) {
    let inputs = corpus(target.0);
    for input in &inputs {
        try_one(target, input);
    }
    let (mut random, begun, mut n_changed) = (Random(0x5eed), Instant::now(), 0);
    while n_changed < N_CHANGED && begun.elapsed() < TIME {
        let (input, other) = (&inputs[n_changed % inputs.len()], random.below(inputs.len()));
        try_one(target, &random.change(input, &inputs[other]));
        n_changed += 1;
    }
    println!("{}: {} inputs, {n_changed} changed", target.0, inputs.len());
    assert!(n_changed > 10, "{}: {n_changed} in {TIME:?}", target.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MOST_KIB, "{}: {peak} KiB", target.0);
}

#[test]
fn every_second_target() {
    TARGETS.iter().step_by(2).for_each(try_target);
}

#[test]
fn every_other_target() {
    TARGETS.iter().skip(1).step_by(2).for_each(try_target);
}

#[test]
fn every_folder_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in corpus.read_dir().unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{}", name.display());
    }
}
