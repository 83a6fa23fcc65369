//! The thread that sends: takes windows of profiles from the agent, keeps them until the server has them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use crate::profile::SeriesProfile;

use super::answer::Answer;
use super::backoff::Backoff;
use super::log_limit::LogLimit;
use super::metrics::{DropReason, RetryLabels, RetryReason};
use super::pyroscope::{PushClient, entry};
use super::queue::{Queue, Tally};
use super::{Config, Error, Metrics};

/// A request is not made larger than this by putting profiles together.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Windows between the agent's thread and ours. They are taken within milliseconds.
const MAX_WINDOWS_HANDED_OVER: usize = 64;
/// Between attempts when the agent is about to end.
const FLUSH_RETRY: Duration = Duration::from_millis(200);

type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

enum Command {
    Send(Vec<SeriesProfile>),
    Flush { deadline: Instant, reply: blocking::SyncSender<Flushed> },
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Profiles that could not be sent before the deadline. They are counted as dropped.
    pub n_profiles_unsent: u64,
}

/// The agent's end of the exporter.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    metrics: Metrics,
    runtime: runtime::Handle,
}

impl Handle {
    /// Hands over the profiles of a window. Never blocks.
    pub fn send(&self, profiles: Vec<SeriesProfile>) {
        let tally = tally_of(&profiles);
        self.metrics.queued_profiles.inc_by(tally.n_profiles);
        self.metrics.queued_samples.inc_by(tally.n_samples);
        if let Err(err) = self.commands.try_send(Command::Send(profiles)) {
            let reason = match err {
                mpsc::error::TrySendError::Full(_) => DropReason::QueueFull,
                mpsc::error::TrySendError::Closed(_) => DropReason::Shutdown,
            };
            self.metrics.count_dropped(reason, tally);
        }
    }

    /// Sends what there is, for at most `limit`, and ends the exporter. Blocks.
    pub fn flush(self, limit: Duration) -> Flushed {
        let (reply, flushed) = blocking::sync_channel(1);
        let deadline = Instant::now() + limit;
        if self.commands.blocking_send(Command::Flush { deadline, reply }).is_err() {
            return Flushed::default();
        }
        // The thread keeps the deadline; the second is for it to say so.
        flushed.recv_timeout(limit + Duration::from_secs(1)).unwrap_or_default()
    }

    /// The runtime of the exporter's thread, for the agent's other servers. It ends with the exporter.
    pub fn runtime(&self) -> &runtime::Handle {
        &self.runtime
    }
}

/// A flush under way.
struct Closing {
    deadline: Instant,
    reply: Option<blocking::SyncSender<Flushed>>,
    has_failed: bool,
}

/// Sends profiles to one server.
pub struct Exporter {
    client: PushClient,
    url: String,
    metrics: Metrics,
    queue: Queue,
    backoff: Backoff,
    /// `None` until the server was tried.
    is_reachable: Option<bool>,
    next_attempt: Instant,
    /// Bytes of the request in flight as it is in the queue.
    n_bytes_in_flight: usize,
    max_request_bytes: usize,
    retry_log: LogLimit,
    refusal_log: LogLimit,
    full_log: LogLimit,
    closing: Option<Closing>,
}

impl Exporter {
    /// Starts the exporter's thread and gives the agent's end of it.
    pub fn spawn(config: &Config, metrics: Metrics) -> Result<Handle, Error> {
        let exporter = Self::new(config, metrics.clone())?;
        let (sender, receiver) = mpsc::channel(MAX_WINDOWS_HANDED_OVER);
        let thread_failed = |source| Error::Thread { source };
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(2)
            .build()
            .map_err(thread_failed)?;
        let handle = Handle { commands: sender, metrics, runtime: runtime.handle().clone() };
        let run = move || runtime.block_on(exporter.run(receiver));
        thread::Builder::new().name("export".to_owned()).spawn(run).map_err(thread_failed)?;
        Ok(handle)
    }

