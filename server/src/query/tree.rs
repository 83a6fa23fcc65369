//! Sums by stack -> one tree of function names over all segments.

use crate::query::stacks::StackSums;
use crate::store::segment::Data;
use crate::store::symbols::{Runs, Symbols};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Names the frame whose name was lost with a damaged record, or was never there.
const NAMELESS: &str = "[unknown]";
const NONE: u32 = u32::MAX;
/// Names what is too small to be shown, together.
pub const OTHER: &str = "other";

/// The smallest total that is still drawn when `max_nodes` bars are: 0 where all of them fit.
pub fn smallest_drawn(mut totals: Vec<i64>, max_nodes: i64) -> i64 {
    let Ok(max_nodes) = usize::try_from(max_nodes) else { return 0 };
    if max_nodes < 1 || totals.len() <= max_nodes {
        return 0;
    }
    let (_, smallest, _) = totals.select_nth_unstable_by(max_nodes - 1, |a, b| b.cmp(a));
    *smallest
}

#[derive(Default)]
pub struct Tree {
    names: Runs<u8>,
    nodes: Vec<Node>,
    by_name: HashMap<(u32, u32), u32, RandomState>,
}

/// A node comes after its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    name: u32,
    /// `u32::MAX` under the root.
    parent: u32,
    pub own: i64,
    pub total: i64,
}

impl Tree {
    pub fn new(selected: &[StackSums]) -> Tree {
        let mut tree = Tree::default();
        for sums in selected {
            let data = sums.segment.read();
            tree.add_segment(&data, &sums.sums);
        }
        tree.sum_up();
        tree
    }

    /// From stacks of names, root first.
    pub fn from_stacks<'a>(stacks: impl IntoIterator<Item = (&'a [&'a str], i64)>) -> Tree {
        let mut tree = Tree::default();
        for (stack, value) in stacks {
            let mut node = NONE;
            for name in stack {
                let name = tree.names.intern(name.as_bytes());
                node = tree.child(node, name);
            }
            tree.add_own(node, value);
        }
        tree.sum_up();
        tree
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn name(&self, node: &Node) -> &str {
        std::str::from_utf8(self.names.at(node.name)).unwrap_or(NAMELESS)
    }

    /// The names of the nodes above, the nearest first.
    pub fn ancestors(&self, node: &Node) -> Vec<&str> {
        let parent = |node: &Node| self.nodes.get(node.parent as usize);
        std::iter::successors(parent(node), |above| parent(above))
            .map(|above| self.name(above))
            .collect()
    }

    /// The sum over all stacks.
    pub fn total(&self) -> i64 {
        self.nodes
            .iter()
            .filter(|node| node.parent == NONE)
            .map(|node| node.total)
            .fold(0, i64::saturating_add)
    }

    /// The children of each node, by name; the last list is the root's.
    pub fn children(&self) -> Vec<Vec<u32>> {
        let mut children = vec![Vec::new(); self.nodes.len() + 1];
        for (index, node) in self.nodes.iter().enumerate() {
            let parent = if node.parent == NONE { self.nodes.len() } else { node.parent as usize };
            children[parent].push(index as u32);
        }
        for list in &mut children {
            list.sort_unstable_by_key(|index| self.name(&self.nodes[*index as usize]));
        }
        children
    }

    fn add_segment(&mut self, data: &Data, sums: &[(u32, i64)]) {
        let mut names = vec![NONE; data.symbols.functions.items().len()];
        // Stacks of blocks are sorted: most frames are those of the stack before.
        let mut path: Vec<(u32, u32)> = Vec::new();
        for (stack, value) in sums {
            let locations = data.symbols.frames(*stack);
            let is_same = |((before, _), location): &(&(u32, u32), &u32)| before == *location;
            let n_shared = path.iter().zip(locations.iter().rev()).take_while(is_same).count();
            path.truncate(n_shared);
            let mut node = path.last().map_or(NONE, |(_, node)| *node);
            for location in locations.iter().rev().skip(n_shared) {
                let lines = data.symbols.lines(*location);
                if lines.is_empty() {
                    let name = self.names.intern(unsymbolized(&data.symbols, *location).as_bytes());
                    node = self.child(node, name);
                }
                for line in lines.iter().rev() {
                    let name = self.function_name(&data.symbols, &mut names, line.function);
                    node = self.child(node, name);
                }
                path.push((*location, node));
            }
            if node == NONE {
                let name = self.names.intern(NAMELESS.as_bytes());
                node = self.child(node, name);
            }
            self.add_own(node, *value);
        }
    }

    fn function_name(&mut self, symbols: &Symbols, names: &mut [u32], function: u32) -> u32 {
        if let Some(&name) = names.get(function as usize)
            && name != NONE
        {
            return name;
        }
        let text =
            symbols.functions.get(function).map_or("", |function| symbols.string(function.name));
        let name = self.names.intern(if text.is_empty() { NAMELESS } else { text }.as_bytes());
        if let Some(known) = names.get_mut(function as usize) {
            *known = name;
        }
        name
    }

    fn child(&mut self, parent: u32, name: u32) -> u32 {
        let nodes = &mut self.nodes;
        *self.by_name.entry((parent, name)).or_insert_with(|| {
            nodes.push(Node { name, parent, own: 0, total: 0 });
            (nodes.len() - 1) as u32
        })
    }

    fn add_own(&mut self, node: u32, value: i64) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.own = node.own.saturating_add(value);
        }
    }

    fn sum_up(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let Node { own, parent, total, .. } = self.nodes[index];
            let total = total.saturating_add(own);
            self.nodes[index].total = total;
            if let Some(parent) = self.nodes.get_mut(parent as usize) {
                parent.total = parent.total.saturating_add(total);
            }
        }
    }
}

/// `libc.so.6+0x1234`, or the address alone.
fn unsymbolized(symbols: &Symbols, location: u32) -> String {
    let Some((head, _)) = symbols.locations.get(location) else { return NAMELESS.to_owned() };
    let mapping = head.mapping.checked_sub(1).and_then(|index| symbols.mappings.get(index));
    let file = mapping.map_or("", |mapping| symbols.string(mapping.filename));
    match file.rsplit('/').next() {
        Some(module) if !module.is_empty() => format!("{module}+{:#x}", head.address),
        _ => format!("{:#x}", head.address),
    }
}
