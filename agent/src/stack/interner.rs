//! Distinct stacks: the contents that have come from the kernel, and what became of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::mapping::Mapping;
use agent_common::outcome::UnwindOutcome;
use agent_common::sample::SampleRecord;

use super::other::other_stacks;
use super::resolve::{LookedUpIn, PlacedFrame, place};
use super::{Frame, Stack};
use crate::event::StackContents;
use crate::process::{ExecutableId, Instance, Mappings, Processes};
use crate::unwind::Walked;

/// Epochs for which contents and stacks are kept after they were last used.
const KEPT_EPOCHS: u32 = 2;
/// Frames for which there is room, for each stack for which there is.
const FRAMES_A_STACK: usize = 64;

/// All distinct stacks of the last windows.
#[derive(Debug)]
pub struct Stacks {
    /// By the kernel's hash.
    contents: HashMap<u64, Contents>,
    /// By the kernel's hash and the versions of the mappings that it was looked up in and that are valid; 0, 0 where
    /// neither matters.
    placed: HashMap<(u64, u64, u64), Used>,
    /// By the hash of the placed frames: stacks that came on different ways are one.
    interned: HashMap<u64, Used>,
    hasher: RandomState,
    /// What samples get for whose stacks there is no room.
    other: Arc<Stack>,
    bound: usize,
    /// Of contents and stacks.
    n_frames: usize,
    /// When room was last made.
    cleared: Option<u32>,
    /// When contents were last turned away.
    turned_away: Option<u32>,
    n_other: u64,
}

#[derive(Debug)]
struct Contents {
    frames: Box<[RawFrame]>,
    has_addresses: bool,
    epoch: u32,
}

#[derive(Debug)]
struct Used {
    stack: Arc<Stack>,
    epoch: u32,
}

impl Stacks {
    /// None yet, and never more than `max_stacks` distinct ones: what is beyond is `[other stacks]`.
    pub fn new(max_stacks: usize) -> Self {
        Self {
            contents: HashMap::new(),
            placed: HashMap::new(),
            interned: HashMap::new(),
            hasher: RandomState::new(),
            other: other_stacks(),
            bound: max_stacks,
            n_frames: 0,
            cleared: None,
            turned_away: None,
            n_other: 0,
        }
    }

    /// Takes a stack's contents.
    pub fn insert(&mut self, contents: StackContents, epoch: u32) {
        if !self.has_room(contents.frames.len(), epoch) {
            self.turned_away = Some(epoch);
            return;
        }
        self.n_frames += contents.frames.len();
        let has_addresses =
            contents.frames.iter().any(|frame| frame.kind() == Some(FrameKind::Address));
        self.contents
            .insert(contents.hash, Contents { frames: contents.frames, has_addresses, epoch });
    }

    /// How many distinct stacks are held.
    pub fn len(&self) -> usize {
        self.interned.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.interned.is_empty()
    }

    /// Samples so far whose stacks had no room.
    pub fn n_other(&self) -> u64 {
        self.n_other
    }

    /// The stack of a sample of that process at that time; `None` when its contents have not come.
    pub fn of_sample(
        &mut self,
        sample: &SampleRecord,
        instance: &Instance,
        processes: &Processes,
    ) -> Option<Arc<Stack>> {
        let Some(contents) = self.contents.get_mut(&sample.stack_hash) else {
            let is_near = |epoch: u32| epoch.abs_diff(sample.epoch) <= 1;
            return self.turned_away.is_some_and(is_near).then(|| self.other());
        };
        contents.epoch = contents.epoch.max(sample.epoch);
        let looked_up_in = looked_up_in(sample.mapping_generation, instance);
        let key = match looked_up_in {
            LookedUpIn::Current | LookedUpIn::Forgotten if !contents.has_addresses => {
                (sample.stack_hash, 0, 0)
            }
            LookedUpIn::Outdated(list) => {
                (sample.stack_hash, list.version, instance.mappings.version)
            }
            _ => (sample.stack_hash, 0, instance.mappings.version),
        };
        if let Some(known) = self.placed.get_mut(&key) {
            known.epoch = sample.epoch;
            return Some(Arc::clone(&known.stack));
        }
        // Between an exec and the first mapping of the new program the thread's user registers are the old program's.
        let is_between_programs = instance.is_between_programs();
        let frames: Vec<PlacedFrame> = contents
            .frames
            .iter()
            .map(|frame| place(frame, looked_up_in, &instance.mappings))
            .filter(|frame| {
                !(is_between_programs && matches!(frame, PlacedFrame::Anonymous { .. }))
            })
            .collect();
        let outcome =
            UnwindOutcome::from_u8(sample.outcome).unwrap_or(UnwindOutcome::UnwinderMissing);
        let Some(stack) = self.intern(&frames, outcome, sample.epoch, Some(instance), processes)
        else {
            return Some(self.other());
        };
        if self.placed.len() < 2 * self.bound {
            self.placed.insert(key, Used { stack: Arc::clone(&stack), epoch: sample.epoch });
        }
        Some(stack)
    }

    fn intern(
        &mut self,
        placed: &[PlacedFrame],
        outcome: UnwindOutcome,
        epoch: u32,
        instance: Option<&Instance>,
        processes: &Processes,
    ) -> Option<Arc<Stack>> {
        let id = self.hasher.hash_one((placed, outcome));
        if let Some(known) = self.interned.get_mut(&id) {
            known.epoch = epoch;
            return Some(Arc::clone(&known.stack));
        }
        if !self.has_room(placed.len(), epoch) {
            return None;
        }
        let mut frames: Vec<Frame> =
            placed.iter().map(|frame| finish(frame, instance, processes)).collect();
        frames.extend(miss_at_end(outcome, frames.is_empty()));
        self.n_frames += frames.len();
        let stack = Arc::new(Stack { id, frames: frames.into(), outcome });
        self.interned.insert(id, Used { stack: Arc::clone(&stack), epoch });
        Some(stack)
    }

