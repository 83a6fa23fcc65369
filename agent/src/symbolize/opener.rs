//! Work that may wait on a foreign file system in; its result out, or nothing if it takes too long. Whoever runs a file
//! system in user space can have every look at a file of his wait for ever; that must cost his files their names and no more.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long one piece of work may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Threads that may hang at a time; no more work is done until one of them goes on.
const MAX_STUCK: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does the work.
#[derive(Debug)]
pub(super) struct Opener {
    jobs: Option<Sender<Job>>,
    /// Says something when a thread that was given up has gone on after all.
    freed: Receiver<()>,
    on_free: Sender<()>,
    n_stuck: usize,
    limit: Duration,
}

impl Opener {
    pub(super) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: Duration) -> Self {
        let (on_free, freed) = channel();
        Self { jobs: None, freed, on_free, n_stuck: 0, limit }
    }

    /// Does the work on the other thread; `None` when it takes too long.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.n_stuck -= self.freed.try_iter().count().min(self.n_stuck);
        if self.n_stuck >= MAX_STUCK {
            return None;
        }
        let (done, result) = channel();
        let job: Job = Box::new(move || done.send(work()).unwrap_or_default());
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => self.jobs.insert(start(self.on_free.clone())?),
        };
        jobs.send(job).ok()?;
        match result.recv_timeout(self.limit) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("a file system does not answer: files on it have no names");
                // The thread ends when its work does.
                self.jobs = None;
                self.n_stuck += 1;
                None
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

fn start(on_free: Sender<()>) -> Option<Sender<Job>> {
    let (jobs, waiting) = channel::<Job>();
    let thread = std::thread::Builder::new().name("opener".to_owned()).stack_size(128 * 1024);
    let work = move || {
        for job in &waiting {
            job();
        }
        on_free.send(()).ok();
    };
    thread.spawn(work).ok()?;
    Some(jobs)
}

#[cfg(test)]
mod tests {
    use super::{MAX_STUCK, Opener};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn work_that_hangs_is_given_up() {
        let mut opener = Opener::with_limit(Duration::from_millis(200));
        assert_eq!(opener.run(|| 1), Some(1));
        let mut hanging = Vec::new();
        for _ in 0..MAX_STUCK {
            let (go_on, wait) = channel::<()>();
            hanging.push(go_on);
            assert_eq!(opener.run(move || wait.recv().is_err()), None);
        }
        assert_eq!(opener.run(|| 2), None, "too many hang");
        hanging.pop();
        for _ in 0..100 {
            if opener.run(|| 3) == Some(3) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("one of them has gone on");
    }
}
