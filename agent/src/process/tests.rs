//! The table of processes, driven by events of processes that do not exist on this machine.

use agent_common::mapping::Mapping;

use super::Processes;
use crate::event::{MappedFile, ProcessEvent, ProcessEventKind};

/// Above every kernel's `pid_max`.
const SHELL: u32 = 0x7000_0001;
const CHILD: u32 = 0x7000_0002;

struct Table {
    processes: Processes,
    time_ns: u64,
}

impl Table {
    fn new() -> Self {
        let mut table = Self { processes: Processes::default(), time_ns: 0 };
        table.exec(SHELL, "sh");
        table.map(SHELL, 0x1000, "/bin/sh");
        table
    }

    fn apply(&mut self, kind: ProcessEventKind) {
        self.time_ns += 1;
        self.processes.apply(ProcessEvent { time_ns: self.time_ns, kind });
    }

    fn exec(&mut self, pid: u32, comm: &str) {
        self.apply(ProcessEventKind::Exec { pid, comm: comm.to_owned() });
    }

    fn map(&mut self, pid: u32, start: u64, path: &str) {
        let inode = path.bytes().map(u64::from).sum();
        let file = MappedFile { major: 0, minor: 0, inode, generation: 0, path: path.to_owned() };
        self.apply(ProcessEventKind::Mapped {
            pid,
            start,
            end: start + 0x1000,
            file_offset: 0,
            file,
        });
    }

    fn sample(&mut self, pid: u32) -> u64 {
        self.time_ns += 1;
        self.processes.sampled(pid, b"thread\0\0", 0, self.time_ns).key
    }

    /// What `settle` publishes (the executables' paths) and takes back.
    fn settle(&mut self) -> Vec<(u32, Option<Vec<String>>)> {
        let mut calls: Vec<(u32, Option<Vec<Mapping>>)> = Vec::new();
        let mut generation = 100;
        self.processes.settle(|pid, mappings| {
            calls.push((pid, mappings.map(<[_]>::to_vec)));
            generation += 1;
            mappings.map(|_| generation)
        });
        let path = |mapping: &Mapping| {
            self.processes.executable(super::ExecutableId(mapping.executable)).unwrap().path.clone()
        };
        calls.sort_by_key(|(pid, _)| *pid);
        calls
            .iter()
            .map(|(pid, list)| (*pid, list.as_ref().map(|list| list.iter().map(path).collect())))
            .collect()
    }

    fn exe(&self, pid: u32, key: u64) -> Option<String> {
        self.processes.process(pid, key, b"thread\0").exe_path.clone()
    }
}

#[test]
fn samples_before_an_exec_are_the_old_program_s_and_after_it_the_new_one_s() {
    let mut table = Table::new();
    table.apply(ProcessEventKind::Fork { pid: CHILD, parent_pid: SHELL });
    let before = table.sample(CHILD);
    table.exec(CHILD, "true");
    table.map(CHILD, 0x1000, "/bin/true");
    table.map(CHILD, 0x9000, "/lib/ld.so");
    let after = table.sample(CHILD);
    table.apply(ProcessEventKind::Exit { pid: CHILD });
    assert_ne!(before, after);
    assert_eq!(table.exe(CHILD, before).as_deref(), Some("/bin/sh"));
    assert_eq!(
        table.exe(CHILD, after).as_deref(),
        Some("/bin/true"),
        "the first mapping, not the interpreter"
    );
    let generation = |key| table.processes.process(CHILD, key, b"").identity.exec_generation;
    assert_eq!((generation(before), generation(after)), (0, 1));
}

#[test]
fn only_sampled_processes_are_published_and_again_when_they_map_more() {
    let mut table = Table::new();
    table.apply(ProcessEventKind::Fork { pid: CHILD, parent_pid: SHELL });
    assert_eq!(table.settle(), []);
    table.sample(CHILD);
    assert_eq!(table.settle(), [(CHILD, Some(vec!["/bin/sh".to_owned()]))]);
    table.sample(CHILD);
    assert_eq!(table.settle(), []);
    table.map(CHILD, 0x5000, "/lib/plugin.so");
    assert_eq!(
        table.settle(),
        [(CHILD, Some(vec!["/bin/sh".to_owned(), "/lib/plugin.so".to_owned()]))]
    );
    table.apply(ProcessEventKind::Exit { pid: CHILD });
    assert_eq!(table.settle(), [(CHILD, None)]);
}

#[test]
fn an_exec_takes_the_list_back_until_the_next_sample() {
    let mut table = Table::new();
    table.sample(SHELL);
    assert_eq!(table.settle().len(), 1);
    table.exec(SHELL, "other");
    table.map(SHELL, 0x4000, "/bin/other");
    assert_eq!(table.settle(), [(SHELL, None)]);
    table.sample(SHELL);
    assert_eq!(table.settle(), [(SHELL, Some(vec!["/bin/other".to_owned()]))]);
}

