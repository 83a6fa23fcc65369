//! Sums by stack -> the same sums over the largest nodes of their call tree; what is below them is one frame.

use crate::ingest::symbols::{Function, Line, LocationHead};
use crate::query::tree::{OTHER, smallest_drawn};
use crate::store::symbols::{Merger, Symbols};
use foldhash::fast::RandomState;
use std::collections::HashMap;

const ROOT: u32 = u32::MAX;

type Sums = HashMap<u32, i64, RandomState>;

/// The symbols that are left have no more than what is referred to.
pub(super) fn largest(symbols: Symbols, sums: Sums, max_nodes: i64) -> (Symbols, Sums) {
    let calls = Calls::new(&symbols, &sums);
    let smallest = smallest_drawn(calls.totals.clone(), max_nodes);
    if smallest == 0 {
        return (symbols, sums);
    }
    let mut kept = Symbols::default();
    kept.intern_string("");
    let mut kept_sums = Sums::default();
    let other = other(&mut kept);
    let mut merger = Merger::new(&symbols, &mut kept);
    for (stack, value) in sums {
        let stack = symbols.stacks.at(stack);
        let n_cut = stack.len() - calls.depth(stack, smallest);
        // Leaf first: what is cut off is in front.
        let whole = stack.get(n_cut..).unwrap_or_default();
        let mut locations: Vec<u32> =
            whole.iter().map(|location| merger.location(*location)).collect();
        if n_cut > 0 {
            locations.insert(0, other);
        }
        let sum = kept_sums.entry(merger.to.intern_stack(&locations)).or_insert(0);
        *sum = sum.saturating_add(value);
    }
    (kept, kept_sums)
}

fn other(symbols: &mut Symbols) -> u32 {
    let name = symbols.intern_string(OTHER);
    let function =
        symbols.intern_function(Function { name, system_name: name, ..Function::default() });
    let line = Line { function, ..Line::default() };
    symbols.intern_location(LocationHead::default(), &[line])
}

/// The call tree, by location.
#[derive(Default)]
struct Calls {
    totals: Vec<i64>,
    by_location: HashMap<(u32, u32), u32, RandomState>,
}

impl Calls {
    fn new(symbols: &Symbols, sums: &Sums) -> Calls {
        let mut calls = Calls::default();
        for (stack, value) in sums {
            let mut node = ROOT;
            for location in symbols.stacks.at(*stack).iter().rev() {
                let totals = &mut calls.totals;
                node = *calls.by_location.entry((node, *location)).or_insert_with(|| {
                    totals.push(0);
                    (totals.len() - 1) as u32
                });
                if let Some(total) = calls.totals.get_mut(node as usize) {
                    *total = total.saturating_add(*value);
                }
            }
        }
        calls
    }

    /// How many frames of the stack, from the root, are in nodes that are large enough.
    fn depth(&self, stack: &[u32], smallest: i64) -> usize {
        let mut node = ROOT;
        let is_large = |location: &&u32| {
            let below = self.by_location.get(&(node, **location)).copied();
            node = below.unwrap_or(ROOT);
            self.totals.get(node as usize).is_some_and(|total| *total >= smallest)
        };
        stack.iter().rev().take_while(is_large).count()
    }
}
