//! Build ids in; debug files from servers of the debuginfod protocol out, in a later window: nothing here is waited for.
//! Off unless servers are configured.

mod cache;
mod download;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use url::Url;

use super::notes::hex;

use self::cache::Cache;
use self::download::Client;

/// Build ids that wait for their turn; what comes beyond is asked for again in a later window.
const MAX_WAITING: usize = 64;
/// How long an answer "there is none" holds; of a server that failed it holds a tenth.
const NEGATIVE_TIME: Duration = Duration::from_hours(1);
/// Such answers that are kept.
const MAX_NEGATIVE: usize = 100_000;

/// What can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Asked in turn; none: off.
    pub urls: Vec<Url>,
    /// Where files are kept.
    pub cache_folder: PathBuf,
    /// Bound on all of them together.
    pub cache_bytes: u64,
    /// Bound on one.
    pub file_bytes: u64,
    /// Longest wait for one.
    pub timeout: Duration,
}

/// Why nothing can be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache.
    #[error("cannot use {path} for debug files: {source}")]
    Folder { path: PathBuf, source: io::Error },
    /// The client or its thread.
    #[error("cannot fetch debug files: {0}")]
    Client(String),
}

/// What became of a build id.
#[derive(Debug)]
enum Outcome {
    Fetched,
    /// No server has it.
    Missing,
    /// At least one server could not say.
    Failed,
}

/// Fetches debug files, one at a time, on a thread of its own.
#[derive(Debug)]
pub(super) struct Debuginfod {
    cache: Cache,
    wanted: SyncSender<String>,
    outcomes: Receiver<(String, Outcome)>,
    waiting: HashSet<String>,
    negative: HashMap<String, Instant>,
    fetched: Vec<String>,
}

impl Debuginfod {
    /// `None` when no servers are configured.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Error> {
        if config.urls.is_empty() {
            return Ok(None);
        }
        let cache = Cache::open(&config.cache_folder, config.cache_bytes)?;
        let client = Client::new(config)?;
        let (wanted, ids) = sync_channel::<String>(MAX_WAITING);
        let (done, outcomes) = channel();
        let fetching = cache.clone();
        let thread = std::thread::Builder::new().name("debuginfod".to_owned());
        let fetch = move || {
            for id in ids {
                let outcome = fetch(&client, &fetching, &id);
                if done.send((id, outcome)).is_err() {
                    return;
                }
            }
        };
        thread.spawn(fetch).map_err(|err| Error::Client(err.to_string()))?;
        let (waiting, negative, fetched) = (HashSet::new(), HashMap::new(), Vec::new());
        Ok(Some(Self { cache, wanted, outcomes, waiting, negative, fetched }))
    }

    /// The debug file of a program, if it is here. If not, it will be asked for.
    pub(super) fn find(&mut self, build_id: &[u8], now: Instant) -> Option<File> {
        let id = Some(hex(build_id)).filter(|id| is_build_id(id))?;
        self.take_outcomes(now);
        if let Some(file) = self.cache.get(&id) {
            return Some(file);
        }
        if self.waiting.contains(&id) || self.negative.get(&id).is_some_and(|until| now < *until) {
            return None;
        }
        match self.wanted.try_send(id.clone()) {
            Ok(()) => drop(self.waiting.insert(id)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
        None
    }

    /// Build ids whose files have come since this was asked last, in hex.
    pub(super) fn take_fetched(&mut self, now: Instant) -> Vec<String> {
        self.take_outcomes(now);
        std::mem::take(&mut self.fetched)
    }

    /// The file that was found is not the program's: it is no answer.
    pub(super) fn refuse(&mut self, build_id: &[u8], now: Instant) {
        let id = hex(build_id);
        warn!(build_id = id, "a debuginfod server gave another program's file");
        self.cache.remove(&id);
        self.remember_missing(id, now + NEGATIVE_TIME);
    }

    fn take_outcomes(&mut self, now: Instant) {
        while let Ok((id, outcome)) = self.outcomes.try_recv() {
            self.waiting.remove(&id);
            match outcome {
                Outcome::Fetched => self.fetched.push(id),
                Outcome::Missing => self.remember_missing(id, now + NEGATIVE_TIME),
                Outcome::Failed => self.remember_missing(id, now + NEGATIVE_TIME / 10),
            }
        }
    }

    fn remember_missing(&mut self, id: String, until: Instant) {
        if self.negative.len() >= MAX_NEGATIVE {
            self.negative.clear();
        }
        self.negative.insert(id, until);
    }
}

fn fetch(client: &Client, cache: &Cache, id: &str) -> Outcome {
    let mut outcome = Outcome::Missing;
    for url in client.urls(id) {
        let fetched = cache.fill(id, |file| client.download(url.clone(), file));
        match fetched {
            Ok(()) => {
                debug!(build_id = id, %url, "debug file fetched");
                return Outcome::Fetched;
            }
            Err(download::Error::Missing) => {}
            Err(error) => {
                warn!(build_id = id, %url, %error, "cannot fetch a debug file");
                outcome = Outcome::Failed;
            }
        }
    }
    outcome
}

/// What may become part of a path and of a URL.
fn is_build_id(id: &str) -> bool {
    (8..=64).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
