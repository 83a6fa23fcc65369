//! Values summed by stack, segment by segment.

use crate::query::matching;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::store::segment::{Data, Segment};
use std::sync::Arc;

/// The sums of one segment's stacks, by their index in the segment.
pub struct StackSums {
    pub segment: Arc<Segment>,
    pub sums: Vec<(u32, i64)>,
    pub period: i64,
}

/// Root-first names that a stack must begin with; empty for all stacks.
pub type CallSite = [String];

pub fn select(
    segments: &[Arc<Segment>],
    selector: &Selector,
    range: &Range,
    call_site: &CallSite,
) -> Vec<StackSums> {
    let mut selected = Vec::new();
    for segment in segments {
        let data = segment.read();
        let mut by_stack = vec![0_i64; data.symbols.stacks.len()];
        let mut period = 0;
        for index in matching::series(&data, std::slice::from_ref(selector), range) {
            let series = &data.series[index];
            period = series.period.max(period);
            for profile in series.profiles().filter(|profile| range.contains_ns(profile.time_ns)) {
                for (stack, value) in profile.stacks.iter().zip(profile.values) {
                    // A stack beyond the table was lost with a damaged record.
                    if let Some(sum) = by_stack.get_mut(*stack as usize) {
                        *sum = sum.saturating_add(*value);
                    }
                }
            }
        }
        let sums = by_stack
            .into_iter()
            .zip(0_u32..)
            .filter(|(sum, _)| *sum != 0)
            .map(|(sum, stack)| (stack, sum));
        let sums: Vec<(u32, i64)> =
            sums.filter(|(stack, _)| begins_with(&data, *stack, call_site)).collect();
        drop(data);
        if !sums.is_empty() {
            selected.push(StackSums { segment: Arc::clone(segment), sums, period });
        }
    }
    selected
}

/// Whether the stack's frames, root first, begin with the call site.
pub(super) fn begins_with(data: &Data, stack: u32, call_site: &CallSite) -> bool {
    if call_site.is_empty() {
        return true;
    }
    let mut wanted = call_site.iter();
    let locations = data.symbols.stacks.at(stack).iter().rev();
    for line in locations.flat_map(|location| data.symbols.lines(*location).iter().rev()) {
        let name = data
            .symbols
            .functions
            .get(line.function)
            .map_or("", |function| data.symbols.string(function.name));
        match wanted.next() {
            None => return true,
            Some(wanted) if wanted == name => {}
            Some(_) => return false,
        }
    }
    wanted.next().is_none()
}
