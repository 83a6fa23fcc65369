//! What symbolization counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::jvm;

/// Why an address has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// The file has symbols, none of which covers the address.
    UnknownAddress,
    /// The file has no symbols that could be read.
    NoSymbols,
    /// The file could not be opened when its process was seen, or not be read now.
    FileUnreadable,
    /// The file was not open yet when the window was named.
    FilePending,
    /// The file's headers do not fit together.
    FileMalformed,
    /// The file is larger than the cap.
    FileTooLarge,
    /// The worker died or hung over this file not long ago: it is left alone for a while.
    FileBlocked,
    /// The worker died over this request.
    WorkerDied,
    /// The worker gave no sign of life until the deadline.
    WorkerHung,
    /// No worker could be started.
    WorkerUnavailable,
    /// The time that one window's symbols may take was used up.
    OutOfTime,
    /// The kernel hides its addresses (`kernel.kptr_restrict`, or no `CAP_SYSLOG`).
    KernelHidden,
    /// No kernel symbol covers the address.
    KernelUnknown,
    /// Memory without a file: code that a JIT compiler wrote.
    Jit,
}

impl Miss {
    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownAddress => "unknown_address",
            Self::NoSymbols => "no_symbols",
            Self::FileUnreadable => "file_unreadable",
            Self::FilePending => "file_pending",
            Self::FileMalformed => "file_malformed",
            Self::FileTooLarge => "file_too_large",
            Self::FileBlocked => "file_blocked",
            Self::WorkerDied => "worker_died",
            Self::WorkerHung => "worker_hung",
            Self::WorkerUnavailable => "worker_unavailable",
            Self::OutOfTime => "out_of_time",
            Self::KernelHidden => "kernel_hidden",
            Self::KernelUnknown => "kernel_unknown",
            Self::Jit => "jit",
        }
    }

    /// Whether asking again in the next window could give a name.
    pub(super) const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::FileUnreadable
                | Self::FilePending
                | Self::FileBlocked
                | Self::WorkerDied
                | Self::WorkerHung
                | Self::WorkerUnavailable
                | Self::OutOfTime
                | Self::KernelHidden
        )
    }
}

/// Why a worker had to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// A mapped file was truncated (SIGBUS).
    BusError,
    /// It aborted: a panic, or an allocation above its limit (SIGABRT).
    Aborted,
    /// Killed from outside: the kernel's OOM killer, or a person (SIGKILL).
    Killed,
    /// Another signal.
    Signal,
    /// It exited by itself.
    Exited,
    /// It gave no sign of life until the deadline and was killed.
    Hung,
    /// It answered what is not in the protocol and was killed.
    Protocol,
}

impl Restart {
    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BusError => "bus_error",
            Self::Aborted => "aborted",
            Self::Killed => "killed",
            Self::Signal => "signal",
            Self::Exited => "exited",
            Self::Hung => "hung",
            Self::Protocol => "protocol",
        }
    }
}

impl EncodeLabelValue for Miss {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

impl EncodeLabelValue for Restart {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

/// The label of a miss.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MissLabel {
    pub reason: Miss,
}

/// The label of a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RestartLabel {
    pub reason: Restart,
}

/// Counters of symbolization. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Frames of a window without a name, each distinct one once.
    pub misses: Family<MissLabel, Counter>,
    /// Workers that had to be replaced.
    pub restarts: Family<RestartLabel, Counter>,
    /// Workers that were killed and have not gone yet.
    pub stuck_workers: Gauge,
    /// Named frames kept between windows.
    pub cache_entries: Gauge,
    /// JVMs that were asked for their perf maps, by what came of it.
    pub jvm_requests: Family<jvm::OutcomeLabel, Counter>,
    /// Seconds that naming the frames of a window took.
    pub window_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            misses: Family::default(),
            restarts: Family::default(),
            stuck_workers: Gauge::default(),
            cache_entries: Gauge::default(),
            jvm_requests: Family::default(),
            window_seconds: Histogram::new([0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
        }
    }
}

impl Metrics {
    /// Shows the counters under `pilotlight_agent_symbolize_…` and `pilotlight_agent_worker_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "pilotlight_agent_symbolize_misses",
            "Frames of a window without a name",
            self.misses.clone(),
        );
        registry.register(
            "pilotlight_agent_worker_restarts",
            "Workers that had to be replaced",
            self.restarts.clone(),
        );
        registry.register(
            "pilotlight_agent_worker_stuck",
            "Killed workers that have not gone yet",
            self.stuck_workers.clone(),
        );
        registry.register(
            "pilotlight_agent_symbolize_cache_entries",
            "Named frames kept between windows",
            self.cache_entries.clone(),
        );
        registry.register(
            "pilotlight_agent_symbolize_jvm_requests",
            "Processes that were asked for a perf map as JVMs are, by what came of it",
            self.jvm_requests.clone(),
        );
        registry.register(
            "pilotlight_agent_symbolize_window_seconds",
            "Time that naming the frames of a window took",
            self.window_seconds.clone(),
        );
    }

    pub(super) fn count_miss(&self, reason: Miss) {
        self.misses.get_or_create(&MissLabel { reason }).inc();
    }

    pub(super) fn count_jvm(&self, outcome: jvm::Outcome) {
        self.jvm_requests.get_or_create(&jvm::OutcomeLabel { outcome }).inc();
    }

    pub(super) fn count_restart(&self, reason: Restart) {
        self.restarts.get_or_create(&RestartLabel { reason }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Miss, Restart};
    use prometheus_client::registry::Registry;

    #[test]
    fn counters_are_shown_by_reason() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.count_miss(Miss::KernelHidden);
        metrics.count_restart(Restart::BusError);
        metrics.cache_entries.set(3);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "pilotlight_agent_symbolize_misses_total{reason=\"kernel_hidden\"} 1",
            "pilotlight_agent_worker_restarts_total{reason=\"bus_error\"} 1",
            "pilotlight_agent_symbolize_cache_entries 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
