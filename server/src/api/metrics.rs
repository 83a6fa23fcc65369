//! What the API counts.

use crate::ingest::Reason;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(super) received_profiles: Counter,
    pub(super) received_bytes: Counter,
    pub(super) discarded_profiles: Family<Discarded, Counter>,
    pub(super) refused: Family<RefusedLabels, Counter>,
    pub(super) bodies_bytes: Gauge,
    pub(super) queries: Counter,
    pub(super) failed_requests: Family<Failed, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Discarded {
    pub reason: ReasonLabel,
    pub tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReasonLabel(pub Reason);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusedLabels {
    pub reason: Refused,
}

/// Requests that were turned away unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refused {
    BodiesFull,
    StoreBusy,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failed {
    pub code: &'static str,
}

impl EncodeLabelValue for ReasonLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for Refused {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Refused::BodiesFull => "bodies_full",
            Refused::StoreBusy => "store_busy",
        };
        word.encode(encoder)
    }
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        registry.register(
            "received_profiles",
            "Profiles received",
            metrics.received_profiles.clone(),
        );
        registry.register(
            "received_bytes",
            "Bytes of write requests as they came",
            metrics.received_bytes.clone(),
        );
        registry.register(
            "discarded_profiles",
            "Profiles not stored",
            metrics.discarded_profiles.clone(),
        );
        registry.register(
            "refused_requests",
            "Requests turned away unread",
            metrics.refused.clone(),
        );
        registry.register(
            "bodies_bytes",
            "Bytes of requests that are being read",
            metrics.bodies_bytes.clone(),
        );
        registry.register("queries", "Queries answered", metrics.queries.clone());
        registry.register(
            "failed_requests",
            "Requests answered with an error",
            metrics.failed_requests.clone(),
        );
        metrics
    }

    pub(super) fn discard(&self, tenant: &str, reason: Reason) {
        let labels = Discarded { reason: ReasonLabel(reason), tenant: tenant.to_owned() };
        self.discarded_profiles.get_or_create(&labels).inc();
    }

    pub(super) fn refuse(&self, reason: Refused) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }
}
