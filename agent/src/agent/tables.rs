//! Unwind tables for the executables that samples have met. A thread of its own reads them from the cache on disk, or has the
//! worker make them, and publishes them to the kernel; the sampler asks, and walks copied stacks with what has come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Executable, ExecutableId};
use crate::stack::{CountedStack, Frame};
use crate::unwind::{NoTable, Table, TableState};

use super::table_thread::TableThread;

/// Bytes of tables that are kept here for copied stacks; the kernel has its own.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// A file that could not be read, or over which the worker was lost, is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

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
    /// There is none; asked for again from then on, if ever.
    None(Option<Instant>),
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
            Some(State::None(again)) if !is_due(*again) => TableState::None,
            Some(State::None(_) | State::Asked | State::Ready(None)) | None => TableState::Pending,
        }
    }

    /// Whether a table should be asked for.
    pub(super) fn is_wanted(&self, executable: u32) -> bool {
        match self.states.get(&executable) {
            None | Some(State::Ready(None)) => true,
            Some(State::None(again)) => is_due(*again),
            Some(State::Asked | State::Ready(Some(_))) => false,
        }
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
                        Err(why) => {
                            let again = why.may_change().then(|| Instant::now() + RETRY_PAUSE);
                            self.states.insert(executable.0, State::None(again));
                        }
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

fn is_due(again: Option<Instant>) -> bool {
    again.is_some_and(|again| Instant::now() >= again)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::{Event, MAX_KEPT_BYTES, Request, State, Tables};
    use crate::process::ExecutableId;
    use crate::unwind::{NoTable, Table, TableState};

    /// The sampler's side without a thread behind it.
    fn tables() -> (Tables, Sender<Event>, Receiver<Request>) {
        let (requests, asked) = channel();
        let (done, events) = channel();
        let tables =
            Tables { requests, events, states: HashMap::new(), kept: Vec::new(), kept_bytes: 0 };
        (tables, done, asked)
    }

    fn got(done: &Sender<Event>, id: u32, table: Result<Table, NoTable>) {
        let event = Event::Got { executable: ExecutableId(id), table: table.map(Into::into) };
        done.send(event).unwrap();
    }

    #[test]
    fn what_may_come_later_is_asked_for_again() {
        let (mut tables, done, _asked) = tables();
        got(&done, 1, Err(NoTable::NotElf));
        got(&done, 2, Err(NoTable::WorkerLost));
        got(&done, 3, Ok(Table::default()));
        assert!(tables.take_events(|_| ()));
        assert!(matches!(tables.state(1), TableState::None));
        assert!(matches!(tables.state(2), TableState::None));
        assert!(matches!(tables.state(3), TableState::Ready(_)));
        assert!(matches!(tables.state(4), TableState::Pending));
        assert_eq!([1, 2, 3, 4].map(|id| tables.is_wanted(id)), [false, false, false, true]);
        tables.states.insert(2, State::None(Some(Instant::now())));
        assert!(matches!(tables.state(2), TableState::Pending) && tables.is_wanted(2));
        done.send(Event::Evicted(ExecutableId(3))).unwrap();
        tables.take_events(|_| ());
        assert!(matches!(tables.state(3), TableState::Pending) && tables.is_wanted(3));
    }

    #[test]
    fn what_is_kept_here_is_bounded() {
        let (mut tables, done, _asked) = tables();
        let large = || Table::of_size(MAX_KEPT_BYTES / 3);
        for id in 1..=4 {
            got(&done, id, Ok(large()));
        }
        tables.take_events(|_| ());
        assert!(tables.kept_bytes <= MAX_KEPT_BYTES, "{}", tables.kept_bytes);
        assert!(matches!(tables.state(1), TableState::Pending), "it is in the kernel only");
        assert!(matches!(tables.state(4), TableState::Ready(_)));
        tables.forget(vec![7], |id| id == 4);
        assert!(tables.is_wanted(2) && !tables.is_wanted(4));
    }
}
