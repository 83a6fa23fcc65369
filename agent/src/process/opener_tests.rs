//! Files of file systems that do not answer.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::file::{ExecutableFile, Opening};
use super::open::{Place, Unopened};
use super::opener::{MAX_STUCK, Opener};
use crate::event::MappedFile;

const DEADLINE: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(20);

/// An opener for which files called `hang` do not come before they are let go, and those called `none` not at all.
struct Files {
    opener: Opener,
    let_go: Sender<()>,
}

impl Files {
    fn new() -> Self {
        Self::with_limit(u64::MAX)
    }

    fn with_limit(max_open: u64) -> Self {
        let (let_go, hang): (Sender<()>, Receiver<()>) = channel();
        let hang = Mutex::new(hang);
        let open = move |place: &Place, _: bool| {
            if place.file.path == "hang" {
                // Whoever holds the lock hangs in the channel; the others hang in the lock.
                let hang = hang.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                hang.recv().map_err(|_why| Unopened::Failed)?;
            }
            if place.file.path == "none" {
                return Err(Unopened::Gone);
            }
            File::open("/proc/self/exe").map_err(|_why| Unopened::Failed)
        };
        Self { opener: Opener::new(Box::new(open), DEADLINE, max_open), let_go }
    }

    fn ask(&self, path: &str, device: (u32, u32)) -> Arc<ExecutableFile> {
        let file = Arc::<ExecutableFile>::default();
        self.ask_again(&file, path, device, 1);
        file
    }

    fn ask_again(&self, file: &Arc<ExecutableFile>, path: &str, device: (u32, u32), pid: u32) {
        let (major, minor) = device;
        let mapped = MappedFile { major, minor, inode: 1, generation: 0, path: path.to_owned() };
        file.ask(&self.opener, Place { pid, parent_pid: 0, start: 0, end: 1, file: mapped });
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < SOON, "{what}: {:?}", self.opener.tally());
            std::thread::sleep(Duration::from_millis(5));
            self.opener.watch();
        }
    }
}

fn opening(file: &ExecutableFile) -> Result<(), Unopened> {
    match file.wait(Instant::now() + SOON) {
        Opening::Opened(_) => Ok(()),
        Opening::Failed(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_hangs_holds_up_neither_the_asker_nor_other_files() {
    let files = Files::new();
    let start = Instant::now();
    let hanging = files.ask("hang", (0, 7));
    assert!(matches!(hanging.opening(), Opening::Pending));
    let same_device = files.ask("other", (0, 7));
    let good = files.ask("good", (8, 1));
    assert!(start.elapsed() < SOON / 2, "asking does not wait");
    assert_eq!(opening(&hanging), Err(Unopened::Hung));
    assert_eq!(opening(&good), Ok(()));
    assert_eq!(opening(&same_device), Err(Unopened::Hung));
    assert_eq!(files.opener.tally().n_stuck, 1);
    files.let_go.send(()).unwrap();
    files.until("it comes late, but it comes", || hanging.get().is_some());
    files.until("the thread has come back", || files.opener.tally().n_stuck == 0);
    files.ask_again(&same_device, "other", (0, 7), 2);
    assert_eq!(opening(&same_device), Ok(()), "the device answers again");
}

#[test]
fn the_last_thread_is_kept_for_block_devices() {
    let files = Files::new();
    let hanging: Vec<_> = (0..MAX_STUCK as u32).map(|i| files.ask("hang", (0, 100 + i))).collect();
    for (i, file) in hanging.iter().enumerate() {
        let expected = if i + 1 < MAX_STUCK { Unopened::Hung } else { Unopened::Unavailable };
        assert_eq!(opening(file), Err(expected), "{i}");
    }
    assert_eq!(opening(&files.ask("good", (0, 9))), Err(Unopened::Unavailable));
    assert_eq!(opening(&files.ask("good", (8, 1))), Ok(()));
    // A disk that dies takes the last thread: everything is refused until one comes back.
    assert_eq!(opening(&files.ask("hang", (8, 2))), Err(Unopened::Hung));
    assert_eq!(opening(&files.ask("good", (8, 1))), Err(Unopened::Unavailable));
    assert_eq!(files.opener.tally().n_stuck, MAX_STUCK);
    for _ in 0..MAX_STUCK {
        files.let_go.send(()).unwrap();
    }
    files.until("all threads have come back", || files.opener.tally().n_stuck == 0);
    assert_eq!(opening(&files.ask("good", (0, 9))), Ok(()));
}

#[test]
fn a_file_is_asked_for_again_in_another_process_at_once() {
    let files = Files::new();
    let file = files.ask("none", (8, 1));
    assert_eq!(opening(&file), Err(Unopened::Gone));
    files.ask_again(&file, "good", (8, 1), 1);
    assert!(matches!(file.opening(), Opening::Failed(Unopened::Gone)), "not at once in the same");
    files.ask_again(&file, "good", (8, 1), 2);
    assert_eq!(opening(&file), Ok(()));
}

#[test]
fn a_file_is_closed_on_the_other_thread() {
    let files = Files::new();
    let file = files.ask("good", (0, 7));
    assert_eq!(opening(&file), Ok(()));
    let hanging = files.ask("hang", (0, 7));
    assert_eq!(opening(&hanging), Err(Unopened::Hung));
    drop(file);
    assert_eq!(files.opener.tally().n_waiting, 1, "its device hangs: it is closed later");
    files.let_go.send(()).unwrap();
    files.until("it is closed", || files.opener.tally().n_waiting == 0);
}

#[test]
fn a_file_that_nobody_wants_any_more_when_it_comes_is_closed() {
    let files = Files::new();
    drop(files.ask("hang", (0, 7)));
    for _ in 0..100 {
        drop(files.ask("good", (8, 1)));
    }
    files.let_go.send(()).unwrap();
    files.until("all is done", || {
        let tally = files.opener.tally();
        (tally.n_opened, tally.n_waiting, tally.n_stuck) == (101, 0, 0)
    });
}

#[test]
fn what_waits_is_bounded() {
    let files = Files::new();
    let hanging = files.ask("hang", (0, 7));
    let waiting: Vec<_> = (0..5_000).map(|_| files.ask("good", (8, 1))).collect();
    let busy = Opening::Failed(Unopened::Busy);
    assert!(waiting.iter().any(|file| format!("{:?}", file.opening()) == format!("{busy:?}")));
    assert_eq!(opening(&hanging), Err(Unopened::Hung));
    files.until("the rest is opened", || files.opener.tally().n_waiting == 0);
}

#[test]
fn files_are_not_opened_beyond_the_limit() {
    let files = Files::with_limit(4);
    let open: Vec<_> = (0..4)
        .map(|_| {
            let file = files.ask("good", (8, 1));
            assert_eq!(opening(&file), Ok(()));
            file
        })
        .collect();
    let beyond = files.ask("good", (8, 1));
    assert_eq!(opening(&beyond), Err(Unopened::TooMany));
    drop(open);
    // Closing comes before in the queue.
    files.ask_again(&beyond, "good", (8, 1), 2);
    assert_eq!(opening(&beyond), Ok(()));
}

#[test]
fn looks_that_hang_are_given_up_too() {
    let files = Files::new();
    let (answer, never) = channel::<()>();
    files.opener.look(move || {
        never.recv().ok();
    });
    files.until("it is given up", || files.opener.tally().n_stuck == 1);
    assert_eq!(opening(&files.ask("good", (0, 7))), Ok(()));
    answer.send(()).unwrap();
    files.until("it has come back", || files.opener.tally().n_stuck == 0);
}
