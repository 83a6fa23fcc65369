//! What the sampler has done, for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use agent_common::outcome::{Loss, UnwindOutcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::sampler::Sampler;
use crate::kernel;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The sampler's metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    captured: Counter<u64, AtomicU64>,
    counted: Counter<u64, AtomicU64>,
    losses: Family<ReasonLabel, Counter<u64, AtomicU64>>,
    outcomes: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    other_stacks: Counter<u64, AtomicU64>,
    copied: Counter<u64, AtomicU64>,
    windows: Counter<u64, AtomicU64>,
    windows_dropped: Counter<u64, AtomicU64>,
    samples_dropped: Counter<u64, AtomicU64>,
    stacks: Gauge<i64, AtomicI64>,
    executables: Gauge<i64, AtomicI64>,
    processes: Gauge<i64, AtomicI64>,
    opened: Counter<u64, AtomicU64>,
    unopened: Family<ReasonLabel, Counter<u64, AtomicU64>>,
    openers_stuck: Gauge<i64, AtomicI64>,
    opens_waiting: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter<u64, AtomicU64>| {
            registry.register(format!("pilotlight_agent_{name}"), help, counter.clone());
        };
        counter("kernel_samples", "Samples that the programs took", &metrics.captured);
        counter("stack_samples", "Samples that were counted into windows", &metrics.counted);
        let help = "Samples whose stacks had no room and are in [other stacks]";
        counter("stack_other_samples", help, &metrics.other_stacks);
        let help = "Samples whose user stack was copied, to be walked in user space";
        counter("stack_copied_samples", help, &metrics.copied);
        counter("windows", "Windows that were closed", &metrics.windows);
        counter(
            "windows_dropped",
            "Windows dropped because naming frames was too slow",
            &metrics.windows_dropped,
        );
        counter("windows_dropped_samples", "Samples of those windows", &metrics.samples_dropped);
        let help = "What was lost between the kernel and the window, by reason";
        registry.register("pilotlight_agent_kernel_losses", help, metrics.losses.clone());
        let help = "Samples by how the walk of their user stack ended";
        registry.register("pilotlight_agent_stack_outcomes", help, metrics.outcomes.clone());
        registry.register(
            "pilotlight_agent_stacks",
            "Distinct stacks that are held",
            metrics.stacks.clone(),
        );
        let help = "Executable files that are known";
        registry.register(
            "pilotlight_agent_process_executables",
            help,
            metrics.executables.clone(),
        );
        let help = "Processes that are followed, without the kernel's own";
        registry.register("pilotlight_agent_processes", help, metrics.processes.clone());
        metrics.register_files(registry);
        metrics
    }

    fn register_files(&self, registry: &mut Registry) {
        let help = "Executable files that were opened";
        registry.register("pilotlight_agent_process_files_opened", help, self.opened.clone());
        let help = "Attempts to open an executable file that came to nothing, by reason";
        registry.register("pilotlight_agent_process_files_unopened", help, self.unopened.clone());
        let help = "Threads that hang in a file system that does not answer";
        registry.register(
            "pilotlight_agent_process_openers_stuck",
            help,
            self.openers_stuck.clone(),
        );
        let help = "Executable files that wait to be opened or closed";
        registry.register(
            "pilotlight_agent_process_files_waiting",
            help,
            self.opens_waiting.clone(),
        );
    }

    /// Shows the sampler as it is now.
    pub(super) fn show(&self, sampler: &Sampler) -> Result<(), kernel::Error> {
        let tally = sampler.tally()?;
        set(&self.captured, tally.captured);
        set(&self.counted, tally.counted);
        set(&self.other_stacks, tally.other_stacks);
        set(&self.copied, tally.copied);
        for (loss, n) in tally.losses {
            self.show_loss(loss, n);
        }
        for (outcome, n) in tally.outcomes {
            self.show_outcome(outcome, n);
        }
        self.stacks.set(sampler.n_stacks() as i64);
        self.executables.set(sampler.n_executables() as i64);
        self.processes.set(sampler.n_processes() as i64);
        let files = sampler.opener_tally();
        set(&self.opened, files.n_opened);
        for (why, n) in files.unopened {
            set(&self.unopened.get_or_create(&ReasonLabel { reason: why.name() }), n);
        }
        self.openers_stuck.set(files.n_stuck as i64);
        self.opens_waiting.set(files.n_waiting as i64);
        Ok(())
    }

    fn show_loss(&self, loss: Loss, n: u64) {
        set(&self.losses.get_or_create(&ReasonLabel { reason: loss.name() }), n);
    }

    fn show_outcome(&self, outcome: UnwindOutcome, n: u64) {
        set(&self.outcomes.get_or_create(&OutcomeLabel { outcome: outcome.name() }), n);
    }

    pub(super) fn window_closed(&self) {
        self.windows.inc();
    }

    pub(super) fn window_dropped(&self, n_samples: u64) {
        self.windows_dropped.inc();
        self.samples_dropped.inc_by(n_samples);
    }
}

fn set(counter: &Counter<u64, AtomicU64>, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}
