//! Counted stacks with their processes in; the labels of the series that each belongs to out.

mod value;
mod cgroup;
mod cgroup_tree;
mod service;
mod labeler;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use agent_common::outcome::UnwindOutcome;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::stack::SampleType;
use crate::symbolize::SymbolizedStack;

pub use self::labeler::Labeler;
pub use self::value::clean;

/// Longest value of a label in bytes: what Pyroscope servers take.
pub const MAX_VALUE_BYTES: usize = 2048;

/// Settings of the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Value of the label `node`; empty: no such label.
    pub node: String,
    /// Whether every process is a series of its own (the label `pid`).
    pub pid: bool,
    /// Distinct label sets of one window; what comes beyond is merged by service.
    pub max_series: usize,
}

/// Labels of one series, sorted by name, each name once. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of the label of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    /// Of several values for one name the first is kept.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(pairs.into())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Samples of one window that are equal in labels and stack.
#[derive(Clone, Debug)]
pub struct LabeledStack {
    /// The series that the samples belong to.
    pub labels: Labels,
    /// What `value` counts.
    pub sample_type: SampleType,
    /// The stack with its names.
    pub stack: Arc<SymbolizedStack>,
    /// How the walk of its user part ended.
    pub outcome: UnwindOutcome,
    /// Samples.
    pub n_samples: u64,
    /// Sum of the samples' values, in the unit of `sample_type`.
    pub value: u64,
}

/// Into what samples beyond the bound of series are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Overflow {
    /// One series a service, its thread names merged.
    Service,
    /// One series for all services that are left.
    Other,
}

impl EncodeLabelValue for Overflow {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Service => "service",
            Self::Other => "other",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OverflowLabels {
    reason: Overflow,
}

/// What the stage counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    overflow_samples: Family<OverflowLabels, Counter>,
    cgroup_walks: Counter,
}

impl Metrics {
    /// New metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "pilotlight_agent_label_overflow_samples",
            "Samples merged into coarser series because a window had more label sets than labels.max_series",
            metrics.overflow_samples.clone(),
        );
        registry.register(
            "pilotlight_agent_label_cgroup_walks",
            "Walks over the cgroup file system to name cgroups of processes that were gone",
            metrics.cgroup_walks.clone(),
        );
        metrics
    }
}
