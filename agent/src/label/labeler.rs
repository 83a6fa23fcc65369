//! Gives every counted stack its labels, and keeps the number of distinct label sets of a window bounded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use agent_common::limits::COMM_LEN;

use crate::process::Identity;
use crate::stack::CountedStack;

use super::cgroup::{Membership, systemd_unit};
use super::cgroup_tree::CgroupTree;
use super::{Config, Labels, MAX_VALUE_BYTES, Metrics, Overflow, OverflowLabels, clean, service};

/// Windows after which the labels of a thread that was not seen are forgotten.
const FORGET_AFTER_WINDOWS: u64 = 3;
/// Threads whose labels are remembered: what a storm of short processes adds beyond is labeled anew each time.
const MAX_KNOWN: usize = 16_384;
/// The name under which what is beyond all bounds is summed up.
const OTHER: &str = "other";

/// All that labels are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    process: Identity,
    comm: [u8; COMM_LEN],
    cgroup_id: u64,
}

#[derive(Debug)]
struct Known {
    full: Labels,
    /// What `full` became under the bound on series, in the window that was the last to see it.
    admitted: Labels,
    overflow: Option<Overflow>,
    window: u64,
}

/// Labels stacks, a window at a time.
#[derive(Debug)]
pub struct Labeler {
    config: Config,
    metrics: Metrics,
    names: Names,
    cgroups: CgroupTree,
    known: HashMap<Key, Known>,
    window: u64,
    /// Full label sets of this window, at most `max_series`.
    series: HashSet<Labels>,
    /// Label sets that stand for a whole service in this window.
    overflow_series: HashSet<Labels>,
}

impl Labeler {
    /// A labeler for this host.
    pub fn new(config: Config, metrics: Metrics) -> Self {
        Self::with_cgroups(config, metrics, CgroupTree::of_host())
    }

    pub(super) fn with_cgroups(config: Config, metrics: Metrics, cgroups: CgroupTree) -> Self {
        Self {
            config,
            metrics,
            names: Names::default(),
            cgroups,
            known: HashMap::new(),
            window: 0,
            series: HashSet::new(),
            overflow_series: HashSet::new(),
        }
    }

    /// Starts a window: the bound on series counts anew.
    pub fn begin_window(&mut self) {
        self.window += 1;
        self.series.clear();
        self.overflow_series.clear();
        self.cgroups.begin_window();
        let oldest = self.window.saturating_sub(FORGET_AFTER_WINDOWS);
        self.known.retain(|_, known| known.window >= oldest);
    }

    /// The labels of these samples.
    pub fn label(&mut self, counted: &CountedStack) -> Labels {
        let key = Key {
            process: counted.process.identity,
            comm: counted.comm,
            cgroup_id: counted.cgroup_id,
        };
        let known = self.known.get(&key).filter(|known| known.window == self.window);
        let (admitted, overflow) = match known {
            Some(known) => (known.admitted.clone(), known.overflow),
            None => self.label_anew(key, counted),
        };
        if let Some(reason) = overflow {
            self.metrics
                .overflow_samples
                .get_or_create(&OverflowLabels { reason })
                .inc_by(counted.n_samples);
        }
        admitted
    }

    #[cfg(test)]
    pub(super) fn n_known(&self) -> usize {
        self.known.len()
    }

    fn label_anew(&mut self, key: Key, counted: &CountedStack) -> (Labels, Option<Overflow>) {
        // Without a cgroup the set may be incomplete: the process was perhaps looked at since.
        let earlier = self
            .known
            .get(&key)
            .map(|known| &known.full)
            .filter(|full| full.get("cgroup").is_some());
        let full = match earlier {
            Some(full) => full.clone(),
            None => self.full_labels(counted),
        };
        let (admitted, overflow) = self.admit(&full);
        if self.known.len() < MAX_KNOWN || self.known.contains_key(&key) {
            let known = Known { full, admitted: admitted.clone(), overflow, window: self.window };
            self.known.insert(key, known);
        }
        (admitted, overflow)
    }

    fn full_labels(&mut self, counted: &CountedStack) -> Labels {
        let process = &*counted.process;
        let comm = clean(until_nul(&counted.comm), MAX_VALUE_BYTES);
        let membership =
            process.cgroup_file.get().map(|text| Membership::parse(text)).unwrap_or_default();
        let walks_before = self.cgroups.n_walks();
        let by_id = self.cgroups.path(counted.cgroup_id, membership.unified);
        self.metrics.cgroup_walks.inc_by(self.cgroups.n_walks() - walks_before);
        let cgroup = membership.path(by_id.as_deref());

        let names = &self.names;
        let mut pairs =
            vec![(names.service_name.clone(), label_value(&service::name(process, &comm)))];
        let mut push = |name: &Arc<str>, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                pairs.push((name.clone(), label_value(value)));
            }
        };
        push(&names.comm, Some(&comm));
        push(&names.exe, process.exe_path.as_deref());
        push(&names.cgroup, cgroup);
        push(&names.systemd_unit, cgroup.and_then(systemd_unit));
        push(&names.node, Some(&self.config.node));
        if self.config.pid {
            push(&names.pid, Some(&process.identity.pid.to_string()));
        }
        pairs.into_iter().collect()
    }

    /// `full` itself while there is room; else the set of its service, of which there may be a quarter as many; else the
    /// one set for everything. So values are never lost, only told apart less.
    fn admit(&mut self, full: &Labels) -> (Labels, Option<Overflow>) {
        // What is in the sets already is given out again: processes that are alike share their labels' memory.
        if let Some(series) = self.series.get(full) {
            return (series.clone(), None);
        }
        if self.series.len() < self.config.max_series {
            self.series.insert(full.clone());
            return (full.clone(), None);
        }
        let service_name = full.get("service_name").cloned().unwrap_or_else(|| OTHER.into());
        let of_service = self.coarse_labels(service_name);
        if let Some(series) = self.overflow_series.get(&of_service) {
            return (series.clone(), Some(Overflow::Service));
        }
        if self.overflow_series.len() <= self.config.max_series / 4 {
            self.overflow_series.insert(of_service.clone());
            return (of_service, Some(Overflow::Service));
        }
        (self.coarse_labels(OTHER.into()), Some(Overflow::Other))
    }

    fn coarse_labels(&self, service_name: Arc<str>) -> Labels {
        let names = &self.names;
        let mut pairs =
            vec![(names.service_name.clone(), service_name), (names.comm.clone(), OTHER.into())];
        if !self.config.node.is_empty() {
            pairs.push((names.node.clone(), label_value(&self.config.node)));
        }
        pairs.into_iter().collect()
    }
}

/// The names of labels, allocated once.
#[derive(Debug)]
struct Names {
    service_name: Arc<str>,
    comm: Arc<str>,
    exe: Arc<str>,
    cgroup: Arc<str>,
    systemd_unit: Arc<str>,
    node: Arc<str>,
    pid: Arc<str>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            service_name: "service_name".into(),
            comm: "comm".into(),
            exe: "exe".into(),
            cgroup: "cgroup".into(),
            systemd_unit: "systemd_unit".into(),
            node: "node".into(),
            pid: "pid".into(),
        }
    }
}

fn label_value(text: &str) -> Arc<str> {
    clean(text.as_bytes(), MAX_VALUE_BYTES).into()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
