//! Processes with JIT code that has no name in; `HotSpot` JVMs among them that have written their perf map out, because they were asked
//! to. Off unless it is set: it makes the JVM write a file, and pauses its compiler for a moment.

mod attach;
mod target;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use super::backoff::Backoff;
use super::metrics::Metrics;
use crate::process::Identity;

/// A JVM that has written its map is asked again after this at the earliest, if it has new code by then.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// JVMs that are asked at a time, each on a thread: one that hangs holds up no other.
const MAX_ASKED: usize = 4;
/// Processes that something is remembered of.
const MAX_KNOWN: usize = 4096;
/// How long a window waits for all of its JVMs together; what comes later is for the next window.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The JVM says that it has written its map.
    Written,
    /// No `HotSpot` JVM: it is left alone for ever, for the signal by which a JVM is asked would end another program.
    NotHotspot,
    /// It does not handle that signal (yet).
    NotListening,
    /// It was started with `-XX:+DisableAttachMechanism`.
    Disabled,
    /// The process has ended.
    Gone,
    /// The agent may not become the JVM's user, or the JVM's user may not write to `/tmp`.
    NotPermitted,
    /// A link, a foreign file or a foreign socket stands in the way.
    Untrusted,
    /// No answer in time.
    TimedOut,
    /// The JVM has answered that it does not, as those before 17 do.
    Refused,
    /// The system gave another error.
    Failed,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::NotHotspot => "not_hotspot",
            Self::NotListening => "not_listening",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
            Self::NotPermitted => "not_permitted",
            Self::Untrusted => "untrusted",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// Whether asking another time makes no sense.
    const fn is_final(self) -> bool {
        matches!(self, Self::NotHotspot | Self::Disabled | Self::Gone)
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

/// The label of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: Outcome,
}

/// What is remembered of one process.
#[derive(Debug)]
struct Known {
    pending: Option<Receiver<Outcome>>,
    /// Not before; `None`: never again.
    next: Option<Instant>,
    backoff: Backoff,
}

/// Asks JVMs for their maps.
#[derive(Debug)]
pub(super) struct Jvms {
    is_on: bool,
    known: HashMap<Identity, Known>,
    metrics: Metrics,
    patience: Duration,
    ask: fn(u32) -> Outcome,
}

impl Jvms {
    pub(super) fn new(is_on: bool, metrics: Metrics) -> Self {
        let known = HashMap::new();
        Self { is_on, known, metrics, patience: PATIENCE, ask: attach::ask }
    }

    /// A window begins.
    pub(super) fn begin_call(&mut self) {
        self.patience = PATIENCE;
        let now = Instant::now();
        let identities: Vec<_> = self.known.keys().copied().collect();
        for identity in identities {
            self.take_outcome(identity, Duration::ZERO, now);
        }
        if self.known.len() > MAX_KNOWN {
            self.known.retain(|_, known| known.pending.is_some());
        }
    }

    /// Asks the process for its map, if it is time to. Whether it has written one just now.
    pub(super) fn ask(&mut self, identity: Identity, until: Instant) -> bool {
        if !self.is_on {
            return false;
        }
        let now = Instant::now();
        let n_asked = self.known.values().filter(|known| known.pending.is_some()).count();
        let known = self.known.entry(identity).or_insert_with(|| Known {
            pending: None,
            next: Some(now),
            backoff: Backoff::default(),
        });
        let is_due = known.next.is_some_and(|next| next <= now);
        if known.pending.is_none() {
            if !is_due || n_asked >= MAX_ASKED {
                return false;
            }
            known.pending = start(self.ask, identity.pid);
            known.next = Some(now + ASK_AGAIN);
        }
        let left = until.saturating_duration_since(now).min(self.patience);
        let written = self.take_outcome(identity, left, now);
        self.patience = self.patience.saturating_sub(now.elapsed());
        written
    }

    /// Takes over what came of asking, if it comes in time; whether there is a new map.
    fn take_outcome(&mut self, identity: Identity, patience: Duration, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(&identity) else { return false };
        let Some(pending) = &known.pending else { return false };
        let outcome = match pending.recv_timeout(patience) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => Outcome::Failed,
        };
        known.pending = None;
        self.metrics.count_jvm(outcome);
        tracing::debug!(pid = identity.pid, ?outcome, "asked a process for its perf map");
        if outcome == Outcome::Written {
            known.backoff = Backoff::default();
        } else if outcome.is_final() {
            known.next = None;
        } else {
            known.backoff.fail(now, FIRST_PAUSE);
            known.next = known.backoff.until();
        }
        outcome == Outcome::Written
    }
}

/// On a thread of its own, which takes the JVM's user as its effective one and then ends.
fn start(ask: fn(u32) -> Outcome, pid: u32) -> Option<Receiver<Outcome>> {
    let (sender, receiver) = sync_channel(1);
    let thread = std::thread::Builder::new().name("jvm-asker".to_owned()).stack_size(256 * 1024);
    thread.spawn(move || sender.send(ask(pid)).unwrap_or_default()).ok()?;
    Some(receiver)
}

#[cfg(test)]
mod tests {
    use super::{Jvms, Outcome};
    use crate::process::Identity;
    use crate::symbolize::Metrics;
    use std::time::{Duration, Instant};

    fn jvms(ask: fn(u32) -> Outcome) -> Jvms {
        Jvms { ask, ..Jvms::new(true, Metrics::default()) }
    }

    fn identity(pid: u32) -> Identity {
        Identity { pid, start_time_ns: 1, exec_generation: 0 }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_jvm_is_asked_once_a_minute_and_others_once() {
        let mut jvms = jvms(|pid| if pid == 1 { Outcome::Written } else { Outcome::NotHotspot });
        for n_calls in 0..3 {
            jvms.begin_call();
            assert_eq!(jvms.ask(identity(1), soon()), n_calls == 0);
            assert!(!jvms.ask(identity(2), soon()));
        }
        let next = |jvms: &Jvms, pid| jvms.known.get(&identity(pid)).and_then(|known| known.next);
        assert!(next(&jvms, 1).is_some_and(|next| next > Instant::now()));
        assert_eq!(next(&jvms, 2), None);
        let asked = |outcome| {
            jvms.metrics.jvm_requests.get_or_create(&super::OutcomeLabel { outcome }).get()
        };
        assert_eq!((asked(Outcome::Written), asked(Outcome::NotHotspot)), (1, 1));
        jvms.known.get_mut(&identity(1)).unwrap().next = Some(Instant::now());
        assert!(jvms.ask(identity(1), soon()), "a minute later");
    }

    #[test]
    fn a_jvm_that_hangs_holds_nobody_up() {
        let mut jvms = jvms(|pid| {
            std::thread::sleep(Duration::from_secs(if pid < 100 { 60 } else { 0 }));
            Outcome::Written
        });
        let begun = Instant::now();
        for pid in 0..3 {
            assert!(!jvms.ask(identity(pid), Instant::now() + Duration::from_millis(50)));
        }
        assert!(jvms.ask(identity(100), soon()));
        assert!(!jvms.ask(identity(3), Instant::now()));
        assert!(!jvms.ask(identity(101), soon()), "four are being asked");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn nobody_is_asked_unless_it_is_set() {
        let mut jvms = Jvms { ask: |_| Outcome::Written, ..Jvms::new(false, Metrics::default()) };
        assert!(!jvms.ask(identity(1), soon()));
    }
}
