//! Unwind tables for the executables that samples have met. A thread of its own reads them from the cache on disk, or has the
//! worker make them, and publishes them to the kernel; the sampler asks, and walks copied stacks with what has come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::process::{Executable, ExecutableId};
use crate::stack::{CountedStack, Frame};
use crate::unwind::{NoTable, Table, TableState};

use super::table_thread::TableThread;

/// Bytes of tables that are kept here for copied stacks; the kernel has its own.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Get the table of this executable and publish it in this slot.
    Get { executable: Arc<Executable>, slot: u32 },
    /// These executables were sampled in the last window.
    Used(Vec<ExecutableId>),
    /// Nobody maps the executables of these slots any more.
    Forget(Vec<u32>),
}

/// What the thread has done.
#[derive(Debug)]
pub(super) enum Event {
    /// The table of an executable is in the kernel, or there is none to be had.
    Got { executable: ExecutableId, table: Result<Arc<Table>, NoTable> },
    /// A table was taken out of the kernel to make room.
    Evicted(ExecutableId),
    /// A slot can be used again.
    Freed { slot: u32 },
}

#[derive(Debug)]
enum State {
    Asked,
    /// `None`: it is in the kernel, and is not kept here any more.
    Ready(Option<Arc<Table>>),
    None,
}

/// The sampler's side.
#[derive(Debug)]
pub(super) struct Tables {
    requests: Sender<Request>,
    events: Receiver<Event>,
    states: HashMap<u32, State>,
    /// Executables whose table is kept here, the oldest first.
    kept: Vec<u32>,
    kept_bytes: usize,
}

impl Tables {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn spawn(thread: TableThread) -> std::io::Result<Self> {
        let (requests, asked) = channel();
        let (done, events) = channel();
        thread::Builder::new()
            .name("tables".to_owned())
            .spawn(move || thread.run(&asked, &done))?;
        Ok(Self { requests, events, states: HashMap::new(), kept: Vec::new(), kept_bytes: 0 })
    }

    /// What a walk finds of an executable's table.
    pub(super) fn state(&self, executable: u32) -> TableState<'_> {
        match self.states.get(&executable) {
            Some(State::Ready(Some(table))) => TableState::Ready(table),
            Some(State::None) => TableState::None,
            Some(State::Asked | State::Ready(None)) | None => TableState::Pending,
        }
    }

    /// Whether a table should be asked for.
    pub(super) fn is_wanted(&self, executable: u32) -> bool {
        matches!(self.states.get(&executable), None | Some(State::Ready(None)))
    }

    /// Asks for a table.
    pub(super) fn ask(&mut self, executable: &Arc<Executable>, slot: u32) {
        self.states.insert(executable.id.0, State::Asked);
        self.send(Request::Get { executable: Arc::clone(executable), slot });
    }

    /// Takes over what has been done; whether tables have come. `free` is given slots that can be used again.
    pub(super) fn take_events(&mut self, mut free: impl FnMut(u32)) -> bool {
        let mut have_come = false;
        for event in self.events.try_iter().collect::<Vec<_>>() {
            match event {
                Event::Got { executable, table } => {
                    have_come = true;
                    match table {
                        Ok(table) => self.keep(executable.0, table),
                        Err(_) => drop(self.states.insert(executable.0, State::None)),
                    }
                }
                Event::Evicted(executable) => self.drop_table(executable.0),
                Event::Freed { slot } => free(slot),
            }
        }
        have_come
    }

    /// Tells which executables were sampled in a window: their tables are the last to go.
    pub(super) fn used(&mut self, stacks: &[CountedStack]) {
        let mut used = HashSet::new();
        for frame in stacks.iter().flat_map(|counted| &counted.stack.frames) {
            if let Frame::Native { executable, .. } = frame {
                used.insert(executable.id);
            }
        }
        self.send(Request::Used(used.into_iter().collect()));
    }

    /// Forgets executables that are not known any more, and gives their slots back.
    pub(super) fn forget(&mut self, slots: Vec<u32>, is_known: impl Fn(u32) -> bool) {
        let gone: Vec<u32> =
            self.states.keys().copied().filter(|executable| !is_known(*executable)).collect();
        for executable in gone {
            self.drop_table(executable);
        }
        if !slots.is_empty() {
            self.send(Request::Forget(slots));
        }
    }

    fn keep(&mut self, executable: u32, table: Arc<Table>) {
        self.drop_table(executable);
        self.kept_bytes += table.bytes();
        self.kept.push(executable);
        self.states.insert(executable, State::Ready(Some(table)));
        while self.kept_bytes > MAX_KEPT_BYTES && self.kept.len() > 1 {
            let oldest = self.kept[0];
            self.drop_table(oldest);
            self.states.insert(oldest, State::Ready(None));
        }
    }

    fn drop_table(&mut self, executable: u32) {
        if let Some(State::Ready(Some(table))) = self.states.remove(&executable) {
            self.kept_bytes -= table.bytes();
            self.kept.retain(|kept| *kept != executable);
        }
    }

    fn send(&mut self, request: Request) {
        self.requests
            .send(request)
            .expect("the thread ends after this, or its panic has ended the process");
    }
}
