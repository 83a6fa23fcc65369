//! What names cost, in CPU time and memory. The bounds are wide, for the debug profile on a busy machine; run it with
//! `cargo test --release -p agent --test worker -- cost --nocapture` for the numbers of docs/benchmarks.md.

use std::sync::Arc;
use std::time::Instant;

use agent::stack::Frame;
use rustix::process::getpid;

use crate::fixture::{Program, Subject, Test, open, say, skip};

pub(crate) const TESTS: &[Test] = &[
    ("cost_is_bounded", cost_is_bounded),
    ("debug_information_need_not_fit_into_memory", debug_information_need_not_fit_into_memory),
];

/// CPU time of a process's threads so far, in milliseconds.
fn cpu_ms(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanoseconds = |task: std::fs::DirEntry| {
        let schedstat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| nanoseconds(task.ok()?)).sum::<u64>() as f64 / 1e6
}

fn resident_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmRSS:")
}

fn memory_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line =
        status.lines().find_map(|line| line.strip_prefix(key)).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn this_process() -> u32 {
    getpid().as_raw_nonzero().get() as u32
}

struct Meter {
    own_ms: f64,
    worker_ms: f64,
    started: Instant,
}

impl Meter {
    fn new() -> Self {
        Self { own_ms: cpu_ms(this_process()), worker_ms: 0.0, started: Instant::now() }
    }

    fn lap(&mut self, what: &str, subject: &Subject) {
        let pid = subject.worker_pid();
        let (own_ms, worker_ms) = (cpu_ms(this_process()), cpu_ms(pid));
        say(&format!(
            "{what}: agent {:.2} ms, worker {:.2} ms, wall {:.2} ms, worker resident {} KiB",
            own_ms - self.own_ms,
            worker_ms - self.worker_ms,
            self.started.elapsed().as_secs_f64() * 1e3,
            resident_kib(pid)
        ));
        *self = Self { own_ms, worker_ms, started: Instant::now() };
    }
}

fn cost_is_bounded() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let offset = program.offset_of(program.symbols()["leaf"].0);
    let mut subject = Subject::new();
    let mut meter = Meter::new();
    subject.name_offsets(&open(&program.path), &[offset]);
    meter.lap("worker start and a C program with -g", &subject);
    let text: u64 = 0xffff_ffff_8100_0000;
    subject.name((0..200).map(|n| Frame::Kernel { address: text + n * 0x1000 }).collect());
    meter.lap("kernel symbols and 200 kernel addresses", &subject);
    subject.name((0..200).map(|n| Frame::Kernel { address: text + n * 0x1000 + 8 }).collect());
    meter.lap("200 more kernel addresses", &subject);
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our own maps");
    if let Some(path) = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|p| p.contains("libc.so"))
    {
        let libc = open(path.as_ref());
        let offsets: Vec<_> = (0..200).map(|n| 0x28000 + n * 0x1000).collect();
        subject.name_offsets(&libc, &offsets);
        meter.lap("200 addresses of libc", &subject);
    }
    let own = open(&std::env::current_exe().expect("this program has a path"));
    let here = Arc::clone(&own);
    let offsets: Vec<_> = (0..200).map(|n| 0x10_0000 + n * 0x2000).collect();
    subject.name_offsets(&own, &offsets);
    meter.lap("200 addresses of this program", &subject);
    subject.name_offsets(&here, &offsets);
    meter.lap("the same again", &subject);
    let pid = subject.worker_pid();
    assert!(resident_kib(pid) < 40 * 1024, "the worker takes {} KiB", resident_kib(pid));
    assert!(cpu_ms(pid) < 5000.0, "the worker took {} ms", cpu_ms(pid));
}

/// The functions asked for are all over a program with much more debug information than the worker may hold.
fn debug_information_need_not_fit_into_memory() {
    let Some(program) = Program::of_units(100, 2000) else {
        return skip("gcc or objcopy is missing or fails");
    };
    let symbols = program.symbols();
    let start = program.offset_of(symbols["u0_f0"].0) - symbols["u0_f0"].0;
    let of = |unit: usize| [3, 500, 1999].map(|n| format!("u{unit}_f{n}"));
    let names: Vec<String> = (0..100).rev().flat_map(of).collect();
    let offsets: Vec<u64> =
        names.iter().map(|name| symbols[name].0.wrapping_add(start) + 4).collect();
    // Somebody waits, and all time is his.
    let config = agent::symbolize::Config { cpu_percent: None, ..Default::default() };
    let mut subject = Subject::with(config);
    let frames = subject.name_offsets(&open(&program.path), &offsets);
    for (frame, name) in frames.iter().zip(&names) {
        let outer = frame.functions.last().expect("each frame has a function");
        let bare = name.split_once('_').map(|(_, bare)| bare);
        assert_eq!(bare, Some(&*outer.name), "{name}");
        assert!(outer.line > 0, "{name} has no line");
    }
    let peak = memory_kib(subject.worker_pid(), "VmHWM:");
    let size = program.path.metadata().expect("it is there").len() / 1024;
    say(&format!("a program of {size} KiB, worker at most {peak} KiB"));
    assert!(peak < 80 * 1024, "the worker took {peak} KiB");
}