#[test]
fn a_process_that_nobody_has_told_of_is_kept_under_its_thread_s_name() {
    let mut table = Table::new();
    let key = table.sample(CHILD);
    assert_eq!(table.sample(CHILD), key);
    let process = table.processes.process(CHILD, key, b"");
    assert_eq!((process.comm.as_str(), process.exe_path.as_deref()), ("thread", None));
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut table = Table::new();
    table.apply(ProcessEventKind::Fork { pid: CHILD, parent_pid: SHELL });
    let first = table.sample(CHILD);
    table.apply(ProcessEventKind::Exit { pid: CHILD });
    table.apply(ProcessEventKind::Fork { pid: CHILD, parent_pid: SHELL });
    let second = table.sample(CHILD);
    let identity = |key| table.processes.process(CHILD, key, b"").identity;
    assert_ne!(identity(first), identity(second));
    assert_eq!(identity(first).pid, identity(second).pid);
}

#[test]
fn what_nobody_maps_is_forgotten_after_the_window() {
    let mut table = Table::new();
    table.exec(CHILD, "true");
    table.map(CHILD, 0x1000, "/bin/true");
    table.sample(CHILD);
    table.apply(ProcessEventKind::Exit { pid: CHILD });
    assert_eq!(table.processes.n_executables(), 2);
    table.processes.close_window();
    assert!(table.processes.get(CHILD).is_some(), "threads may outlive the main thread");
    table.processes.close_window();
    assert_eq!(table.processes.n_executables(), 1);
    assert!(table.processes.get(CHILD).is_none());
    assert!(table.processes.get(SHELL).is_some());
}

#[test]
fn a_scan_after_lost_events_ends_what_is_gone() {
    let mut table = Table::new();
    table.sample(SHELL);
    table.settle();
    table.processes.scan(1 << 40);
    assert_eq!(table.settle(), [(SHELL, None)]);
}

#[test]
fn descendants_are_found_over_generations() {
    let mut table = Table::new();
    table.apply(ProcessEventKind::Fork { pid: CHILD, parent_pid: SHELL });
    table.apply(ProcessEventKind::Fork { pid: CHILD + 1, parent_pid: CHILD });
    let mut pids = std::collections::HashSet::from([SHELL]);
    table.processes.add_descendants(&mut pids);
    assert_eq!(pids, [SHELL, CHILD, CHILD + 1].into());
}

#[test]
fn a_process_that_maps_without_end_is_followed_up_to_a_bound() {
    let mut table = Table::new();
    for i in 0..5_000 {
        table.map(SHELL, 0x10_0000 + i * 0x1000, "/lib/many");
    }
    assert_eq!(table.processes.get(SHELL).unwrap().mappings.list().len(), 4096);
}

#[test]
fn keys_are_never_given_twice() {
    let mut table = Table::new();
    let keys: Vec<u64> = (1..50).map(|i| table.sample(CHILD + i)).collect();
    table.apply(ProcessEventKind::Fork { pid: CHILD, parent_pid: SHELL });
    let all: std::collections::HashSet<u64> =
        keys.iter().copied().chain([table.sample(CHILD), table.sample(SHELL)]).collect();
    assert_eq!(all.len(), keys.len() + 2);
}

#[test]
fn this_process_is_scanned_with_its_mappings() {
    let mut processes = Processes::default();
    let pid = std::process::id();
    processes.scan(0);
    let instance = processes.get(pid).expect("this process is alive");
    let mapping = instance
        .mappings
        .find(this_process_is_scanned_with_its_mappings as *const () as usize as u64);
    let executable =
        processes.executable(super::ExecutableId(mapping.unwrap().executable)).unwrap();
    assert_eq!(executable.path, std::env::current_exe().unwrap().to_str().unwrap());
    let kthread =
        processes.get(2).map(|instance| processes.process(2, instance.key, b"").is_kernel_thread);
    assert_ne!(kthread, Some(false), "pid 2 is kthreadd");
}

#[test]
fn within_a_window_the_ended_are_forgotten_but_for_their_labels() {
    let mut table = Table::new();
    let mut keys = Vec::new();
    for i in 0..100 {
        table.apply(ProcessEventKind::Fork { pid: CHILD + i, parent_pid: SHELL });
        if i < 2 {
            keys.push(table.sample(CHILD + i));
        }
        table.apply(ProcessEventKind::Exit { pid: CHILD + i });
    }
    table.processes.tidy();
    let n_known =
        |table: &Table| (0..100).filter(|i| table.processes.get(CHILD + i).is_some()).count();
    assert_eq!(n_known(&table), 2, "threads may outlive the main thread");
    assert_eq!(table.sample(CHILD), keys[0]);
    table.processes.tidy();
    assert_eq!(n_known(&table), 1);
    table.processes.tidy();
    assert_eq!(n_known(&table), 0);
    for (i, key) in keys.into_iter().enumerate() {
        assert_eq!(table.exe(CHILD + i as u32, key).as_deref(), Some("/bin/sh"));
    }
    assert!(table.processes.get(SHELL).is_some());
}
