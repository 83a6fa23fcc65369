//! The worker dies, hangs or never starts: frames stay, it is counted, and the next file has names again.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::stack::Frame;
use agent::symbolize::{Config, Error, Metrics, Miss, Restart, Symbolizer};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fixture::{Program, Subject, Test, executable, open};

pub(crate) const TESTS: &[Test] = &[
    ("truncated_file_costs_its_own_names_only", truncated_file_costs_its_own_names_only),
    ("hanging_worker_is_replaced", hanging_worker_is_replaced),
    ("worker_killed_between_windows_is_replaced", worker_killed_between_windows_is_replaced),
    ("blocked_file_comes_back_with_symbols", blocked_file_comes_back_with_symbols),
    ("worker_that_does_not_start_costs_names_only", worker_that_does_not_start_costs_names_only),
    ("missing_program_is_an_error", missing_program_is_an_error),
    ("time_of_a_window_is_bounded", time_of_a_window_is_bounded),
    ("hidden_kernel_costs_kernel_names_only", hidden_kernel_costs_kernel_names_only),
    ("worker_ends_with_the_symbolizer", worker_ends_with_the_symbolizer),
    ("worker_survives_the_thread_that_asked_first", worker_survives_the_thread_that_asked_first),
];

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).expect("a pid"), signal)
        .expect("signalling our own child");
}

fn is_alive(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(pid as i32).expect("a pid")).is_ok()
}

fn truncated_file_costs_its_own_names_only() {
    let (Some(program), Some(other)) = (Program::c(&["-g", "-O2"]), Program::c(&["-g", "-O1"]))
    else {
        return;
    };
    let symbols = program.symbols();
    let [leaf, caller, main] = ["leaf", "caller", "main"].map(|name| symbols[name].0);
    let offsets = [leaf, caller, main].map(|address| program.offset_of(address));
    let victim = open(&program.path);
    let mut subject = Subject::new();
    // It is parsed and mapped by now. What the worker reads next is no longer there.
    assert_eq!(&*subject.name_offsets(&victim, &offsets[..1])[0].functions[0].name, "leaf");
    OpenOptions::new()
        .write(true)
        .open(&program.path)
        .expect("opening")
        .set_len(4096)
        .expect("truncating");
    let frame = subject.name_offsets(&victim, &offsets[1..2]).remove(0);
    assert_eq!(&*frame.functions[0].name, format!("program+{caller:#x}"));
    assert_eq!((frame.address, frame.miss), (caller, Some("worker_died")));
    assert_eq!((subject.restarts(Restart::BusError), subject.misses(Miss::WorkerDied)), (1, 1));

    let offset = other.offset_of(other.symbols()["caller"].0);
    assert_eq!(
        &*subject.name_offsets(&open(&other.path), &[offset])[0].functions[0].name,
        "caller"
    );
    let blocked = subject.name_offsets(&victim, &offsets[2..]).remove(0);
    assert_eq!(
        (&*blocked.functions[0].name, blocked.miss),
        (&*format!("program+{main:#x}"), Some("file_blocked"))
    );
    assert_eq!(subject.restarts(Restart::BusError), 1);
}

fn hanging_worker_is_replaced() {
    let (Some(first), Some(second)) = (Program::c(&["-g", "-O2"]), Program::c(&["-g", "-O1"]))
    else {
        return;
    };
    let (leaf, caller) = (first.symbols()["leaf"].0, first.symbols()["caller"].0);
    let mut subject =
        Subject::with(Config { deadline: Duration::from_millis(300), ..Config::default() });
    let victim = open(&first.path);
    subject.name_offsets(&victim, &[first.offset_of(leaf)]);
    let hanging = subject.worker_pid();
    signal(hanging, Signal::STOP);
    let started = Instant::now();
    let frame = subject.name_offsets(&victim, &[first.offset_of(caller)]).remove(0);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(
        (&*frame.functions[0].name, frame.miss),
        (&*format!("program+{caller:#x}"), Some("worker_hung"))
    );
    assert_eq!((subject.restarts(Restart::Hung), subject.misses(Miss::WorkerHung)), (1, 1));
    assert!(!is_alive(hanging), "it was killed");
    let offset = second.offset_of(second.symbols()["leaf"].0);
    assert_eq!(subject.name_offsets(&open(&second.path), &[offset])[0].miss, None);
    assert_eq!(subject.metrics.stuck_workers.get(), 0);
}

