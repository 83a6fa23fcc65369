//! Stacks on their ways out of the kernel: with a list, without one, with one that is out of date.

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::sample::{SampleRecord, SampleType};
use zerocopy::FromZeros;

use super::{Counts, Frame, Stacks};
use crate::event::{MappedFile, ProcessEvent, ProcessEventKind, StackContents};
use crate::process::Processes;

const PID: u32 = 0x7000_0003;
const MANY: usize = 1000;

struct Road {
    processes: Processes,
    stacks: Stacks,
    generation: u32,
    time_ns: u64,
}

impl Road {
    fn new() -> Self {
        let (processes, stacks) = (Processes::default(), Stacks::new(MANY));
        let mut road = Self { processes, stacks, generation: 0, time_ns: 0 };
        road.apply(ProcessEventKind::Exec { pid: PID, comm: "app".to_owned() });
        road
    }

    fn apply(&mut self, kind: ProcessEventKind) {
        self.time_ns += 1;
        self.processes.apply(ProcessEvent { time_ns: self.time_ns, kind });
    }

    fn map(&mut self, start: u64, path: &str) {
        let inode = path.bytes().map(u64::from).sum();
        let file = MappedFile { major: 0, minor: 0, inode, generation: 0, path: path.to_owned() };
        let kind = ProcessEventKind::Mapped {
            pid: PID,
            start,
            end: start + 0x1000,
            file_offset: 0x100,
            file,
        };
        self.apply(kind);
    }

    /// Gives the kernel the list as it is now.
    fn publish(&mut self) {
        self.processes.sampled(PID, b"app", 0, self.time_ns);
        let generation = &mut self.generation;
        self.processes.settle(|_, mappings| {
            mappings.map(|_| {
                *generation += 1;
                *generation
            })
        });
    }

    fn executable(&self, path: &str) -> u32 {
        let instance = self.processes.get(PID).unwrap();
        let ids = instance.mappings.list().iter().map(|mapping| mapping.executable);
        let is_it = |&id: &u32| {
            self.processes.executable(crate::process::ExecutableId(id)).unwrap().path == path
        };
        ids.into_iter().find(is_it).unwrap()
    }

    /// The stack of a sample with these frames, looked up in the list of that generation.
    fn stack(&mut self, hash: u64, frames: &[RawFrame], generation: u32) -> String {
        self.stacks.insert(StackContents { hash, frames: frames.into() }, 1);
        let sample = sample(hash, generation);
        let instance = self.processes.get(PID).unwrap();
        let stack = self.stacks.of_sample(&sample, instance, &self.processes).unwrap();
        let text = stack.frames.iter().map(|frame| match frame {
            Frame::Kernel { address } => format!("kernel {address:#x}"),
            Frame::Native { executable, offset } => format!("{}+{offset:#x}", executable.path),
            Frame::Anonymous { address } => format!("anonymous {address:#x}"),
            Frame::Miss { reason } => format!("[{reason}]"),
            Frame::Cut { n_frames } => format!("[{n_frames} frames cut]"),
        });
        text.collect::<Vec<_>>().join(" ")
    }
}

fn sample(stack_hash: u64, mapping_generation: u32) -> SampleRecord {
    let mut sample = SampleRecord::new_zeroed();
    sample.pid = PID;
    sample.stack_hash = stack_hash;
    sample.mapping_generation = mapping_generation;
    sample.sample_type = SampleType::OnCpu as u8;
    sample.value = 10;
    sample.epoch = 1;
    sample
}

fn address(address: u64) -> RawFrame {
    RawFrame::new(FrameKind::Address, 0, address)
}

#[test]
fn raw_addresses_are_placed_by_the_mappings_of_the_moment() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    let frames = [RawFrame::new(FrameKind::Kernel, 0, 0xff), address(0x1010), address(0x8000)];
    assert_eq!(road.stack(1, &frames, 0), "kernel 0xff /bin/a+0x110 anonymous 0x8000");
    // The same addresses, and so the same hash, after something else was mapped there.
    road.map(0x1000, "/lib/b");
    assert_eq!(road.stack(1, &frames, 0), "kernel 0xff /lib/b+0x110 anonymous 0x8000");
}

#[test]
fn frames_from_a_list_that_is_valid_are_taken_as_they_are() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    road.publish();
    let frames = [RawFrame::new(FrameKind::Native, road.executable("/bin/a"), 0x123)];
    assert_eq!(road.stack(1, &frames, 1), "/bin/a+0x123");
}

#[test]
fn frames_from_a_list_that_is_out_of_date_are_placed_anew() {
    let mut road = Road::new();
    road.map(0x1000, "/lib/old");
    road.map(0x5000, "/bin/a");
    road.publish();
    let (old, a) = (road.executable("/lib/old"), road.executable("/bin/a"));
    // What the kernel says of addresses 0x1010 and 0x5020, while another library is there already.
    road.map(0x1000, "/lib/new");
    let frames =
        [RawFrame::new(FrameKind::Native, old, 0x110), RawFrame::new(FrameKind::Native, a, 0x120)];
    assert_eq!(road.stack(1, &frames, 1), "/lib/new+0x110 /bin/a+0x120");
}

#[test]
fn stacks_that_came_on_different_ways_are_one() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    road.publish();
    road.stack(1, &[address(0x1010)], 0);
    let frames = [RawFrame::new(FrameKind::Native, road.executable("/bin/a"), 0x110)];
    road.stack(2, &frames, 1);
    assert_eq!(road.stacks.len(), 1);
}

