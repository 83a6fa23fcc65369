//! Damaged files through a real worker: whatever happens to it, every frame is answered.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use agent::symbolize::{Config, Restart};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::fixture::{Program, Subject, Test, executable, say};

pub(crate) const TESTS: &[Test] = &[
    ("damaged_files_are_answered", damaged_files_are_answered),
    ("no_files_are_answered", no_files_are_answered),
];

/// Small and without a seed from outside: the same damage each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn damaged(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    // A third of the damage goes to the headers, where it does most.
    for _ in 0..=random.below(8) {
        let len = if random.below(3) == 0 { 1024 } else { bytes.len() };
        let position = random.below(len);
        bytes[position] = match random.below(3) {
            0 => 0xff,
            1 => 0,
            _ => random.below(256) as u8,
        };
    }
    if random.below(5) == 0 {
        bytes.truncate(random.below(original.len()));
    }
    bytes
}

fn in_memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("damaged", MemfdFlags::CLOEXEC).expect("memfd"));
    file.write_all(bytes).expect("writing to memory");
    file
}

fn damaged_files_are_answered() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let original = std::fs::read(&program.path).expect("it was compiled");
    let symbols = program.symbols();
    let offsets: Vec<_> =
        ["leaf", "caller", "main"].iter().map(|name| program.offset_of(symbols[*name].0)).collect();
    let mut subject =
        Subject::with(Config { deadline: Duration::from_millis(500), ..Config::default() });
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut n_files, mut n_named) = (0, 0);
    let until = Instant::now() + Duration::from_secs(6);
    while n_files < 1500 && Instant::now() < until {
        let file = in_memory(&damaged(&original, &mut random));
        let frames = subject.name_offsets(&executable("/bin/damaged", Some(file)), &offsets);
        n_named += frames.iter().filter(|frame| frame.miss.is_none()).count();
        n_files += 1;
    }
    let lost: Vec<_> =
        [Restart::BusError, Restart::Aborted, Restart::Signal, Restart::Exited, Restart::Hung]
            .map(|reason| (reason.name(), subject.restarts(reason)))
            .to_vec();
    say(&format!("{n_files} damaged files: {n_named} frames named, workers lost: {lost:?}"));
    assert!(n_files > 100, "the machine is too slow for this test: {n_files} files");
    assert_eq!(subject.restarts(Restart::Protocol), 0);
    let good = executable("/bin/good", Some(in_memory(&original)));
    assert_eq!(
        subject.name_offsets(&good, &offsets)[1].miss,
        None,
        "a good file is named after all that"
    );
}

fn no_files_are_answered() {
    let mut subject = Subject::new();
    let (pipe, _writer) = rustix::pipe::pipe().expect("a pipe");
    for (file, reason) in [
        (File::from(pipe), "file_unreadable"),
        (File::open("/").expect("a directory"), "file_unreadable"),
        (File::open("/dev/zero").expect("a device"), "file_unreadable"),
        (in_memory(b""), "file_malformed"),
        (in_memory(b"#!/bin/sh\nexit 0\n"), "file_malformed"),
        (in_memory(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]), "file_malformed"),
        (huge(), "file_too_large"),
    ] {
        let frame = subject.name_offsets(&executable("/bin/none", Some(file)), &[0x1234]).remove(0);
        assert_eq!((&*frame.functions[0].name, frame.miss), ("none+0x1234", Some(reason)));
    }
    assert_eq!(subject.restarts(Restart::Hung), 0);
}

fn huge() -> File {
    let file = in_memory(b"\x7fELF");
    file.set_len((2 << 30) + 1).expect("sparse");
    file
}
