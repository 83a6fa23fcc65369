//! The second half of the road, per window: symbolize -> label -> profile. Off the sampling path.

use std::collections::HashMap;
use std::sync::Arc;

use crate::label::{LabeledStack, Labeler};
use crate::profile;
use crate::stack::CountedStack;
use crate::symbolize::{KernelCode, SampledStack, Symbolizer};

/// A window as the sampler hands it over.
#[derive(Debug)]
pub(super) struct CountedWindow {
    pub(super) window: profile::Window,
    pub(super) stacks: Vec<CountedStack>,
    pub(super) kernel_code: Arc<KernelCode>,
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
    pub(super) fn name(
        &mut self,
        counted: &[CountedStack],
        kernel_code: Arc<KernelCode>,
    ) -> Vec<LabeledStack> {
        self.symbolizer.set_kernel_code(kernel_code);
        let mut index_of = HashMap::new();
        let mut distinct = Vec::new();
        let mut indices = Vec::with_capacity(counted.len());
        for CountedStack { stack, process, .. } in counted {
            let sampled = SampledStack { stack: Arc::clone(stack), process: Arc::clone(process) };
            indices.push(*index_of.entry(sampled.key()).or_insert_with(|| {
                distinct.push(sampled);
                distinct.len() - 1
            }));
        }
        let named = self.symbolizer.symbolize(&distinct);
        let named: Vec<_> = named.into_iter().map(Arc::new).collect();
        self.labeler.begin_window();
        counted
            .iter()
            .zip(indices)
            .map(|(counted, index)| LabeledStack {
                labels: self.labeler.label(counted),
                sample_type: counted.sample_type,
                stack: Arc::clone(
                    named.get(index).expect("the symbolizer names every stack that it is given"),
                ),
                outcome: counted.stack.outcome,
                n_samples: counted.n_samples,
                value: counted.value,
            })
            .collect()
    }
}
