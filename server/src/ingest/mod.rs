//! Bytes of a write request come in; profiles split into labeled series of (stack, value) rows go out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod attime;
pub mod labels;
pub mod symbols;
mod relabel;
pub mod normalize;
pub mod push;
pub mod otlp;
mod name;
mod builder;
pub mod suffix;
mod varint;
mod folded;
mod trie;
mod speedscope;
mod jfr;
mod multipart;
mod cumulative;
mod old_pprof;
pub mod form;
mod perf_script;
pub mod uploaded;

use crate::ingest::labels::Labels;
use crate::ingest::symbols::Symbols;
use protocol::pprof;

/// One profile after validation and normalization: its symbols once, and a series for each label set and sample type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedProfile {
    pub time_ns: i64,
    /// The client's id of this profile; a second push with the same id adds nothing.
    pub id: Option<u128>,
    pub symbols: Symbols,
    pub series: Vec<NormalizedSeries>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedSeries {
    pub labels: Labels,
    pub period: i64,
    /// Indices into the profile's stacks, ascending and unique, with values above 0.
    pub rows: Vec<(u32, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub max_profile_bytes: usize,
    pub max_samples: usize,
    pub max_stack_depth: usize,
    pub max_symbol_bytes: usize,
    pub max_sample_labels: usize,
    pub max_label_names: usize,
    pub max_label_name_bytes: usize,
    pub max_label_value_bytes: usize,
    /// Profiles older than this are refused, for they would be deleted at once.
    pub retention_ns: i64,
    /// Profiles may be this much newer than the server's clock.
    pub max_ahead_ns: i64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_profile_bytes: 16 << 20,
            max_samples: 200_000,
            max_stack_depth: 1_000,
            max_symbol_bytes: 65_535,
            max_sample_labels: 100,
            max_label_names: 30,
            max_label_name_bytes: 1_024,
            max_label_value_bytes: 2_048,
            retention_ns: 31 * 24 * 3_600 * 1_000_000_000,
            max_ahead_ns: 600 * 1_000_000_000,
        }
    }
}

/// Why a profile, or a part of it, was not stored. The words are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    BodySize,
    DuplicateLabelNames,
    InvalidLabels,
    LabelNameTooLong,
    LabelValueTooLong,
    MalformedProfile,
    MaxLabelNames,
    MissingLabels,
    OutsideWindow,
    ProfileSize,
    RateLimited,
    SampleLabels,
    Samples,
    SeriesLimit,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BodySize => "body_size_limit_exceeded",
            Reason::DuplicateLabelNames => "duplicate_label_names",
            Reason::InvalidLabels => "invalid_labels",
            Reason::LabelNameTooLong => "label_name_too_long",
            Reason::LabelValueTooLong => "label_value_too_long",
            Reason::MalformedProfile => "malformed_profile",
            Reason::MaxLabelNames => "max_label_names_per_series",
            Reason::MissingLabels => "missing_labels",
            Reason::OutsideWindow => "not_in_ingestion_window",
            Reason::ProfileSize => "profile_size_limit",
            Reason::RateLimited => "rate_limited",
            Reason::SampleLabels => "sample_labels_limit",
            Reason::Samples => "samples_limit",
            Reason::SeriesLimit => "series_limit",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no profiles received")]
    NoProfiles,
    #[error("profile with labels '{labels}': {source}")]
    Profile { labels: Labels, source: pprof::Error },
    #[error("profile with labels '{labels}': malformed profile: {what}")]
    Malformed { labels: Labels, what: &'static str },
    #[error(
        "profile with labels '{labels}' has {samples} samples, the limit is {limit}; send fewer, or raise limits.profile_samples"
    )]
    TooManySamples { labels: Labels, samples: usize, limit: usize },
    #[error(
        "profile with labels '{labels}' has a sample with {count} labels, the limit is {limit}; send fewer, or raise limits.sample_labels"
    )]
    TooManySampleLabels { labels: Labels, count: usize, limit: usize },
    #[error("malformed profile: {what}")]
    Otlp { what: &'static str },
    #[error(
        "profile with labels '{labels}' is outside of ingestion window (profile timestamp: {time_ns} ns, the ingestion \
         window starts at {start_ns} ns and ends at {end_ns} ns)"
    )]
    OutsideWindow { labels: Labels, time_ns: i64, start_ns: i64, end_ns: i64 },
    #[error("labels '{labels}': {source}")]
    Labels { labels: Labels, source: labels::Error },
}

impl Error {
    pub fn reason(&self) -> Reason {
        match self {
            Error::Profile {
                source: pprof::Error::TooLarge { .. } | pprof::Error::TooDense { .. },
                ..
            } => Reason::ProfileSize,
            Error::NoProfiles
            | Error::Malformed { .. }
            | Error::Otlp { .. }
            | Error::Profile { .. } => Reason::MalformedProfile,
            Error::TooManySamples { .. } => Reason::Samples,
            Error::TooManySampleLabels { .. } => Reason::SampleLabels,
            Error::OutsideWindow { .. } => Reason::OutsideWindow,
            Error::Labels { source, .. } => source.reason(),
        }
    }
}

#[cfg(test)]
mod tests;
