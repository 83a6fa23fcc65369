//! One recording into a file: the same road with one window and no server.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_common::outcome::Loss;
use prometheus_client::registry::Registry;

use super::sampler::{Sampler, Target};
use super::window::WallOffset;
use super::{
    DRAIN_INTERVAL, Error, HOUSEKEEPING_INTERVAL, Namer, Summary, max_stacks, monotonic_ns,
    raise_open_files, tables,
};
use crate::config::Config;
use crate::export::file;
use crate::kernel::period_ns;
use crate::label::{self, Labeler};
use crate::profile;
use crate::symbolize;

/// What naming the frames of a recording may take: somebody waits for it.
const NAMING_LIMIT: Duration = Duration::from_mins(2);

/// A recording may be long: it may hold the stacks of so many windows.
const N_WINDOWS_OF_STACKS: usize = 8;

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordTarget {
    /// The whole system.
    All,
    /// These processes.
    Pids(Vec<u32>),
    /// This process and its descendants.
    Tree(u32),
}

/// What a recording has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSummary {
    /// Samples in the file.
    pub n_samples: u64,
    /// Losses by reason; only those that happened.
    pub losses: Vec<(&'static str, u64)>,
}

/// Records until `stop` or for `duration`, then writes `file`. `started` is called when sampling has begun.
pub fn record(
    config: &Config,
    target: &RecordTarget,
    duration: Option<Duration>,
    file: &Path,
    stop: &AtomicBool,
    started: impl FnOnce(&Summary),
) -> Result<RecordSummary, Error> {
    let file = file::Target::check(file)?;
    raise_open_files();
    let max_stacks = max_stacks(config, N_WINDOWS_OF_STACKS)?;
    let mut sampler =
        Sampler::new(&config.kernel(), sampler_target(target), max_stacks, |published| {
            tables(config, published)
        })?;
    sampler.start()?;
    let start_ns = monotonic_ns();
    started(&Summary::of(&sampler, config));
    let deadline = duration.map(|duration| Instant::now() + duration);
    let mut housekeeping = Instant::now();
    while !stop.load(Ordering::Relaxed) && !has_ended(target) {
        let left = deadline
            .map_or(DRAIN_INTERVAL, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            break;
        }
        sampler.wait(left.min(DRAIN_INTERVAL));
        sampler.drain(u64::MAX);
        if housekeeping.elapsed() >= HOUSEKEEPING_INTERVAL {
            housekeeping = Instant::now();
            sampler.follow_cpus()?;
            sampler.tidy();
        }
    }
    let end_ns = monotonic_ns();
    sampler.finish(end_ns)?;
    while sampler.drain(end_ns) < end_ns {
        sampler.finish(end_ns)?;
    }
    let (counted, kernel_code) = sampler.close_window()?;
    let tally = sampler.tally()?;
    let window = profile::Window {
        start_unix_ns: WallOffset::now().unix_ns(start_ns),
        duration_ns: end_ns - start_ns,
        period_ns: period_ns(config.sampling.frequency_hz),
    };
    file.write(window, &namer(config)?.name(&counted, kernel_code))?;
    // The other losses cost a sample its stack or its place in the kernel's lists, not the sample.
    let is_lost = |loss| matches!(loss, Loss::SampleRingFull | Loss::ScratchMissing);
    let losses = tally.losses.into_iter().filter(|(loss, n)| *n > 0 && is_lost(*loss));
    let losses = losses.map(|(loss, n)| (loss.name(), n));
    Ok(RecordSummary {
        n_samples: counted.iter().map(|stack| stack.n_samples).sum(),
        losses: losses.collect(),
    })
}

fn namer(config: &Config) -> Result<Namer, Error> {
    let mut registry = Registry::default();
    let settings = label::Config { max_series: usize::MAX, ..config.label() };
    let labeler = Labeler::new(settings, label::Metrics::register(&mut registry));
    let call_budget = NAMING_LIMIT;
    let naming = symbolize::Config { call_budget, cpu_percent: None, ..config.symbolize() };
    Ok(Namer::new(super::symbolizer(naming, &mut registry)?, labeler))
}

fn sampler_target(target: &RecordTarget) -> Target {
    match target {
        RecordTarget::All => Target::All,
        RecordTarget::Pids(pids) => Target::Pids(pids.iter().copied().collect()),
        RecordTarget::Tree(pid) => Target::Tree(HashSet::from([*pid])),
    }
}

/// Processes named by `-p` that are all gone end the recording; a command's end is told by `stop`.
fn has_ended(target: &RecordTarget) -> bool {
    match target {
        RecordTarget::Pids(pids) => {
            !pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists())
        }
        RecordTarget::All | RecordTarget::Tree(_) => false,
    }
}