fn worker_killed_between_windows_is_replaced() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let symbols = program.symbols();
    let executable = open(&program.path);
    let mut subject = Subject::new();
    for (name, n_restarts) in [("leaf", 0), ("caller", 1), ("main", 2)] {
        let frame =
            subject.name_offsets(&executable, &[program.offset_of(symbols[name].0)]).remove(0);
        assert_eq!((&*frame.functions.last().expect("one").name, frame.miss), (name, None));
        assert_eq!(subject.restarts(Restart::Killed), n_restarts);
        signal(subject.worker_pid(), Signal::KILL);
        // The next request must not race with the death of the worker.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn blocked_file_comes_back_with_symbols() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let symbols = program.symbols();
    let [leaf, caller] = ["leaf", "caller"].map(|name| program.offset_of(symbols[name].0));
    let executable = open(&program.path);
    let block_time = Duration::from_millis(400);
    let deadline = Duration::from_millis(100);
    let mut subject = Subject::with(Config { block_time, deadline, ..Config::default() });
    assert!(subject.name_offsets(&executable, &[leaf])[0].functions[0].file.is_some());
    signal(subject.worker_pid(), Signal::STOP);
    assert_eq!(subject.name_offsets(&executable, &[caller])[0].miss, Some("worker_hung"));
    assert_eq!(subject.name_offsets(&executable, &[caller])[0].miss, Some("file_blocked"));
    std::thread::sleep(block_time);
    let frame = subject.name_offsets(&executable, &[caller]).remove(0);
    let function = &frame.functions[0];
    assert_eq!((&*function.name, &function.file, frame.miss), ("caller", &None, None));
}

fn worker_that_does_not_start_costs_names_only() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let leaf = program.symbols()["leaf"].0;
    for path in ["/bin/false", "/proc/version"] {
        let mut subject =
            Subject::with(Config { worker_path: PathBuf::from(path), ..Config::default() });
        for _ in 0..2 {
            let offset = program.offset_of(leaf);
            let frame = subject.name_offsets(&open(&program.path), &[offset]).remove(0);
            // Nobody has described the file: its offset is all there is.
            assert_eq!(&*frame.functions[0].name, format!("program+{offset:#x}"));
            assert_eq!(frame.miss, Some("worker_unavailable"));
        }
        assert_eq!(subject.misses(Miss::WorkerUnavailable), 2);
    }
}

fn missing_program_is_an_error() {
    let config = Config { worker_path: PathBuf::from("/nowhere/pilotlight"), ..Config::default() };
    let Err(Error::WorkerMissing { path }) = Symbolizer::new(config, Metrics::default()) else {
        panic!("it is missing")
    };
    assert_eq!(path, PathBuf::from("/nowhere/pilotlight"));
}

fn time_of_a_window_is_bounded() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let mut subject = Subject::with(Config { call_budget: Duration::ZERO, ..Config::default() });
    let frame = subject.name_offsets(&open(&program.path), &[0x1000]).remove(0);
    assert_eq!(frame.miss, Some("out_of_time"));
    assert_eq!(subject.symbolizer.worker_pid(), None);
}

fn hidden_kernel_costs_kernel_names_only() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let zeros = folder.path().join("kallsyms");
    std::fs::write(&zeros, "0000000000000000 T _stext\n0000000000000000 T schedule\n")
        .expect("writing");
    for kallsyms_path in [zeros, PathBuf::from("/nowhere/kallsyms")] {
        let mut subject = Subject::with(Config { kallsyms_path, ..Config::default() });
        let leaf = program.offset_of(program.symbols()["leaf"].0);
        let frames = subject.name(vec![
            Frame::Kernel { address: 0xffff_ffff_8100_0010 },
            Frame::Native { executable: open(&program.path), offset: leaf },
        ]);
        assert_eq!(&*frames[0].functions[0].name, "[kernel.kallsyms]+0xffffffff81000010");
        assert_eq!((frames[0].miss, frames[1].miss), (Some("kernel_hidden"), None));
        assert_eq!(subject.misses(Miss::KernelHidden), 1);
    }
}

fn worker_ends_with_the_symbolizer() {
    let mut subject = Subject::new();
    subject.name_offsets(&executable("/proc/version", File::open("/proc/version").ok()), &[0]);
    let pid = subject.worker_pid();
    assert!(is_alive(pid));
    drop(subject);
    assert!(!is_alive(pid), "killed and reaped");
}

/// `PR_SET_PDEATHSIG` goes by thread: a worker started from a thread of a pool must not die with that thread.
fn worker_survives_the_thread_that_asked_first() {
    let file = || executable("/proc/version", File::open("/proc/version").ok());
    let asked = std::thread::spawn(move || {
        let mut subject = Subject::new();
        subject.name_offsets(&file(), &[0]);
        subject
    });
    let mut subject = asked.join().expect("no panic");
    let pid = subject.worker_pid();
    std::thread::sleep(Duration::from_millis(100));
    subject.name_offsets(&file(), &[1]);
    assert_eq!(subject.worker_pid(), pid);
}