#[test]
fn the_old_program_s_registers_are_not_the_new_one_s_stack() {
    let mut road = Road::new();
    let frames = [RawFrame::new(FrameKind::Kernel, 0, 0xff), address(0x7f00_0000)];
    assert_eq!(road.stack(1, &frames, 0), "kernel 0xff");
}

#[test]
fn malformed_frames_are_visible() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    let frames = [
        RawFrame { kind: 77, executable: 0, address: 1 },
        RawFrame::new(FrameKind::Native, 999, 1),
    ];
    assert_eq!(road.stack(1, &frames, 0), "[frame_malformed] [executable_forgotten]");
}

#[test]
fn counts_are_by_process_thread_name_and_stack_and_lose_nothing() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    let mut counts = Counts::new(MANY);
    for (hash, comm) in [(1, b'x'), (1, b'x'), (1, b'y'), (2, b'x')] {
        road.stacks.insert(StackContents { hash, frames: [address(0x1000 + hash)].into() }, 1);
        let mut sample = sample(hash, 0);
        sample.comm[0] = comm;
        let key = road.processes.sampled(PID, &sample.comm, 0, 1).key;
        let instance = road.processes.get(PID).unwrap();
        let stack = road.stacks.of_sample(&sample, instance, &road.processes).unwrap();
        counts.add(&sample, key, stack);
    }
    assert_eq!(counts.n_samples(), 4);
    let taken = counts.take(&road.processes);
    let mut shape: Vec<_> = taken.iter().map(|count| (count.n_samples, count.value)).collect();
    shape.sort_unstable();
    assert_eq!(shape, [(1, 10), (1, 10), (2, 20)]);
    assert_eq!(counts.n_samples(), 0);
}

#[test]
fn contents_are_forgotten_when_they_are_not_used() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    road.stack(1, &[address(0x1010)], 0);
    road.stacks.close_window(2);
    assert_eq!(road.stacks.len(), 1);
    road.stacks.close_window(9);
    assert!(road.stacks.is_empty());
    let instance = road.processes.get(PID).unwrap();
    assert!(road.stacks.of_sample(&sample(1, 0), instance, &road.processes).is_none());
}

#[test]
fn stacks_beyond_the_bound_are_other_stacks_and_known_ones_stay() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    road.stacks = Stacks::new(3);
    let mut names: Vec<String> =
        (1..=5).map(|hash| road.stack(hash, &[address(0x1000 + hash)], 0)).collect();
    names.push(road.stack(2, &[address(0x1002)], 0));
    assert_eq!(
        names,
        [
            "/bin/a+0x101",
            "/bin/a+0x102",
            "/bin/a+0x103",
            "[other stacks]",
            "[other stacks]",
            "/bin/a+0x102"
        ]
    );
    assert_eq!((road.stacks.len(), road.stacks.n_other()), (3, 2));
}

#[test]
fn deep_stacks_are_bounded_by_their_frames() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    road.stacks = Stacks::new(10);
    let n_other = |road: &mut Road| {
        let deep = |hash: u64| (0..127).map(move |i| address(0x1000 + (hash * 31 + i) % 0x1000));
        for hash in 1..=8 {
            road.stack(hash, &deep(hash).collect::<Vec<_>>(), 0);
        }
        road.stacks.n_other()
    };
    // Room for 640 frames: contents and stacks of two, and the contents of one more.
    assert_eq!(n_other(&mut road), 6);
}

#[test]
fn what_earlier_windows_have_left_makes_room() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    road.stacks = Stacks::new(2);
    road.stack(1, &[address(0x1001)], 0);
    road.stack(2, &[address(0x1002)], 0);
    road.stacks.close_window(2);
    road.stacks.insert(StackContents { hash: 3, frames: [address(0x1003)].into() }, 2);
    let mut sample = sample(3, 0);
    sample.epoch = 2;
    let instance = road.processes.get(PID).unwrap();
    let stack = road.stacks.of_sample(&sample, instance, &road.processes).unwrap();
    assert!(matches!(&*stack.frames, [Frame::Native { offset: 0x103, .. }]), "{stack:?}");
    assert_eq!((road.stacks.len(), road.stacks.n_other()), (1, 0));
}

#[test]
fn too_many_counts_are_merged_by_process_and_then_in_one_and_lose_nothing() {
    let mut road = Road::new();
    road.map(0x1000, "/bin/a");
    let mut counts = Counts::new(4);
    let pids: Vec<u32> = (0..6).map(|i| PID + i).collect();
    for &pid in &pids {
        for hash in 1..=3 {
            road.stacks.insert(StackContents { hash, frames: [address(0x1000 + hash)].into() }, 1);
            let mut sample = sample(hash, 0);
            sample.pid = pid;
            sample.comm[0] = b'x';
            let key = road.processes.sampled(pid, b"app", 0, 1).key;
            let instance = road.processes.get(pid).unwrap();
            let stack = road.stacks.of_sample(&sample, instance, &road.processes).unwrap();
            counts.add(&sample, key, stack);
        }
    }
    assert_eq!((counts.n_samples(), counts.n_merged()), (18, 14));
    let mut taken: Vec<_> = counts
        .take(&road.processes)
        .iter()
        .map(|count| {
            let frames = count.stack.frames.iter();
            let is_other =
                frames.clone().any(|frame| matches!(frame, Frame::Miss { reason: "other stacks" }));
            (count.process.comm.clone(), count.n_samples, is_other)
        })
        .collect();
    taken.sort();
    let row = |name: &str, n, is_other| (name.to_owned(), n, is_other);
    assert_eq!(
        taken,
        [
            row("app", 1, false),
            row("app", 1, false),
            row("app", 1, false),
            row("app", 1, false),
            row("app", 2, true),
            row("app", 3, true),
            row("other processes", 9, true),
        ]
    );
}
