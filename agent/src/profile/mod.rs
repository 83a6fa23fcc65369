//! The labeled stacks of a window in; one pprof profile per series out.

mod quality;
mod pprof;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use protocol::profile::Profile;

use crate::label::{LabeledStack, Labels};
use crate::stack::SampleType;

use self::pprof::ProfileBuilder;
pub use self::quality::{Metrics, Quality, Reason};

/// The time that a profile covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Start by the wall clock, in nanoseconds since the epoch.
    pub start_unix_ns: u64,
    /// Length.
    pub duration_ns: u64,
    /// Time on a CPU that one sample stands for.
    pub period_ns: u64,
}

/// The profile of one series in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesProfile {
    /// The series, without the name of the profile.
    pub labels: Labels,
    /// The first part of the profile's type: the label `__name__`.
    pub name: &'static str,
    /// The pprof message.
    pub profile: Profile,
    /// Samples in it, for the account of what was sent and what was lost.
    pub n_samples: u64,
}

/// One profile per series and type of sample, in the order of the labels. Values that are equal in stack are summed.
pub fn build(window: Window, stacks: &[LabeledStack]) -> Vec<SeriesProfile> {
    let mut series: HashMap<(&Labels, SampleType), Vec<&LabeledStack>> = HashMap::new();
    for stack in stacks {
        series.entry((&stack.labels, stack.sample_type)).or_default().push(stack);
    }
    let mut series: Vec<_> = series.into_iter().collect();
    series.sort_by_key(|(key, _)| *key);
    series
        .into_iter()
        .map(|((labels, sample_type), stacks)| {
            let mut builder = ProfileBuilder::new();
            builder.put_mapping_first(labels.get("exe").map(|exe| &**exe), &stacks);
            for stack in &stacks {
                builder.add_sample(&stack.stack, None, &[stack.value]);
            }
            let quality = Quality::of(stacks.iter().copied());
            let n_samples = quality.n_samples;
            let profile = builder.finish(window, &[value_type(sample_type)], &quality);
            SeriesProfile {
                labels: labels.clone(),
                name: profile_name(sample_type),
                profile,
                n_samples,
            }
        })
        .collect()
}

/// One profile of everything with the two sample types of Go's CPU profiles: samples/count and cpu/nanoseconds. The name
/// of the thread is the pprof label `comm` of each sample.
pub fn build_merged(window: Window, stacks: &[LabeledStack]) -> Profile {
    let mut builder = ProfileBuilder::new();
    for stack in stacks {
        let comm = stack.labels.get("comm").map(|comm| &**comm);
        builder.add_sample(&stack.stack, comm, &[stack.n_samples, stack.value]);
    }
    let quality = Quality::of(stacks);
    builder.finish(window, &[("samples", "count"), value_type(SampleType::OnCpu)], &quality)
}

fn profile_name(sample_type: SampleType) -> &'static str {
    match sample_type {
        SampleType::OnCpu => "process_cpu",
    }
}

fn value_type(sample_type: SampleType) -> (&'static str, &'static str) {
    match sample_type {
        SampleType::OnCpu => ("cpu", "nanoseconds"),
    }
}
