//! A selector and a range of times come in; merged stacks, time series and label sets go out.

pub mod profile_type;
pub mod selector;
pub mod range;
mod view;
mod matching;
mod plan;
pub mod labels;
pub mod series;
pub mod stacks;
pub mod profiles;
pub mod exemplars;
pub mod heatmap;
pub mod tree;
pub mod pprof;

pub use view::View;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "the query time range exceeds the limit (limits.query_range, actual: {}s, limit: {}s); ask for a shorter range, or raise it",
        length_ms / 1_000, limit_ms / 1_000
    )]
    RangeTooLong { length_ms: i64, limit_ms: i64 },
    #[error("missing time range in the query")]
    NoRange,
    #[error("query start time is after end time")]
    StartAfterEnd,
    #[error(
        "query has more than {limit} points a series; ask for a larger step or a shorter range"
    )]
    TooManyPoints { limit: i64 },
    #[error("step must be at least 0.001 seconds")]
    Step,
    #[error("max flamegraph nodes limit {asked} is greater than allowed {limit}")]
    MaxNodes { asked: i64, limit: i64 },
    #[error(
        "profile-type selection must be of the form <name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>(:delta), \
         got '{0}'"
    )]
    ProfileType(String),
    #[error(transparent)]
    Selector(#[from] selector::Error),
    #[error("label selector is missing; send {{}} to select everything")]
    NoSelector,
    #[error("label name is missing")]
    NoLabelName,
    #[error(
        "profiles of {day} are kept summed by day, without {labels}; ask without these labels, or for later days"
    )]
    TooOld { labels: String, day: String },
    #[error(
        "profiles of {day} are kept as sums alone; single profiles and spans can be asked for in later days"
    )]
    Summed { day: String },
    #[error("the query is about more than {limit} single values; ask for a shorter range")]
    TooManyValues { limit: usize },
    #[error("{0}; the question is not answered, for a part of the answer would be missing")]
    Storage(String),
}

#[cfg(test)]
mod levels;
#[cfg(test)]
mod tests;