    fn other(&mut self) -> Arc<Stack> {
        self.n_other += 1;
        Arc::clone(&self.other)
    }

    /// Whether a stack of so many frames can be taken in. What earlier windows have left makes room once a window.
    fn has_room(&mut self, n_frames: usize, epoch: u32) -> bool {
        if !self.is_full(n_frames) {
            return true;
        }
        if self.cleared == Some(epoch) {
            return false;
        }
        self.cleared = Some(epoch);
        self.retain(|used| used == epoch);
        !self.is_full(n_frames)
    }

    fn is_full(&self, n_frames: usize) -> bool {
        self.interned.len() >= self.bound
            || self.contents.len() >= 2 * self.bound
            || self.n_frames + n_frames > FRAMES_A_STACK * self.bound
    }

    /// The stack of a sample whose user part was walked here, in these mappings, under the kernel frames that came with it.
    pub fn of_walk(
        &mut self,
        sample: &SampleRecord,
        walked: &Walked,
        mappings: &Mappings,
        processes: &Processes,
    ) -> Arc<Stack> {
        let kernel = self.contents.get(&sample.stack_hash).map_or(&[][..], |known| &known.frames);
        let frames: Vec<PlacedFrame> = kernel
            .iter()
            .chain(&walked.frames)
            .map(|frame| place(frame, LookedUpIn::Current, mappings))
            .collect();
        let stack = self.intern(&frames, walked.outcome, sample.epoch, None, processes);
        stack.unwrap_or_else(|| self.other())
    }

    /// The stack of samples whose contents never came.
    pub fn missing(&mut self, epoch: u32) -> Arc<Stack> {
        let reason = agent_common::outcome::Loss::StackMissing.name();
        let id = self.hasher.hash_one(reason);
        let stack = || {
            let frames = Box::new([Frame::Miss { reason }]);
            Arc::new(Stack { id, frames, outcome: UnwindOutcome::UnwinderMissing })
        };
        let known = self.interned.entry(id).or_insert_with(|| Used { stack: stack(), epoch });
        known.epoch = epoch;
        Arc::clone(&known.stack)
    }

    /// After a window: forgets what was not used for some time.
    pub fn close_window(&mut self, epoch: u32) {
        self.retain(|used| epoch.wrapping_sub(used) <= KEPT_EPOCHS);
    }

    fn retain(&mut self, is_kept: impl Fn(u32) -> bool) {
        self.contents.retain(|_, contents| is_kept(contents.epoch));
        self.placed.retain(|_, used| is_kept(used.epoch));
        self.interned.retain(|_, used| is_kept(used.epoch));
        let of_contents = self.contents.values().map(|contents| contents.frames.len());
        let of_stacks = self.interned.values().map(|used| used.stack.frames.len());
        self.n_frames = of_contents.chain(of_stacks).sum();
    }
}

fn looked_up_in(generation: u32, instance: &Instance) -> LookedUpIn<'_> {
    if generation == 0 {
        return LookedUpIn::Nothing;
    }
    match instance.published(generation) {
        Some(list) if list.version == instance.mappings.version => LookedUpIn::Current,
        Some(list) => LookedUpIn::Outdated(list),
        None => LookedUpIn::Forgotten,
    }
}

/// `instance`: whose files are opened, if they are not yet.
fn finish(frame: &PlacedFrame, instance: Option<&Instance>, processes: &Processes) -> Frame {
    match *frame {
        PlacedFrame::Kernel { address } => Frame::Kernel { address },
        PlacedFrame::Anonymous { address } => Frame::Anonymous { address },
        PlacedFrame::Cut { n_frames } => Frame::Cut { n_frames },
        PlacedFrame::Malformed => Frame::Miss { reason: "frame_malformed" },
        PlacedFrame::Native { executable, offset } => {
            match processes.executable(ExecutableId(executable)) {
                Some(known) => {
                    if known.file.get().is_none()
                        && let Some(instance) = instance
                        && let Some(mapping) = find_mapping(&instance.mappings, executable, offset)
                    {
                        processes.open_executable(instance, mapping);
                    }
                    Frame::Native { executable: std::sync::Arc::clone(known), offset }
                }
                None => Frame::Miss { reason: "executable_forgotten" },
            }
        }
    }
}

fn find_mapping(mappings: &Mappings, executable: u32, offset: u64) -> Option<&Mapping> {
    mappings
        .list()
        .iter()
        .find(|mapping| mapping.executable == executable && mapping.address_of(offset).is_some())
}

/// The visible frame that says why a user stack is cut.
fn miss_at_end(outcome: UnwindOutcome, is_empty: bool) -> Option<Frame> {
    match outcome {
        UnwindOutcome::Truncated
        | UnwindOutcome::StackFault
        | UnwindOutcome::UnwinderMissing
        | UnwindOutcome::TablePending
        | UnwindOutcome::CfaInvalid
        | UnwindOutcome::ReturnAddressInvalid
        | UnwindOutcome::RegisterUnknown
        | UnwindOutcome::RuleUnsupported
        | UnwindOutcome::FramePointerInvalid => Some(Frame::Miss { reason: outcome.name() }),
        UnwindOutcome::Complete | UnwindOutcome::KernelThread => {
            is_empty.then_some(Frame::Miss { reason: "no_frames" })
        }
    }
}