    fn new(config: &Config, metrics: Metrics) -> Result<Self, Error> {
        Ok(Self {
            client: PushClient::new(config)?,
            url: config.url.as_str().trim_end_matches('/').to_owned(),
            metrics,
            queue: Queue::new(config.queue_bytes),
            backoff: Backoff::default(),
            is_reachable: None,
            next_attempt: Instant::now(),
            n_bytes_in_flight: 0,
            max_request_bytes: MAX_REQUEST_BYTES,
            retry_log: LogLimit::default(),
            refusal_log: LogLimit::default(),
            full_log: LogLimit::default(),
            closing: None,
        })
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut in_flight: Option<AnswerFuture> = Some(Box::pin(self.client.probe()));
        while self.closing.is_none() || !self.queue.is_empty() {
            if in_flight.is_none() && !self.queue.is_empty() && Instant::now() >= self.next_attempt
            {
                in_flight = Some(self.start_request());
            }
            let is_waiting = in_flight.is_none() && !self.queue.is_empty();
            let deadline = self.closing.as_ref().map(|closing| closing.deadline);
            tokio::select! {
                command = commands.recv(), if self.closing.is_none() => self.take(command),
                answer = async { in_flight.as_mut().expect("checked").await }, if in_flight.is_some() => {
                    in_flight = None;
                    self.act_on(answer);
                }
                () = sleep_until(self.next_attempt.into()), if is_waiting => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => break,
            }
            self.metrics.show_pending(&self.queue);
        }
        self.finish();
    }

