//! How good stacks are: which share of the samples shows the whole stack, which share of the frames has a name, and what is
//! behind the rest. In each profile as comments, and as metrics by service.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use agent_common::outcome::UnwindOutcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::label::LabeledStack;
use crate::symbolize::{Module, SymbolizedFrame};

/// Reasons that a profile names.
const MAX_REASONS: usize = 5;
/// Services and reasons that have metrics of their own; what comes later is `other`.
const MAX_LABEL_SETS: usize = 500;

/// What is known of some stacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Samples, and those of them whose stack reaches its outermost frame.
    pub n_samples: u64,
    pub n_complete: u64,
    /// Frames of all samples, and those of them with a name.
    pub n_frames: u64,
    pub n_named: u64,
    /// Why stacks end too soon and frames have no name, and where: samples, or frames of samples.
    pub reasons: HashMap<Reason, u64>,
}

/// Why something is missing, and in which module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason {
    /// The outcome of the walk, or the reason of the missing name.
    pub reason: &'static str,
    /// Path of the module.
    pub module: Arc<str>,
    /// Its build id; empty when it has none.
    pub build_id: Arc<str>,
}

impl Reason {
    fn new(reason: &'static str, module: &Module) -> Self {
        Self { reason, module: Arc::clone(&module.path), build_id: Arc::clone(&module.build_id) }
    }
}

impl Quality {
    /// What is known of these stacks.
    pub fn of<'a>(stacks: impl IntoIterator<Item = &'a LabeledStack>) -> Self {
        let mut quality = Self::default();
        for stack in stacks {
            quality.add(stack);
        }
        quality
    }

    fn add(&mut self, stack: &LabeledStack) {
        let n_samples = stack.n_samples;
        self.n_samples += n_samples;
        let frames = || stack.stack.frames.iter().filter(|frame| !is_gap(frame));
        if matches!(stack.outcome, UnwindOutcome::Complete | UnwindOutcome::KernelThread) {
            self.n_complete += n_samples;
        } else if let Some(outermost) = frames().next_back() {
            *self
                .reasons
                .entry(Reason::new(stack.outcome.name(), &outermost.module))
                .or_default() += n_samples;
        }
        for frame in frames() {
            self.n_frames += n_samples;
            match frame.miss {
                None => self.n_named += n_samples,
                Some(why) => {
                    *self.reasons.entry(Reason::new(why, &frame.module)).or_default() += n_samples;
                }
            }
        }
    }

    /// One line for each fact, `key=value`.
    pub(super) fn comments(&self) -> Vec<String> {
        let Self { n_samples, n_complete, n_frames, n_named, reasons } = self;
        let mut lines = vec![
            format!("pilotlight.stacks samples={n_samples} complete={n_complete}"),
            format!("pilotlight.frames frames={n_frames} named={n_named}"),
        ];
        let mut reasons: Vec<_> = reasons.iter().collect();
        reasons.sort_by_key(|(reason, n)| (std::cmp::Reverse(**n), *reason));
        lines.extend(reasons.into_iter().take(MAX_REASONS).map(|(why, n)| {
            let Reason { reason, module, build_id } = why;
            format!("pilotlight.missing reason={reason} n={n} build_id={build_id} module={module}")
        }));
        lines
    }
}

/// A frame that only says that frames are missing.
fn is_gap(frame: &SymbolizedFrame) -> bool {
    frame.miss.is_some() && &*frame.module.path == "[unknown]"
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
    module: String,
    build_id: String,
}

type ByService = Family<ServiceLabel, Counter<u64, AtomicU64>>;

/// The quality as metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: ByService,
    complete: ByService,
    frames: ByService,
    named: ByService,
    missing: Family<ReasonLabels, Counter<u64, AtomicU64>>,
    known: Arc<Mutex<Known>>,
}

/// Label values that have metrics of their own.
#[derive(Debug, Default)]
struct Known {
    services: Vec<String>,
    reasons: Vec<Reason>,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, family) in [
            ("samples", "Samples by service", &metrics.samples),
            (
                "complete_samples",
                "Samples whose stack reaches its outermost frame",
                &metrics.complete,
            ),
            ("frames", "Frames of all samples", &metrics.frames),
            ("named_frames", "Frames that have a name", &metrics.named),
        ] {
            registry.register(format!("pilotlight_agent_profile_{name}"), help, family.clone());
        }
        let help = "Stacks that end too soon and frames without a name, by reason and module";
        registry.register("pilotlight_agent_profile_missing", help, metrics.missing.clone());
        metrics
    }

    /// Counts the stacks of a window.
    pub fn count(&self, stacks: &[LabeledStack]) {
        let mut by_service: HashMap<&str, Quality> = HashMap::new();
        for stack in stacks {
            let service = stack.labels.get("service_name").map_or("", |service| service);
            by_service.entry(service).or_default().add(stack);
        }
        for (service, quality) in by_service {
            self.count_service(service, &quality);
        }
    }

    fn count_service(&self, service: &str, quality: &Quality) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let service = first_few(&mut known.services, service.to_owned());
        let service_name = service.unwrap_or_else(|| "other".to_owned());
        let label = ServiceLabel { service_name };
        self.samples.get_or_create(&label).inc_by(quality.n_samples);
        self.complete.get_or_create(&label).inc_by(quality.n_complete);
        self.frames.get_or_create(&label).inc_by(quality.n_frames);
        self.named.get_or_create(&label).inc_by(quality.n_named);
        for (reason, n) in &quality.reasons {
            let labels = match first_few(&mut known.reasons, reason.clone()) {
                Some(Reason { reason, module, build_id }) => ReasonLabels {
                    reason: reason.to_owned(),
                    module: module.to_string(),
                    build_id: build_id.to_string(),
                },
                None => ReasonLabels {
                    reason: reason.reason.to_owned(),
                    module: "other".to_owned(),
                    build_id: String::new(),
                },
            };
            self.missing.get_or_create(&labels).inc_by(*n);
        }
    }
}

/// The value, if it is one of the first that came.
fn first_few<T: PartialEq + Clone>(known: &mut Vec<T>, value: T) -> Option<T> {
    if known.contains(&value) {
        return Some(value);
    }
    (known.len() < MAX_LABEL_SETS).then(|| {
        known.push(value.clone());
        value
    })
}
