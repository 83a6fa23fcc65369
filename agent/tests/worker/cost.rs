//! What names cost, in CPU time and memory. The bounds are wide, for the debug profile on a busy machine; run it with
//! `cargo test --release -p agent --test worker -- cost --nocapture` for the numbers of docs/benchmarks.md.

use std::sync::Arc;
use std::time::Instant;

use agent::stack::Frame;
use rustix::process::getpid;

use crate::fixture::{Program, Subject, Test, open, say};

pub(crate) const TESTS: &[Test] = &[("cost_is_bounded", cost_is_bounded)];

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
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
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