    fn take(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Send(profiles)) => self.enqueue(&profiles),
            Some(Command::Flush { deadline, reply }) => self.close(deadline, Some(reply)),
            // The agent has let go of us without a flush.
            None => self.close(Instant::now(), None),
        }
    }

    fn close(&mut self, deadline: Instant, reply: Option<blocking::SyncSender<Flushed>>) {
        self.next_attempt = Instant::now();
        self.closing = Some(Closing { deadline, reply, has_failed: false });
    }

    fn enqueue(&mut self, profiles: &[SeriesProfile]) {
        let mut dropped = Tally::default();
        for profile in profiles {
            let tally = self.queue.push(entry(profile));
            dropped.n_profiles += tally.n_profiles;
            dropped.n_samples += tally.n_samples;
        }
        self.metrics.count_dropped(DropReason::QueueFull, dropped);
        if dropped.n_profiles > 0 && self.full_log.allows(Instant::now()) {
            warn!(
                profiles = dropped.n_profiles,
                samples = dropped.n_samples,
                "dropped the oldest profiles that wait for the server: server.queue_bytes is reached"
            );
        }
    }

    fn start_request(&mut self) -> AnswerFuture {
        let request = self.queue.begin(self.max_request_bytes);
        self.n_bytes_in_flight = request.len();
        self.metrics.requests.inc();
        Box::pin(self.client.push(&request))
    }

    fn act_on(&mut self, answer: Answer) {
        let was_push = self.queue.n_in_flight() > 0;
        match answer {
            Answer::Accepted => self.accepted(was_push),
            Answer::Refused { reason, message } => self.refused(reason, &message),
            Answer::Retry { reason, after, message } => self.retry(reason, after, &message),
        }
    }

    fn accepted(&mut self, was_push: bool) {
        self.reached();
        if was_push {
            let tally = self.queue.settle();
            self.metrics.count_sent(tally, self.n_bytes_in_flight);
            self.backoff.reset();
            self.max_request_bytes = MAX_REQUEST_BYTES;
        }
    }

    fn refused(&mut self, reason: DropReason, message: &str) {
        self.reached();
        let tally = self.queue.settle();
        self.metrics.count_dropped(reason, tally);
        self.backoff.reset();
        if tally.n_profiles > 0 && self.refusal_log.allows(Instant::now()) {
            warn!(
                url = self.url,
                reason = reason.name(),
                profiles = tally.n_profiles,
                "the server refuses profiles: {message}"
            );
        }
    }

    fn retry(&mut self, reason: RetryReason, after: Option<Duration>, message: &str) {
        let n_profiles = self.queue.retry();
        if n_profiles > 0 {
            self.metrics.retries.get_or_create(&RetryLabels { reason }).inc();
        }
        match reason {
            RetryReason::Connect | RetryReason::Timeout | RetryReason::Transport => {
                self.not_reached(message);
            }
            RetryReason::TooLarge => return self.split(n_profiles, message),
            RetryReason::RateLimited | RetryReason::ServerError => {
                self.reached();
                self.log_retry(message);
            }
            RetryReason::Credentials => self.log_retry(message),
        }
        self.wait(reason, after);
    }

    /// Sends the same profiles in smaller requests, down to one profile each; one that is too large alone is given up.
    fn split(&mut self, n_profiles: usize, message: &str) {
        if n_profiles > 1 {
            self.max_request_bytes = (self.n_bytes_in_flight / 2).max(1);
            return;
        }
        self.queue.begin(1);
        self.refused(DropReason::TooLarge, message);
    }

    fn wait(&mut self, reason: RetryReason, after: Option<Duration>) {
        let now = Instant::now();
        let wait = self.backoff.next(jitter(), after);
        self.next_attempt = now + wait;
        let Some(closing) = &mut self.closing else {
            debug!(reason = reason.name(), wait_ms = wait.as_millis(), "sending again later");
            return;
        };
        self.next_attempt = now + wait.min(FLUSH_RETRY);
        if reason == RetryReason::Connect && closing.has_failed {
            // Nobody is there, and somebody waits for us to end.
            closing.deadline = now;
        }
        closing.has_failed = true;
    }

    fn reached(&mut self) {
        self.metrics.reachable.set(1);
        if self.is_reachable.replace(true) == Some(false) {
            info!("{} answers again; sending {}", self.url, self.pending_text());
        }
    }

    fn not_reached(&mut self, message: &str) {
        self.metrics.reachable.set(0);
        if self.is_reachable.replace(false) != Some(false) {
            warn!(
                "cannot reach {}: {message}; keeping {}, retrying",
                self.url,
                self.pending_text()
            );
        }
    }

    fn log_retry(&mut self, message: &str) {
        if self.retry_log.allows(Instant::now()) {
            warn!(
                "{} takes no profiles now: {message}; keeping {}, retrying",
                self.url,
                self.pending_text()
            );
        }
    }

    fn pending_text(&self) -> String {
        match self.queue.n_windows() {
            0 => "profiles in memory".to_owned(),
            1 => "1 window of profiles".to_owned(),
            n_windows => format!("{n_windows} windows of profiles"),
        }
    }

    fn finish(mut self) {
        let unsent = self.queue.clear();
        self.metrics.count_dropped(DropReason::Shutdown, unsent);
        self.metrics.show_pending(&self.queue);
        let is_told = self.closing.as_ref().is_some_and(|closing| closing.reply.is_some());
        if unsent.n_profiles > 0 && !is_told {
            warn!(
                profiles = unsent.n_profiles,
                samples = unsent.n_samples,
                "ending with profiles that were not sent"
            );
        }
        if let Some(reply) = self.closing.and_then(|closing| closing.reply) {
            let is_late = reply.send(Flushed { n_profiles_unsent: unsent.n_profiles }).is_err();
            debug!(is_late, "flushed");
        }
    }
}

fn tally_of(profiles: &[SeriesProfile]) -> Tally {
    let n_samples = profiles.iter().map(|profile| profile.n_samples).sum();
    Tally { n_profiles: profiles.len() as u64, n_samples }
}

/// From 0 to 1. Not for secrets: the seeds of hash maps are random enough to spread a fleet.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    random as f64 / u64::MAX as f64
}
