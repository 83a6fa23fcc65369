//! What the stage counts: `queued = sent + pending + dropped`, in profiles and in samples.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::queue::{Queue, Tally};

/// Why profiles were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum DropReason {
    /// The queue was full: the oldest went.
    QueueFull,
    /// 401: the server does not know who we are.
    Unauthorized,
    /// 403: the server does not let us.
    Forbidden,
    /// 413, and the request was one profile.
    TooLarge,
    /// 400 or 422: something in the request is wrong. What was right in it may have been stored.
    Invalid,
    /// A 3xx answer: requests with credentials are not sent elsewhere.
    Redirected,
    /// Success, but not from a server of this protocol.
    UnexpectedAnswer,
    /// Any other answer that says no for good.
    Refused,
    /// The agent ended before they could be sent.
    Shutdown,
}

/// Why a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum RetryReason {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// 429.
    RateLimited,
    /// 5xx or 408.
    ServerError,
    /// 413: the same profiles go again in smaller requests.
    TooLarge,
    /// The credentials could not be read.
    Credentials,
    /// The connection broke, or the answer was not HTTP.
    Transport,
}

impl DropReason {
    const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::Unauthorized,
        Self::Forbidden,
        Self::TooLarge,
        Self::Invalid,
        Self::Redirected,
        Self::UnexpectedAnswer,
        Self::Refused,
        Self::Shutdown,
    ];

    /// The value of the label `reason`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Redirected => "redirected",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

impl EncodeLabelValue for DropReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.name().encode(encoder)
    }
}

impl RetryReason {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Timeout,
        Self::RateLimited,
        Self::ServerError,
        Self::TooLarge,
        Self::Credentials,
        Self::Transport,
    ];

    /// The value of the label `reason`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::TooLarge => "too_large",
            Self::Credentials => "credentials",
            Self::Transport => "transport",
        }
    }
}

impl EncodeLabelValue for RetryReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.name().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DropLabels {
    pub(super) reason: DropReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RetryLabels {
    pub(super) reason: RetryReason,
}

/// Counters of profiles, samples and requests; gauges of what waits.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) queued_profiles: Counter,
    pub(super) queued_samples: Counter,
    pub(super) sent_profiles: Counter,
    pub(super) sent_samples: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) requests: Counter,
    pub(super) dropped_profiles: Family<DropLabels, Counter>,
    pub(super) dropped_samples: Family<DropLabels, Counter>,
    pub(super) retries: Family<RetryLabels, Counter>,
    pub(super) pending_profiles: Gauge,
    pub(super) pending_bytes: Gauge<u64, AtomicU64>,
    pub(super) reachable: Gauge,
}

impl Metrics {
    /// New metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("pilotlight_agent_export_{name}"), help, counter.clone());
        };
        counter("queued_profiles", "Profiles given to the exporter", &new.queued_profiles);
        counter(
            "queued_samples",
            "Samples in the profiles given to the exporter",
            &new.queued_samples,
        );
        counter("sent_profiles", "Profiles that the server has acknowledged", &new.sent_profiles);
        counter(
            "sent_samples",
            "Samples in the profiles that the server has acknowledged",
            &new.sent_samples,
        );
        counter(
            "sent_bytes",
            "Bytes of request bodies that the server has acknowledged",
            &new.sent_bytes,
        );
        counter("requests", "Requests to the server, retries among them", &new.requests);
        new.register_by_reason(registry);
        new.begin_at_zero();
        new.register_gauges(registry);
        new
    }

    fn register_by_reason(&self, registry: &mut Registry) {
        registry.register(
            "pilotlight_agent_export_dropped_profiles",
            "Profiles given up, by reason",
            self.dropped_profiles.clone(),
        );
        registry.register(
            "pilotlight_agent_export_dropped_samples",
            "Samples in the profiles given up, by reason",
            self.dropped_samples.clone(),
        );
        registry.register(
            "pilotlight_agent_export_retries",
            "Requests that will be sent again, by reason",
            self.retries.clone(),
        );
    }

    /// A rate over a counter that appears with its first loss would miss that loss.
    fn begin_at_zero(&self) {
        for reason in DropReason::ALL {
            drop(self.dropped_profiles.get_or_create(&DropLabels { reason }));
            drop(self.dropped_samples.get_or_create(&DropLabels { reason }));
        }
        for reason in RetryReason::ALL {
            drop(self.retries.get_or_create(&RetryLabels { reason }));
        }
    }

    fn register_gauges(&self, registry: &mut Registry) {
        registry.register(
            "pilotlight_agent_export_pending_profiles",
            "Profiles that wait for the server",
            self.pending_profiles.clone(),
        );
        registry.register(
            "pilotlight_agent_export_pending_bytes",
            "Bytes of the profiles that wait for the server",
            self.pending_bytes.clone(),
        );
        registry.register(
            "pilotlight_agent_export_server_reachable",
            "1 when the last request to the server got an answer, else 0",
            self.reachable.clone(),
        );
    }

    pub(super) fn count_dropped(&self, reason: DropReason, tally: Tally) {
        if tally.n_profiles > 0 {
            self.dropped_profiles.get_or_create(&DropLabels { reason }).inc_by(tally.n_profiles);
            self.dropped_samples.get_or_create(&DropLabels { reason }).inc_by(tally.n_samples);
        }
    }

    pub(super) fn count_sent(&self, tally: Tally, n_bytes: usize) {
        self.sent_profiles.inc_by(tally.n_profiles);
        self.sent_samples.inc_by(tally.n_samples);
        self.sent_bytes.inc_by(n_bytes as u64);
    }

    pub(super) fn show_pending(&self, queue: &Queue) {
        self.pending_profiles.set(queue.n_profiles() as i64);
        self.pending_bytes.set(queue.n_bytes() as u64);
    }
}
