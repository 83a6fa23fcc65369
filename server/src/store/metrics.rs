//! What the store counts.

use crate::store::block::Kind;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;

#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    pub profiles: Counter,
    pub rows: Counter,
    pub duplicates: Counter,
    pub commits: Counter,
    pub commit_errors: Counter,
    pub disk_full: Counter,
    pub written_bytes: Counter,
    pub pending_bytes: Gauge,
    pub segments: Gauge,
    pub series: Gauge,
    pub memory_bytes: Gauge,
    pub storage_bytes: Gauge,
    pub damage: Family<DamageLabels, Counter>,
    pub blocks: Gauge,
    pub block_bytes: Gauge,
    pub work: Family<WorkLabels, Counter>,
    pub failed_work: Family<WorkLabels, Counter>,
    pub faded: Family<FadedLabels, Counter>,
    pub faded_profiles: Family<FadedLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DamageLabels {
    pub reason: Damage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Damage {
    /// Bytes in the middle of a file.
    Record,
    /// A record whose checksum held and that could not be read.
    Unreadable,
    /// A profile of a series whose labels were lost.
    NoSeries,
    /// A whole file.
    File,
    /// The end of a file that was being written: nothing acknowledged.
    TornTail,
    /// A part of a block, or all of it.
    Block,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WorkLabels {
    pub work: Work,
}

/// What is done in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Flush,
    Merge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FadedLabels {
    pub kind: &'static str,
    pub reason: Eviction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Eviction {
    Storage,
    Age,
}

impl EncodeLabelValue for Damage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Damage::Record => "record",
            Damage::Unreadable => "unreadable",
            Damage::NoSeries => "no_series",
            Damage::File => "file",
            Damage::TornTail => "torn_tail",
            Damage::Block => "block",
        };
        word.encode(encoder)
    }
}

impl EncodeLabelValue for Eviction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Eviction::Storage => "storage",
            Eviction::Age => "age",
        };
        word.encode(encoder)
    }
}

impl EncodeLabelValue for Work {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Work::Flush => "flush",
            Work::Merge => "merge",
        };
        word.encode(encoder)
    }
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("store");
        registry.register("profiles", "Profiles of series stored", metrics.profiles.clone());
        registry.register("rows", "Rows stored", metrics.rows.clone());
        registry.register(
            "duplicate_profiles",
            "Profiles that were there already",
            metrics.duplicates.clone(),
        );
        registry.register(
            "commits",
            "Groups of profiles made durable at once",
            metrics.commits.clone(),
        );
        registry.register(
            "commit_errors",
            "Groups that could not be written",
            metrics.commit_errors.clone(),
        );
        registry.register(
            "disk_full_errors",
            "Groups that found no space left on the disk",
            metrics.disk_full.clone(),
        );
        registry.register(
            "written_bytes",
            "Bytes written to the log",
            metrics.written_bytes.clone(),
        );
        registry.register(
            "pending_bytes",
            "Bytes that wait for the disk",
            metrics.pending_bytes.clone(),
        );
        registry.register("segments", "Segments", metrics.segments.clone());
        registry.register("series", "Series in the newest segment", metrics.series.clone());
        registry.register(
            "memory_bytes",
            "Memory of symbols, series and rows",
            metrics.memory_bytes.clone(),
        );
        registry.register(
            "storage_bytes",
            "Bytes of the log and of blocks on disk",
            metrics.storage_bytes.clone(),
        );
        registry.register("damage", "Damage found in the log at start", metrics.damage.clone());
        metrics.register_blocks(registry);
        metrics
    }

    fn register_blocks(&self, registry: &mut Registry) {
        registry.register("blocks", "Blocks", self.blocks.clone());
        registry.register("block_bytes", "Bytes of blocks on disk", self.block_bytes.clone());
        registry.register("work", "Work done in the background", self.work.clone());
        registry.register(
            "failed_work",
            "Work in the background that failed and is tried again",
            self.failed_work.clone(),
        );
        registry.register(
            "faded_blocks",
            "Blocks whose profiles, hours or days were deleted",
            self.faded.clone(),
        );
        registry.register(
            "faded_profiles",
            "Profiles in these blocks",
            self.faded_profiles.clone(),
        );
    }

    pub(super) fn did(&self, work: Work) {
        self.work.get_or_create(&WorkLabels { work }).inc();
    }

    pub(super) fn failed(&self, work: Work) {
        self.failed_work.get_or_create(&WorkLabels { work }).inc();
    }

    pub(super) fn evict(&self, kind: Kind, reason: Eviction, n_profiles: u64) {
        let kind = match kind {
            Kind::Raw => "profiles",
            Kind::Hours => "hours",
            Kind::Days => "days",
        };
        let labels = FadedLabels { kind, reason };
        self.faded.get_or_create(&labels).inc();
        self.faded_profiles.get_or_create(&labels).inc_by(n_profiles);
    }

    pub(super) fn damage(&self, reason: Damage, count: usize) {
        if count > 0 {
            self.damage.get_or_create(&DamageLabels { reason }).inc_by(count as u64);
        }
    }
}
