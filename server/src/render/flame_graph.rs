//! A tree -> levels of bars, each four numbers: offset from the end of the bar before, total, own value, name.

use crate::query::tree::{OTHER, Tree, smallest_drawn};
use std::collections::HashMap;

pub const ROOT: &str = "total";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct FlameGraph {
    pub names: Vec<String>,
    pub levels: Vec<Vec<i64>>,
    pub total: i64,
    pub max_self: i64,
}

/// Numbers names in the order they are first drawn.
#[derive(Default)]
pub(super) struct Names<'a> {
    index: HashMap<&'a str, i64>,
    pub names: Vec<String>,
}

impl<'a> Names<'a> {
    pub(super) fn number(&mut self, name: &'a str) -> i64 {
        *self.index.entry(name).or_insert_with(|| {
            self.names.push(name.to_owned());
            self.names.len() as i64 - 1
        })
    }
}

/// A bar that waits to be drawn.
struct Bar {
    x: i64,
    level: usize,
    node: Drawn,
}

#[derive(Clone, Copy)]
enum Drawn {
    Root,
    Node(u32),
    /// What is too small to be drawn, together.
    Other(i64),
}

pub fn render(tree: &Tree, max_nodes: i64) -> FlameGraph {
    let nodes = tree.nodes();
    let children = tree.children();
    let smallest = smallest_drawn(nodes.iter().map(|node| node.total).collect(), max_nodes);
    let total = tree.total();
    let mut names = Names::default();
    let mut levels: Vec<Vec<[i64; 4]>> = Vec::new();
    let mut max_self = 0;
    let mut waiting = vec![Bar { x: 0, level: 0, node: Drawn::Root }];
    while let Some(Bar { x, level, node }) = waiting.pop() {
        let (name, bar_total, own, below) = match node {
            Drawn::Root => (ROOT, total, 0, children.last()),
            Drawn::Node(index) => {
                let node = &nodes[index as usize];
                (tree.name(node), node.total, node.own, children.get(index as usize))
            }
            Drawn::Other(sum) => (OTHER, sum, sum, None),
        };
        max_self = max_self.max(own);
        if levels.len() <= level {
            levels.push(Vec::new());
        }
        levels[level].push([x, bar_total, own, names.number(name)]);
        let below = below.map_or(&[][..], Vec::as_slice);
        push_children(tree, below, smallest, (x.saturating_add(own), level + 1), &mut waiting);
    }
    FlameGraph {
        names: names.names,
        levels: levels.into_iter().map(encode).collect(),
        total,
        max_self,
    }
}

/// Children begin after their parent's own time.
fn push_children(
    tree: &Tree,
    children: &[u32],
    smallest: i64,
    (mut x, level): (i64, usize),
    waiting: &mut Vec<Bar>,
) {
    let mut other: i64 = 0;
    for index in children {
        let node = &tree.nodes()[*index as usize];
        if node.total >= smallest && tree.name(node) != OTHER {
            waiting.push(Bar { x, level, node: Drawn::Node(*index) });
            x = x.saturating_add(node.total);
        } else {
            other = other.saturating_add(node.total);
        }
    }
    if other != 0 {
        waiting.push(Bar { x, level, node: Drawn::Other(other) });
    }
}

/// Bars were drawn from right to left.
fn encode(mut bars: Vec<[i64; 4]>) -> Vec<i64> {
    bars.reverse();
    let mut end = 0;
    for [x, total, _, _] in &mut bars {
        let next_end = x.saturating_add(*total);
        *x = x.saturating_sub(end);
        end = next_end;
    }
    bars.concat()
}
