//! The second half of the road, per window: symbolize -> label -> profile. Off the sampling path.

use std::collections::HashSet;
use std::sync::Arc;

use crate::label::{LabeledStack, Labeler};
use crate::profile;
use crate::stack::CountedStack;
use crate::symbolize::Symbolizer;

/// A window as the sampler hands it over.
#[derive(Debug)]
pub(super) struct CountedWindow {
    pub(super) window: profile::Window,
    pub(super) stacks: Vec<CountedStack>,
}

impl CountedWindow {
    pub(super) fn n_samples(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.n_samples).sum()
    }
}

/// Names frames and labels stacks.
pub(super) struct Namer {
    symbolizer: Symbolizer,
    labeler: Labeler,
}

impl Namer {
    pub(super) fn new(symbolizer: Symbolizer, labeler: Labeler) -> Self {
        Self { symbolizer, labeler }
    }

    /// Names and labels the stacks of a window. Each distinct stack is named once.
    pub(super) fn name(&mut self, counted: &[CountedStack]) -> Vec<LabeledStack> {
        let mut seen = HashSet::new();
        let distinct: Vec<_> = counted
            .iter()
            .filter(|counted| seen.insert(counted.stack.id))
            .map(|counted| Arc::clone(&counted.stack))
            .collect();
        let named = self.symbolizer.symbolize(&distinct);
        let named: std::collections::HashMap<u64, _> =
            named.into_iter().map(|(id, stack)| (id, Arc::new(stack))).collect();
        self.labeler.begin_window();
        counted
            .iter()
            .map(|counted| LabeledStack {
                labels: self.labeler.label(counted),
                sample_type: counted.sample_type,
                stack: Arc::clone(
                    named
                        .get(&counted.stack.id)
                        .expect("the symbolizer names every stack that it is given"),
                ),
                outcome: counted.stack.outcome,
                n_samples: counted.n_samples,
                value: counted.value,
            })
            .collect()
    }
}
